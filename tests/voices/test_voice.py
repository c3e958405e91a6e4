"""Voices: names become safe ids, references keep their samples exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kouji.errors import VoiceError
from kouji.types import Audio
from kouji.voices.voice import Voice, from_grid, guess_language, to_grid, voice_id


@dataclass(frozen=True)
class FakeReport:
    snr_db: float
    best: tuple[float, float]


@pytest.mark.parametrize(
    ("name", "expected"),
    [("alice", "alice"), ("Alice", "alice"), ("a_b-3", "a_b-3"), ("x" * 64, "x" * 64)],
)
def test_plain_names_are_their_own_id(name: str, expected: str) -> None:
    assert voice_id(name) == expected


def test_other_names_get_a_slug_and_a_hash() -> None:
    assert voice_id("My Voice").startswith("my-voice-")
    assert voice_id("小明").startswith("voice-")
    assert voice_id("小明") != voice_id("小红")
    assert voice_id("My Voice") == voice_id("my voice")


@given(st.text(min_size=1, max_size=50))
def test_no_name_leaves_the_folder(name: str) -> None:
    try:
        made = voice_id(name)
    except VoiceError:
        return
    assert made
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")


@pytest.mark.parametrize("name", ["", "  ", "...", "a\nb", "a\x00b", "x" * 101, "🎤"])
def test_unusable_names_are_refused(name: str) -> None:
    with pytest.raises(VoiceError, match="voice name"):
        voice_id(name)


@given(st.lists(st.integers(-32768, 32767), max_size=50))
def test_the_grid_is_exact(numbers: list[int]) -> None:
    grid = np.array(numbers, dtype=np.int16)
    assert np.array_equal(to_grid(from_grid(grid)), grid)


def test_loud_samples_are_clipped_not_wrapped() -> None:
    assert to_grid(np.array([2.0, -2.0], dtype=np.float32)).tolist() == [32767, -32768]


def test_the_hash_is_of_the_samples_alone(tone: Audio) -> None:
    first = Voice.from_reference(tone, name="a", transcript="你好")
    second = Voice.from_reference(tone, name="b")
    louder = Voice.from_reference(Audio(tone.samples * np.float32(1.1), 24_000), name="a")
    assert first.content_hash == second.content_hash != louder.content_hash
    assert (first.language, second.language) == ("zh", None)


def test_reports_become_plain_values(tone: Audio) -> None:
    voice = Voice.from_reference(tone, report=FakeReport(float("inf"), (0.0, np.float32(1.5))))
    assert voice.report == {"snr_db": None, "best": [0.0, 1.5]}


def test_a_wrong_rate_is_refused(tone: Audio) -> None:
    with pytest.raises(VoiceError, match="16000 Hz"):
        Voice.from_reference(Audio(tone.samples, 16_000))


@pytest.mark.parametrize(("text", "language"), [("", None), ("123", None), ("hi 你", "zh")])
def test_language_is_guessed(text: str, language: str | None) -> None:
    assert guess_language(text) == language
