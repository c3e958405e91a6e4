"""What a folder of CosyVoice holds: the files that speak, those that are missing, the others.

Reads the official layout as it is downloaded, with its links, exports and caches; what the
official code does not need is not needed here either. Opens files, but builds no network.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kouji.errors import KoujiError, ModelError, UsageError
from kouji.models.cosyvoice.config import CosyVoiceConfig, Version
from kouji.models.cosyvoice.files.keys import Kind
from kouji.models.cosyvoice.files.model_yaml import QWEN_FOLDER, YAMLS, find_yaml, read_config
from kouji.models.cosyvoice.files.onnx_header import CAMPPLUS, SPEECH_TOKENIZER, require_ports
from kouji.models.cosyvoice.files.weights import read_state, require_keys, tell_kind
from kouji.models.cosyvoice.text.tokenizer import CosyTokenizer

LLM, RL_LLM, FLOW, HIFT = "llm.pt", "llm.rl.pt", "flow.pt", "hift.pt"
SPEAKER_ENCODER, SAVED_SPEAKERS = "campplus.onnx", "spk2info.pt"
_MERGES = "merges.txt"
QWEN_FILES = ("config.json", "vocab.json", _MERGES)
_NOT_LLM = (FLOW, HIFT, SAVED_SPEAKERS)
_HEAD_BYTES = 64

_NEEDED_FOR = {
    "yaml": "saying which version this is, and its sizes",
    "llm": "turning text into speech tokens",
    "flow": "turning tokens into a spectrogram",
    "hift": "turning a spectrogram into sound",
    "speech_tokenizer": "hearing the reference voice",
    "campplus": "hearing who speaks",
    "tokenizer": "reading text",
}
_HEARING = {"speech_tokenizer": SPEECH_TOKENIZER, "campplus": CAMPPLUS}


@dataclass(frozen=True)
class Parts:
    """The files of one model.

    llm:       llm.pt, or the weights of reinforcement learning in its place
    tokenizer: the folder CosyVoice-BlankEN; its weights are not read
    spk2info:  saved speakers, if there are any
    extras:    what lies there besides and is not used
    """

    folder: Path
    version: Version
    config: CosyVoiceConfig
    llm: Path
    flow: Path
    hift: Path
    speech_tokenizer: Path
    campplus: Path
    tokenizer: Path
    spk2info: Path | None
    extras: tuple[Path, ...]


@dataclass(frozen=True)
class Finding:
    """One needed file.

    kind:    a key of what it is needed for
    names:   what it may be called, the first is the usual one
    path:    where it lies; None if it is missing
    problem: why it is of no use; empty if it can be used
    detail:  its size, for people
    """

    kind: str
    names: tuple[str, ...]
    path: Path | None
    problem: str = ""
    detail: str = ""

    @property
    def is_usable(self) -> bool:
        """True if it is there and nothing is wrong with it."""
        return self.path is not None and not self.problem

    @property
    def needed_for(self) -> str:
        """What it does, a clause for people."""
        return _NEEDED_FOR[self.kind]


@dataclass(frozen=True)
class DirectoryReport:
    """What was found; version is None where no YAML says it."""

    path: Path
    version: Version | None
    findings: tuple[Finding, ...]
    extras: tuple[Path, ...] = ()

    @property
    def is_speakable(self) -> bool:
        """True if nothing is missing or broken."""
        return self.version is not None and all(item.is_usable for item in self.findings)

    @property
    def cure(self) -> str:
        """The command that brings what is missing."""
        return f"kouji pull {self.version or 'cosyvoice3'}"

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": str(self.path),
            "speakable": self.is_speakable,
            "version": self.version,
            "parts": [
                {
                    "kind": item.kind,
                    "path": str(item.path),
                    "usable": item.is_usable,
                    "detail": item.detail,
                    "problem": item.problem,
                }
                for item in self.findings
                if item.path is not None
            ],
            "missing": [
                {"kind": item.kind, "needed_for": item.needed_for, "cure": self.cure}
                for item in self.findings
                if item.path is None
            ],
        }


def find_parts(path: str | Path, *, prefers_rl: bool = False) -> Parts:
    """The files to speak with.

    path:       a model folder, or the language model's file in it, such as llm.rl.pt
    prefers_rl: take llm.rl.pt where both are there; alone it is taken anyhow
    raises:     UsageError if there is no such path; ModelError for a model of the first generation,
                for sizes we do not have, and naming all files that are missing at once
    """
    folder, llm = _split(Path(path))
    version = _version(folder)
    findings = list(_find(folder, version, llm, prefers_rl=prefers_rl))
    faults = [_fault(item) for item in findings if not item.is_usable]
    if faults:
        raise ModelError(
            "a CosyVoice model is not complete",
            seen=f"{folder}: {'; '.join(faults)}",
            allowed="the files of the model as it is published",
            cure=_cure(folder, version),
        )
    config = read_config(folder)
    files = {item.kind: item.path for item in findings if item.path}
    for kind, ports in _HEARING.items():
        require_ports(files[kind], ports)
    speakers = folder / SAVED_SPEAKERS
    return Parts(
        folder=folder,
        version=config.version,
        config=config,
        llm=files["llm"],
        flow=files["flow"],
        hift=files["hift"],
        speech_tokenizer=files["speech_tokenizer"],
        campplus=files["campplus"],
        tokenizer=folder / QWEN_FOLDER,
        spk2info=speakers if speakers.is_file() else None,
        extras=_extras(folder, files.values()),
    )


def examine(path: str | Path) -> DirectoryReport:
    """Say what a folder or a weight file is: names and shapes of all tensors are checked.

    raises: UsageError if there is no such path
    """
    folder, file = _split(Path(path))
    try:
        version = _version(folder)
        config = read_config(folder) if version else None
        problem = ""
    except KoujiError as error:
        version, config, problem = None, None, str(error)
    if file is not None:
        return DirectoryReport(Path(path), version, (_examine_file(file, config),))
    findings = [_examine(item, config) for item in _find(folder, version, None)]
    if problem:
        findings[0] = Finding("yaml", tuple(YAMLS), folder / _yaml_name(folder), problem)
    files = [item.path for item in findings if item.path]
    return DirectoryReport(folder, version, tuple(findings), _extras(folder, files))


def is_model(path: Path) -> bool:
    """True for what looks like CosyVoice: a folder with its YAML or several of its files, or one
    of its weight files."""
    if path.is_dir():
        names = (LLM, RL_LLM, FLOW, HIFT, SPEAKER_ENCODER, QWEN_FOLDER)
        is_named = any(path.glob("cosyvoice*.yaml"))
        return is_named or sum((path / name).exists() for name in names) >= 2
    return path.suffix == ".pt"


def _split(path: Path) -> tuple[Path, Path | None]:
    """A folder, and the file in it that was given."""
    if path.is_dir():
        return path, None
    if path.is_file():
        return path.parent, path
    raise UsageError("no such file or folder", seen=path, cure="check the path")


def _version(folder: Path) -> Version | None:
    found = find_yaml(folder)
    return found[1] if found else None


def _cure(folder: Path, version: Version | None) -> str:
    """What to do about missing files; of two YAML files the official code reads the older."""
    there = [name for name in YAMLS if (folder / name).is_file()]
    pull = f"kouji pull {version or 'cosyvoice3'} brings what is missing"
    if len(there) < 2:
        return pull
    return f"take {there[0]} away if this is {YAMLS[there[1]]}; else {pull}"


def _yaml_name(folder: Path) -> str:
    return next(iter(sorted(path.name for path in folder.glob("cosyvoice*.yaml"))), "")


def _find(
    folder: Path, version: Version | None, llm: Path | None, *, prefers_rl: bool = False
) -> Iterator[Finding]:
    """The needed files in the order of their work; without a YAML those of version 3."""
    found = find_yaml(folder) if version else None
    yield _checked("yaml", tuple(YAMLS)[::-1], found[0] if found else None)
    if llm is not None and llm.name not in _NOT_LLM:
        yield _checked("llm", (llm.name,), llm)
    else:
        yield _first("llm", folder, *((RL_LLM, LLM) if prefers_rl else (LLM, RL_LLM)))
    yield _first("flow", folder, FLOW)
    yield _first("hift", folder, HIFT)
    number = (version or "cosyvoice3")[-1]
    yield _first("speech_tokenizer", folder, f"speech_tokenizer_v{number}.onnx")
    yield _first("campplus", folder, SPEAKER_ENCODER)
    for name in QWEN_FILES:
        yield _first("tokenizer", folder, f"{QWEN_FOLDER}/{name}")


def _first(kind: str, folder: Path, *names: str) -> Finding:
    there = [folder / name for name in names if (folder / name).is_file()]
    return _checked(kind, names, there[0] if there else None)


def _checked(kind: str, names: tuple[str, ...], path: Path | None) -> Finding:
    if path is None:
        return Finding(kind, names, None)
    return Finding(kind, names, path, _stand_in(path), f"{path.stat().st_size / 1e6:.1f} MB")


def _stand_in(path: Path) -> str:
    """What lies in the place of a file, if it is none."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        return f"it cannot be read: {error.strerror}"
    if not head:
        return "it is empty"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file: run git lfs pull there"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html")):
        return "a web page, not the file"
    return ""


def _fault(item: Finding) -> str:
    if item.path is None:
        return f"no {' or '.join(item.names)}"
    return f"{item.path.name} is of no use ({item.problem})"


def _examine(item: Finding, config: CosyVoiceConfig | None) -> Finding:
    """The finding, its content looked at."""
    if not item.is_usable or item.path is None:
        return item
    if item.kind not in ("llm", "flow", "hift"):
        return _examine_other(item, item.path, config)
    kind: Kind = "llm" if item.kind == "llm" else "flow" if item.kind == "flow" else "hift"
    try:
        state = read_state(item.path, kind)
        if config is not None:
            require_keys(state, config, kind, item.path.name)
    except KoujiError as error:
        return Finding(item.kind, item.names, item.path, str(error), item.detail)
    millions = sum(value.numel() for value in state.values()) / 1e6
    formats = sorted({str(value.dtype).removeprefix("torch.") for value in state.values()})
    detail = f"{millions:.1f} M numbers, {'/'.join(formats)}"
    return Finding(item.kind, item.names, item.path, "", detail)


def _examine_other(item: Finding, path: Path, config: CosyVoiceConfig | None) -> Finding:
    """The finding of a network that hears, or of the text tokenizer."""
    try:
        if item.kind in _HEARING:
            require_ports(path, _HEARING[item.kind])
        elif config is not None and path.name == _MERGES:
            CosyTokenizer(path.parent, config.version)
    except ModelError as error:
        return Finding(item.kind, item.names, path, str(error), item.detail)
    except UsageError:  # what reads text is not installed; that is no fault of the folder
        pass
    return item


def _examine_file(path: Path, config: CosyVoiceConfig | None) -> Finding:
    """A single weight file, told by its content."""
    problem = _stand_in(path)
    try:
        kind = None if problem else tell_kind(read_state(path, "hift"))
    except KoujiError as error:
        kind, problem = None, str(error)
    if kind is None:
        problem = problem or "none of llm.pt, flow.pt and hift.pt"
        return Finding("llm", (path.name,), path, problem)
    return _examine(Finding(kind, (path.name,), path), config)


def _extras(folder: Path, used: Any) -> tuple[Path, ...]:
    """What else lies in the folder."""
    known = {Path(path).relative_to(folder).parts[0] for path in used if path}
    known |= {QWEN_FOLDER, SAVED_SPEAKERS}
    return tuple(sorted(p for p in folder.iterdir() if p.name not in known and p.name[0] != "."))
