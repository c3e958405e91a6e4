"""Toy speakers for jobs: the real product around toy networks, voices from a store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from kouji.config import Settings
from kouji.errors import UnknownVoice
from kouji.jobs.centre import JobCentre
from kouji.voices import Voice, VoiceStore
from kouji.voices.sample import sample_voice

if TYPE_CHECKING:
    from kouji.api import TTS


@dataclass
class ToySpeakers:
    """One model; the packaged voice, and those kept in the home."""

    tts: Any
    settings: Settings
    asked: list[str] = field(default_factory=list)

    def check(self, voice: str, model: str, owner: str) -> None:
        if voice != "sample" and voice not in VoiceStore(self.settings.home):
            raise UnknownVoice("no such voice", seen=voice)

    def open(self, voice: str, model: str, owner: str) -> tuple[TTS, Voice]:
        self.asked.append(voice)
        if voice == "sample":
            return self.tts, sample_voice()
        return self.tts, VoiceStore(self.settings.home).get(voice)


@pytest.fixture
def speakers(tiny_tts: TTS) -> Iterator[ToySpeakers]:
    with tiny_tts:
        yield ToySpeakers(tiny_tts, tiny_tts._settings)


@pytest.fixture
def centre(speakers: ToySpeakers) -> Iterator[JobCentre]:
    with JobCentre(speakers.settings, speakers) as centre:
        yield centre
