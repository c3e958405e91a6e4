"""The end of a job: its lines gathered into one sound, subtitles and the manifest.

May be done any number of times; each file appears whole, and is the same each time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kouji.audio.labels import label_tags
from kouji.audio.provenance import ManifestSigner
from kouji.errors import KoujiError
from kouji.jobs.folder import JobFolder, sync_folder, unwritable
from kouji.jobs.job import JobOptions, JobResult
from kouji.jobs.joined import Placed, place, write_joined
from kouji.jobs.manifest import NAME, write_manifest
from kouji.jobs.spoken import SpokenLine
from kouji.subtitles import FORMATS, save_subtitles
from kouji.types import Timing

JOINED = "joined"
MAX_WAV_SAMPLES = (1 << 31) - 1_000_000  # 4 GiB of 16 bits, less room for the tags: 24 h at 24 kHz


@dataclass(frozen=True)
class Gathered:
    """How many lines have sound, and how many never will."""

    num_spoken: int
    num_failed: int


def gather(
    folder: JobFolder,
    options: JobOptions,
    produce_id: int,
    signer: ManifestSigner | None = None,
    *,
    before_line: Callable[[], None] = lambda: None,
) -> Gathered:
    """Write joined sound, subtitles and manifest; nothing joined where no line has sound.

    signer: puts a C2PA manifest into the joined file
    before_line: called before each line is joined; may raise to stop, which leaves no half file
    raises: JobError where the disk refuses
    """
    try:
        lines = spoken_lines(folder)
        placed = place(lines)
        if placed:
            by_number = {line.number: line for line in lines}

            def sound_of(number: int) -> Path:
                before_line()
                return folder.sound(by_number[number])

            format = _joined_format(options, placed, by_number[placed[0].number].sample_rate)
            write_joined(
                folder.result / f"{JOINED}.{format}",
                placed,
                sound_of,
                format=format,
                tags=label_tags(f"{produce_id:08x}"),
                lufs=options.lufs,
                signer=signer,
            )
            _write_subtitles(folder, options, placed, by_number)
        write_manifest(folder, {item.number: item for item in placed}, with_text=options.with_text)
        sync_folder(folder.result)
    except KoujiError as error:
        if not isinstance(error.__cause__, OSError):
            raise
        raise unwritable(error.__cause__, folder.result) from error
    except OSError as error:
        raise unwritable(error, folder.result) from error
    return Gathered(len(placed), sum(not line.is_spoken for line in lines))


def _joined_format(options: JobOptions, placed: list[Placed], sample_rate: int) -> str:
    """As asked for; FLAC where it is more than a WAV holds, which shows only when all is spoken."""
    num_samples = max(item.start + item.seconds for item in placed) * sample_rate
    return "flac" if options.format == "wav" and num_samples > MAX_WAV_SAMPLES else options.format


def write_standing(folder: JobFolder, options: JobOptions) -> None:
    """The manifest of a job that stops on its way. raises: OSError"""
    placed = {item.number: item for item in place(spoken_lines(folder))}
    write_manifest(folder, placed, with_text=options.with_text)


def spoken_lines(folder: JobFolder) -> list[SpokenLine]:
    """Every line something became of, in the order of the file."""
    found = (folder.load(number) for number in sorted(folder.states()))
    return [line for line in found if line is not None]


def result_of(folder: JobFolder, options: JobOptions) -> JobResult:
    """Which files of a result are there."""

    def there(name: str) -> Path | None:
        path = folder.result / name
        return path if path.is_file() else None

    subtitles = {name: there(f"{JOINED}.{name}") for name in FORMATS}
    return JobResult(
        folder=folder.result,
        lines=folder.result / "lines",
        joined=there(f"{JOINED}.{options.format}") or there(f"{JOINED}.flac"),
        manifest=there(NAME),
        subtitles={name: path for name, path in subtitles.items() if path},
    )


def _write_subtitles(
    folder: JobFolder,
    options: JobOptions,
    placed: list[Placed],
    lines: dict[int, SpokenLine],
) -> None:
    """Words of all lines on the joined timeline, with the punctuation of the text."""
    if not options.subtitles:
        return
    words: list[Timing] = []
    for item in placed:
        words += lines[item.number].timings(item.start)
    words.sort(key=lambda word: word.start)
    texts = {number: line.text for number, line in folder.all_lines()}
    text = "\n".join(texts[item.number] for item in placed)
    for name in options.subtitles:
        save_subtitles(folder.result / f"{JOINED}.{name}", words, text=text)
