"""GPT-SoVITS' dialect, as its `api_v2` speaks it: `/tts`, `/set_*`, and a closed `/control`.

References and weights are named, never uploaded: kept voices, or files in the caller's own
folders. What `/set_*` changes is changed for that key alone. docs/api.md tells where it differs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from kouji.audio.encode import Encoder
from kouji.errors import AccessError, EngineError, KoujiError, ModelError, UsageError
from kouji.serve.access import caller_of, service_of, speaks
from kouji.serve.caller import Caller
from kouji.serve.choices import Choice, Choices
from kouji.serve.leaving import SpeechResponse, while_connected
from kouji.serve.models import Chosen
from kouji.serve.named_voices import NamedVoices
from kouji.serve.problems import public_message
from kouji.serve.routes.gpt_sovits_body import MEDIA_FORMATS, TtsBody
from kouji.serve.service import Service, SpeakCall
from kouji.serve.shapes import GptSovitsError, described
from kouji.serve.utterance import Utterance
from kouji.voices import Voice
from kouji.voices.voice import WeightsFile

FAMILY = "gpt-sovits"
# What the text modes of GPT-SoVITS mean to a family that has languages only.
_LANGUAGES = {"auto": None, "zh": "zh", "all_zh": "zh", "en": "en"}

# Clients that send JSON without saying so are many.
router = APIRouter(
    tags=["gpt-sovits"], responses=described(GptSovitsError), strict_content_type=False
)
Asking = Annotated[Caller, Depends(caller_of)]
Name = Annotated[str, Query(max_length=1000)]
_SOUND: dict[int | str, dict[str, Any]] = {
    200: {"content": {f"audio/{name}": {} for name in MEDIA_FORMATS}, "description": "The sound"}
}


class Done(BaseModel):
    """It was done."""

    message: str = "success"


@router.get("/tts", response_class=Response, responses=_SOUND)
@speaks
async def tts_get(request: Request, body: Annotated[TtsBody, Query()], caller: Asking) -> Response:
    """Speak; the fields stand in the address."""
    return await _tts(request, body, caller)


@router.post("/tts", response_class=Response, responses=_SOUND)
@speaks
async def tts_post(
    request: Request, body: TtsBody, caller: Asking, strict: Annotated[bool, Query()] = False
) -> Response:
    """Speak; the fields stand in a JSON object, `strict` may stand in the address."""
    body.strict = body.strict or strict
    return await _tts(request, body, caller)


@router.get("/set_gpt_weights")
async def set_gpt_weights(request: Request, caller: Asking, weights_path: Name = "") -> Response:
    """Let this key's later requests be decoded with other weights."""
    return await _set_weights(request, caller, weights_path, "gpt", "t2s")


@router.get("/set_sovits_weights")
async def set_sovits_weights(request: Request, caller: Asking, weights_path: Name = "") -> Response:
    """Let this key's later requests be rendered with other weights."""
    return await _set_weights(request, caller, weights_path, "sovits", "sovits")


@router.get("/set_refer_audio", response_model=Done)
async def set_refer_audio(
    request: Request, caller: Asking, refer_audio_path: Name = ""
) -> Response:
    """Name the reference of this key's later requests that name none."""
    service = service_of(request)
    caller.require("speak")
    try:
        if not refer_audio_path:
            raise UsageError("refer_audio_path is required")
        await service.in_thread(NamedVoices(service, caller).get, refer_audio_path)
    except KoujiError as error:
        return _failed("set refer audio failed", error)
    _choices(request).change(caller, refer=refer_audio_path)
    return JSONResponse(Done().model_dump())


@router.get("/control", status_code=403, response_class=JSONResponse)
@router.post("/control", status_code=403, response_class=JSONResponse)
async def control() -> Response:
    """Nobody restarts or ends this server over HTTP, whatever the command."""
    return JSONResponse({"message": "this server is not controlled over HTTP"}, 403)


# --- speaking


async def _tts(request: Request, body: TtsBody, caller: Caller) -> Response:
    service = service_of(request)
    caller.require("speak")
    chosen = service.models.substitute(FAMILY, strict=body.strict)
    choice = _choices(request).get(caller)
    try:
        return await while_connected(request, _answer(service, body, caller, chosen, choice))
    except ModelError as error:  # weights that do not go together, or are not there any more
        return _failed("tts failed", error)


async def _answer(
    service: Service, body: TtsBody, caller: Caller, chosen: Chosen, choice: Choice
) -> Response:
    """The sound, whole or as it is made."""
    service.gate.check(caller.id)
    service.check_text(body.text)
    voice, language = await service.in_thread(_prepare, service, body, caller, chosen, choice)
    utterance = await service.speak(_call(body, chosen, voice, language), caller)
    format, media_type = MEDIA_FORMATS[body.media_type], f"audio/{body.media_type}"
    headers = {"X-Sample-Rate": str(utterance.facts.sample_rate)}
    if not body.streaming:
        content = await utterance.file(format)
        headers = {**utterance.facts.headers(), **headers}
        return Response(content, media_type=media_type, headers=headers)
    parts = _plain_wav(utterance) if format == "wav" else utterance.encoded(format)
    return SpeechResponse(utterance, parts, media_type, headers)


def _prepare(
    service: Service, body: TtsBody, caller: Caller, chosen: Chosen, choice: Choice
) -> tuple[Voice, str | None]:
    """The voice with all that was chosen for it, and the language; runs in a thread."""
    if chosen.is_substitute:
        body.check(tuple(_LANGUAGES), chosen.name, has_default=bool(choice.refer))
    else:
        body.check(*_languages(chosen, choice), has_default=bool(choice.refer))
    voices = NamedVoices(service, caller)
    voice = voices.get(
        body.ref_audio_path or choice.refer or "",
        transcript=body.prompt_text.strip() or None,
        language=body.prompt_lang,
    )
    others = tuple(voices.get(path).reference for path in body.aux_ref_audio_paths if path)
    if others:
        voice = replace(voice, others=others)
    if not chosen.is_substitute:
        for file in filter(None, (choice.t2s, choice.sovits)):
            voices.weights(file.path)  # their voice may have been revoked since they were set
        voice = replace(voice, weights=choice.weights_for(voice, FAMILY))
    return voice, _LANGUAGES[body.text_lang] if chosen.is_substitute else body.text_lang


def _languages(chosen: Chosen, choice: Choice) -> tuple[tuple[str, ...], str]:
    """The languages the chosen weights speak, and their version."""
    from kouji.models.gpt_sovits.family import GptSovitsFamily

    family = chosen.tts.family
    assert isinstance(family, GptSovitsFamily)
    return family.languages(choice.t2s), family.version


def _call(body: TtsBody, chosen: Chosen, voice: Voice, language: str | None) -> SpeakCall:
    from kouji.speaking import SamplingWishes, SpeakOptions

    wishes = SamplingWishes(body.temperature, body.top_k, body.top_p, body.repetition_penalty)
    return SpeakCall(
        body.text,
        voice,
        model=chosen,
        speed=body.speed_factor,
        seed=body.chosen_seed(),
        language=language,
        # Mode 1 asks for whole segments because those of GPT-SoVITS sound best; where chunks joined
        # are the whole, its listener need not wait for them.
        in_chunks=body.streaming > (0 if chosen.is_substitute else 1),
        options=SpeakOptions(sampling=wishes, text=body.text_options()),
        warnings=body.warnings(is_substitute=chosen.is_substitute),
    )


async def _plain_wav(utterance: Utterance) -> AsyncIterator[bytes]:
    """A header of exactly 44 bytes with an open length, then samples.

    Clients of this dialect cut 44 bytes off, so the labels are in the answer's header alone.
    """
    encoder = Encoder("wav", utterance.facts.sample_rate)
    async with aclosing(utterance.chunks()) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            yield encoder.write(chunk.samples)
    yield encoder.close()


# --- what a key chooses


async def _set_weights(
    request: Request, caller: Caller, given: str, title: str, part: str
) -> Response:
    service = service_of(request)
    caller.require("speak")
    if not given:
        return JSONResponse({"message": f"{title} weight path is required"}, 400)
    try:
        if service.models.substitute(FAMILY, strict=False).is_substitute:
            raise ModelError("no gpt-sovits model is loaded here")
        file = await service.in_thread(_checked_weights, service, caller, given, part)
    except KoujiError as error:
        return _failed(f"change {title} weight failed", error)
    _choices(request).change(caller, **{part: file})
    return JSONResponse(Done().model_dump())


def _checked_weights(service: Service, caller: Caller, given: str, part: str) -> WeightsFile:
    """A file the caller may use, after every tensor in it was found to be right."""
    from kouji.models.gpt_sovits.containers import read_checkpoint
    from kouji.models.gpt_sovits.weights import sovits_config, t2s_config
    from kouji.voices.enroll import weights_file

    path = NamedVoices(service, caller).weights(given)
    checkpoint = read_checkpoint(path, part)
    (t2s_config if part == "t2s" else sovits_config)(checkpoint)
    return weights_file(path)


def _failed(what: str, error: KoujiError) -> Response:
    """The original's 400; what is wrong with the caller or the server keeps its own status."""
    if isinstance(error, AccessError | EngineError):
        raise error
    return JSONResponse({"message": what, "Exception": public_message(error)}, 400)


def _choices(request: Request) -> Choices:
    """Those of this server."""
    state = request.app.state
    if not hasattr(state, "choices"):
        state.choices = Choices()
    choices: Choices = state.choices
    return choices
