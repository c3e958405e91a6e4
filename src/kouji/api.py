"""What library, command line and server all call: load, enroll, speak, stream.

Every sound leaves through one last stage, which asks the consent policy, writes the audit
line and puts the watermark in: there is no other door. Knows files and policies; how an
admitted request becomes sound is `kouji.speaking`.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from kouji.config import Settings, load_settings
from kouji.errors import ConsentError, KoujiError, StyleError, UsageError, VoiceError
from kouji.speaking import Job, Speaker, SpeechChunk, SpeechRequest, mark_id
from kouji.text.style import Style, parse_style
from kouji.types import Audio, Language, Speech
from kouji.voices import Voice
from kouji.voices.consent import (
    FILE_STATEMENT,
    Consent,
    require_for_file,
    require_for_voice,
)

if TYPE_CHECKING:
    from torch import Tensor

    from kouji.models.mini.synthesiser import MiniSynthesiser

__all__ = ["TTS", "SpeechChunk", "SpeechRequest", "load"]

MODELS = ("mini",)
_CACHED_VOICES = 256
_log = logging.getLogger(__name__)


def load(
    model: str = "mini",
    *,
    precision: str | None = None,
    threads: int | None = None,
    device: str | None = None,
    settings: Settings | None = None,
) -> TTS:
    """Load a model, ready to speak.

    model:     "mini", or a folder with a checkpoint of it
    precision: float32, bfloat16 or float16; None chooses by the device
    threads:   of torch on the CPU; None leaves them as they are
    device:    cpu, cuda, cuda:1; None takes a GPU if there is one
    settings:  of the operator; None reads this machine's
    raises:    UsageError for an unknown model, ModelError for a damaged one
    """
    settings = settings or load_settings()
    folder = Path(model)
    if model not in MODELS and not folder.is_dir():
        raise UsageError("unknown model", seen=model, allowed=f"{', '.join(MODELS)}, or a folder")
    import torch

    from kouji.models.mini.synthesiser import MiniSynthesiser
    from kouji.models.mini.weights import SHIPPED, load_checkpoint
    from kouji.models.precision import choose_precision, read_device_facts

    if threads:
        torch.set_num_threads(threads)
    if device in (None, "auto"):
        device = "cuda" if torch.cuda.is_available() else "cpu"
    choice = choose_precision(read_device_facts(str(device)), precision)
    _log.info("%s on %s in %s: %s", model, device, choice.precision, choice.reason)
    checkpoint = load_checkpoint(SHIPPED if model in MODELS else folder)
    return TTS(
        MiniSynthesiser(checkpoint, precision=choice.precision, device=str(device)), settings
    )


class TTS:
    """A loaded model with the operator's policies around it; safe to use from many threads."""

    def __init__(self, synthesiser: MiniSynthesiser, settings: Settings) -> None:
        self._synthesiser, self._settings = synthesiser, settings
        self._speaker = Speaker(synthesiser)
        self._embeddings: OrderedDict[str, Tensor] = OrderedDict()
        self._lock = threading.Lock()
        self.sample_rate = synthesiser.sample_rate
        self.precision = synthesiser.precision
        self.identity = f"{synthesiser.name}@{synthesiser.weights_hash}"

    def enroll(
        self,
        source: str | Path | bytes | BinaryIO | Audio,
        *,
        transcript: str | None = None,
        name: str = "unnamed",
        consent: Consent | None = None,
    ) -> Voice:
        """Make a voice of a recording: clean it, judge it, embed it.

        transcript: what is said in it; `mini` does not need it
        consent:    proof that the voice may be used; without it the policy decides whether
                    enrolling is taken as the caller's word
        raises:     ReferenceRefused with the figure, UnreadableAudio, ConsentError
        """
        from kouji.audio.clean import prepare_reference
        from kouji.voices.enroll import reference_rules

        require_for_file(self._settings.consent, is_attested=consent is not None)
        reference, report = prepare_reference(source, reference_rules(self._settings))
        moment = datetime.now(UTC).isoformat(timespec="seconds")
        voice = Voice.from_reference(
            reference,
            name=name,
            transcript=transcript,
            consent=consent or Consent("attest", FILE_STATEMENT, moment),
            report=report,
        )
        self._embedding(voice)
        return voice

    def speak(
        self,
        text: str,
        voice: Voice,
        style: str | Style | None = None,
        seed: int = 0,
        language: Language | None = None,
        *,
        watermark: bool = True,
    ) -> Speech:
        """Speak a text, marks included, and return it with its timings.

        style:     plain words ("excited, a bit faster") or a Style
        seed:      the same seed gives the same audio
        language:  how figures without words around them are read
        watermark: False only where the operator has turned the watermark off
        raises:    TextError, MarkError, StyleError, VoiceError, ConsentError, UsageError
        """
        request = SpeechRequest(text, voice, style, seed, language)
        outcome = self.speak_many([request], watermark=watermark)[0]
        if isinstance(outcome, KoujiError):
            raise outcome
        return outcome

    def speak_many(
        self, requests: Sequence[SpeechRequest], *, watermark: bool = True
    ) -> list[Speech | KoujiError]:
        """Speak several requests together; a bad one yields its error and harms no other."""
        self._check_watermark(watermark)
        outcomes: list[Speech | KoujiError | None] = [None] * len(requests)
        jobs: dict[int, Job] = {}
        for index, request in enumerate(requests):
            try:
                jobs[index] = self._admit(request, watermark)
            except KoujiError as error:
                outcomes[index] = error
        for index, speech in self._speaker.speak(jobs, watermark).items():
            outcomes[index] = speech
        return [outcome for outcome in outcomes if outcome is not None]

    def stream(
        self,
        text: str,
        voice: Voice,
        style: str | Style | None = None,
        seed: int = 0,
        language: Language | None = None,
        *,
        watermark: bool = True,
        produce_id: int | None = None,
    ) -> Iterator[SpeechChunk]:
        """Speak a text piece by piece, the first piece early; arguments as `speak`.

        produce_id: 32 bits for watermark and audit line where a caller joins several streams
                    to one work; None derives them from the request

        Errors of the request are raised here, before the first chunk is asked for. Chunks
        joined equal the audio of `speak` (within 1e-4 in float32).
        """
        self._check_watermark(watermark)
        request = SpeechRequest(text, voice, style, seed, language, produce_id)
        job = self._admit(request, watermark)
        return self._speaker.stream(job, watermark)

    def _admit(self, request: SpeechRequest, watermark: bool) -> Job:
        """Check everything about a request before it costs computing, then write it down."""
        from kouji.text.front import analyse

        require_for_voice(request.voice.name, request.voice.consent, self._settings.consent)
        if not 0 <= request.seed < 1 << 63:
            raise UsageError("seed out of range", seen=request.seed, allowed="0 to 2^63 - 1")
        style, unknown = self._resolve_style(request.style)
        analysis = analyse(request.text, language=request.language, events=self._synthesiser.events)
        speaker = self._embedding(request.voice)
        self._audit(request.voice, mark_id(request) if watermark else None)
        return Job(request, analysis, style, speaker, (*analysis.warnings, *unknown))

    def _resolve_style(self, style: str | Style | None) -> tuple[Style, tuple[str, ...]]:
        if style is None:
            return Style(), ()
        wish = parse_style(style) if isinstance(style, str) else style
        self._synthesiser.check_style(wish)
        if not wish.unknown:
            return wish, ()
        unknown = ", ".join(wish.unknown)
        if wish == Style(text=wish.text, unknown=wish.unknown):
            raise StyleError(
                "no word of this style has a meaning here",
                seen=repr(unknown),
                allowed='rate, pitch, loudness and mood in plain words, as "sad, a bit slower"',
            )
        return wish, (f"style words without meaning for {self._synthesiser.name}: {unknown}",)

    def _audit(self, voice: Voice, produce_id: int | None) -> None:
        from kouji.voices import audit

        consent = voice.consent.kind if voice.consent else "policy off"
        mark = "policy off" if produce_id is None else f"{produce_id:08x}"
        try:
            audit.append(
                self._settings.audit_file,
                "speak",
                voice=voice.content_hash,
                model=self.identity,
                consent=consent,
                watermark=mark,
            )
        except OSError as error:
            raise VoiceError(
                "the audit line cannot be written",
                seen=error,
                cure="make KOUJI_HOME a folder you can write to",
            ) from error

    def _check_watermark(self, watermark: bool) -> None:
        if not watermark and self._settings.watermark:
            raise ConsentError(
                "unmarked audio is not allowed here",
                seen="watermark=False",
                cure="the operator may set watermark = false in config.toml",
            )

    def _embedding(self, voice: Voice) -> Tensor:
        """The voice's embedding: from memory, from beside the voice, or computed once."""
        with self._lock:
            known = self._embeddings.get(voice.content_hash)
            if known is not None:
                self._embeddings.move_to_end(voice.content_hash)
                return known
        embedding = self._stored_embedding(voice)
        with self._lock:
            self._embeddings[voice.content_hash] = embedding
            while len(self._embeddings) > _CACHED_VOICES:
                self._embeddings.popitem(last=False)
        return embedding

    def _stored_embedding(self, voice: Voice) -> Tensor:
        from kouji.models.mini.voice import pack_conditioning, unpack_conditioning
        from kouji.voices import VoiceStore

        store, made_by = VoiceStore(self._settings.home), self._synthesiser
        is_kept = voice.id in store and store.get(voice.id).content_hash == voice.content_hash
        if is_kept:
            arrays = store.load_conditioning(voice.id, made_by.name, made_by.weights_hash)
            if arrays is not None:
                return unpack_conditioning(arrays, made_by.device)
        embedding = made_by.embed(voice.reference)
        if is_kept:
            packed = pack_conditioning(embedding)
            store.save_conditioning(voice.id, made_by.name, made_by.weights_hash, packed)
        return embedding
