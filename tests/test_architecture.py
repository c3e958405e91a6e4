"""The arrows of docs/architecture.md: rooms import one way, and only config reads the environment.

Imports are read from the source, those inside functions too, so nothing has to be run.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "kouji"

# Each room and the rooms it may import, besides itself. A new room needs a row here and a line
# in docs/architecture.md.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "types": {"errors"},
    "config": {"errors"},
    "subtitles": {"types", "errors"},
    "audio": {"types", "errors", "config"},
    "text": {"types", "errors", "config"},
    "voices": {"types", "errors", "config", "audio"},
    "models": {"types", "errors", "config", "audio", "text", "voices"},
    "engine": {"types", "errors", "config", "models"},
    "hub": {"types", "errors", "config"},
    "train": {"types", "errors", "config", "audio", "text", "voices", "models"},
    "machine": {"types", "errors", "config"},
    "compatibility": {"machine"},
    "doctor": {"types", "errors", "config", "machine", "compatibility", "models"},
    "notice": {"types", "errors", "config", "audio", "text"},
    "speech_request": {"types", "errors", "config", "text", "voices", "models"},
    "last_stage": {
        "types",
        "errors",
        "config",
        "audio",
        "text",
        "voices",
        "models",
        "engine",
        "notice",
        "speech_request",
    },
}
ARROWS["speaking"] = {*ARROWS["last_stage"], "last_stage", "subtitles"}
ARROWS["live_source"] = {"errors"}
ARROWS["live_stretches"] = {*ARROWS["speaking"], "speaking"}
ARROWS["live_speech"] = {*ARROWS["live_stretches"], "live_source", "live_stretches"}
ARROWS["classification"] = set()
ARROWS["listening"] = {"types", "errors", "models", "engine", "classification"}
ARROWS["classifying"] = {*ARROWS["listening"], "config", "audio", "listening"}
ARROWS["graphs"] = {"types", "errors", "config", "audio", "text", "voices", "models"}
ARROWS["conditionings"] = {"errors", "voices", "models"}
ARROWS["api"] = {*ARROWS["live_speech"], "live_speech", "conditionings"}
ARROWS["verification"] = {"types", "errors", "config", "audio", "text", "voices", "models"}
ARROWS["jobs"] = {*ARROWS["api"], "api"}
ARROWS["evaluate"] = {*ARROWS["api"], "train", "api", "machine"}
ARROWS["evaluate"] |= {"classification", "classifying"}
ARROWS["train"].add("classification")
ARROWS["serve"] = {*ARROWS["jobs"], "jobs", "machine", "compatibility", "doctor", "train"}
ARROWS["serve"] |= {"verification", "classification", "listening", "classifying"}
ARROWS["cli"] = set(ARROWS) - {"cli"}

# Doors: conveniences that open a later room when they are called, never when imported.
DOORS = {
    ("types", "audio"): "Speech.save encodes",
    ("types", "subtitles"): "Speech.save_subtitles writes",
}
# The package itself opens doors to whatever its names stand for (PEP 562).
FRONT_DOOR = {"__init__", "__main__"}


def modules() -> list[Path]:
    """Every source file of the package."""
    return sorted(PACKAGE.rglob("*.py"))


def room_of(path: Path) -> str:
    """The room a source file lies in: its first folder, or its own name."""
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """The rooms a file imports and whether the import waits inside a function."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    lazy = {
        id(inner)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        for name in _imported_names(node, path):
            parts = name.split(".")
            if parts[0] == "kouji" and len(parts) > 1:
                yield parts[1], id(node) in lazy


def _imported_names(node: ast.AST, path: Path) -> list[str]:
    """Absolute names of what an import statement imports; `from kouji import x` names kouji.x."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        inside = ["kouji", *path.relative_to(PACKAGE).parts[:-1]]
        base = ".".join([*inside[: len(inside) - node.level + 1], *filter(None, [base])])
    return [f"{base}.{alias.name}" for alias in node.names] if base == "kouji" else [base]


def test_every_room_is_known_and_described(root_dir: Path) -> None:
    rooms = {room_of(path) for path in modules()} - FRONT_DOOR
    assert rooms <= set(ARROWS), f"give {rooms - set(ARROWS)} a row in ARROWS"
    page = (root_dir / "docs" / "architecture.md").read_text(encoding="utf-8")
    missing = [room for room in rooms if f"  {room}/" not in page and f"  {room}.py" not in page]
    assert not missing, f"describe {missing} in docs/architecture.md"


def test_every_module_is_described(root_dir: Path) -> None:
    page = (root_dir / "docs" / "architecture.md").read_text(encoding="utf-8")
    missing = []
    for path in modules():
        room = path.relative_to(PACKAGE).parent.as_posix()
        if room == "." or path.stem == "__init__":
            continue
        rows = [line for line in page.splitlines() if line.startswith(f"| `{room}` |")]
        if len(rows) != 1 or f"`{path.stem}`" not in rows[0]:
            missing.append(f"{room}/{path.name}")
    assert not missing, f"name {missing} in docs/architecture.md"


def test_the_arrows_have_no_circle() -> None:
    remaining = {room: set(targets) for room, targets in ARROWS.items()}
    while remaining:
        free = [room for room, targets in remaining.items() if not targets]
        assert free, f"a circle among {sorted(remaining)}"
        remaining = {
            room: targets - set(free) for room, targets in remaining.items() if room not in free
        }


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_imports_follow_the_arrows(room: str) -> None:
    wrong = []
    for path in modules():
        if room_of(path) != room:
            continue
        for target, is_lazy in imports(path):
            is_door = is_lazy and (room, target) in DOORS
            if target not in {room, *ARROWS[room]} and not is_door:
                wrong.append(f"{path.relative_to(PACKAGE)} imports kouji.{target}")
    assert not wrong, "\n".join(wrong)


def test_the_walk_sees_a_wrong_arrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "audio").mkdir()
    source = tmp_path / "audio" / "bad.py"
    source.write_text(
        "from kouji import cli\nfrom ..text import split\nfrom . import load\n"
        "def f():\n    import kouji.models.mini\n",
        encoding="utf-8",
    )
    assert list(imports(source)) == [
        ("cli", False),
        ("text", False),
        ("audio", False),
        ("models", True),
    ]


def attributes(path: Path) -> Iterator[tuple[str, ast.AST]]:
    """Every dotted name in a file, such as os.environ, with its node."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute | ast.Name):
            yield ast.unparse(node), node


# torch.distributed meets its peers through variables that torchrun sets; nothing else may.
RENDEZVOUS = PACKAGE / "train" / "distributed.py"


def test_only_config_reads_the_environment() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"  # type: ignore[attr-defined]
        for path in modules()
        if room_of(path) != "config" and path != RENDEZVOUS
        for name, node in attributes(path)
        if name in ("os.environ", "os.getenv", "os.putenv", "environ", "getenv")
    ]
    assert not wrong, "\n".join(wrong)


def test_nobody_writes_the_environment() -> None:
    tree = ast.parse((PACKAGE / "config.py").read_text(encoding="utf-8"))
    stored = [
        ast.unparse(node)
        for node in ast.walk(tree)
        if isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load)
    ]
    assert not [text for text in stored if "environ" in text]


def test_importing_sets_nothing() -> None:
    """Statements of a module's own level neither set threads or seeds nor touch sys.path."""
    forbidden = ("set_num_threads", "manual_seed", "basicConfig", "seed", "sys.path.append")
    wrong = []
    for path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
                continue
            wrong += [
                f"{path.relative_to(PACKAGE)}:{call.lineno}"
                for call in ast.walk(node)
                if isinstance(call, ast.Call) and ast.unparse(call.func).endswith(forbidden)
            ]
    assert not wrong, "\n".join(wrong)
