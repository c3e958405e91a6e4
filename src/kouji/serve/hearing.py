"""The core call behind classifications: a sound comes in, and what is heard in it goes out.

One classifier for a server, on the engine its voices share: windows of all callers meet in one
batch, and sounds and speech take turns. Order of a request: rights, a seat, then the sound is
read piece by piece while the engine hears it. Knows limits and figures; what a window sounds like
is `kouji.classifying`'s, and how an answer looks is `heard`'s.
"""

from __future__ import annotations

import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from kouji.audio.load import AudioTooLong, load_audio
from kouji.errors import (
    AudioError,
    Cancelled,
    KoujiError,
    ModelError,
    Overloaded,
    TooLarge,
    UsageError,
)
from kouji.models.stages import Renderer, SpeechModel
from kouji.serve.record import current
from kouji.types import Audio

if TYPE_CHECKING:
    from kouji.classification import Classification, HeardWindow
    from kouji.classifying import SoundClassifier
    from kouji.listening import HearOptions, Listening
    from kouji.serve.caller import Caller
    from kouji.serve.gate import Seat
    from kouji.serve.metrics import Metrics
    from kouji.serve.models import ModelPool
    from kouji.serve.service import Service

MAX_WINDOWS = 4000  # of one sound: an answer of a megabyte, a minute of a core
_ALIASES = ("", "default")
_LOADING_SECONDS = 5.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ClassifyCall:
    """One sound to classify.

    sound:       the bytes of an audio file, or what `Hearing.read` made of them
    model:       a name of `/v1/models`; None takes what there is
    hop_seconds: from the start of a window to that of the next; None leaves it to the classifier
    """

    sound: bytes | Audio
    model: str | None = None
    hop_seconds: float | None = None


class Hearing:
    """The classifier of one server; opened in a thread, used on the event loop."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._classifier: SoundClassifier | None = None
        self._is_open = False

    def open(self, pool: ModelPool) -> None:
        """Load what the setting `classifier` names, if anything, and let it hear a window.

        raises: ModelError; UsageError for a folder that is none, or the name of another model
        """
        from kouji.classifying import load_classifier

        settings = self._service.settings
        if not _is_there(settings.classifier):
            self._is_open = True
            return
        engine = pool.get().engine
        classifier = load_classifier(settings.classifier, engine=engine, settings=settings)
        name = classifier.name
        if name in pool.names:
            raise UsageError("two models have one name", seen=name, cure="rename a folder")
        config = classifier.config
        classifier.classify(Audio(np.zeros(config.window_samples, np.float32), config.sample_rate))
        on_batch = partial(self._service.metrics.windows_heard, name)
        classifier.stages = SpeechModel(_counted(classifier.renderer, on_batch))
        self._classifier, self._is_open = classifier, True

    @property
    def name(self) -> str | None:
        """What `/v1/models` calls the classifier; None where there is none, or not yet."""
        return None if self._classifier is None else self._classifier.name

    def labels(self, model: str | None) -> tuple[str, ...]:
        """What the classifier of a request tells apart.

        raises: ModelError for a name that is none, Overloaded while it is being loaded
        """
        return self._choose(model).labels

    def _choose(self, model: str | None) -> SoundClassifier:
        self._service.models  # noqa: B018  raises while they are being loaded, or could not be
        if not self._is_open:
            raise Overloaded("the classifier is being loaded", retry_after=_LOADING_SECONDS)
        classifier = self._classifier
        if classifier is None:
            raise ModelError("this server classifies no sounds", cure="ask its operator")
        if model is not None and model.lower() not in _ALIASES and model != classifier.name:
            raise ModelError("unknown model", seen=model, allowed=classifier.name)
        return classifier

    async def read(self, recording: bytes, caller: Caller) -> Audio:
        """A whole recording at the classifier's rate, for who wants to show it, too.

        raises: NotAllowed, ModelError, Overloaded, TooLarge, UnreadableAudio
        """
        caller.require("classify")
        rate = self._choose(None).config.sample_rate
        self._service.gate.check(caller.id)
        most = self._service.settings.max_classify_seconds
        read = partial(load_audio, recording, sample_rate=rate, max_seconds=most)
        try:
            audio: Audio = await self._service.in_thread(read)
        except AudioTooLong as error:
            raise _too_long(error) from error
        return audio

    async def listen(self, call: ClassifyCall, caller: Caller) -> Listener:
        """Begin to hear a sound; returns when its first window was heard.

        raises: NotAllowed, ModelError, Overloaded, TooLarge, UsageError, UnreadableAudio,
                EngineFailed, DeadlineExceeded

        Cancelling the waiting task, like closing the listener, frees the seat at once.
        """
        began, service = time.monotonic(), self._service
        settings = service.settings
        caller.require("classify")
        classifier = self._choose(call.model)
        config = classifier.config
        hop_seconds = classifier.hop_samples(call.hop_seconds) / config.sample_rate
        # Too many windows are too many seconds, and those are refused before any is heard.
        most_seconds = config.window_seconds + (MAX_WINDOWS - 1) * hop_seconds
        service.gate.check(caller.id)
        seat = await service.gate.enter(caller.id, settings.request_seconds)
        try:
            current().model = classifier.name
            left = settings.request_seconds - (time.monotonic() - began)
            most = min(most_seconds, settings.max_classify_seconds)
            options = _options(hop_seconds, caller, max(0.001, left), most)
            listening = _listening(classifier, call.sound, options)
        except BaseException:
            seat.leave()
            raise
        listener = Listener(classifier, listening, hop_seconds, seat, service.metrics, began)
        listener.is_bound_by_hop = most_seconds < settings.max_classify_seconds
        await listener.start()
        return listener


def _options(
    hop_seconds: float, caller: Caller, deadline_seconds: float, max_seconds: float
) -> HearOptions:
    from kouji.listening import HearOptions

    return HearOptions(
        hop_seconds=hop_seconds,
        client=caller.id,
        deadline_seconds=deadline_seconds,
        max_seconds=max_seconds,
    )


def _listening(
    classifier: SoundClassifier, sound: bytes | Audio, options: HearOptions
) -> Listening:
    """A sound of which the engine holds one request at a time.

    So those at work never fill its queue, and it turns nobody away whom the gate let in. Four at a
    time were 5 % faster at most where nobody else was there (median of five, two cores).
    """
    from kouji.listening import WINDOWS_A_REQUEST

    return classifier.listen(sound, options, windows_in_flight=WINDOWS_A_REQUEST)


class Listener:
    """A sound being heard for one caller; read it once, with `windows` or `whole`.

    Holds a seat of the gate and the engine's work until it is read or closed.
    """

    def __init__(
        self,
        classifier: SoundClassifier,
        listening: Listening,
        hop_seconds: float,
        seat: Seat,
        metrics: Metrics,
        began: float,
    ) -> None:
        """Take over a sound and the seat it is heard in; began: on the monotonic clock."""
        self.name, self.labels, self.hop_seconds = classifier.name, classifier.labels, hop_seconds
        self.window_seconds = classifier.config.window_seconds
        self._listening, self._seat, self._metrics = listening, seat, metrics
        self._began, self._num_windows = began, 0
        self._coming = aiter(listening)
        self._first: HeardWindow | None = None
        self._result, self._is_closed = "cancelled", False
        self.is_bound_by_hop = False  # a longer hop would let a longer sound be heard

    async def start(self) -> None:
        """Wait for the first window, so that what fails early is an error, not a short answer."""
        try:
            self._first = await self._next()
        except BaseException as error:
            self.close(error)
            raise

    async def windows(self) -> AsyncIterator[HeardWindow]:
        """The windows in order; whoever stops listening has cancelled."""
        problem: BaseException | None = None
        try:
            window, self._first = self._first, None
            while window is not None:
                self._num_windows += 1
                yield window
                window = await self._next()
            self._result = "finished"
        except BaseException as error:
            problem = error
            raise
        finally:
            self.close(problem)

    async def whole(self) -> Classification:
        """All of it, with its windows."""
        async with aclosing(self.windows()) as windows:  # type: ignore[type-var]
            return self._listening.summary(tuple([window async for window in windows]))

    def summary(self) -> Classification:
        """The whole without its windows, once they were read."""
        return self._listening.summary()

    async def _next(self) -> HeardWindow | None:
        try:
            return await anext(self._coming, None)
        except AudioTooLong as error:
            raise _too_long(error, self.hop_seconds if self.is_bound_by_hop else None) from error

    def close(self, error: BaseException | None = None) -> None:
        """Free the seat and end the engine's work; again is harmless.

        error: what ended it, for the figures
        """
        if self._is_closed:
            return
        self._is_closed = True
        self._listening.cancel()
        self._seat.leave()
        if isinstance(error, AudioError | UsageError):
            self._result = "refused"
        elif isinstance(error, KoujiError) and not isinstance(error, Cancelled):
            self._result = "failed"
        self._metrics.classification_ended(
            self.name,
            self._result,
            audio_seconds=self._listening.seconds if self._num_windows else 0.0,
            num_windows=self._num_windows,
            seconds=time.monotonic() - self._began,
        )

    def __del__(self) -> None:
        self.close()


def _is_there(classifier: str) -> bool:
    """Whether there is one to load; a package without its own still speaks."""
    from kouji.classifying import SHIPPED_NAME
    from kouji.models.classifier.weights import CONFIG_FILE, SHIPPED

    if classifier != SHIPPED_NAME or (SHIPPED / CONFIG_FILE).is_file():
        return bool(classifier)
    _log.warning("%s is not in this package: no sounds are classified", classifier)
    return False


def _too_long(error: AudioTooLong, hop_seconds: float | None = None) -> TooLarge:
    """For whoever sent it; hop_seconds: where there would be too many windows so far apart."""
    if hop_seconds is None:
        what, cure = "the sound is too long", "cut it first"
    else:
        what = f"the sound has too many windows with hop_seconds {hop_seconds:g}"
        cure = "cut it first, or ask for a longer hop"
    return TooLarge(what, seen=error.seen, allowed=error.allowed, cure=cure)


class _Counted:
    """A renderer that tells how many windows each batch has; in all else the one it stands for."""

    def __init__(self, renderer: Any, on_batch: Callable[[int], None]) -> None:
        self._renderer, self._on_batch = renderer, on_batch

    def __getattr__(self, name: str) -> Any:
        return getattr(self._renderer, name)

    def vocode(self, rows: Sequence[Any]) -> list[NDArray[np.float32]]:
        heard: list[NDArray[np.float32]] = self._renderer.vocode(rows)
        self._on_batch(sum(len(row.windows) for row in rows))
        return heard


def _counted(renderer: Renderer, on_batch: Callable[[int], None]) -> Renderer:
    return cast(Renderer, _Counted(renderer, on_batch))
