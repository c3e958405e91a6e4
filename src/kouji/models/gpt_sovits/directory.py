"""What a folder of GPT-SoVITS files can do: the parts in it, what is missing, what speaks.

Reads official `pretrained_models` trees, whole checkouts with their `GPT_weights*` and
`SoVITS_weights*`, and plain folders with two files. Parts are told by content, never by name;
names only choose between several that would do. Opens files, but builds no network.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kouji.errors import KoujiError, ModelError, UsageError
from kouji.models.gpt_sovits.config import VERSIONS
from kouji.models.gpt_sovits.containers import (
    KIND_NAMES,
    RawCheckpoint,
    read_checkpoint,
    require_speakable,
    upstream_version,
)
from kouji.models.gpt_sovits.weights import sovits_config, t2s_config

BEST_FIRST = tuple(reversed(VERSIONS))
MAX_DEPTH, MAX_FILES = 6, 400  # a checkout keeps its weights at most four folders down
_CHECKPOINTS = {".ckpt", ".pth"}
_NETWORK_FILES = ("model.safetensors", "pytorch_model.bin")
_VOCABULARIES = ("vocab.txt", "tokenizer.json")

# The published T2S files and the versions each was made for; all but the first fit one another.
OFFICIAL_T2S = {
    "s1bert25hz-2kh-longer-epoch=68e-step=50232.ckpt": ("v1",),
    "s1bert25hz-5kh-longer-epoch=12-step=369668.ckpt": ("v2",),
    "s1v3.ckpt": ("v2Pro", "v2ProPlus"),
}
OFFICIAL_SOVITS = {"s2G488k.pth", "s2G2333k.pth", "s2Gv2Pro.pth", "s2Gv2ProPlus.pth"}

_NEEDED_FOR = {
    "t2s": "turning text into speech tokens",
    "sovits": "turning tokens into sound",
    "hubert": "hearing the reference voice",
    "bert": "Chinese text",
    "eres2net": "v2Pro and v2ProPlus, which also hear who speaks",
}
_PLACES = {
    "t2s": "a .ckpt of GPT_weights*",
    "sovits": "a .pth of SoVITS_weights*",
    "hubert": "the folder chinese-hubert-base",
    "bert": "the folder chinese-roberta-wwm-ext-large",
    "eres2net": "sv/pretrained_eres2netv2w24s4ep4.ckpt",
}


@dataclass(frozen=True)
class Part:
    """One file, or one folder of HuBERT or BERT.

    kind:    as `containers` has it; "unknown" for what cannot be read
    version: of T2S and SoVITS, else empty
    detail:  size and training information, for people
    problem: why it is of no use; empty if it can be used
    """

    kind: str
    path: Path
    version: str = ""
    detail: str = ""
    problem: str = ""

    @property
    def is_usable(self) -> bool:
        """True if Kouji speaks with it."""
        return not self.problem and self.kind in _NEEDED_FOR


@dataclass(frozen=True)
class Missing:
    """A part that would have to be there; `needed_for` and `cure` are clauses for people."""

    kind: str
    needed_for: str
    cure: str


@dataclass(frozen=True)
class DirectoryReport:
    """What was found.

    versions:     what speaks with these parts, best first
    missing:      what the best of them, or the next one, still needs
    is_truncated: there were more files than were looked at
    """

    path: Path
    parts: tuple[Part, ...]
    missing: tuple[Missing, ...]
    versions: tuple[str, ...]
    is_truncated: bool = False

    @property
    def is_speakable(self) -> bool:
        """True if one version has all it needs."""
        return bool(self.versions)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": str(self.path),
            "speakable": self.is_speakable,
            "versions": list(self.versions),
            "truncated": self.is_truncated,
            "parts": [
                {
                    "kind": part.kind,
                    "path": str(part.path),
                    "version": part.version,
                    "usable": part.is_usable,
                    "detail": part.detail,
                    "problem": part.problem,
                }
                for part in self.parts
            ],
            "missing": [vars(item) for item in self.missing],
        }


@dataclass(frozen=True)
class VoiceParts:
    """The files that speak one version together.

    speaker: there for v2Pro and v2ProPlus; with others, where it is at hand, for voices that
             bring Pro weights of their own
    """

    version: str
    t2s: Path
    sovits: Path
    hubert: Path
    bert: Path
    speaker: Path | None


def examine(path: str | Path, shared: Iterable[str | Path] = ()) -> DirectoryReport:
    """Say what a folder or a file is.

    shared: further folders that may hold HuBERT, BERT and the speaker network, such as those
            of pulled models; what lies there counts as present but is not listed
    raises: UsageError if there is no such path
    """
    path = Path(path)
    if not path.exists():
        raise UsageError("no such file or folder", seen=path, cure="check the path")
    found = list(_walk(path))
    parts = tuple(_examine_one(item) for item in found[:MAX_FILES])
    helpers = [
        part for part in _shared_parts(shared) if part.kind in ("hubert", "bert", "eres2net")
    ]
    versions = tuple(v for v in BEST_FIRST if not _lacking(v, [*parts, *helpers]))
    missing = () if versions else _missing([*parts, *helpers])
    return DirectoryReport(path, parts, missing, versions, len(found) > MAX_FILES)


def find_parts(
    path: str | Path,
    version: str | None = None,
    *,
    t2s: str | Path | None = None,
    sovits: str | Path | None = None,
    shared: Iterable[str | Path] = (),
) -> VoiceParts:
    """Choose the files to speak with.

    path:        folder to look in
    version:     one of `VERSIONS`; None takes that of `sovits`, or the best that is complete
    t2s, sovits: weights of a voice of its own, wherever they lie
    shared:      as for `examine`
    raises:      ModelError naming what is missing, or several files of which one must be named
    """
    if version is not None and version not in VERSIONS:
        raise UsageError("unknown version", seen=version, allowed=", ".join(VERSIONS))
    parts = [part for part in map(_examine_one, _walk(Path(path))) if part.is_usable]
    named = [_named(file, kind) for file, kind in ((t2s, "t2s"), (sovits, "sovits")) if file]
    kinds = {part.kind for part in named}
    parts = [*named, *(part for part in parts if part.kind not in kinds), *_shared_parts(shared)]
    wanted = [version] if version else BEST_FIRST
    for choice in wanted:
        if not _lacking(choice, parts):
            return _choose(choice, parts)
    raise ModelError(
        f"GPT-SoVITS {version or 'weights'} cannot speak from this folder",
        seen=f"{path}: no {', no '.join(_title(item.kind) for item in _missing(parts, version))}",
        allowed="T2S, SoVITS, chinese-hubert-base and chinese-roberta-wwm-ext-large"
        + (", and sv for Pro" if version is None or "Pro" in version else ""),
        cure=f"kouji pull {_model_of(version)} brings what is missing",
    )


def _walk(path: Path) -> Iterator[Path]:
    """Checkpoints and folders of networks under a path, in order; a file is itself."""
    if path.is_file():
        yield path
        return
    for folder, names, files in os.walk(path):
        here = Path(folder)
        depth = len(here.relative_to(path).parts)
        names[:] = (
            sorted(name for name in names if name[:1] not in "._") if depth < MAX_DEPTH else []
        )
        if "config.json" in files and any(name in files for name in _NETWORK_FILES):
            yield here
        else:
            yield from (here / name for name in sorted(files) if Path(name).suffix in _CHECKPOINTS)


def _examine_one(path: Path) -> Part:
    if path.is_dir():
        return _examine_folder(path)
    if path.name in _NETWORK_FILES and (path.parent / "config.json").is_file():
        return _examine_folder(path.parent)
    try:
        return _examine_checkpoint(path)
    except KoujiError as error:
        return Part("unknown", path, problem=str(error))


def _examine_checkpoint(path: Path) -> Part:
    checkpoint = read_checkpoint(path)
    problem = ""
    try:
        if checkpoint.kind == "t2s":
            t2s_config(checkpoint)
        elif checkpoint.kind == "sovits":
            require_speakable(checkpoint)
            sovits_config(checkpoint)
    except KoujiError as error:
        problem = str(error)
    if checkpoint.kind not in _NEEDED_FOR:
        problem = f"{KIND_NAMES[checkpoint.kind]}, not for speaking"
    return Part(checkpoint.kind, path, checkpoint.version, _detail(checkpoint), problem)


def _detail(checkpoint: RawCheckpoint) -> str:
    kinds = {str(tensor.dtype).removeprefix("torch.") for tensor in checkpoint.weight.values()}
    facts = [
        f"{checkpoint.num_numbers / 1e6:.1f} M numbers",
        "/".join(sorted(kind for kind in kinds if "float" in kind)),
        checkpoint.info,
    ]
    if checkpoint.kind == "sovits":
        verdict = upstream_version(checkpoint)
        if verdict.model != checkpoint.version:
            facts.append(f"the official code takes it for {verdict.model}, by {verdict.reason}")
    return ", ".join(fact for fact in facts if fact)


def _examine_folder(folder: Path) -> Part:
    """HuBERT or BERT as the `transformers` library lays them out."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = str(config.get("model_type", "unknown"))
    except (OSError, ValueError, AttributeError) as error:
        return Part("unknown", folder, problem=f"its config.json cannot be read: {error}")
    if kind not in ("hubert", "bert"):
        return Part("unknown", folder, problem=f"a network of type {kind[:40]}, not used here")
    weights = next((folder / name for name in _NETWORK_FILES if (folder / name).is_file()), None)
    lacks = []
    if weights is None or weights.stat().st_size < 1024:
        lacks.append(" or ".join(_NETWORK_FILES))
    if kind == "bert" and not any((folder / name).is_file() for name in _VOCABULARIES):
        lacks.append(" or ".join(_VOCABULARIES))
    size = f"{weights.stat().st_size / 1e6:.0f} MB" if weights else ""
    return Part(kind, folder, detail=size, problem=f"it lacks {', '.join(lacks)}" if lacks else "")


def _shared_parts(folders: Iterable[str | Path]) -> list[Part]:
    """Usable networks around the voice in other folders."""
    found = [
        _examine_one(path)
        for folder in map(Path, folders)
        if folder.is_dir()
        for path in _walk(folder)
        if path.is_dir() or path.parent.name == "sv"
    ]
    return [part for part in found if part.is_usable]


def _named(path: str | Path, kind: str) -> Part:
    """A file the caller chose; its faults are errors here, not remarks."""
    checkpoint = read_checkpoint(path, kind)
    part = _examine_checkpoint(checkpoint.path)
    if part.problem:
        raise ModelError("the chosen weights cannot speak", seen=f"{path}: {part.problem}")
    return part


def _fits(version: str, part: Part) -> bool:
    """True if a usable part serves this version."""
    if part.kind == "t2s":
        return part.version == ("v1" if version == "v1" else "v2")
    return part.kind != "sovits" or part.version == version


def _lacking(version: str, parts: Sequence[Part]) -> list[str]:
    needed = ["t2s", "sovits", "hubert", "bert"]
    needed += ["eres2net"] if "Pro" in version else []
    usable = [part for part in parts if part.is_usable and _fits(version, part)]
    return [kind for kind in needed if not any(part.kind == kind for part in usable)]


def _missing(parts: Sequence[Part], version: str | None = None) -> tuple[Missing, ...]:
    """What the version that is nearest to speaking lacks; a SoVITS file decides the version."""

    def distance(choice: str) -> tuple[int, bool]:
        lacking = _lacking(choice, parts)
        return len(lacking), "sovits" in lacking

    nearest = version or min(BEST_FIRST, key=distance)
    return tuple(
        Missing(
            kind,
            _NEEDED_FOR[kind],
            f"kouji pull {_model_of(nearest)}, or copy {_PLACES[kind]} of GPT-SoVITS here",
        )
        for kind in _lacking(nearest, parts)
    )


def _choose(version: str, parts: Sequence[Part]) -> VoiceParts:
    fitting = [part for part in parts if part.is_usable and _fits(version, part)]

    def one(kind: str) -> Path:
        return next(part.path for part in fitting if part.kind == kind)

    return VoiceParts(
        version,
        _only([part.path for part in fitting if part.kind == "t2s"], version, "t2s"),
        _only([part.path for part in fitting if part.kind == "sovits"], version, "sovits"),
        one("hubert"),
        one("bert"),
        next((part.path for part in fitting if part.kind == "eres2net"), None),
    )


def _only(paths: Sequence[Path], version: str, kind: str) -> Path:
    """The one file, or among several the published one; fine-tunes must be named."""
    if len(paths) == 1:
        return paths[0]
    published = [
        path
        for path in paths
        if version in OFFICIAL_T2S.get(path.name, ()) or path.name in OFFICIAL_SOVITS
    ]
    if published:
        return published[0]
    listed = ", ".join(path.name for path in paths[:6]) + (", ..." if len(paths) > 6 else "")
    raise ModelError(
        f"several {_title(kind)} files would do",
        seen=listed,
        allowed="one",
        cure=f"name the one: pull a model and add a voice of it (kouji voice add --{kind} FILE), "
        "or give a folder without the others",
    )


def _title(kind: str) -> str:
    names = {"t2s": "T2S", "sovits": "SoVITS", "hubert": "HuBERT", "bert": "BERT"}
    return names.get(kind, "ERes2NetV2")


def _model_of(version: str | None) -> str:
    """The name under which `kouji pull` has a version."""
    return f"gpt-sovits-{(version or BEST_FIRST[0]).lower()}"
