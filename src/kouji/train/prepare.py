"""`kouji prepare`: a folder of recordings with texts into one packed store and a report.

Clips are worked off in parts of some dozens by worker processes; every finished part is a
file of its own, renamed into place, so a run that was stopped in any way goes on with the
parts it lacks. A part is known by the fingerprint of its clips and rules: changed data is
computed again, the rest is not.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ..errors import DataError, UsageError
from .clip_features import (
    HOP_LENGTH,
    SAMPLE_RATE,
    ClipRules,
    Measured,
    PreparedClip,
    Skipped,
    is_full_band,
    mel_record,
    prepare_clip,
)
from .held_out import SplitRules, assign_splits
from .layouts import SourceClip, read_clips
from .report import write_report
from .store import INDEX, Clip, Store, StoreWriter, standard_arrays

FORMAT = 2  # raise it when features change, so that old parts are not taken for new ones
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class PrepareSettings:
    """How a run of `prepare` works: rules for clips and splits, and the work itself.

    num_workers:    processes; 0 computes in this one
    clips_per_part: clips lost at most when a run is stopped, per worker
    """

    rules: ClipRules = field(default_factory=ClipRules)
    splits: SplitRules = field(default_factory=SplitRules)
    layout: str = "auto"
    num_workers: int = 1
    clips_per_part: int = 64


@dataclass(frozen=True)
class PrepareResult:
    """A finished store, the clips left out, and how much was found done already."""

    store: Store
    skipped: tuple[Skipped, ...]
    report: Path
    num_parts: int
    num_parts_reused: int


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def _named_faults(target: Path) -> Iterator[None]:
    """A full disk or a useless folder is a DataError; what was computed so far stays."""
    try:
        yield
    except OSError as error:
        raise DataError(
            "the prepared store cannot be written",
            seen=f"{error.filename or target}: {error.strerror or error}",
            cure=f"check {target}: it must be a folder with room and write access",
        ) from error


def prepare_data(
    data: str | Path,
    out: str | Path,
    settings: PrepareSettings | None = None,
    *,
    on_progress: Progress | None = None,
) -> PrepareResult:
    """Prepare `data` into a store at `out`; call again to continue a stopped run.

    on_progress: called with (clips done, clips in all) after each part
    raises:      DataError if there is no usable clip, another run works on `out`, or it cannot
                 be written
    """
    settings = settings or PrepareSettings()
    if settings.num_workers < 0 or settings.clips_per_part < 1:
        raise UsageError("prepare needs at least one clip a part and no negative workers")
    target = Path(out)
    layout, clips = read_clips(data, settings.layout)
    clips, duplicates = _drop_duplicates(clips)
    with _named_faults(target), _only_run(_made(target)):
        parts = _plan_parts(clips, settings)
        folder = target / "parts"
        folder.mkdir(exist_ok=True)
        missing = [part for part in parts if not part.is_done(folder)]
        tag = _tag(parts, settings, duplicates)
        if (finished := _finished_store(target, tag)) is not None:
            skipped = _skipped_before(target)
            shutil.rmtree(folder)
            return PrepareResult(finished, skipped, target / "report.json", len(parts), len(parts))
        _compute(missing, len(clips), folder, settings, on_progress)
        splits = assign_splits(clips, settings.splits)
        store, skipped = _merge(parts, folder, target, splits, tag)
        skipped = (*duplicates, *skipped)
        report = write_report(
            target,
            store,
            skipped,
            layout=layout,
            settings={"rules": asdict(settings.rules), "splits": asdict(settings.splits)},
        )
        shutil.rmtree(folder)
    return PrepareResult(store, skipped, report, len(parts), len(parts) - len(missing))


@dataclass(frozen=True)
class Part:
    """Some clips computed together; `name` is a fingerprint of all that decides the result."""

    name: str
    clips: tuple[SourceClip, ...]

    def file(self, folder: Path) -> Path:
        """Where the finished part lies."""
        return folder / f"{self.name}.npz"

    def is_done(self, folder: Path) -> bool:
        """True once the part's file was renamed into place."""
        return self.file(folder).is_file()


def _plan_parts(clips: Sequence[SourceClip], settings: PrepareSettings) -> list[Part]:
    step = settings.clips_per_part
    groups = (tuple(clips[first : first + step]) for first in range(0, len(clips), step))
    return [Part(_fingerprint(group, settings.rules), group) for group in groups]


def _fingerprint(clips: tuple[SourceClip, ...], rules: ClipRules) -> str:
    digest = hashlib.sha256(json.dumps([FORMAT, mel_record(), asdict(rules)]).encode())
    for clip in clips:
        stamp: tuple[int, int] = (-1, -1)
        if clip.path.is_file():
            status = clip.path.stat()
            stamp = (status.st_size, status.st_mtime_ns)
        digest.update(repr((asdict(clip), stamp)).encode())
    return digest.hexdigest()[:20]


def _tag(parts: Sequence[Part], settings: PrepareSettings, duplicates: Sequence[Skipped]) -> str:
    names = [part.name for part in parts]
    facts = json.dumps([names, asdict(settings.splits), [asdict(skip) for skip in duplicates]])
    return hashlib.sha256(facts.encode()).hexdigest()[:12]


def _finished_store(target: Path, tag: str) -> Store | None:
    """The store in `target` if it was made from exactly this data and these rules."""
    if not (target / INDEX).is_file() or not (target / "report.json").is_file():
        return None
    try:
        store = Store(target)
    except DataError:
        return None  # an older or damaged store is made anew
    return store if store.index.get("tag") == tag else None


def _skipped_before(target: Path) -> tuple[Skipped, ...]:
    report = json.loads((target / "report.json").read_text(encoding="utf-8"))
    return tuple(Skipped(**entry) for entry in report["skipped"])


def _drop_duplicates(clips: Sequence[SourceClip]) -> tuple[list[SourceClip], tuple[Skipped, ...]]:
    """Keep the first clip of each id: ids name clips in reports and splits."""
    seen: dict[str, SourceClip] = {}
    dropped = []
    for clip in clips:
        if clip.id in seen:
            detail = f"id {clip.id} is also {seen[clip.id].path}"
            dropped.append(Skipped(clip.id, str(clip.path), "duplicate", detail))
        else:
            seen[clip.id] = clip
    return list(seen.values()), tuple(dropped)


def _compute(
    missing: Sequence[Part],
    num_clips: int,
    folder: Path,
    settings: PrepareSettings,
    on_progress: Progress | None,
) -> None:
    """Compute the missing parts, each into its own file."""
    done = num_clips - sum(len(part.clips) for part in missing)

    def advance(part: Part) -> None:
        nonlocal done
        done += len(part.clips)
        if on_progress is not None:
            on_progress(done, num_clips)

    if settings.num_workers == 0 or len(missing) < 2:
        for part in missing:
            compute_part(part, folder, settings.rules)
            advance(part)
        return
    import multiprocessing

    # spawn: forking a process that runs torch threads can deadlock the child
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(settings.num_workers, context, _start_worker) as pool:
        jobs: dict[Future[None], Part] = {
            pool.submit(compute_part, part, folder, settings.rules): part for part in missing
        }
        try:
            for job in as_completed(jobs):
                job.result()
                advance(jobs[job])
        except BrokenProcessPool as error:
            raise DataError(
                "a worker process died, for lack of memory or on a broken file",
                seen=f"{done} of {num_clips} clips done",
                cure="run prepare again to continue, with fewer workers",
            ) from error
        except BaseException:  # Ctrl-C too: do not start what nobody waits for
            pool.shutdown(cancel_futures=True)
            raise


def _start_worker() -> None:
    """Start a worker: one thread, and Ctrl-C left to the parent, which lets parts finish.

    Workers share the machine by processes; threads inside each would only fight.
    """
    import signal
    import threading

    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """End this worker when its parent is gone: killed, it cannot tell a pool to stop."""
    from multiprocessing import connection, parent_process

    parent = parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def compute_part(part: Part, folder: Path, rules: ClipRules) -> None:
    """Compute the clips of one part and write them as one file, atomically."""
    records: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {}
    for number, source in enumerate(part.clips):
        answer = prepare_clip(source, rules)
        if isinstance(answer, Skipped):
            records.append({"skipped": asdict(answer)})
            continue
        records.append({"measured": asdict(answer.measured)})
        arrays.update({f"{number}/{name}": data for name, data in answer.arrays.items()})
    arrays["records"] = np.frombuffer(json.dumps(records, ensure_ascii=False).encode(), np.uint8)
    temporary = folder / f"{part.name}.{os.getpid()}.tmp"
    with temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, part.file(folder))


def read_part(part: Part, folder: Path) -> Iterator[tuple[SourceClip, PreparedClip | Skipped]]:
    """The answers for the clips of a finished part, in order; DataError if it is damaged."""
    names = standard_arrays(1)
    try:
        with part.file(folder).open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            records = json.loads(file["records"].tobytes())
            for number, (source, record) in enumerate(zip(part.clips, records, strict=True)):
                if "skipped" in record:
                    yield source, Skipped(**record["skipped"])
                    continue
                arrays = {name: file[f"{number}/{name}"] for name in names}
                yield source, PreparedClip(Measured(**record["measured"]), arrays)
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        part.file(folder).unlink(missing_ok=True)
        raise DataError(
            "a finished part is damaged and was removed",
            seen=f"{part.name}: {error}",
            cure="run prepare again to compute it anew",
        ) from error


def _merge(
    parts: Sequence[Part], folder: Path, target: Path, splits: dict[str, str], tag: str
) -> tuple[Store, tuple[Skipped, ...]]:
    """Write all accepted clips into the store; the parts stay until the caller drops them."""
    skipped: list[Skipped] = []
    num_kept = 0
    arrays = standard_arrays(mel_record()["num_mels"])
    with StoreWriter(target, arrays, tag=tag) as writer:
        for part in parts:
            for source, answer in read_part(part, folder):
                if isinstance(answer, Skipped):
                    skipped.append(answer)
                    continue
                writer.add(_record(source, answer, splits[source.id]), answer.arrays)
                num_kept += 1
        if not num_kept:
            raise _nothing_left(skipped)
        store = writer.finish(
            mel=mel_record(), sample_rate=SAMPLE_RATE, hop_length=HOP_LENGTH, extra={"tag": tag}
        )
    return store, tuple(skipped)


def _nothing_left(skipped: Sequence[Skipped]) -> DataError:
    first = skipped[0]
    return DataError(
        "no clip can be used",
        seen=f"{len(skipped)} refused, the first {first.path}: {first.reason}, {first.detail}",
    )


def _record(source: SourceClip, answer: PreparedClip, split: str) -> Clip:
    measured, arrays = answer.measured, answer.arrays
    return Clip(
        id=source.id,
        path=str(source.path),
        speaker=source.speaker,
        language="zh" if source.language == "zh-pinyin" else source.language,
        gender=source.gender,
        corpus=source.corpus,
        text=source.text,
        split=split,
        seconds=round(measured.seconds, 4),
        num_frames=len(arrays["mel"]),
        num_samples=len(arrays["wave"]),
        num_phones=len(arrays["phones"]),
        level_dbfs=round(measured.level_dbfs, 2),
        snr_db=round(measured.snr_db, 2),
        bandwidth_hz=round(measured.bandwidth_hz, 1),
        full_band=is_full_band(measured.bandwidth_hz),
    )


@contextmanager
def _only_run(target: Path) -> Iterator[None]:
    """Hold the folder's lock; the system gives it back however the process ends."""
    import fcntl

    with (target / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(
                "another run is preparing this store", seen=target, cure="wait for it to end"
            ) from error
        yield
