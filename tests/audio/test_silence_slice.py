"""Cuts at silences against the official slicer, and what any cut must keep."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kouji.audio import silence_slice
from kouji.audio.silence_slice import SilenceSliceConfig, slice_at_silence
from kouji.errors import ConfigError
from kouji.types import Audio

RATE = 32000
NAMES = {
    "threshold": "threshold_db",
    "min_length": "min_length_ms",
    "min_interval": "min_interval_ms",
    "hop_size": "hop_ms",
    "max_sil_kept": "max_silence_kept_ms",
}


def tone_with_silences(seconds: float, silences: list[list[float]]) -> Audio:
    """The goldens' signal: 200 Hz, nearly silent in the given stretches."""
    count = np.arange(round(seconds * RATE))
    samples = (0.3 * np.sin(2 * np.pi * 200 * count / RATE)).astype(np.float32)
    for start, end in silences:
        samples[(count / RATE >= start) & (count / RATE < end)] *= np.float32(0.0005)
    return Audio(samples, RATE)


def test_official_cuts(goldens_dir: Path) -> None:
    facts: dict[str, Any] = json.loads((goldens_dir / "pipeline.json").read_text())["slicer"]
    seconds = re.search(r"([\d.]+) s at 32 kHz", facts["signal"])
    assert seconds is not None, facts["signal"]
    audio = tone_with_silences(float(seconds[1]), facts["silent_intervals"])
    for case in facts["cases"]:
        config = SilenceSliceConfig(**{NAMES[key]: case["params"][key] for key in NAMES})
        pieces = slice_at_silence(audio, config)
        ours = [[piece.start, piece.end, len(piece.samples)] for piece in pieces]
        assert ours == case["chunks"]


def test_blocks_do_not_change_cuts(monkeypatch: pytest.MonkeyPatch) -> None:
    audio = tone_with_silences(14.0, [[5.0, 5.8], [10.0, 11.5]])
    whole = [(piece.start, piece.end) for piece in slice_at_silence(audio)]
    monkeypatch.setattr(silence_slice, "_BLOCK_HOPS", 7)
    assert [(piece.start, piece.end) for piece in slice_at_silence(audio)] == whole
    assert len(whole) == 3


def test_pieces_are_in_order_and_their_samples_untouched() -> None:
    audio = tone_with_silences(20.0, [[0.0, 1.2], [6.0, 6.4], [11.0, 13.0], [19.0, 20.0]])
    end = 0
    for piece in slice_at_silence(audio):
        assert piece.start >= end
        assert np.array_equal(piece.samples, audio.samples[piece.start : piece.end])
        end = piece.end
    assert end <= 20 * RATE  # trailing silence fell away


def test_without_a_long_silence_the_recording_stays_whole() -> None:
    audio = tone_with_silences(8.0, [[4.5, 4.7]])
    (piece,) = slice_at_silence(audio)
    assert (piece.start, piece.end) == (0, len(audio.samples))
    (piece,) = slice_at_silence(Audio(np.zeros(0, np.float32), RATE))
    assert piece.end == 0


def test_silence_alone_leaves_nothing_but_its_lead() -> None:
    pieces = slice_at_silence(Audio(np.zeros(10 * RATE, np.float32), RATE))
    assert all(not piece.samples.any() for piece in pieces)


@pytest.mark.parametrize(
    "change",
    [
        {"min_length_ms": 200.0},
        {"min_interval_ms": 5.0},
        {"hop_ms": 0.0},
        {"max_silence_kept_ms": 5.0},
    ],
)
def test_impossible_configs_are_named(change: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="slicer"):
        SilenceSliceConfig(**change)
