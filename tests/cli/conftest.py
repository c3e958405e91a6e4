"""A synthesiser without a model, behind the real interface of `kouji.api`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile

from kouji.errors import TextError
from kouji.speaking import SpeakOptions
from kouji.types import Audio, SegmentReport, Speech, Timing
from kouji.voices import Consent, Voice

RATE = 24_000
CHARACTER_SAMPLES = 600  # 25 ms of tone for each character: enough to tell texts apart


@dataclass(frozen=True)
class FakeChunk:
    """What `stream` yields."""

    samples: np.ndarray
    words: tuple[Timing, ...] = ()
    phones: tuple[Timing, ...] = ()
    segment_index: int = 0
    segment: SegmentReport | None = None
    warnings: tuple[str, ...] = ()


@dataclass
class FakeTTS:
    """Speaks each character as a short tone of its own pitch; remembers what it was asked."""

    sample_rate: int = RATE
    identity: str = "fake"
    calls: list[dict[str, Any]] = field(default_factory=list)
    watermarks: list[bool] = field(default_factory=list)
    produce_ids: list[int | None] = field(default_factory=list)
    options_seen: list[SpeakOptions | None] = field(default_factory=list)
    fail_after: int | None = None

    def enroll(
        self,
        source: Any,
        *,
        transcript: str | None = None,
        name: str = "unnamed",
        consent: Consent | None = None,
    ) -> Voice:
        samples, rate = soundfile.read(source, dtype="float32")
        assert samples.ndim == 1
        positions = np.arange(0, len(samples), rate / RATE).astype(int)
        reference = Audio(samples[positions], RATE)
        return Voice.from_reference(reference, name=name, transcript=transcript, consent=consent)

    def stream(
        self,
        text: str,
        voice: Voice,
        *,
        style: Any = None,
        seed: int = 0,
        language: str | None = None,
        watermark: bool = True,
        produce_id: int | None = None,
        options: SpeakOptions | None = None,
        in_chunks: bool = True,
    ) -> Iterator[FakeChunk]:
        self.calls.append({"text": text, "style": style, "seed": seed, "language": language})
        self.watermarks.append(watermark)
        self.produce_ids.append(produce_id)
        self.options_seen.append(options)
        if self.fail_after is not None and len(self.calls) > self.fail_after:
            raise KeyboardInterrupt
        if not any(char.isalnum() for char in text):
            raise TextError("nothing in it has a sound", seen=text)
        words = text.split()
        now = 0
        for index, word in enumerate(words):
            samples = tone_of(word, seed)
            timing = Timing(word, now / RATE, (now + len(samples)) / RATE)
            now += len(samples)
            is_last = index == len(words) - 1
            report = SegmentReport(text, 0.0, now / RATE) if is_last else None
            warnings = ("a fake warning",) if index == 0 and "warn" in text else ()
            yield FakeChunk(samples, (timing,), (), 0, report, warnings)

    def speak(self, text: str, voice: Voice, **options: Any) -> Speech:
        chunks = list(self.stream(text, voice, **options))
        samples = np.concatenate([chunk.samples for chunk in chunks])
        words = tuple(word for chunk in chunks for word in chunk.words)
        return Speech(Audio(samples, RATE), words)


def tone_of(text: str, seed: int) -> np.ndarray:
    """A tone whose pitch walks through the characters of the text."""
    steps = np.repeat([(ord(char) * 7 + seed) % 400 + 100 for char in text], CHARACTER_SAMPLES)
    return (0.3 * np.sin(2 * np.pi * np.cumsum(steps) / RATE)).astype(np.float32)


@pytest.fixture
def fake_tts(monkeypatch: pytest.MonkeyPatch) -> FakeTTS:
    """`kouji.api` replaced by a module whose `load` gives one FakeTTS."""
    tts, api = FakeTTS(), ModuleType("kouji.api")

    def load(name: str = "mini", **options: Any) -> FakeTTS:
        tts.calls.append({"load": name, **options})
        return tts

    api.load = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "kouji.api", api)
    return tts


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A recording to imitate: six seconds of something."""
    path = tmp_path / "reference.wav"
    times = np.arange(6 * RATE) / RATE
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * 180 * times), RATE)
    return path
