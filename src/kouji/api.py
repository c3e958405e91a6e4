"""What library, command line and server all call: load, enroll, speak, stream.

Every sound leaves through one last stage, which asks the consent policy, writes the audit
line and puts the watermark in: there is no other door. Knows files and policies; how an
admitted request becomes sound is `kouji.speaking`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from kouji.audio.provenance import open_signer
from kouji.conditionings import Conditionings
from kouji.config import Settings, load_settings
from kouji.engine.openmp import release_team
from kouji.errors import ConsentError, KoujiError, StyleError, UsageError, VoiceError
from kouji.live_source import TextSource
from kouji.live_speech import speak_live
from kouji.models.family import FreeStyle, PreparedText, SpeakerFiles, VoiceConverter, speaks_for
from kouji.models.live import LiveReader
from kouji.notice import Notice, notice_sentence, settle_notice
from kouji.speaking import (
    Job,
    SamplingWishes,
    Script,
    Speaker,
    SpeakOptions,
    SpeechChunk,
    SpeechRequest,
    SpeechStream,
    mark_id,
)
from kouji.speech_request import conversion_id
from kouji.text.style import Style, figures_only, parse_style
from kouji.types import Audio, Speech
from kouji.voices import Voice
from kouji.voices.consent import Consent, attest_by_use, require_for_file
from kouji.voices.leave import Leave

if TYPE_CHECKING:
    from kouji.engine.engine import Engine
    from kouji.models.family import Family

__all__ = [
    "TTS",
    "SamplingWishes",
    "SpeakOptions",
    "SpeechChunk",
    "SpeechRequest",
    "SpeechStream",
    "load",
]

MAX_SOURCE_SECONDS = 3600.0  # of a recording to be converted
_log = logging.getLogger(__name__)


def load(
    model: str = "mini",
    *,
    precision: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    settings: Settings | None = None,
    engine: Engine | None = None,
) -> TTS:
    """Load a model, ready to speak.

    model:     "mini"; a name `kouji pull` knows, as "gpt-sovits-v2proplus" or "cosyvoice3"
               ("gpt-sovits" and "cosyvoice" take the best that is there); or a folder with
               checkpoints of any family
    precision: float32, bfloat16, float16 or int8; None goes by the settings, "auto" by the device
    threads:   of torch on the CPU; None leaves them as they are
    device:    cpu, cuda, cuda:1; None goes by the settings, "auto" takes a GPU if there is one
    settings:  of the operator; None reads this machine's
    engine:    shared with other models, and not closed by this one; None makes one
    raises:    UsageError for an unknown model, ModelError for a damaged one
    """
    from kouji.models.catalogue import open_family

    settings = settings or load_settings()
    precision = precision or settings.precision
    device = device or settings.device
    settings = replace(settings, threads=threads or settings.threads, device=device)
    family = open_family(
        model,
        home=settings.home,
        precision=None if precision == "auto" else precision,
        device=device,
        threads=threads,
        weights_bytes=round(settings.weights_gb * 1e9),
        is_compat=settings.cosyvoice_compat,
        compile_renderer=_compile_renderer,
        memory_of=_total_memory,
    )
    release_team()
    return TTS(family, settings, engine)


def _compile_renderer(device: str) -> Callable[[Any], Any]:
    """How a device makes a pure function of tensors faster; asked only when one is rendered on."""
    from kouji.engine.device import open_device

    return open_device(device).compile_renderer


def _total_memory(device: str) -> int:
    """Bytes a device has for this process, by its name."""
    from kouji.engine.device import open_device

    return open_device(device).total_memory


class TTS:
    """A loaded model with the operator's policies around it; safe to use from many threads.

    All requests meet in one engine; `close` (or leaving a `with`) ends it, unless it was made by
    the caller, who may share it between several.
    """

    def __init__(self, family: Family, settings: Settings, engine: Engine | None = None) -> None:
        """Join a family, the operator's settings and an engine; None makes one of its own.

        raises: ConfigError where files cannot be signed as the settings want it
        """
        from kouji.engine.engine import Engine
        from kouji.engine.settings import EngineSettings

        self.family, self._settings = family, settings
        # First of all: whoever asked for signed files learns at once that they cannot be signed.
        self.signer = open_signer(settings.c2pa_certificate, settings.c2pa_key)
        self.engine = engine or Engine(EngineSettings.from_settings(settings))
        self._owns_engine = engine is None
        self._speaker = Speaker(family, self.engine, self.signer)
        self._conditionings = Conditionings(family, settings.home, self._require_leave)
        self._leave = Leave(settings.home, settings.consent_policy)
        self.sample_rate = family.sample_rate
        self.precision = family.precision
        self.identity = f"{family.name}@{family.weights_hash()}"

    @property
    def num_voice_hits(self) -> int:
        """How often a voice's conditioning was found in memory."""
        return self._conditionings.num_hits

    @property
    def num_voice_misses(self) -> int:
        """How often it was read from beside the voice, or computed."""
        return self._conditionings.num_misses

    def close(self) -> None:
        """End the engine, unless it was handed in; what is under way in it is cancelled."""
        if self._owns_engine:
            self.engine.close()

    def __enter__(self) -> TTS:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def enroll(
        self,
        source: str | Path | bytes | BinaryIO | Audio,
        *,
        transcript: str | None = None,
        language: str | None = None,
        name: str = "unnamed",
        consent: Consent | None = None,
    ) -> Voice:
        """Make a voice of a recording: clean it, judge it, encode it.

        transcript: what is said in it; `mini` does not need it, GPT-SoVITS is better with it
        language:   of the transcript; None guesses
        consent:    proof that the voice may be used; without it the policy decides whether
                    enrolling is taken as the caller's word; under `verify` it must have been
                    verified against this very recording (kouji.verification)
        raises:     ReferenceRefused with the figure, UnreadableAudio, ConsentError
        """
        from kouji.audio.clean import prepare_reference
        from kouji.voices.enroll import reference_rules

        policy = self._settings.consent_policy
        require_for_file(policy, is_attested=consent is not None, consent=consent)
        rules = reference_rules(self._settings)
        reference, report = prepare_reference(source, rules, has_words=bool(transcript))
        voice = Voice.from_reference(
            reference,
            name=name,
            transcript=transcript,
            language=language,
            consent=consent or attest_by_use(),
            report=report,
        )
        self._require_leave(voice)
        if warning := self._leave.warning(voice):
            _log.warning("%s", warning)
        with self.family.hold(voice) as model:
            self._conditionings.get(voice, model)
        return voice

    def speak(
        self,
        text: str,
        voice: Voice,
        style: str | Style | None = None,
        seed: int = 0,
        language: str | None = None,
        *,
        watermark: bool = True,
        options: SpeakOptions | None = None,
    ) -> Speech:
        """Speak a text, marks included, and return it with its timings.

        style:     plain words ("excited, a bit faster") or a Style
        seed:      the same seed gives the same audio
        language:  how figures without words around them are read; GPT-SoVITS knows more modes
        watermark: False only where the operator has turned the watermark off
        options:   sampling, guard, client, deadline
        raises:    TextError, MarkError, StyleError, VoiceError, ConsentError, UsageError;
                   EngineBusy, EngineFailed, DeadlineExceeded
        """
        request = SpeechRequest(
            text, voice, style, seed, language, options=options or SpeakOptions()
        )
        outcome = self.speak_many([request], watermark=watermark)[0]
        if isinstance(outcome, KoujiError):
            raise outcome
        return outcome

    def speak_many(
        self, requests: Sequence[SpeechRequest], *, watermark: bool = True
    ) -> list[Speech | KoujiError]:
        """Speak several requests together; a bad one yields its error and harms no other."""
        self._check_watermark(watermark)
        admit = [partial(self._admit, request, watermark) for request in requests]
        return self._speaker.speak(admit, watermark)

    def stream(
        self,
        text: str | Iterable[str] | AsyncIterable[str],
        voice: Voice,
        style: str | Style | None = None,
        seed: int = 0,
        language: str | None = None,
        *,
        watermark: bool = True,
        produce_id: int | None = None,
        options: SpeakOptions | None = None,
        in_chunks: bool = True,
    ) -> SpeechStream:
        """Speak a text piece by piece, the first piece early; arguments as `speak`.

        text:       whole, or in pieces from an iterator while it is still being written, as a
                    language model gives them: cut anywhere, it sounds the same. Sentences are
                    spoken as they are completed, and by families that can even before; the
                    deadline is each sentence's. The iterator is read in a thread of its own, an
                    asynchronous one by the loop that runs now, a few sentences ahead at most
        produce_id: 32 bits for watermark and audit line where a caller joins several streams
                    to one work; None derives them from the request, of a text that is still being
                    written from all but the text
        in_chunks:  False yields whole segments: later, and where a family's chunks differ from
                    the whole, the whole

        Errors of the request are raised here, before the first chunk is asked for. Chunks of
        `mini` joined equal the audio of `speak` (within 1e-4 in float32); how GPT-SoVITS streams
        is said in docs/engine.md. Iterate with `for` or `async for`; closing the stream, or
        letting go of it, ends the work, and closes a generator that gives the text.
        """
        self._check_watermark(watermark)
        said, pieces = (text, None) if isinstance(text, str) else ("", TextSource(text))
        request = SpeechRequest(
            said, voice, style, seed, language, produce_id, options or SpeakOptions()
        )
        if pieces is not None:
            return self._stream_live(request, pieces, watermark, in_chunks)
        job = self._admit(request, watermark)
        try:
            return self._speaker.stream(job, watermark, is_streamed=in_chunks)
        except BaseException:
            job.held.close()
            raise

    def _stream_live(
        self, request: SpeechRequest, pieces: TextSource, watermark: bool, in_chunks: bool
    ) -> SpeechStream:
        try:
            job = self._admit(request, watermark, lambda: PreparedText(()))
        except BaseException:
            pieces.close()
            raise
        return speak_live(
            self._speaker,
            replace(job, is_conversion=False),
            pieces,
            lambda sentence: self._prepare_text(replace(request, text=sentence), job.style),
            self.family if isinstance(self.family, LiveReader) else None,
            watermark=watermark,
            is_streamed=in_chunks,
        )

    def convert(
        self,
        source: str | Path | bytes | BinaryIO | Audio,
        voice: Voice,
        seed: int = 0,
        *,
        speed: float = 1.0,
        watermark: bool = True,
        options: SpeakOptions | None = None,
    ) -> Speech:
        """Say a recording again in another voice: its words, its timing, this voice's timbre.

        source: speech of 0.2 s to an hour, in a file, bytes, a binary file or Audio
        others as `speak`; what `options` say of text and sampling has no meaning here
        raises: UsageError for a family that does not convert; UnreadableAudio, AudioError,
                ReferenceRefused, ConsentError; EngineBusy, EngineFailed, DeadlineExceeded
        """
        stream = self.stream_conversion(
            source,
            voice,
            seed,
            speed=speed,
            watermark=watermark,
            options=options,
            in_chunks=False,
        )
        return stream.join(list(stream))

    def stream_conversion(
        self,
        source: str | Path | bytes | BinaryIO | Audio,
        voice: Voice,
        seed: int = 0,
        *,
        speed: float = 1.0,
        watermark: bool = True,
        produce_id: int | None = None,
        options: SpeakOptions | None = None,
        in_chunks: bool = True,
    ) -> SpeechStream:
        """`convert` piece by piece, as `stream` is `speak`; the source must be whole."""
        from kouji.audio.clean import HIGHEST_RATE
        from kouji.audio.load import load_audio

        self._check_watermark(watermark)
        if not isinstance(self.family, VoiceConverter):
            raise UsageError(
                "this model does not convert speech",
                seen=self.family.name,
                allowed="cosyvoice3, cosyvoice2",
                cure="kouji pull cosyvoice3, then take it as the model",
            )
        heard = load_audio(source, max_seconds=MAX_SOURCE_SECONDS, highest_rate=HIGHEST_RATE)
        if produce_id is None:
            produce_id = conversion_id(heard, voice, seed, speed)
        request = SpeechRequest(
            "", voice, Style(rate=speed), seed, None, produce_id, options or SpeakOptions()
        )
        job = self._admit(request, watermark, partial(self.family.prepare_conversion, heard, voice))
        try:
            return self._speaker.stream(job, watermark, is_streamed=in_chunks)
        except BaseException:
            job.held.close()
            raise

    def export_voices(self, voices: Sequence[Voice], path: str | Path) -> None:
        """Write voices into a file other programs of this model's family read.

        With CosyVoice that is a `spk2info.pt`, under the voices' names; it appears whole or not
        at all.
        raises: UsageError for a family without such a file, ConsentError, VoiceError, and what
                hearing a voice raises
        """
        family = self.family
        if not isinstance(family, SpeakerFiles):
            raise UsageError(
                "this model has no file of voices",
                seen=family.name,
                allowed="cosyvoice3, cosyvoice2",
            )
        speakers: dict[str, tuple[Voice, Any]] = {}
        for voice in voices:
            self._require_leave(voice)
            self._require_family(voice)
            with family.hold(voice) as model:
                speakers[voice.name] = voice, self._conditionings.get(voice, model)
        for voice in voices:
            self._audit(voice, "voice.export")
        family.save_speakers(Path(path), speakers)

    def _admit(
        self,
        request: SpeechRequest,
        watermark: bool,
        hear: Callable[[], PreparedText] | None = None,
    ) -> Job:
        """Check everything about a request before it costs computing, then write it down.

        hear: prepares a recording to be converted, in place of the text, or text still to come
        """
        voice = request.voice
        self._require_leave(voice)
        self._require_family(voice)
        if not 0 <= request.seed < 1 << 63:
            raise UsageError("seed out of range", seen=request.seed, allowed="0 to 2^63 - 1")
        self._speaker.check(request.options)
        style, warnings = self._resolve_style(request.style)
        prepared = hear() if hear else self._prepare_text(request, style)
        notice, notice_words = self._prepare_notice(request)
        guard = request.options.guard
        with ExitStack() as held:
            model = held.enter_context(self.family.hold(voice))
            conditioning = self._conditionings.get(voice, model)
            release_team()
            mark = f"{mark_id(request):08x}" if watermark else "policy off"
            self._audit(voice, "speak", watermark=mark, by=request.options.client)
            return Job(
                Script(
                    request,
                    prepared,
                    (*prepared.warnings, *warnings),
                    partial(self._require_leave, voice),
                    notice,
                    notice_words,
                ),
                style,
                model,
                conditioning,
                self._settings.guard if guard is None else guard,
                held.pop_all(),
                is_conversion=hear is not None,
            )

    def _prepare_text(self, request: SpeechRequest, style: Style) -> PreparedText:
        return self.family.prepare(
            request.text,
            request.voice,
            language=request.language,
            style=style,
            options=request.options.text,
        )

    def _prepare_notice(self, request: SpeechRequest) -> tuple[Notice, PreparedText | None]:
        """What is to be heard besides the text, and its words where it is spoken."""
        options = request.options
        notice = settle_notice(self._settings, options.disclosure, options.notice, options.part)
        if not notice.places or notice.kind != "spoken":
            return notice, None
        # Of a text that is still being written nothing is known but who speaks it.
        written = request.text or request.voice.transcript or ""
        sentence, language = notice_sentence(written, request.language)
        voice = request.voice
        return notice, self.family.prepare(sentence, voice, language=language, style=Style())

    def _resolve_style(self, style: str | Style | None) -> tuple[Style, tuple[str, ...]]:
        if style is None:
            return Style(), ()
        wish = parse_style(style) if isinstance(style, str) else style
        warnings = self.family.check_style(wish)
        if isinstance(self.family, FreeStyle) and self.family.takes_free_style:
            return figures_only(wish), warnings
        if not wish.unknown:
            return wish, warnings
        unknown = ", ".join(wish.unknown)
        if wish == Style(text=wish.text, unknown=wish.unknown):
            raise StyleError(
                "no word of this style has a meaning here",
                seen=repr(unknown),
                allowed='rate, pitch, loudness and mood in plain words, as "sad, a bit slower"',
            )
        return wish, (*warnings, f"style words without meaning for {self.family.name}: {unknown}")

    def _audit(self, voice: Voice, event: str, **facts: str) -> None:
        from kouji.voices import audit

        consent = voice.consent.kind if voice.consent else "policy off"
        try:
            audit.append(
                self._settings.audit_file,
                event,
                voice=voice.content_hash,
                model=f"{self.family.name}@{self.family.weights_hash(voice)}",
                consent=consent,
                **facts,
            )
        except OSError as error:
            raise VoiceError(
                "the audit line cannot be written",
                seen=error,
                cure="make KOUJI_HOME a folder you can write to",
            ) from error

    def forget(self, content_hash: str) -> int:
        """Drop what memory holds of a recording; how many conditionings that were."""
        return self._conditionings.forget(content_hash)

    def _require_leave(self, voice: Voice) -> None:
        """Raise ConsentError if the voice may not be used now; what was revoked is forgotten."""
        before = self._leave.num_changes
        try:
            self._leave.require(voice)
        finally:
            if self._leave.num_changes != before:
                for content_hash in self._conditionings.recordings:
                    if self._leave.is_revoked([content_hash]):
                        self.forget(content_hash)

    def _require_family(self, voice: Voice) -> None:
        """Raise VoiceError where all there is of a voice was computed by another family."""
        imported = voice.imported
        if imported is not None and not speaks_for(self.family, imported.model):
            raise VoiceError(
                f"voice {voice.name!r} was imported for another model and has no recording",
                seen=self.family.name,
                allowed=imported.model,
                cure=f"speak it with --model {imported.model}, or add it from a recording",
            )

    def _check_watermark(self, watermark: bool) -> None:
        if not watermark and self._settings.watermark:
            raise ConsentError(
                "unmarked audio is not allowed here",
                reason="unmarked",
                seen="watermark=False",
                cure="the operator may set watermark = false in config.toml",
            )
