"""Slices: bounds, order, and that no speech is lost."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from kouji.audio import slice as slicing
from kouji.audio.slice import SliceConfig, cut_at_pauses, slice_recording, split_long_spans
from kouji.errors import ConfigError
from kouji.types import Audio


def assert_good_slices(audio: Audio, spans, slices, config: SliceConfig) -> None:
    """Every promise of the module for one recording."""
    for one in slices:
        assert 0 <= one.start < one.end <= audio.duration + 1e-9
        assert one.end - one.start <= config.max_seconds + 1e-6
        first, last = round(one.start * audio.sample_rate), round(one.end * audio.sample_rate)
        assert np.array_equal(one.audio.samples, audio.samples[first:last])
        assert one.audio.sample_rate == audio.sample_rate
    for before, after in pairwise(slices):
        assert before.end <= after.start + 1e-9
    room = config.max_seconds - 2 * config.padding
    for start, end in spans:
        pieces = [
            (max(start, one.start), min(end, one.end))
            for one in slices
            if one.start < end and one.end > start
        ]
        assert sum(b - a for a, b in pieces) == pytest.approx(end - start, abs=1e-6)
        assert len(pieces) == 1 or end - start > room


@pytest.mark.parametrize("seed", range(20))
def test_random_spans_lose_nothing(seed: int, monkeypatch) -> None:
    generator = np.random.default_rng(seed)
    spans, now = [], 0.0
    while now < 120:
        now += generator.exponential(generator.choice([0.15, 0.6, 5.0])) + 0.06
        length = generator.exponential(generator.choice([0.5, 3.0, 15.0])) + 0.1
        spans.append((now, now + length))
        now += length
    rate = 1000
    samples = generator.standard_normal(round((now + 0.5) * rate)).astype(np.float32)
    audio = Audio(samples, rate)
    monkeypatch.setattr(slicing, "speech_spans", lambda audio: spans)
    config = SliceConfig()
    slices = slice_recording(audio, config)
    assert_good_slices(audio, spans, slices, config)
    assert len(slices) > 5
    # A short slice is one whose speech no neighbour could take in.
    for index, one in enumerate(slices):
        if one.end - one.start >= config.min_seconds - 1e-6:
            continue
        speech = [span for span in spans if span[0] < one.end and span[1] > one.start]
        before, after = slices[index - 1 : index], slices[index + 1 : index + 2]
        for neighbour in before + after:
            joined = max(speech[-1][1], neighbour.end) - min(speech[0][0], neighbour.start)
            assert joined > config.max_seconds - 2 * config.padding - 0.5


def test_pauses_decide(make_speech, monkeypatch) -> None:
    spans = [(0.5, 3.0), (3.2, 5.0), (5.6, 9.0), (9.35, 12.0)]
    monkeypatch.setattr(slicing, "speech_spans", lambda audio: spans)
    slices = slice_recording(make_speech(13.0))
    assert [(round(one.start, 2), round(one.end, 2)) for one in slices] == [
        (0.4, 5.1),
        (5.5, 9.1),
        (9.25, 12.1),
    ]


def test_long_speech_is_cut_where_it_is_quietest() -> None:
    rate = 8000
    samples = 0.3 * np.random.default_rng(0).standard_normal(20 * rate).astype(np.float32)
    samples[int(8.4 * rate) : int(8.5 * rate)] *= 0.01
    pieces = split_long_spans(Audio(samples, rate), [(0.0, 20.0)], 11.8)
    assert len(pieces) == 2
    assert pieces[0][1] == pieces[1][0]
    assert 8.38 < pieces[0][1] < 8.52


def test_with_the_real_vad(make_speech) -> None:
    audio = make_speech(16.0, 16000, pauses=((0, 1), (5, 6), (9, 9.2), (15, 16)))
    config = SliceConfig()
    spans = slicing.speech_spans(audio)
    assert spans
    assert_good_slices(audio, spans, slice_recording(audio, config), config)


def test_nothing_in_nothing_out() -> None:
    assert slice_recording(Audio(np.zeros(0, np.float32), 24000)) == []
    assert slice_recording(Audio(np.zeros(240000, np.float32), 24000)) == []


def test_contradicting_limits_are_named() -> None:
    with pytest.raises(ConfigError, match="contradict"):
        SliceConfig(min_seconds=8, max_seconds=12)


def test_real_recording(shared_dir: Path) -> None:
    import soundfile

    samples, rate = soundfile.read(shared_dir / "audio/cross_lingual_prompt.wav", dtype="float32")
    audio, config = Audio(np.tile(samples, 3), rate), SliceConfig()
    slices = slice_recording(audio, config)
    assert_good_slices(audio, slicing.speech_spans(audio), slices, config)
    assert all(one.end - one.start >= 2.0 - 1e-6 for one in slices)


def test_pieces_touch_and_are_cut_in_the_longest_pause(make_speech, monkeypatch) -> None:
    audio = make_speech(25.0)
    spans = [(0.0, 6.0), (6.3, 8.0), (9.0, 15.0), (16.0, 17.0), (17.2, 25.0)]
    monkeypatch.setattr(slicing, "speech_spans", lambda audio: spans)
    pieces = cut_at_pauses(audio, 10.0, 0.04)
    assert np.array_equal(np.concatenate([piece.samples for piece in pieces]), audio.samples)
    edges = np.cumsum([piece.duration for piece in pieces])
    assert edges[:-1] == pytest.approx([8.5, 15.5], abs=0.04)
    assert edges[:-1] / 0.04 == pytest.approx(np.round(edges[:-1] / 0.04), abs=1e-6)


@pytest.mark.parametrize("seconds", [10.001, 12.4, 20.0, 31.7])
def test_pieces_of_speech_without_a_pause(make_speech, seconds: float) -> None:
    audio = make_speech(seconds)
    pieces = cut_at_pauses(audio, 10.0)
    assert sum(len(piece.samples) for piece in pieces) == len(audio.samples)
    assert all(2.49 <= piece.duration <= 10.0 for piece in pieces)


def test_silence_is_cut_too() -> None:
    silence = Audio(np.zeros(400_000, np.float32), 8000)
    assert [len(piece.samples) for piece in cut_at_pauses(silence, 60.0)] == [400_000]
    assert max(len(piece.samples) for piece in cut_at_pauses(silence, 20.0)) <= 160_000
