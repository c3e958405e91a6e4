"""Clicks where streamed chunks meet: found when there, not found when not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from kouji.evaluate.borders import border_bends, measure_borders
from kouji.types import Audio

RATE = 24_000


def _hum(seconds: float = 1.0, seed: int = 0) -> NDArray[np.float64]:
    """A buzz with some breath."""
    rng = np.random.default_rng(seed)
    times = np.arange(round(seconds * RATE)) / RATE
    buzz = sum(np.sin(2 * np.pi * 140 * k * times + k * k) / k for k in range(1, 20))
    return np.asarray(0.1 * buzz + 0.003 * rng.standard_normal(len(times)))


def _cut(samples: NDArray[np.float64], places: list[int]) -> list[NDArray[np.float64]]:
    return np.split(samples, places)


def test_smooth_borders_stay_below_their_surroundings() -> None:
    bends = border_bends(_cut(_hum(), [3000, 7777, 12345, 20001]), RATE)
    assert len(bends) == 4
    assert max(bends) < 0


@pytest.mark.parametrize("step", [0.05, -0.05])
def test_a_step_at_one_border_is_a_click(step: float) -> None:
    pieces = _cut(_hum(), [3000, 7777, 12345])
    pieces[2] = pieces[2] + step
    pieces[3] = pieces[3] + step
    bends = border_bends(pieces, RATE)
    assert bends[1] > 3
    assert max(bends[0], bends[2]) < 0


def test_a_lost_or_doubled_sample_bends_more_than_none() -> None:
    smooth = np.sin(2 * np.pi * 400 * np.arange(RATE) / RATE)
    whole = border_bends(_cut(smooth, [6010]), RATE)
    lost = border_bends([smooth[:6010], smooth[6013:]], RATE)
    assert whole[0] < 1 < 6 < lost[0]


def test_silence_has_no_clicks_and_a_pulse_in_it_is_one() -> None:
    quiet = np.zeros(4800)
    assert border_bends([quiet, quiet], RATE)[0] < -60
    loud = quiet.copy()
    loud[0] = 0.1
    assert border_bends([quiet, loud], RATE)[0] > 40


def test_the_ends_of_a_stream_are_no_borders() -> None:
    assert border_bends([_hum()], RATE) == []
    assert border_bends([], RATE) == []
    tiny = [np.ones(1), np.ones(2), np.zeros(0), np.ones(3)]
    assert all(np.isfinite(border_bends(tiny, RATE)))


class _Streaming:
    """Streams a hum in chunks; the voice says how large the step between them is."""

    sample_rate = RATE

    def enroll(self, reference: Any) -> Any:
        raise NotImplementedError

    def speak(self, text: str, voice: Any, *, style: Any = None, seed: int = 0) -> Any:
        raise NotImplementedError

    def stream(
        self, text: str, voice: float, *, style: Any = None, seed: int = 0
    ) -> Iterator[Audio]:
        for number, piece in enumerate(_cut(_hum(), [5000, 10_000, 15_000])):
            yield Audio((piece + number * voice).astype(np.float32), RATE)


def test_all_texts_are_streamed_and_the_worst_border_counts() -> None:
    smooth = measure_borders(_Streaming(), [("a", 0.0), ("b", 0.0)])
    rough = measure_borders(_Streaming(), [("a", 0.0), ("b", 0.1)])
    assert smooth is not None
    assert rough is not None
    assert smooth.count == rough.count == 6
    assert smooth.sharpest_db < 0 < 6 < rough.sharpest_db
    assert measure_borders(_Streaming(), []) is None
