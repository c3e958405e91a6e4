"""Windows: nothing left out, the stream's equal the whole's, silence told from sound."""

from __future__ import annotations

import numpy as np
import pytest

from kouji.errors import UsageError
from kouji.models.classifier.windows import Window, WindowMaker, cut
from kouji.types import Samples


def made(sound: Samples, window: int, hop: int, piece: int) -> list[Window]:
    maker = WindowMaker(window, hop, sample_rate=1000)
    windows: list[Window] = []
    for start in range(0, len(sound), piece):
        windows += maker.push(sound[start : start + piece])
    return [*windows, *maker.close()]


@pytest.mark.parametrize("num_samples", [0, 1, 99, 100, 101, 149, 150, 151, 200, 1003])
@pytest.mark.parametrize("hop", [1, 50, 33, 100])
@pytest.mark.parametrize("piece", [1, 7, 100, 5000])
def test_pieces_give_the_windows_of_the_whole(num_samples: int, hop: int, piece: int) -> None:
    sound = np.random.default_rng(0).standard_normal(num_samples).astype(np.float32)
    windows = made(sound, 100, hop, piece)
    assert [(w.start, w.end) for w in windows] == cut(num_samples, 100, hop)
    for window in windows:
        held = sound[window.start : window.end]
        assert window.samples.shape == (100,)
        np.testing.assert_array_equal(window.samples[: len(held)], held)
        assert not window.samples[len(held) :].any()


@pytest.mark.parametrize("num_samples", [1, 100, 101, 333, 1000])
@pytest.mark.parametrize("hop", [7, 50, 100])
def test_no_sample_is_left_unheard(num_samples: int, hop: int) -> None:
    spans = cut(num_samples, 100, hop)
    heard = np.zeros(num_samples, bool)
    for start, end in spans:
        heard[start:end] = True
    assert heard.all()
    assert spans[-1][1] == num_samples
    assert len(set(spans)) == len(spans)


@pytest.mark.parametrize("hop", [0, -1, 101])
def test_a_hop_that_leaves_sound_out_is_refused(hop: int) -> None:
    with pytest.raises(UsageError, match="hop"):
        cut(1000, 100, hop)
    with pytest.raises(UsageError, match="hop"):
        WindowMaker(100, hop, 1000)


def test_a_window_is_given_as_soon_as_it_is_complete() -> None:
    maker = WindowMaker(100, 50, 1000)
    sizes = [len(list(maker.push(np.ones(size, np.float32)))) for size in (99, 1, 49, 1, 100)]
    assert sizes == [0, 1, 0, 1, 2]
    assert list(maker.close()) == []


def test_a_long_stream_holds_one_window_and_what_is_new() -> None:
    maker = WindowMaker(100, 50, 1000)
    for _ in range(200):
        list(maker.push(np.ones(70, np.float32)))
        assert sum(len(piece) for piece in maker._pieces) <= 100 + 70 + 50


def test_silence_does_not_count_as_sounding() -> None:
    sound = np.zeros(300, np.float32)
    sound[100:150] = 0.1
    sound[200:] = 1e-5  # the noise of 16 bits
    [window] = made(sound, 300, 300, 64)
    assert window.num_sounding == 50
    [short] = made(np.full(95, 0.1, np.float32), 300, 300, 10)
    assert short.num_sounding == 100  # to a frame of 10 samples
