"""CosyVoice as one object: the questions of `kouji.models.family`, answered.

Owns the networks of one model directory; those that hear voices are opened when they are first
asked for. Knows no policies and no engine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kouji.errors import VoiceError
from kouji.models.cosyvoice.conditioning import Conditioning, Manner
from kouji.models.cosyvoice.config import SAMPLE_RATE, CosyVoiceConfig
from kouji.models.cosyvoice.decode.bistream import LiveSegment, LiveText
from kouji.models.cosyvoice.files.directory import Parts, find_parts
from kouji.models.cosyvoice.files.weights import content_hash
from kouji.models.cosyvoice.hearing import saved_speakers
from kouji.models.cosyvoice.hearing import voice as hearing
from kouji.models.cosyvoice.hearing.reference import choose_prompt
from kouji.models.cosyvoice.networks import load_networks
from kouji.models.cosyvoice.text.front import Front
from kouji.models.cosyvoice.text.live_front import LiveFront
from kouji.models.cosyvoice.text.tokenizer import CosyTokenizer
from kouji.models.family import (
    AS_USUAL,
    Arrays,
    PreparedSegment,
    PreparedText,
    TextOptions,
    Timeline,
)
from kouji.models.once import Once
from kouji.models.precision import Precision
from kouji.models.stages import SamplingOptions, SpeechModel
from kouji.text.style import Style
from kouji.types import Audio
from kouji.voices import Voice

if TYPE_CHECKING:
    from numpy.typing import NDArray

FAMILY = "cosyvoice"
COMPAT = "compat"  # a way to cut a text: the official one
_HASH_DIGITS = 12


class CosyVoiceFamily:
    """Implements `Family`, `FreeStyle`, `VoiceConverter`, `SpeakerFiles` and `LiveReader`."""

    name = FAMILY
    sample_rate = SAMPLE_RATE
    takes_free_style = True

    def __init__(
        self,
        parts: Parts,
        *,
        decode: Precision,
        render: Precision,
        device: str,
        is_compat: bool = False,
        compile_renderer: Callable[[Any], Any] | None = None,
        device_bytes: int | None = None,
    ) -> None:
        """Take over a model directory.

        decode, render:   number formats of language model and flow
        is_compat:        texts and ends of streams exactly as in the official code
        compile_renderer: turns a pure function of tensors into a faster one, on a GPU
        device_bytes:     the device's memory, of which streams keep a share; None: a usual one
        """
        self._parts, self.version = parts, parts.version
        self.config: CosyVoiceConfig = parts.config
        self.precision: str = decode
        self.device = device
        self.sampling = sampling_options(self.config)
        tokenizer = CosyTokenizer(parts.tokenizer, parts.version)
        self._fronts = {
            is_official: Front(tokenizer, parts.version, is_compat=is_official)
            for is_official in (False, True)
        }
        self._is_compat = is_compat
        self._hearing = Once(self._open_hearing)
        self._model = load_networks(  # a broken file is told now, not at the first request
            parts,
            f"{FAMILY}@{self._hash}",
            decode=decode,
            render=render,
            device=device,
            manner=Manner("official" if is_compat else "causal"),
            compile_renderer=compile_renderer,
            device_bytes=device_bytes,
        )

    # --- weights

    @cached_property
    def _hash(self) -> str:
        files = (
            self._parts.llm,
            self._parts.flow,
            self._parts.hift,
            self._parts.speech_tokenizer,
            self._parts.campplus,
        )
        with ThreadPoolExecutor() as pool:  # gigabytes, at half a gigabyte a second and core
            digests = "".join(pool.map(content_hash, files))
        return hashlib.sha256(digests.encode()).hexdigest()[:_HASH_DIGITS]

    def weights_hash(self, voice: Voice | None = None) -> str:
        """One hash of all files that speak or hear."""
        return self._hash

    @contextmanager
    def hold(self, voice: Voice) -> Iterator[SpeechModel]:
        """The model's networks, loaded if they are not there; voices bring none of their own."""
        own = voice.weights
        if own is not None:
            raise VoiceError(
                "this voice has weights of another family",
                seen=own.model,
                allowed="a voice without weights of its own",
                cure=f"speak it with --model {own.model}",
            )
        yield self._model

    # --- texts

    def check_style(self, style: Style) -> tuple[str, ...]:
        """It follows whatever its instruction can say."""
        return self._fronts[self._is_compat].check_style(style)

    def prepare(
        self,
        text: str,
        voice: Voice,
        *,
        language: str | None,
        style: Style,
        options: TextOptions = AS_USUAL,
    ) -> PreparedText:
        """Segments of text tokens with the prompt their mode needs.

        language: as `languages.check_language` takes it; None guesses
        options:  the method `compat` reads and cuts the text as the official code does
        """
        front = self._fronts[self._is_compat or options.method == COMPAT]
        pause = options.pause(0.0)
        if voice.imported is not None:
            prepared = saved_speakers.prepare_imported(
                front,
                text,
                voice.imported,
                text_rows=self.config.lm.text_rows,
                language=language,
                voice_language=voice.language,
                style=style,
                pause_seconds=pause,
            )
        else:
            prepared = front.prepare(
                text,
                transcript=voice.transcript,
                language=language,
                transcript_language=voice.language,
                style=style,
                pause_seconds=pause,
            )
        if options.method in (None, COMPAT):
            return prepared
        unknown = f"CosyVoice knows one more way to cut a text, {COMPAT}; not {options.method}"
        return replace(prepared, warnings=(*prepared.warnings, unknown))

    def open_live(self, voice: Voice, *, style: Style, language: str | None) -> _Sentence | None:
        """A sentence spoken while it is written; saved speakers are given it whole."""
        if voice.imported is not None:
            return None
        front = LiveFront(
            self._fronts[self._is_compat],
            transcript=voice.transcript,
            language=language,
            transcript_language=voice.language,
            style=style,
        )
        return _Sentence(front)

    # --- voices

    def condition(self, voice: Voice, model: SpeechModel) -> Conditioning:
        """Tokens, mel and speaker embedding of the voice's recording.

        raises: ReferenceRefused for one that is too short or too long
        """
        prompt = choose_prompt(
            voice.reference,
            has_transcript=bool(voice.transcript),
            recorded_seconds=float(voice.report.get("duration") or 0.0),
        )
        return hearing.condition(prompt, self._hearing())

    def pack(self, conditioning: Conditioning) -> dict[str, NDArray[Any]]:
        """Plain arrays."""
        return hearing.pack_conditioning(conditioning)

    def unpack(self, arrays: Arrays) -> Conditioning:
        """Undo `pack`."""
        return hearing.unpack_conditioning(arrays, self.config.flow.codebook)

    def prepare_conversion(self, source: Audio, voice: Voice) -> PreparedText:
        """Speech in pieces at its pauses, as the speech tokenizer hears them."""
        return hearing.prepare_conversion(source, self._hearing())

    def save_speakers(self, path: Path, speakers: Mapping[str, tuple[Voice, Any]]) -> None:
        """Voices in a `spk2info.pt` that the official code reads."""
        saved_speakers.save_speakers(path, speakers, self._fronts[False])

    def timeline(self, segment: PreparedSegment, info: Any, offset: float) -> Timeline:
        """Empty: the networks do not tell when which word is spoken."""
        return Timeline()

    def warnings(self, info: Any) -> tuple[str, ...]:
        """Nothing beyond what the engine reports."""
        return ()

    def _open_hearing(self) -> hearing.Hearing:
        from kouji.models.cosyvoice.hearing.onnx_models import CampPlus, SpeechTokenizer

        parts, codebook = self._parts, self.config.flow.codebook
        return hearing.Hearing(
            SpeechTokenizer(parts.speech_tokenizer, codebook, device=self.device),
            CampPlus(parts.campplus, device=self.device),
            self.config.mel_fmax_hz,
        )


class _Sentence:
    """Implements `kouji.models.live.LiveSentence`: letters in, ids out to the engine's row."""

    def __init__(self, front: LiveFront) -> None:
        self._front, self._text = front, LiveText()
        self._is_closed = False
        self.payload = LiveSegment(front.prompt_text, self._text, front.mode)

    @property
    def unread(self) -> str:
        """What was taken and has no ids yet."""
        return self._front.unread

    def feed(self, text: str) -> bool:
        """More of it; False where it counts as ended."""
        if self._text.is_closed:
            return False
        return self._text.feed(self._front.feed(text))

    def close(self) -> tuple[str, ...]:
        """It is whole; its warnings."""
        if not self._is_closed:
            self._is_closed = True
            try:
                self._text.feed(self._front.close())
            finally:
                self._text.close()
        return tuple(self._front.warnings)


def sampling_options(config: CosyVoiceConfig) -> SamplingOptions:
    """Repetition-aware sampling with the model's figures."""
    own = config.sampling
    return SamplingOptions(
        temperature=1.0,
        top_k=own.top_k,
        top_p=own.top_p,
        repetition_penalty=1.0,
        repetition_window=own.window,
        repetition_share=own.share,
    )


def open_cosyvoice(
    folder: Path,
    *,
    decode: Precision,
    render: Precision,
    device: str,
    is_compat: bool = False,
    compile_renderer: Callable[[Any], Any] | None = None,
    device_bytes: int | None = None,
) -> CosyVoiceFamily:
    """Open a model directory; arguments as `CosyVoiceFamily`.

    raises: ModelError naming what is missing or does not fit
    """
    return CosyVoiceFamily(
        find_parts(folder),
        decode=decode,
        render=render,
        device=device,
        is_compat=is_compat,
        compile_renderer=compile_renderer,
        device_bytes=device_bytes,
    )
