"""What a caller asks for when a text shall be spoken: the text, the voice, and options.

Plain records, checked where they are used; the sound itself is `kouji.speaking`'s.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from kouji.models.family import TextOptions
from kouji.models.stages import SamplingOptions
from kouji.text.style import Style
from kouji.types import Audio
from kouji.voices import Voice


@dataclass(frozen=True)
class SamplingWishes:
    """How tokens are drawn, see `SamplingOptions`; None leaves a figure to the family."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    repetition_penalty: float | None = None

    def over(self, base: SamplingOptions) -> SamplingOptions:
        """`base` with what was wished."""
        wished = {name: value for name, value in vars(self).items() if value is not None}
        return replace(base, **wished)


@dataclass(frozen=True)
class SpeakOptions:
    """What a caller may ask besides text, voice and style.

    sampling:         how tokens are drawn, by families that have tokens
    guard:            watch for loops, omissions and silence and decode anew; None leaves it to
                      the operator
    client:           who is asking, such as the id of a key; the engine is fair between clients,
                      and the audit line names them
    deadline_seconds: the request fails when it is not done by then
    is_background:    nobody waits for it: whatever somebody waits for goes first
    is_exact:         the same bits each time, whatever else is spoken meanwhile; slower
    text:             how it is cut into segments, by families that offer a choice
    disclosure:       an audible notice that this is AI: none, start or end; None leaves it to the
                      operator, whose setting is the least there is
    notice:           spoken or morse, likewise
    part:             whole, or the first, middle or last of several requests joined to one work;
                      for the program that joins them, not for a client to choose
    """

    sampling: SamplingWishes = field(default_factory=SamplingWishes)
    guard: bool | None = None
    client: str = ""
    deadline_seconds: float | None = None
    is_background: bool = False
    is_exact: bool = False
    text: TextOptions = field(default_factory=TextOptions)
    disclosure: str | None = None
    notice: str | None = None
    part: str = "whole"


@dataclass(frozen=True)
class SpeechRequest:
    """One text to speak among many; see `TTS.speak`."""

    text: str
    voice: Voice
    style: str | Style | None = None
    seed: int = 0
    language: str | None = None
    produce_id: int | None = None
    options: SpeakOptions = field(default_factory=SpeakOptions)


def mark_id(request: SpeechRequest) -> int:
    """32 bits that name a request in watermark, label and audit line; they reveal no text."""
    if request.produce_id is not None:
        return request.produce_id
    content = repr((request.text, request.voice.content_hash, request.style, request.seed))
    return int.from_bytes(hashlib.sha256(content.encode()).digest()[:4], "big")


def conversion_id(source: Audio, voice: Voice, seed: int, speed: float) -> int:
    """As `mark_id`, where a recording is said again: a request without a text."""
    facts = (source.sample_rate, voice.content_hash, seed, speed)
    digest = hashlib.sha256(repr(facts).encode())
    digest.update(source.samples.tobytes())
    return int.from_bytes(digest.digest()[:4], "big")
