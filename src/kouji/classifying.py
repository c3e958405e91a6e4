"""Sounds to their classes: what library, command line and server call.

    with load_classifier() as classifier:
        print(classifier.classify("dog.ogg").top(3))

Knows models by their names, an engine to hear with and sources of sound. How one sound goes
through the engine is `kouji.listening`'s, what is computed with it `kouji.models.classifier`'s.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from kouji.audio.load import Source, mono_piece, read_blocks
from kouji.audio.resample import Resampler
from kouji.classification import Classification, HeardWindow
from kouji.config import Settings, load_settings
from kouji.errors import ConfigError, KoujiError, UsageError
from kouji.listening import WINDOWS_IN_FLIGHT, HearOptions, Listening
from kouji.models.classifier import SHIPPED_NAME as SHIPPED_NAME  # part of this interface
from kouji.types import Samples

if TYPE_CHECKING:
    from kouji.engine.engine import Engine
    from kouji.models.classifier.config import ClassifierConfig
    from kouji.models.classifier.renderer import ClassifierRenderer
    from kouji.models.classifier.weights import LoadedClassifier
    from kouji.models.precision import Precision

SOUNDS_IN_FLIGHT = 8  # of many


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

    def listen(
        self,
        source: Source,
        options: HearOptions | None = None,
        *,
        windows_in_flight: int = WINDOWS_IN_FLIGHT,
    ) -> Listening:
        """Hear a sound window by window; nothing is read before it is iterated.

        windows_in_flight: so many windows of it the engine holds at once
        raises: UsageError for options; errors of the sound come while it is heard
        """
        options = options or HearOptions()
        blocks = read_blocks(
            source,
            self.config.sample_rate,
            max_seconds=options.max_seconds,
            array_rate=options.array_rate,
        )
        return Listening(self, blocks, options, windows_in_flight)

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
        return Listening(self, blocks, options or HearOptions(), windows_in_flight=1)

    def close(self) -> None:
        """End the engine, unless it was handed in; what is under way in it is cancelled."""
        if self._owns_engine:
            self.engine.close()

    def __enter__(self) -> SoundClassifier:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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
