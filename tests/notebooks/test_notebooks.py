"""The notebooks run from the first cell to the last, offline, and show what they promise."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

for needed in ("ipykernel", "matplotlib", "nbclient"):
    pytest.importorskip(needed)

ROOT = Path(__file__).resolve().parents[2]
_SPEC = importlib.util.spec_from_file_location("notebooks_run", ROOT / "notebooks" / "run.py")
assert _SPEC is not None
assert _SPEC.loader is not None
notebooks = importlib.util.module_from_spec(_SPEC)
sys.modules[_SPEC.name] = notebooks  # its dataclass looks itself up there
_SPEC.loader.exec_module(notebooks)


class Promised(NamedTuple):
    """What a notebook shows at least, and words its outputs must hold."""

    pictures: int
    players: int
    says: tuple[str, ...]


PROMISED = {
    "1-look-at-data": Promised(
        11, 2, ("verdict", "10 dB", "imbalance", "left out: out/look-at-data/sounds/clicks/0.wav")
    ),
    "2-train-and-listen": Promised(
        6, 4, ("28 recordings", "pass 14/14", "resumed from", "at step 50", "error on the part")
    ),
    "3-clone-and-style": Promised(
        6, 5, ("verdict         good", "too noisy", "seed 0 again: True", "mp3 file:  True")
    ),
    "4-classify-sounds": Promised(
        6, 2, ("imbalance 2.00", "0 files cannot be read", "at step 150", "F1", "it knows", "rain")
    ),
}


def path_of(name: str) -> Path:
    return ROOT / "notebooks" / f"{name}.ipynb"


def said(notebook: Any) -> str:
    """All that the outputs of a notebook say in words."""
    cells = (cell for cell in notebook.cells if cell.cell_type == "code")
    return "\n".join(text for cell in cells for text in notebooks.output_texts(cell))


def check_what_is_shown(notebook: Any, promised: Promised) -> None:
    shown = notebooks.measure(notebook)
    assert shown.pictures >= promised.pictures
    assert shown.players >= promised.players
    assert not [words for words in promised.says if words not in said(notebook)]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]


def held_out(notebook: Any, figure: str) -> list[float]:
    """A figure of every evaluation that the training loop printed."""
    lines = [line for line in said(notebook).splitlines() if re.match(r"step \d+ valid:", line)]
    found = (re.search(rf" {figure} ([\d.]+)", line) for line in lines)
    return [float(match[1]) for match in found if match]


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_a_notebook_runs_and_shows_what_it_promises(name: str, tmp_path: Path) -> None:
    notebook = notebooks.execute(path_of(name), tmp_path)
    check_what_is_shown(notebook, PROMISED[name])
    if errors := held_out(notebook, "mel"):
        assert errors[-1] < 0.8 * errors[0]
    if shares := held_out(notebook, "accuracy"):
        assert max(shares) > 0.75
    notebooks.check_outputs(notebook, tmp_path, ROOT)
    # All it wrote lies in the folder it works in: what it made, its home, caches.
    assert (tmp_path / "out").is_dir()


@pytest.mark.parametrize("name", sorted(PROMISED))
def test_the_committed_copy_has_its_own_outputs(name: str) -> None:
    notebook = notebooks.read_notebook(path_of(name))
    check_what_is_shown(notebook, PROMISED[name])
    notebooks.check_outputs(notebook, ROOT)
    assert path_of(name).stat().st_size <= notebooks.MAX_BYTES
    first_code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    assert first_code.source.startswith("quick = True")
    assert "folder = " in first_code.source
    before = notebooks.nbformat.writes(notebook)
    assert notebooks.nbformat.writes(notebooks.clean(notebook)) == before


def test_no_notebook_is_left_out() -> None:
    assert [path.stem for path in notebooks.notebook_paths()] == sorted(PROMISED)
    assert [path.stem for path in notebooks.notebook_paths(["3"])] == ["3-clone-and-style"]


def made_notebook(folder: Path, *sources: str) -> Path:
    """A notebook of code cells."""
    v4 = notebooks.nbformat.v4
    path = folder / "made.ipynb"
    cells = [v4.new_code_cell(source) for source in sources]
    notebooks.nbformat.write(v4.new_notebook(cells=cells), path)
    return path


def test_a_notebook_runs_by_this_python_in_its_own_folder(tmp_path: Path) -> None:
    source = "import os, sys\nprint(os.getcwd(), sys.executable, os.environ['KOUJI_HOME'])"
    path = made_notebook(tmp_path, source, "1 + 1")
    work = tmp_path / "work"
    work.mkdir()
    notebook = notebooks.execute(path, work)
    assert said(notebook).split() == [str(work), sys.executable, str(work / "home"), "2"]
    assert notebook.metadata.language_info == {"name": "python"}
    assert [cell.execution_count for cell in notebook.cells] == [1, 2]
    with pytest.raises(notebooks.NotebookError, match="shows"):
        notebooks.check_outputs(notebook, work)


def test_a_failing_cell_is_an_error_and_leaves_no_kernel(tmp_path: Path) -> None:
    source = "import os, pathlib\npathlib.Path('pid').write_text(str(os.getpid()))\n1 / 0"
    path = made_notebook(tmp_path, source)
    before = path.read_bytes()
    with pytest.raises(notebooks.CellExecutionError, match="ZeroDivisionError"):
        notebooks.execute(path, tmp_path)
    assert path.read_bytes() == before
    kernel = (tmp_path / "pid").read_text()
    assert not Path(f"/proc/{kernel}").exists()


@pytest.mark.parametrize(
    "shown",
    [
        f"{Path.home()}/x",
        "<object at 0x7f00>",
        "Traceback (most recent call last)",
        "lib/python3.11/site-packages/torch",
        "y" * 700_000,
    ],
)
def test_outputs_of_one_machine_are_refused(tmp_path: Path, shown: str) -> None:
    notebook = notebooks.read_notebook(made_notebook(tmp_path, "print()"))
    notebook.cells[0].outputs = [
        notebooks.nbformat.v4.new_output("stream", name="stdout", text=shown)
    ]
    with pytest.raises(notebooks.NotebookError):
        notebooks.check_outputs(notebook)


def test_writing_replaces_a_notebook_and_nothing_else(tmp_path: Path) -> None:
    path = made_notebook(tmp_path, "1")
    notebook = notebooks.read_notebook(path)
    notebook.cells[0].source = "2"
    notebooks.write_notebook(path, notebook)
    assert notebooks.read_notebook(path).cells[0].source == "2"
    assert list(tmp_path.iterdir()) == [path]


def test_the_page_of_notebooks_names_all_of_them(root_dir: Path) -> None:
    page = (root_dir / "docs" / "notebooks.md").read_text(encoding="utf-8")
    listed = re.findall(r"\(\.\./notebooks/([\w-]+)\.ipynb\)", page)
    assert listed == sorted(PROMISED)


def test_the_linter_reads_notebooks(root_dir: Path, tmp_path: Path) -> None:
    """So `make check` holds for their cells too."""
    ruff = Path(sys.executable).parent / "ruff"
    if not ruff.exists():
        pytest.skip("ruff is not installed")
    bad = made_notebook(tmp_path, "import os\nx=1")
    for verb, good in ((["check"], 0), (["format", "--check"], 0)):
        command = [str(ruff), *verb, "--no-cache", "--config", str(root_dir / "pyproject.toml")]
        own = subprocess.run([*command, "notebooks"], cwd=root_dir, capture_output=True, text=True)
        assert own.returncode == good, own.stdout
        told = subprocess.run([*command, str(bad)], cwd=root_dir, capture_output=True, text=True)
        assert told.returncode == 1, told.stdout
