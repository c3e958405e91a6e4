"""`kouji classify predict`: files, folders or a stream in, classes out; the work is classifying."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from kouji.cli.boundary import EXIT_FAILURE, say_to_user
from kouji.errors import KoujiError, UnreadableAudio, UsageError

if TYPE_CHECKING:
    from kouji.classification import Classification, HeardWindow
    from kouji.classifying import SoundClassifier

_STREAM = "-"
ModelOption = Annotated[
    str,
    typer.Option(
        "--model", "-m", help="esc10, or the folder of a classifier, a run or a checkpoint."
    ),
]
PrecisionOption = Annotated[
    str | None, typer.Option(help="auto, float32 or bfloat16; on a GPU float16 too.")
]
DeviceOption = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:1.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="CPU threads.")]


def predict(
    sources: Annotated[
        list[str], typer.Argument(help='Sound files, folders of them, or "-" for standard input.')
    ],
    model: ModelOption = "esc10",
    top: Annotated[int, typer.Option(min=1, help="Classes shown.")] = 5,
    windows: Annotated[
        bool, typer.Option("--windows", help="Show each window with its times.")
    ] = False,
    hop: Annotated[
        float | None, typer.Option(help="Seconds from window to window; else half a window.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON object per line.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A table with all classes.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="File for the answers; else the terminal.")
    ] = None,
    raw: Annotated[
        str | None,
        typer.Option(
            help="Standard input has no header: u8, s16, s24, s32, f32 or f64, little-endian."
        ),
    ] = None,
    sample_rate: Annotated[int, typer.Option(help="Of --raw, in Hz.")] = 16_000,
    channels: Annotated[int, typer.Option(help="Of --raw.")] = 1,
    precision: PrecisionOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Say what is heard in sounds; of standard input, while it comes.

    Sound from standard input (wav, or --raw) gives a line per window as soon as it is complete.
    Files that cannot be read are named, and make the exit code 1.
    """
    if as_json and as_csv:
        raise UsageError("--json and --csv are given", allowed="one of them")
    if _STREAM in sources and len(sources) > 1:
        raise UsageError("standard input comes alone", seen=" ".join(sources))
    if raw is not None and sources != [_STREAM]:
        raise UsageError("--raw is about standard input", seen=" ".join(sources), allowed="-")
    files = [] if sources == [_STREAM] else find_sounds(sources)
    with open_classifier(model, precision, device, threads) as classifier, _target(out) as target:
        form = _form(classifier.labels, target, top, windows, as_json, as_csv)
        if files:
            num_failed = _files(classifier, files, hop, form)
        else:
            num_failed = _stream(classifier, _raw_format(raw, sample_rate, channels), hop, form)
    if num_failed:
        if len(files) > 1:
            say_to_user(f"{num_failed} of {len(files)} sounds could not be read")
        raise typer.Exit(EXIT_FAILURE)


def open_classifier(
    model: str, precision: str | None, device: str | None, threads: int | None
) -> SoundClassifier:
    """A classifier with an engine of its own, as every command uses it."""
    from kouji.cli import session

    settings = session.start()
    session.calm_where_cores_are_shared(threads or settings.threads)
    from kouji.classifying import load_classifier

    return load_classifier(
        model, precision=precision, device=device, threads=threads, settings=settings
    )


def find_sounds(sources: Sequence[str]) -> list[Path]:
    """Files as they were named, and what lies below folders, in the order of their names.

    raises: UsageError for a folder without sounds
    """
    from kouji.train.sound_layouts import SUFFIXES

    files: list[Path] = []
    for source in sources:
        path = Path(source).expanduser()
        if not path.is_dir():
            files.append(path)
            continue
        found = [
            file
            for file in sorted(path.rglob("*"))
            if file.suffix.lower() in SUFFIXES
            and file.is_file()
            and not any(part.startswith(".") for part in file.relative_to(path).parts)
        ]
        if not found:
            allowed = f"files that end in {', '.join(sorted(SUFFIXES))}"
            raise UsageError("there are no sounds in this folder", seen=source, allowed=allowed)
        files += found
    return files


def _files(
    classifier: SoundClassifier, files: Sequence[Path], hop: float | None, form: _Form
) -> int:
    from kouji.listening import HearOptions

    num_failed = 0
    classifier.hop_samples(hop)  # a wrong one is wrong use, not every file's fault
    answers = classifier.classify_each(files, HearOptions(hop))
    for path, answer in zip(files, answers, strict=True):
        if isinstance(answer, KoujiError):
            num_failed += 1
            say_to_user(" ".join(str(answer).split()))
            form.failed(str(path), answer)
        else:
            form.whole(str(path), answer)
            for warning in answer.warnings:
                say_to_user(f"{path}: {warning}")
    return num_failed


def _stream(classifier: SoundClassifier, raw: Any, hop: float | None, form: _Form) -> int:
    """Standard input: window by window as it comes, or a file that was sent through it."""
    from kouji.cli.sound_stream import SoundStream, open_stream
    from kouji.listening import HearOptions

    came = open_stream(sys.stdin.buffer, raw)
    options = HearOptions(hop)
    if isinstance(came, SoundStream):
        listening = classifier.follow(came.pieces, came.sample_rate, options)
    else:
        listening = classifier.listen(came, options)
    num_windows = 0
    for window in listening:
        form.window(window)
        num_windows += 1
    if not num_windows:
        raise UnreadableAudio("no sound came through standard input", allowed="some samples")
    for warning in listening.summary().warnings:
        say_to_user(warning)
    form.ended(listening.summary())
    return 0


def _raw_format(raw: str | None, sample_rate: int, channels: int) -> Any:
    from kouji.cli.sound_stream import RawFormat

    return None if raw is None else RawFormat(raw, sample_rate, channels)


@contextlib.contextmanager
def _target(out: Path | None) -> Iterator[TextIO]:
    """Where answers go: line by line to the terminal, or into a file that is whole or not there."""
    if out is None:
        yield sys.stdout
        return
    if out.is_dir() or not out.parent.is_dir():
        raise UsageError("no file of answers can be there", seen=out, allowed="a file in a folder")
    draft = out.with_name(f".{out.name}.tmp")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            yield file
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)


class _Form:
    """How answers are written; lines for people."""

    def __init__(self, target: TextIO, top: int, *, with_windows: bool) -> None:
        self._target, self._top, self._with_windows = target, top, with_windows

    def whole(self, path: str, heard: Classification) -> None:
        """A file."""
        self._say(f"{path}: {_shares(heard.top(self._top))}")
        for window in heard.windows if self._with_windows else ():
            self._say(f"  {self._window(heard.labels, window)}")

    def failed(self, path: str, error: KoujiError) -> None:
        """A file that could not be read; people were told already."""

    def window(self, window: HeardWindow) -> None:
        """A window of a stream."""
        self._say(self._window(self.labels, window))

    def ended(self, heard: Classification) -> None:
        """A stream as a whole."""
        self._say(f"{heard.seconds:.2f} s: {_shares(heard.top(self._top))}")

    labels: tuple[str, ...] = ()

    def _window(self, labels: tuple[str, ...], window: HeardWindow) -> str:
        from kouji.classification import Classification

        best = Classification(labels, window.probabilities, (), 0.0).top(self._top)
        return f"{window.start:.2f}-{window.end:.2f}  {_shares(best)}"

    def _say(self, line: str) -> None:
        self._target.write(line + "\n")
        self._target.flush()


class _JsonForm(_Form):
    """An object per line."""

    def whole(self, path: str, heard: Classification) -> None:
        values = heard.as_dict(self._top)
        if not self._with_windows:
            del values["windows"]
        self._put({"path": path, **values})

    def failed(self, path: str, error: KoujiError) -> None:
        self._put({"path": path, "error": " ".join(str(error).split())})

    def window(self, window: HeardWindow) -> None:
        from kouji.classification import Classification

        told = Classification(self.labels, window.probabilities, (window,), 0.0)
        self._put(told.as_dict(self._top)["windows"][0])

    def ended(self, heard: Classification) -> None:
        values = heard.as_dict(self._top)
        del values["windows"]
        self._put({"path": _STREAM, **values})

    def _put(self, values: dict[str, Any]) -> None:
        self._say(json.dumps(values, ensure_ascii=False))


class _CsvForm(_Form):
    """A row per sound, with --windows per window; every class has a column."""

    def begin(self) -> None:
        """The head of the table."""
        self._row(["path", "start", "end", "label", "probability", *self.labels])

    def whole(self, path: str, heard: Classification) -> None:
        for window in heard.windows if self._with_windows else ():
            self._put(path, window.start, window.end, window.probabilities)
        if not self._with_windows:
            self._put(path, 0.0, heard.seconds, heard.probabilities)

    def window(self, window: HeardWindow) -> None:
        self._put(_STREAM, window.start, window.end, window.probabilities)

    def ended(self, heard: Classification) -> None:
        pass  # a table has one kind of row

    def _put(self, path: str, start: float, end: float, values: Any) -> None:
        best = int(values.argmax())
        shares = [f"{value:.4f}" for value in values]
        self._row([path, f"{start:.3f}", f"{end:.3f}", self.labels[best], shares[best], *shares])

    def _row(self, cells: list[str]) -> None:
        line = io.StringIO()
        csv.writer(line, lineterminator="").writerow(cells)
        self._say(line.getvalue())


def _form(
    labels: tuple[str, ...], target: TextIO, top: int, windows: bool, as_json: bool, as_csv: bool
) -> _Form:
    kind = _JsonForm if as_json else _CsvForm if as_csv else _Form
    form = kind(target, top, with_windows=windows)
    form.labels = labels
    if isinstance(form, _CsvForm):
        form.begin()
    return form


def _shares(best: list[tuple[str, float]]) -> str:
    return "  ".join(f"{label} {100 * value:.1f} %" for label, value in best)
