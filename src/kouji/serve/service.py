"""The core call behind every dialect: who asks, for what, in which voice, and sound comes out.

Order of a request: rights and quota, size, a seat, then text and voice are prepared in a
thread, then the engine speaks. A dialect's file only translates. Lives on one event loop;
knows no HTTP.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from kouji.config import Settings
from kouji.errors import EngineFailed, KoujiError, Overloaded, StyleError, TooLarge
from kouji.serve.admission import Admission
from kouji.serve.caller import Caller
from kouji.serve.consentbook import ConsentBook
from kouji.serve.figures import ServiceFigures
from kouji.serve.gate import Gate
from kouji.serve.hearing import Hearing
from kouji.serve.job_desk import JobDesk
from kouji.serve.keeping import NewVoice, VoiceKeeper
from kouji.serve.metrics import Metrics
from kouji.serve.models import Chosen, ModelPool, open_models
from kouji.serve.record import current
from kouji.serve.references import InlineReference, References
from kouji.serve.utterance import Facts, Utterance
from kouji.serve.voicebook import VoiceBook
from kouji.types import Audio
from kouji.voices import Voice
from kouji.voices.enroll import warn_of_transcript

if TYPE_CHECKING:
    from kouji.models.family import Family
    from kouji.speaking import SpeakOptions, SpeechStream
    from kouji.text.style import Style

_SEATS = {"cpu": 8, "cuda": 32}
_PREPARING_THREADS = 4  # preparing texts and hearing recordings share the cores with the engine
_LOADING_SECONDS = 5.0
CHARACTERS_PER_SECOND = 15  # of English speech


@dataclass(frozen=True)
class SpeakCall:
    """One text to speak, as a dialect understood it.

    voice:    one the caller may use (`Service.voice`), or a recording sent along
    model:    a `Chosen` model, or a name; None takes the default
    style:    plain words, or a Style
    speed:    factor on top of the style
    is_style_strict: words without meaning are an error, else a warning (other services' clients
              send prose)
    in_chunks: False where nobody listens before the end
    produce_id: of the work this is a part of; None makes one of its own
    source:   speech to be said again, in place of a text
    options:  its client and deadline are the service's own
    """

    text: str
    voice: Voice | InlineReference
    model: Chosen | str | None = None
    style: str | Style | None = None
    speed: float = 1.0
    is_style_strict: bool = True
    seed: int = 0
    language: str | None = None
    in_chunks: bool = True
    produce_id: int | None = None
    options: SpeakOptions | None = None
    warnings: tuple[str, ...] = field(default=())
    source: Audio | None = field(default=None, repr=False)

    @property
    def num_characters(self) -> int:
        """What it counts of a key's quota: speech as much as its words would, about."""
        spoken = self.source.duration * CHARACTERS_PER_SECOND if self.source else 0.0
        return len(self.text) + math.ceil(spoken)


class Service:
    """Everything a running server has; the dialects, the studio and the jobs call it."""

    def __init__(
        self,
        settings: Settings,
        open_pool: Callable[[Settings], ModelPool] = open_models,
        *,
        is_insecure: bool = False,
    ) -> None:
        """Prepare; `start` loads the models.

        open_pool:   loads the models; called once, in a thread
        is_insecure: no key is needed until the first is made, wherever the server is bound
        """
        self.settings = settings
        self.voices, self.metrics = VoiceBook(settings), Metrics()
        self.consents = ConsentBook(settings)
        self.references = References(settings, self.consents.consent_for)
        self.keeper = VoiceKeeper(
            settings, self.voices, self.consents, self.references, self._forget
        )
        seats = settings.serve_seats or _SEATS[_device_kind(settings.device)]
        self.gate = Gate(seats, settings.serve_queue)
        self.admission = Admission(settings, is_insecure=is_insecure)
        self.metrics.watch(ServiceFigures(self))
        self.jobs = JobDesk(settings, self.voices, self.admission)
        self.hearing = Hearing(self)
        self._open_pool = open_pool
        self._pool: ModelPool | None = None
        self._fault: KoujiError | None = None
        self._threads = anyio.CapacityLimiter(_PREPARING_THREADS)
        self.is_draining = False
        self.loaded = threading.Event()  # or failed to load

    # --- life

    async def start(self) -> None:
        """Load the models and let each say a word; until then requests are told to come again."""
        try:
            self._pool = await anyio.to_thread.run_sync(self._open_pool, self.settings)
            await anyio.to_thread.run_sync(self.hearing.open, self._pool)
            await anyio.to_thread.run_sync(self.jobs.open, self._pool)
        except KoujiError as error:
            self._fault = error
            raise
        finally:
            self.loaded.set()

    def drain(self) -> None:
        """Refuse newcomers at the door; what came in before finishes."""
        self.is_draining = True

    async def close(self) -> None:
        """End what is still under way, and the engine."""
        self.drain()
        self.gate.close()
        await anyio.to_thread.run_sync(self.admission.quotas.flush)
        await anyio.to_thread.run_sync(self.jobs.close)
        if self._pool is not None:
            await anyio.to_thread.run_sync(self._pool.close)

    @property
    def is_ready(self) -> bool:
        """Models are loaded and warm, the engine is well, there is room for a request."""
        return self.state == "ready"

    @property
    def state(self) -> str:
        """ready, or why not: loading, failed, draining, full."""
        if self.is_draining:
            return "draining"
        if self._fault is not None:
            return "failed"
        if self._pool is None or not self.loaded.is_set():  # jobs open behind the models
            return "loading"
        if not self._pool.get().engine.is_healthy:
            return "failed"
        return "full" if self.gate.is_full else "ready"

    @property
    def pool(self) -> ModelPool | None:
        """The loaded models; None until they are."""
        return self._pool

    @property
    def models(self) -> ModelPool:
        """The loaded models.

        raises: Overloaded while they are being loaded, EngineFailed if they could not be
        """
        if self._fault is not None:
            raise EngineFailed("the models could not be loaded", cure="read the server's log")
        if self._pool is None:
            raise Overloaded("the models are being loaded", retry_after=_LOADING_SECONDS)
        return self._pool

    # --- callers and voices

    def identify(self, key: str | None) -> Caller:
        """Who sends this key.

        raises: NotAuthenticated
        """
        return self.admission.identify(key)

    async def voice(self, name: str, caller: Caller) -> Voice:
        """A kept voice by its name or id; UnknownVoice."""
        found: Voice = await self.in_thread(self.voices.get, name, caller)
        return found

    async def keep_voice(self, new: NewVoice, caller: Caller) -> tuple[Voice, tuple[str, ...]]:
        """Keep a recording as a voice of the caller's, and warnings.

        raises: NotAllowed, QuotaExceeded, Overloaded, and what `VoiceKeeper.keep` raises
        """
        caller.require("voices")

        def keep() -> tuple[Voice, tuple[str, ...]]:
            count = partial(self.voices.num_owned, caller)
            with self.admission.quotas.room_for_voice(caller, count):
                return self.keeper.keep(new, caller)

        kept: tuple[Voice, tuple[str, ...]] = await self.seated(caller, keep)
        return kept

    async def seated(self, caller: Caller, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run what costs as much as speaking: it takes a seat, and its turn.

        raises: Overloaded, and what the function raises
        """
        self.gate.check(caller.id)
        seat = await self.gate.enter(caller.id, self.settings.request_seconds)
        try:
            return await self.in_thread(function, *arguments)
        finally:
            seat.leave()

    def _forget(self, content_hash: str) -> int:
        """Drop what the models hold in memory of a recording; how many conditionings."""
        pool = self._pool
        return sum(pool.get(name).forget(content_hash) for name in pool.names) if pool else 0

    # --- speech

    async def speak(self, call: SpeakCall, caller: Caller) -> Utterance:
        """Begin to speak; returns when the first sound is there.

        raises: NotAllowed, QuotaExceeded, TooLarge, Overloaded, and what `TTS.stream` raises

        Cancelling the waiting task, like closing the utterance, frees the seat at once.
        """
        began = time.monotonic()
        caller.require("speak")
        chosen = self._choose(call)
        self.check_text(call.text)
        if isinstance(call.voice, InlineReference):
            self.references.check(call.voice, caller)
        self.gate.check(caller.id)
        with self.admission.charged(caller, call.num_characters):
            seat = await self.gate.enter(caller.id, self.settings.request_seconds)
            try:
                opened = await self.in_thread(self._open, chosen, call, caller, began)
            except BaseException:
                seat.leave()
                raise
            current().spoken(call.text, chosen.name, opened.voice_id)
            signer = chosen.tts.signer
            utterance = Utterance(
                opened.stream, opened.facts, seat, self.metrics, began, signer=signer
            )
            await utterance.start()
        return utterance

    def _open(self, chosen: Chosen, call: SpeakCall, caller: Caller, began: float) -> _Opened:
        """Everything up to the engine's queue; runs in a thread."""
        from kouji.speaking import SpeakOptions

        voice, heard = call.voice, None
        if isinstance(voice, InlineReference):
            voice = self.references.voice(voice, caller)
            heard = warn_of_transcript(voice)
        style, warnings = _style(call, chosen.tts.family)
        warnings = (heard, *warnings) if heard else warnings
        left = self.settings.request_seconds - (time.monotonic() - began)
        options = replace(
            call.options or SpeakOptions(), client=caller.id, deadline_seconds=max(0.001, left)
        )
        if call.source is not None:
            stream = chosen.tts.stream_conversion(
                call.source,
                voice,
                call.seed,
                speed=style.rate,
                options=options,
                in_chunks=call.in_chunks,
            )
        else:
            stream = chosen.tts.stream(
                call.text,
                voice,
                style=style,
                seed=call.seed,
                language=call.language,
                options=options,
                in_chunks=call.in_chunks,
                produce_id=call.produce_id,
            )
        facts = Facts(
            chosen.name,
            voice.name,
            call.seed,
            stream.sample_rate,
            stream.produce_id,
            (*call.warnings, *warnings, *stream.warnings),
            chosen.is_substitute,
        )
        return _Opened(stream, facts, voice.id)

    async def read_source(self, recording: bytes, caller: Caller) -> Audio:
        """A recording sent to be converted.

        raises: NotAllowed, Overloaded, UnreadableAudio; it may be as long as a text would last
        """
        from kouji.audio.clean import HIGHEST_RATE
        from kouji.audio.load import load_audio

        caller.require("speak")
        self.gate.check(caller.id)
        seconds = max(1.0, self.settings.max_text_characters / CHARACTERS_PER_SECOND)
        read = partial(load_audio, max_seconds=seconds, highest_rate=HIGHEST_RATE)
        source: Audio = await self.in_thread(read, recording)
        return source

    def check_text(self, text: str) -> None:
        """Refuse a text beyond the operator's limit; TooLarge."""
        most = self.settings.max_text_characters
        if len(text) > most:
            raise TooLarge(
                "the text is too long",
                seen=f"{len(text)} characters",
                allowed=f"{most} characters",
                cure="send it in parts, or as a job",
            )

    def _choose(self, call: SpeakCall) -> Chosen:
        if isinstance(call.model, Chosen):
            return call.model
        voice = None if isinstance(call.voice, InlineReference) else call.voice
        chosen = self.models.choose(call.model, voice)
        if call.source is None or chosen.name == call.model:
            return chosen
        return self.models.converting() or chosen

    async def in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Run what computes or reads files beside the event loop, a few at a time."""
        return await anyio.to_thread.run_sync(function, *arguments, limiter=self._threads)


class _Opened(NamedTuple):
    """A request the engine has taken."""

    stream: SpeechStream
    facts: Facts
    voice_id: str


def _style(call: SpeakCall, family: Family) -> tuple[Style, tuple[str, ...]]:
    """The wish for a style with the speed on top of it, both kept within what styles allow."""
    from kouji.text.style import RATE_RANGE, Style

    if isinstance(call.style, Style):
        style, warnings = call.style, tuple[str, ...]()
    else:
        style, warnings = _read_style(call, family)
    if call.speed != 1.0:
        rate = style.rate * call.speed
        held = min(RATE_RANGE[1], max(RATE_RANGE[0], rate))
        if held != rate:
            warnings += (f"speed {rate:g} is beyond what is spoken; {held:g} was taken",)
        style = replace(style, rate=held)
    return style, warnings


def _read_style(call: SpeakCall, family: Family) -> tuple[Style, tuple[str, ...]]:
    """Plain words as a style; prose that is not meant for us becomes a warning, never an error."""
    from kouji.models.family import FreeStyle
    from kouji.text.style import Style, parse_style

    assert not isinstance(call.style, Style)
    if not call.style:
        return Style(), ()
    if call.is_style_strict:
        return parse_style(call.style), ()
    try:
        style = parse_style(call.style)
        family.check_style(style)
    except StyleError as error:
        return Style(), (str(error),)
    if isinstance(family, FreeStyle) and family.takes_free_style:
        return style, ()
    if style != Style(text=style.text, unknown=style.unknown):
        return style, ()
    words = ", ".join(style.unknown)
    return Style(), (f"style words without meaning: {words}",) if words else ()


def _device_kind(name: str) -> str:
    if name == "auto":
        import torch

        return "cuda" if torch.cuda.is_available() else "cpu"
    return name.split(":")[0]
