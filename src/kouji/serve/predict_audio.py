"""The recording in a `/api/predict` list, in every form that pages and their clients send."""

from __future__ import annotations

import re
from typing import Any

from kouji.errors import UsageError
from kouji.serve.caller import Caller
from kouji.serve.named_voices import NamedVoices
from kouji.serve.references import InlineReference
from kouji.serve.service import Service
from kouji.voices import Voice

_SHORTEST_BASE64 = 200  # a recording of a second has thousands of characters, a name has few
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/=\s]+", re.ASCII)


async def read_audio(service: Service, value: Any, caller: Caller) -> Voice | InlineReference:
    """The voice a list asks for.

    value:  null for the default voice; a data URL, base64, an allowed address, the name of a kept
            voice, a path in the caller's folder; or an object with `data`, `url`, `path` or `name`
    raises: UsageError, UnknownVoice, TooLarge, NotAllowed, UnreadableAudio
    """
    if value is None or value == "" or value == {}:
        return await service.voice(service.settings.default_voice, caller)
    if isinstance(value, dict):
        value = _of_object(value)
    if not isinstance(value, str):
        raise UsageError(
            "data[1] is no recording",
            seen=type(value).__name__,
            allowed="null, a data URL, base64, or an object with data, url or path",
        )
    text = value.strip()
    if text[:5].lower() == "data:" or _ADDRESS.match(text):
        return InlineReference(await service.references.read(text))
    if len(text) > _SHORTEST_BASE64:
        if not _BASE64.fullmatch(text):
            raise UsageError("data[1] is neither base64 nor a data URL")
        joined = "".join(text.split())
        return InlineReference(await service.references.read(f"data:audio/wav;base64,{joined}"))
    voices = NamedVoices(service, caller)
    voice: Voice = await service.in_thread(voices.get, text)
    return voice


def _of_object(value: dict[Any, Any]) -> Any:
    """The recording in a file object of Gradio, of any version."""
    for key in ("data", "url", "path", "name"):
        if isinstance(value.get(key), str) and value[key]:
            return value[key]
    raise UsageError(
        "data[1] holds no recording", seen="an object", allowed="one of data, url, path"
    )
