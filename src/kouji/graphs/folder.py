"""A folder of exported graphs: each stage in each format asked for, verified, and a list of them.

A file appears under its name once it agrees with the model; until then it is a draft.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from kouji.errors import KoujiError, ModelError, UsageError
from kouji.graphs import onnx_file, program, torchscript
from kouji.graphs.stage import Stage
from kouji.graphs.verify import Agreement, verify

FORMATS: dict[str, ModuleType] = {
    "onnx": onnx_file,
    "torchscript": torchscript,
    "program": program,
}
LIST_FILE = "graphs.json"
FORMAT = "kouji-graphs-1"
Watcher = Callable[[str], None]


@dataclass(frozen=True)
class ExportedFile:
    """One file that agrees with its model."""

    stage: str
    format: str
    path: Path
    num_bytes: int
    agreement: Agreement


@dataclass(frozen=True)
class Report:
    """What an export wrote; `list_path` is the JSON that says names, shapes, constants, errors."""

    folder: Path
    files: tuple[ExportedFile, ...]
    list_path: Path


def choose_formats(formats: str | Sequence[str]) -> tuple[str, ...]:
    """Names of formats; "all" is every one, a text may hold several with commas.

    raises: UsageError for an unknown one, or none
    """
    names = formats.split(",") if isinstance(formats, str) else formats
    wanted = tuple(dict.fromkeys(name.strip() for name in names if name.strip()))
    if "all" in wanted:
        return tuple(FORMATS)
    if not wanted or not set(wanted) <= set(FORMATS):
        seen = ",".join(wanted)
        raise UsageError("unknown graph format", seen=seen, allowed=f"all, {', '.join(FORMATS)}")
    return wanted


def open_folder(folder: str | Path) -> Path:
    """Make a folder to export to; UsageError where that cannot be."""
    folder = Path(folder)
    with _writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, probe = tempfile.mkstemp(prefix=".", dir=folder)
        os.close(descriptor)
        os.unlink(probe)
    return folder


def export_stages(
    stages: Sequence[Stage],
    folder: Path,
    formats: Sequence[str],
    metadata: Mapping[str, Any],
    tell: Watcher | None = None,
) -> Report:
    """Write and verify every stage in every format, then the list.

    metadata: of the whole export; stands in the list, and in every file
    tell:     is told of each file that is done
    raises:   ModelError for a file that does not agree (it is removed), UsageError for a folder
              that cannot be written to or a library that is missing
    """
    files = []
    for stage in stages:
        for name in formats:
            files.append(_export(stage, folder, name, metadata))
            if tell:
                done = files[-1]
                error, size = done.agreement.max_abs_error, done.num_bytes / 2**20
                tell(f"{done.path.name}: {size:.1f} MiB, largest difference {error:.1e}")
    document = {"format": FORMAT, **metadata, "stages": _list(stages, files)}
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    write_file(folder / LIST_FILE, lambda draft: draft.write_text(text, encoding="utf-8"))
    return Report(folder, tuple(files), folder / LIST_FILE)


def _export(
    stage: Stage, folder: Path, format_name: str, metadata: Mapping[str, Any]
) -> ExportedFile:
    form = FORMATS[format_name]
    path = folder / f"{stage.name}{form.SUFFIX}"
    inside = {**metadata, "stage": stage.name, **_ports(stage)}
    agreements = []

    def write_and_verify(draft: Path) -> None:
        try:
            form.write(stage, draft, inside)
        except (KoujiError, OSError):
            raise
        except Exception as error:  # exporters have errors of their own, and many
            raise ModelError(
                f"{stage.name} cannot be written as {format_name}",
                seen=" ".join(str(error).split())[:500],
                cure="try another version of torch, or another format",
            ) from error
        agreements.append(verify(stage, draft, form.open_file, form.runtime()))

    write_file(path, write_and_verify)
    return ExportedFile(stage.name, format_name, path, path.stat().st_size, agreements[0])


def write_file(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file that is there whole or not at all.

    write: is given the path of a draft beside it, of the same suffix
    raises: UsageError where the disk refuses
    """
    with _writing(path):
        descriptor, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
        os.close(descriptor)
        draft = Path(name)
        try:
            write(draft)
            draft.chmod(0o644)  # drafts are private; the file is not
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"cannot write {path}",
            seen=error.strerror or error,
            allowed="a folder you may write to, with room for the files",
        ) from error


def _ports(stage: Stage) -> dict[str, Any]:
    return {
        "inputs": [port.as_dict() for port in stage.inputs],
        "outputs": [port.as_dict() for port in stage.outputs],
    }


def _list(stages: Sequence[Stage], files: Sequence[ExportedFile]) -> dict[str, Any]:
    """Of each stage its ports and its files, with what was measured."""
    return {
        stage.name: {
            **_ports(stage),
            "made_with": dict(stage.made_with),
            "files": {
                file.format: {
                    "file": file.path.name,
                    "bytes": file.num_bytes,
                    "sha256": hashlib.sha256(file.path.read_bytes()).hexdigest(),
                    **file.agreement.as_dict(),
                }
                for file in files
                if file.stage == stage.name
            },
        }
        for stage in stages
    }
