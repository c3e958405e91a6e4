"""The fields of a speech request, and what they ask of the service.

Shared by single speeches, batches and the socket. Other services' models and voices are known
by name; their prose instructions are understood as far as possible and never refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from kouji.errors import UsageError
from kouji.serve.caller import Caller
from kouji.serve.references import MAX_TRANSCRIPT_CHARACTERS, InlineReference
from kouji.serve.service import Service, SpeakCall
from kouji.text.style import (
    ENERGY_RANGE_DB,
    EXPRESSION_RANGE,
    PITCH_RANGE_SEMITONES,
    RATE_RANGE,
)
from kouji.text.style_words import DIALECTS, MANNERS, MOODS

if TYPE_CHECKING:
    from kouji.speaking import SpeakOptions
    from kouji.text.style import Style

MAX_SEED = (1 << 63) - 1
MAX_INPUT_CHARACTERS = 100_000_000  # the operator's limit is far below, and answers 413
Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Language = Literal[
    "zh", "en", "ja", "ko", "yue", "de", "es", "fr", "it", "ru",
    "auto", "auto_yue", "all_zh", "all_ja", "all_ko", "all_yue",
]  # fmt: skip


class VoiceId(BaseModel):
    """A voice by its id."""

    model_config = ConfigDict(extra="ignore")

    id: Name


class StyleBody(BaseModel):
    """A style in figures, on top of an emotion; what is left out stays as the voice is."""

    model_config = ConfigDict(extra="forbid")

    rate: Annotated[float | None, Field(ge=RATE_RANGE[0], le=RATE_RANGE[1])] = None
    pitch: Annotated[
        float | None, Field(ge=PITCH_RANGE_SEMITONES[0], le=PITCH_RANGE_SEMITONES[1])
    ] = None
    volume: Annotated[float | None, Field(ge=ENERGY_RANGE_DB[0], le=ENERGY_RANGE_DB[1])] = None
    expression: Annotated[float | None, Field(ge=EXPRESSION_RANGE[0], le=EXPRESSION_RANGE[1])] = (
        None
    )
    emotion: Annotated[str | None, Field(max_length=40)] = None
    dialect: Annotated[str | None, Field(max_length=40)] = None

    def as_style(self) -> Style:
        """The same as a Style; UsageError for an emotion or dialect nobody knows."""
        from dataclasses import replace

        from kouji.text.style import Style, parse_style

        _check_word("emotion", self.emotion, (*MOODS, *MANNERS))
        _check_word("dialect", self.dialect, tuple(DIALECTS))
        figures = {
            "rate": self.rate,
            "pitch_semitones": self.pitch,
            "energy_db": self.volume,
            "pitch_range": self.expression,
            "dialect": self.dialect,
        }
        base = parse_style(self.emotion) if self.emotion else Style()
        return replace(base, **{k: v for k, v in figures.items() if v is not None})  # type: ignore[arg-type]


class SpeechOptions(BaseModel):
    """What is said about a speech besides its text; other fields are named in a warning."""

    model_config = ConfigDict(extra="allow")

    model: Annotated[str, Field(max_length=200)] = "default"
    voice: Name | VoiceId | None = None
    instructions: Annotated[str | None, Field(max_length=4096)] = None
    response_format: Format = "mp3"
    speed: Annotated[float, Field(ge=0.25, le=4.0)] = 1.0
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] = 0
    language: Language | None = None
    style: Annotated[str, Field(max_length=1000)] | StyleBody | None = None
    ref_text: Annotated[str | None, Field(max_length=MAX_TRANSCRIPT_CHARACTERS)] = None
    ref_language: Language | None = None
    consent: Annotated[str | None, Field(min_length=1, max_length=100)] = None
    temperature: Annotated[float | None, Field(ge=0.0, le=10.0)] = None
    top_k: Annotated[int | None, Field(ge=0, le=100_000)] = None
    top_p: Annotated[float | None, Field(ge=0.0, le=1.0)] = None
    repetition_penalty: Annotated[float | None, Field(ge=0.01, le=100.0)] = None
    disclosure: Literal["none", "start", "end"] | None = None
    notice: Literal["spoken", "morse"] | None = None

    @property
    def unknown(self) -> tuple[str, ...]:
        """A warning about fields nobody reads."""
        names = ", ".join(sorted(map(str, self.model_extra or {})))[:300]
        return (f"unknown fields: {names}",) if names else ()


class SpeechBody(SpeechOptions):
    """A speech, as OpenAI's clients send it, with Kouji's extensions.

    ref_audio: a data URL, or a URL at a host the operator allows; in a form also the file itself
    """

    input: Annotated[str, Field(max_length=MAX_INPUT_CHARACTERS)]
    stream_format: Literal["audio", "sse", "json"] | None = None
    timestamp_granularities: Annotated[list[Literal["word", "phone"]], Field(max_length=2)] = Field(
        default_factory=list
    )
    ref_audio: Annotated[str | None, Field(max_length=100_000_000)] = None


async def speak_call(
    service: Service,
    body: SpeechBody,
    caller: Caller,
    *,
    upload: bytes | None = None,
    in_chunks: bool = True,
) -> SpeakCall:
    """What the service is to do for one body.

    upload: the file of the form's field `ref_audio`
    raises: what is wrong with voice, style or reference
    """
    source: bytes | str | None = body.ref_audio if upload is None else upload
    return await call_for(service, body, caller, body.input, source=source, in_chunks=in_chunks)


async def call_for(
    service: Service,
    body: SpeechOptions,
    caller: Caller,
    text: str,
    *,
    source: bytes | str | None = None,
    in_chunks: bool = True,
) -> SpeakCall:
    """As `speak_call`, for a text and a reference from elsewhere."""
    service.check_text(text)
    style, is_strict, warnings = _style(body)
    name = body.voice.id if isinstance(body.voice, VoiceId) else body.voice
    voice = (
        await service.voice(name or service.settings.default_voice, caller)
        if source is None
        else await _reference(service, body, caller, source)
    )
    if source is not None and name is not None:
        warnings += ("ref_audio was spoken in; the field voice was not used",)
    return SpeakCall(
        text,
        voice,
        model=body.model,
        style=style,
        speed=body.speed,
        is_style_strict=is_strict,
        seed=body.seed,
        language=body.language,
        in_chunks=in_chunks,
        options=_options(body),
        warnings=(*body.unknown, *warnings),
    )


async def _reference(
    service: Service, body: SpeechOptions, caller: Caller, source: bytes | str
) -> InlineReference:
    def reference(recording: bytes) -> InlineReference:
        return InlineReference(recording, body.ref_text, body.ref_language, body.consent)

    service.references.check(reference(b""), caller)  # before anything is fetched
    recording = await service.references.read(source) if isinstance(source, str) else source
    if not recording:
        raise UsageError("ref_audio is empty", cure="send an audio file")
    return reference(recording)


def _style(body: SpeechOptions) -> tuple[str | Style | None, bool, tuple[str, ...]]:
    """The style, whether its words must have a meaning, and warnings."""
    if body.style is None:
        return body.instructions, False, ()
    warnings = ("instructions are not used beside style",) if body.instructions else ()
    if isinstance(body.style, StyleBody):
        return body.style.as_style(), True, warnings
    return body.style, True, warnings


def _options(body: SpeechOptions) -> SpeakOptions:
    from kouji.speech_request import SamplingWishes, SpeakOptions

    names = ("temperature", "top_k", "top_p", "repetition_penalty")
    wishes: dict[str, Any] = {name: getattr(body, name) for name in names}
    return SpeakOptions(SamplingWishes(**wishes), disclosure=body.disclosure, notice=body.notice)


def _check_word(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise UsageError(f"unknown {name} of a style", seen=value, allowed=", ".join(known))
