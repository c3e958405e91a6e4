"""CosyVoice's dialect, as its FastAPI runtime speaks it: forms in, a raw stream of samples out.

Samples are 16-bit, mono, without a header; their rate is in `X-Sample-Rate`, 24 kHz unless
another is asked for. The runtime takes GET and POST, both with a form as body; GET is left out of
the OpenAPI description, which frowns on that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile

from kouji.audio.resample import Resampler
from kouji.errors import TooLarge, UnknownVoice, UnreadableAudio
from kouji.serve.access import caller_of, service_of, speaks
from kouji.serve.caller import Caller
from kouji.serve.leaving import SpeechResponse, while_connected
from kouji.serve.prompts import read_instruct, read_prompt_text, read_text
from kouji.serve.references import InlineReference
from kouji.serve.service import Service, SpeakCall
from kouji.serve.shapes import CosyVoiceError, described
from kouji.serve.utterance import Utterance
from kouji.types import Samples
from kouji.voices import Voice

FAMILY = "cosyvoice"
SAMPLE_RATE = 24_000  # of CosyVoice 2 and 3
# The speakers of the original's sft models; without a kept voice of that name, the default one.
OFFICIAL_SPEAKERS = ("中文女", "中文男", "英文女", "英文男", "日语男", "粤语女", "韩语女")

_ERRORS = described(CosyVoiceError)
router = APIRouter(tags=["cosyvoice"], responses=_ERRORS)
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
Asking = Annotated[Caller, Depends(caller_of)]
Text = Annotated[str, Form()]
Prose = Annotated[str, Form(max_length=2000)]
Recording = Annotated[UploadFile, File()]
_SOUND: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "Samples, 16 bits each"}
}


@dataclass(frozen=True)
class Wishes:
    """Fields of our own that every form may have.

    strict:      refuse rather than let another family speak; also in the address
    sample_rate: Hz of the answer
    """

    strict: Annotated[bool, Form()] = False
    strict_in_address: Annotated[bool, Query(alias="strict")] = False
    sample_rate: Annotated[int, Form(ge=8000, le=48_000)] = SAMPLE_RATE
    seed: Annotated[int, Form(ge=0, lt=1 << 63)] = 0


Wished = Annotated[Wishes, Depends()]


def _both(path: str) -> Callable[[Endpoint], Endpoint]:
    """Register an endpoint under POST, and under GET as the original does."""

    def register(endpoint: Endpoint) -> Endpoint:
        speaks(endpoint)
        router.get(path, response_class=Response, include_in_schema=False)(endpoint)
        return router.post(path, response_class=Response, responses=_SOUND)(endpoint)

    return register


@_both("/inference_zero_shot")
async def inference_zero_shot(
    request: Request,
    caller: Asking,
    wishes: Wished,
    tts_text: Text,
    prompt_wav: Recording,
    prompt_text: Prose = "",
) -> Response:
    """Speak in the voice of a recording whose words are given; without them as cross-lingual."""
    transcript, manner = read_prompt_text(prompt_text)
    voice = await _reference(service_of(request), prompt_wav, transcript)
    return await _speak(request, caller, tts_text, voice, manner, wishes)


@_both("/inference_cross_lingual")
async def inference_cross_lingual(
    request: Request,
    caller: Asking,
    wishes: Wished,
    tts_text: Text,
    prompt_wav: Recording,
) -> Response:
    """Speak in the voice of a recording, whatever is said in it."""
    voice = await _reference(service_of(request), prompt_wav)
    return await _speak(request, caller, tts_text, voice, "", wishes)


@_both("/inference_sft")
async def inference_sft(
    request: Request,
    caller: Asking,
    wishes: Wished,
    tts_text: Text,
    spk_id: Prose,
) -> Response:
    """Speak in a kept voice."""
    voice = await _kept(service_of(request), spk_id, caller)
    return await _speak(request, caller, tts_text, voice, "", wishes)


@_both("/inference_instruct")
async def inference_instruct(
    request: Request,
    caller: Asking,
    wishes: Wished,
    tts_text: Text,
    spk_id: Prose,
    instruct_text: Prose,
) -> Response:
    """Speak in a kept voice, in the manner told."""
    voice, manner = await _kept(service_of(request), spk_id, caller), read_instruct(instruct_text)
    return await _speak(request, caller, tts_text, voice, manner, wishes)


@_both("/inference_instruct2")
async def inference_instruct2(
    request: Request,
    caller: Asking,
    wishes: Wished,
    tts_text: Text,
    instruct_text: Prose,
    prompt_wav: Recording,
) -> Response:
    """Speak in the voice of a recording, in the manner told."""
    voice, manner = await _reference(service_of(request), prompt_wav), read_instruct(instruct_text)
    return await _speak(request, caller, tts_text, voice, manner, wishes)


async def _reference(service: Service, upload: UploadFile, transcript: str = "") -> InlineReference:
    """A recording sent along; TooLarge, UnreadableAudio."""
    most = service.references.max_bytes
    recording = await upload.read(most + 1)
    if len(recording) > most:
        raise TooLarge("the recording is too large", allowed=f"{most} bytes")
    if not recording:
        raise UnreadableAudio("the recording is empty", cure="send an audio file as prompt_wav")
    return InlineReference(recording, transcript or None)


async def _kept(service: Service, name: str, caller: Caller) -> Voice:
    """A kept voice; UnknownVoice."""
    try:
        return await service.voice(name.strip(), caller)
    except UnknownVoice:
        if name.strip() not in OFFICIAL_SPEAKERS:
            raise
    return await service.voice(service.settings.default_voice, caller)


async def _speak(
    request: Request,
    caller: Caller,
    tts_text: str,
    voice: Voice | InlineReference,
    manner: str,
    wishes: Wishes,
) -> Response:
    service = service_of(request)
    spoken = read_text(tts_text)
    call = SpeakCall(
        spoken.text,
        voice,
        model=service.models.substitute(FAMILY, strict=wishes.strict or wishes.strict_in_address),
        style=" ".join(filter(None, (manner, spoken.manner))) or None,
        is_style_strict=False,
        language=spoken.language,
        seed=wishes.seed,
    )
    utterance = await while_connected(request, service.speak(call, caller))
    headers = {"X-Sample-Rate": str(wishes.sample_rate)}
    stream = _samples(utterance, wishes.sample_rate)
    return SpeechResponse(utterance, stream, "application/octet-stream", headers)


async def _samples(utterance: Utterance, sample_rate: int) -> AsyncIterator[bytes]:
    """The sound at one rate as 16-bit little-endian numbers, chunk by chunk."""
    resampler = Resampler(utterance.facts.sample_rate, sample_rate)
    async with aclosing(utterance.chunks()) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            if data := to_truncated(resampler.push(chunk.samples)):
                yield data
    yield to_truncated(resampler.push(np.zeros(0, np.float32), last=True))


def to_truncated(samples: Samples) -> bytes:
    """(samples,) float32 -> 16 bits cut off towards zero, as the original does, but limited."""
    data: bytes = np.clip(samples * 32768.0, -32768, 32767).astype("<i2").tobytes()
    return data
