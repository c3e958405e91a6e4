"""The files of one job: its lines as they were read, what became of each, and the lock.

`<home>/jobs/<id>/` holds `lines.jsonl` (never changed), `facts/` (one file a line, which
appears when the line's sound lies whole under its name), `parts/` (lossless sound, where the
result's format is not), `lock`, and the result unless it goes elsewhere. Whoever holds the lock
runs the job; the system lets go of it when the process dies, however it dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

from kouji.errors import JobError
from kouji.jobs.job import JobLine
from kouji.jobs.spoken import SpokenLine

MARKER = ".kouji-job"  # in a result's folder: whose it is
LOCK_TRIES, LOCK_PAUSE_SECONDS = 10, 0.02  # somebody who only looks holds it for a moment


class JobFolder:
    """One job's files; nothing is opened before it is asked for."""

    def __init__(self, path: Path, out: Path | None = None) -> None:
        """path: of the job; out: of its result, where that lies elsewhere"""
        self.path = path
        self.result = out or path / "result"
        self._offsets: list[int] | None = None

    def make(self, job_id: str, lines: Iterable[JobLine]) -> None:
        """Write a new job's lines down. raises: JobError where that is not possible"""
        try:
            self.path.mkdir(parents=True, mode=0o700)
            (self.path / "facts").mkdir()
            self._make_result(job_id)
            draft = self.path / "lines.tmp"
            with draft.open("w", encoding="utf-8", newline="\n") as file:
                for line in lines:
                    values = {
                        key: value for key, value in asdict(line).items() if value is not None
                    }
                    file.write(json.dumps(values, ensure_ascii=False) + "\n")
                file.flush()
                os.fsync(file.fileno())
            draft.rename(self.path / "lines.jsonl")
            sync_folder(self.path)
        except OSError as error:
            self.remove()
            raise unwritable(error, self.path) from error

    def _make_result(self, job_id: str) -> None:
        if self.result.is_dir() and any(self.result.iterdir()):
            raise JobError(
                "the folder for the result is not empty",
                seen=self.result,
                cure="choose another one, or move what is in it",
            )
        (self.result / "lines").mkdir(parents=True)
        (self.result / MARKER).write_text(job_id, encoding="utf-8")

    def prepare(self, job_id: str) -> None:
        """Make the result's folders again where somebody removed them."""
        (self.result / "lines").mkdir(parents=True, exist_ok=True)
        (self.path / "facts").mkdir(exist_ok=True)
        (self.path / "parts").mkdir(exist_ok=True)
        (self.result / MARKER).write_text(job_id, encoding="utf-8")

    # --- lines

    def lines(self, first: int, count: int) -> list[tuple[int, JobLine]]:
        """Lines with their numbers, from number `first` (of 0) on."""
        if self._offsets is None:
            self._offsets = [0]
            with (self.path / "lines.jsonl").open("rb") as file:
                for row in file:
                    self._offsets.append(self._offsets[-1] + len(row))
        with (self.path / "lines.jsonl").open("rb") as file:
            file.seek(self._offsets[min(first, len(self._offsets) - 1)])
            last = min(first + count, len(self._offsets) - 1)
            return [(number, _line(file.readline())) for number in range(first, last)]

    def all_lines(self) -> Iterator[tuple[int, JobLine]]:
        """Every line with its number, one at a time."""
        with (self.path / "lines.jsonl").open("rb") as file:
            for number, row in enumerate(file):
                yield number, _line(row)

    # --- what became of them

    def states(self) -> dict[int, bool]:
        """The numbers of all lines something became of, and whether that is sound."""
        found: dict[int, bool] = {}
        for name in os.listdir(self.path / "facts"):
            number, _, rest = name.partition(".")
            if rest in ("spoken.json", "failed.json"):
                found[int(number)] = rest == "spoken.json"
        return found

    def save(self, spoken: SpokenLine) -> None:
        """Write down what became of a line, whose sound must lie whole on the disk by now."""
        path = self._fact(spoken.number, is_spoken=spoken.is_spoken)
        draft = path.with_suffix(".tmp")
        with draft.open("w", encoding="utf-8") as file:
            json.dump(asdict(spoken), file, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(path)

    def load(self, number: int) -> SpokenLine | None:
        """What became of a line; None if nothing yet, or if its sound is no longer what it was."""
        for is_spoken in (True, False):
            try:
                values = json.loads(self._fact(number, is_spoken=is_spoken).read_text("utf-8"))
                spoken = SpokenLine.from_json(values)
                if not is_spoken:
                    return spoken
                if self.sound(spoken).stat().st_size and self._is_whole(spoken):
                    return spoken
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return None

    def _is_whole(self, spoken: SpokenLine) -> bool:
        return (self.result / spoken.file).stat().st_size == spoken.num_bytes

    def forget(self, numbers: Iterable[int]) -> None:
        """Let lines be spoken again."""
        for number in numbers:
            for is_spoken in (True, False):
                self._fact(number, is_spoken=is_spoken).unlink(missing_ok=True)

    def sound(self, spoken: SpokenLine) -> Path:
        """The lossless sound of a line."""
        if Path(spoken.file).suffix in (".wav", ".flac"):
            return self.result / spoken.file
        return self.part(spoken.number)

    def part(self, number: int) -> Path:
        """Where the lossless sound of a line is kept, if its format is not."""
        return self.path / "parts" / f"{number + 1:06}.flac"

    def _fact(self, number: int, *, is_spoken: bool) -> Path:
        state = "spoken" if is_spoken else "failed"
        return self.path / "facts" / f"{number:06}.{state}.json"

    # --- the lock, and the end

    def lock(self) -> BinaryIO | None:
        """Take the job; None if another holds it. Closing the file lets go of it."""
        for attempt in range(LOCK_TRIES):
            if attempt:
                time.sleep(LOCK_PAUSE_SECONDS)
            file = self._open_lock()
            if file is None:
                return None
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            return file
        return None

    def is_held(self) -> bool:
        """Some process runs it."""
        file = self._open_lock()
        if file is None:
            return False
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _open_lock(self) -> BinaryIO | None:
        try:
            return (self.path / "lock").open("ab")
        except FileNotFoundError:  # its folder is gone, or on another machine
            return None
        except OSError as error:
            raise unwritable(error, self.path) from error

    def remove(self) -> None:
        """Everything but a result that lies elsewhere."""
        shutil.rmtree(self.path, ignore_errors=True)


def sync_folder(path: Path) -> None:
    """Let names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(error: OSError, path: Path) -> JobError:
    """The error for a folder that takes nothing more."""
    return JobError(
        f"cannot write to {error.filename or path}",
        seen=error.strerror or error,
        cure="free space or check the folder, then resume the job",
    )


def _line(row: bytes) -> JobLine:
    values: dict[str, Any] = json.loads(row)
    return JobLine(**values)
