"""Sounds to their classes: what library, command line and server call.

    with load_classifier() as classifier:
        print(classifier.classify("dog.ogg").top(3))

A sound is read in blocks, cut into windows, and these share the engine's batches with everything
else it does; so hours of sound need no more memory than seconds. Knows sources and windows; what
is computed with them is `kouji.models.classifier`'s.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Generator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kouji.audio.load import Source, mono_piece, read_blocks
from kouji.audio.resample import Resampler
from kouji.classification import Classification, HeardWindow
from kouji.config import Settings, load_settings
from kouji.errors import (
    Cancelled,
    ConfigError,
    DeadlineExceeded,
    EngineBusy,
    KoujiError,
    TooLarge,
    UsageError,
)
from kouji.models.classifier import SHIPPED_NAME as SHIPPED_NAME  # part of this interface
from kouji.models.classifier.windows import Window, WindowMaker
from kouji.types import Samples

if TYPE_CHECKING:
    from kouji.engine.engine import Engine
    from kouji.engine.ticket import Ticket
    from kouji.models.classifier.config import ClassifierConfig
    from kouji.models.classifier.renderer import ClassifierRenderer
    from kouji.models.classifier.weights import LoadedClassifier
    from kouji.models.precision import Precision

Windows = Generator[Window, None, None]

WINDOWS_A_REQUEST = 8
WINDOWS_IN_FLIGHT = 32  # of one sound, so that a long one needs no memory
SOUNDS_IN_FLIGHT = 8  # of many
SILENT = "nothing is louder than silence in it, so its classes mean little"


def load_classifier(
    model: str | Path = SHIPPED_NAME,
    *,
    precision: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    engine: Engine | None = None,
    settings: Settings | None = None,
) -> SoundClassifier:
    """Load a classifier, ready to hear.

    model:     "esc10", which comes with the package; or the folder of a classifier, of a training
               run or of one of its checkpoints
    precision: float32 or bfloat16, on a GPU float16 too; None goes by the settings, "auto" by
               the device
    device:    cpu, cuda, cuda:1; None goes by the engine or the settings
    threads:   of the CPU, of an engine made here; None leaves it to the engine
    engine:    shared with other models, and not closed by this one; None makes one
    settings:  of the operator; None reads this machine's
    raises:    UsageError for an unknown model, ModelError for a damaged one, ConfigError for a
               precision it cannot compute in
    """
    from kouji.engine.engine import Engine
    from kouji.engine.settings import EngineSettings
    from kouji.models.classifier import weights

    settings = settings or load_settings()
    loaded = weights.load_classifier(folder_of(model))
    own = None
    if engine is None:
        settings = replace(
            settings, device=device or settings.device, threads=threads or settings.threads
        )
        own = engine = Engine(EngineSettings.from_settings(settings))
    where = _device_name(device or engine.settings.device)
    choice = _choose_precision(precision, settings, where)
    name = str(model) if str(model) == SHIPPED_NAME else Path(model).expanduser().resolve().name
    return SoundClassifier(
        loaded, engine, name=name, precision=choice, device=where, owns_engine=own is not None
    )


def folder_of(model: str | Path) -> Path:
    """The folder behind a model's name; UsageError where there is none."""
    from kouji.models.classifier import weights

    if str(model) == SHIPPED_NAME:
        return weights.SHIPPED
    folder = Path(model).expanduser()
    if not folder.is_dir():
        raise UsageError(
            "unknown classifier",
            seen=model,
            allowed=f"{SHIPPED_NAME}, or the folder of a classifier or of a training run",
            cure="check the path",
        )
    return folder


def _device_name(wanted: str) -> str:
    from kouji.engine.device import open_device

    return open_device(wanted).name


def _choose_precision(wanted: str | None, settings: Settings, device: str) -> Precision:
    """The rule of every model, but float32 on CPUs without AMX.

    There bfloat16 gains networks of this size little, and its rounding makes of a difference of
    1e-6, as between sound resampled whole and in pieces, one of 1e-3. int8 is for decode stages,
    which a classifier has none of.
    """
    from kouji.models.classifier.renderer import DTYPES
    from kouji.models.precision import choose_precision, read_device_facts

    facts = read_device_facts(device)
    asked = wanted or (settings.precision if settings.precision != "int8" else "auto")
    if asked == "auto" and facts.device == "cpu" and not facts.has_amx:
        asked = "float32"
    choice = choose_precision(facts, asked).precision
    allowed = ("float32", "bfloat16") if facts.device == "cpu" else tuple(DTYPES)
    if choice not in allowed:
        raise ConfigError(
            "a classifier does not compute in this precision",
            seen=choice,
            allowed=", ".join(allowed),
        )
    return choice


@dataclass(frozen=True)
class HearOptions:
    """What a caller may ask for.

    hop_seconds:      from the start of a window to that of the next; None is half a window
    client:           whose request it is; clients take turns
    deadline_seconds: for the whole sound; None waits for ever
    max_seconds:      longer sounds are refused
    max_windows:      sounds of more windows are refused
    array_rate:       Hz of a source that is a plain array
    """

    hop_seconds: float | None = None
    client: str = ""
    deadline_seconds: float | None = None
    max_seconds: float = math.inf
    max_windows: int | None = None
    array_rate: int | None = None


class SoundClassifier:
    """A loaded classifier; safe to use from many threads.

    `close` (or leaving a `with`) ends its engine, unless that was the caller's.
    """

    def __init__(
        self,
        loaded: LoadedClassifier,
        engine: Engine,
        *,
        name: str,
        precision: Precision,
        device: str,
        owns_engine: bool = False,
    ) -> None:
        """Join weights and an engine."""
        from kouji.models.classifier.renderer import ClassifierRenderer
        from kouji.models.stages import SpeechModel

        self.name, self.precision, self.device = name, precision, device
        self.config: ClassifierConfig = loaded.config
        self.metadata, self.content_hash = loaded.metadata, loaded.content_hash
        self.engine, self._owns_engine = engine, owns_engine
        identity = f"classifier-{loaded.content_hash}-{precision}-{device}"
        self.renderer: ClassifierRenderer = ClassifierRenderer(
            loaded.model, precision=precision, device=device, identity=identity
        )
        self.stages = SpeechModel(self.renderer)

    @property
    def labels(self) -> tuple[str, ...]:
        """What it tells apart."""
        return self.config.labels

    def hop_samples(self, hop_seconds: float | None) -> int:
        """A hop in samples; None is half a window.

        raises: UsageError unless it is above 0 and at most a window
        """
        if hop_seconds is None:
            return max(1, self.config.window_samples // 2)
        if not 0 < hop_seconds <= self.config.window_seconds:
            raise UsageError(
                "hop_seconds out of range",
                seen=hop_seconds,
                allowed=f"above 0, up to {self.config.window_seconds:g}, one window",
            )
        return min(max(1, round(hop_seconds * self.config.sample_rate)), self.config.window_samples)

    def classify(
        self,
        source: Source,
        *,
        hop_seconds: float | None = None,
        client: str = "",
        deadline_seconds: float | None = None,
        max_seconds: float = math.inf,
        array_rate: int | None = None,
    ) -> Classification:
        """Hear a whole sound.

        source: path, encoded bytes, binary file, Audio or array, at any rate, of any length
        others: as `HearOptions`
        raises: UnreadableAudio, AudioError, UsageError; EngineBusy, EngineFailed,
                DeadlineExceeded
        """
        options = HearOptions(
            hop_seconds, client, deadline_seconds, max_seconds, array_rate=array_rate
        )
        return self.listen(source, options).classification()

    def classify_many(
        self, sources: Iterable[Source], *, hop_seconds: float | None = None, client: str = ""
    ) -> list[Classification | KoujiError]:
        """Hear several sounds together; a bad one yields its error and harms no other."""
        return list(self.classify_each(sources, HearOptions(hop_seconds, client)))

    def classify_each(
        self, sources: Iterable[Source], options: HearOptions | None = None
    ) -> Iterator[Classification | KoujiError]:
        """As `classify_many`, in the order of the sources, each as soon as it and those before
        it were heard."""
        under_way: deque[Listening | KoujiError] = deque()
        for source in sources:
            under_way.append(self._begin(source, options or HearOptions()))
            if len(under_way) >= SOUNDS_IN_FLIGHT:
                yield _finished(under_way.popleft())
        while under_way:
            yield _finished(under_way.popleft())

    def _begin(self, source: Source, options: HearOptions) -> Listening | KoujiError:
        try:
            listening = self.listen(source, options)
            listening.begin()
        except KoujiError as error:
            return error
        return listening

    def listen(self, source: Source, options: HearOptions | None = None) -> Listening:
        """Hear a sound window by window; nothing is read before it is iterated.

        raises: UsageError for options; errors of the sound come while it is heard
        """
        options = options or HearOptions()
        blocks = read_blocks(
            source,
            self.config.sample_rate,
            max_seconds=options.max_seconds,
            array_rate=options.array_rate,
        )
        return Listening(self, blocks, options, WINDOWS_IN_FLIGHT)

    def stream(
        self,
        pieces: Iterable[NDArray[Any]],
        sample_rate: int,
        *,
        hop_seconds: float | None = None,
        client: str = "",
        deadline_seconds: float | None = None,
    ) -> Iterator[HeardWindow]:
        """Hear a sound while it comes, for as long as it comes.

        pieces:      arrays as `load_audio` takes them, of any sizes, empty ones too
        sample_rate: their Hz
        yields:      each window as soon as it is complete, and at the end the one that ends with
                     the sound: the windows that `classify` gives for all of it
        raises:      AudioError for pieces that are no sound; else as `classify`

        Closing the iterator gives up what is under way, not the source of the pieces.
        """
        options = HearOptions(hop_seconds, client, deadline_seconds)
        return iter(self.follow(pieces, sample_rate, options))

    def follow(
        self, pieces: Iterable[NDArray[Any]], sample_rate: int, options: HearOptions | None = None
    ) -> Listening:
        """As `stream`, with a summary of the whole once it has ended."""
        blocks = _resampled(pieces, Resampler(sample_rate, self.config.sample_rate))
        return Listening(self, blocks, options or HearOptions(), 1)

    def close(self) -> None:
        """End the engine, unless it was handed in; what is under way in it is cancelled."""
        if self._owns_engine:
            self.engine.close()

    def __enter__(self) -> SoundClassifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@dataclass
class _Flight:
    """A request of several windows that the engine works on."""

    windows: list[Window]
    ticket: Ticket


class _Whole:
    """What the windows of a sound add up to; each counts as much as there is to hear in it."""

    def __init__(self, num_classes: int) -> None:
        self.num_sounding = 0
        self._weighted, self._plain = np.zeros(num_classes), np.zeros(num_classes)

    def add(self, window: Window, probabilities: NDArray[np.float32]) -> None:
        """Count a window."""
        self.num_sounding += window.num_sounding
        self._weighted += window.num_sounding * probabilities.astype(np.float64)
        self._plain += probabilities

    def mean(self) -> NDArray[np.float32]:
        """(classes,) of the whole, summing to 1; of a silent sound every window counts alike."""
        total = self._weighted if self.num_sounding else self._plain
        return np.asarray(total / total.sum(), np.float32)


class Listening:
    """One sound being heard: iterate it (`for` or `async for`) for its windows, in order.

    Dropping it, or `cancel`, gives up what is under way.
    """

    def __init__(
        self,
        classifier: SoundClassifier,
        blocks: Iterator[Samples],
        options: HearOptions,
        windows_in_flight: int,
    ) -> None:
        """Prepare; `blocks` are (samples,) at the classifier's rate."""
        self._classifier, self._options = classifier, options
        config = classifier.config
        hop = classifier.hop_samples(options.hop_seconds)
        self._rate = config.sample_rate
        self._maker = WindowMaker(config.window_samples, hop, config.sample_rate)
        self._windows = _cut(self._maker, blocks)
        self._in_flight = windows_in_flight
        self._flights: deque[_Flight] = deque()
        self._whole = _Whole(len(config.labels))
        self._num_cut = 0
        self._started: float | None = None
        self._has_ended = self._is_cancelled = False
        self._pumping = threading.Lock()

    @property
    def seconds(self) -> float:
        """Of the sound, as far as it was read."""
        return self._maker.num_samples / self._rate

    def begin(self) -> None:
        """Read on and hand windows to the engine, as far as may be under way at once."""
        self._pump()

    def __iter__(self) -> Iterator[HeardWindow]:
        try:
            while self._pump():
                flight = self._flights[0]
                for window, chunk in zip(flight.windows, flight.ticket, strict=False):
                    yield self._heard(window, chunk.samples)
                self._flights.popleft()
        finally:
            self.cancel()

    async def __aiter__(self) -> AsyncIterator[HeardWindow]:
        try:
            while await asyncio.to_thread(self._pump):
                flight = self._flights[0]
                windows = iter(flight.windows)
                async with aclosing(flight.ticket.chunks()) as chunks:
                    async for chunk in chunks:
                        yield self._heard(next(windows), chunk.samples)
                self._flights.popleft()
        finally:
            self.cancel()

    def classification(self) -> Classification:
        """Hear it to its end."""
        return self.summary(tuple(self))

    def summary(self, windows: tuple[HeardWindow, ...] = ()) -> Classification:
        """The whole, once every window was heard; `windows` are those to be told with it."""
        warnings = () if self._whole.num_sounding else (SILENT,)
        labels = self._classifier.labels
        return Classification(labels, self._whole.mean(), windows, self.seconds, warnings)

    def cancel(self) -> None:
        """Give up; harmless when done, and from any thread."""
        self._is_cancelled = True
        for flight in list(self._flights):
            flight.ticket.cancel()
        if self._pumping.acquire(blocking=False):  # else whoever reads on closes the source
            try:
                self._windows.close()
            finally:
                self._pumping.release()

    def _pump(self) -> bool:
        """Keep the engine supplied; False when every window was handed in and heard."""
        with self._pumping:
            self._check_wanted()
            while not self._has_ended and self._num_in_flight < self._in_flight:
                if group := self._next_group():
                    self._hand_in(group)
                self._check_wanted()
        return bool(self._flights)

    def _check_wanted(self) -> None:
        if self._is_cancelled:
            self._windows.close()
            raise Cancelled("the sound was given up", cure="send it again")

    @property
    def _num_in_flight(self) -> int:
        return sum(len(flight.windows) for flight in self._flights)

    def _next_group(self) -> list[Window]:
        group: list[Window] = []
        most = min(WINDOWS_A_REQUEST, self._in_flight)
        while len(group) < most and (window := next(self._windows, None)) is not None:
            group.append(window)
        self._num_cut += len(group)
        self._has_ended = len(group) < most
        limit = self._options.max_windows
        if limit is not None and self._num_cut > limit:
            raise TooLarge(
                "the sound has too many windows",
                seen=f"more than {limit}",
                allowed=f"up to {limit}",
                cure="cut the sound, or ask for a longer hop",
            )
        return group

    def _hand_in(self, group: list[Window]) -> None:
        """Submit windows, one a segment: small pieces leave room for others in between."""
        from kouji.engine.request import EngineRequest

        request = EngineRequest(
            self._classifier.stages,
            tuple(window.samples[None] for window in group),
            client=self._options.client,
            deadline_seconds=self._seconds_left(),
            is_sound=False,
        )
        try:
            ticket = self._classifier.engine.submit(request)
        except EngineBusy:
            if not self._flights:
                raise
            # The engine is full of others' work: wait for our own place in it.
            self._windows = _chained(group, self._windows)
            self._num_cut -= len(group)
            self._has_ended = False
            self._in_flight = min(self._in_flight, self._num_in_flight)
            return
        self._flights.append(_Flight(group, ticket))
        if self._is_cancelled:
            ticket.cancel()

    def _seconds_left(self) -> float | None:
        allowed, now = self._options.deadline_seconds, time.monotonic()
        self._started = now if self._started is None else self._started
        if allowed is None:
            return None
        left = allowed - (now - self._started)
        if allowed > 0 and left <= 0:
            cure = "allow more time, or send a shorter sound"
            raise DeadlineExceeded("the sound took too long to hear", cure=cure)
        return left

    def _heard(self, window: Window, probabilities: NDArray[np.float32]) -> HeardWindow:
        self._whole.add(window, probabilities)
        return HeardWindow(window.start / self._rate, window.end / self._rate, probabilities)


def _cut(maker: WindowMaker, blocks: Iterable[Samples]) -> Windows:
    for block in blocks:
        yield from maker.push(block)
    yield from maker.close()


def _chained(group: list[Window], rest: Windows) -> Windows:
    """Windows that were cut already before those to come."""
    try:
        yield from group
        yield from rest
    finally:
        rest.close()


def _resampled(pieces: Iterable[NDArray[Any]], resampler: Resampler) -> Iterator[Samples]:
    for piece in pieces:
        yield resampler.push(mono_piece(piece))
    yield resampler.push(np.zeros(0, np.float32), last=True)


def _finished(listening: Listening | KoujiError) -> Classification | KoujiError:
    if isinstance(listening, KoujiError):
        return listening
    try:
        return listening.classification()
    except KoujiError as error:
        return error
