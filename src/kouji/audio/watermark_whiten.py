"""What the watermark's finder makes of a sound before it looks for the mark.

Each time-frequency bin is weighted by (level the mark would have) / (power of what hides it), the
matched filter: the gaps between harmonics, where the mark is strong against the speech, count
most. Knows speech and steady noise; not what the mark looks like.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from kouji.types import Samples

FINDER_RATE = 16_000
_FRAME, _HOP = 1024, 256  # 64 ms resolves harmonics from about 60 Hz
_SPEECH_FLOOR = 0.02  # of the smooth spectrum: below it codecs leave holes that say nothing
_STEADY_FLOOR = 0.5  # of the background: weighing noise by its own chance dips costs a decibel


def whiten(samples: Samples) -> NDArray[np.float64]:
    """(samples,) at FINDER_RATE, every bin weighted.

    The mark's level is the smooth spectrum less a steady background, which carries no mark.
    """
    padded = np.pad(samples, _FRAME)
    num_frames = (len(padded) - _FRAME) // _HOP + 1
    window = np.hanning(_FRAME + 1)[:-1].astype(np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    spectrum = np.fft.rfft(frames * window, axis=1)
    power = spectrum.real**2 + spectrum.imag**2
    smooth = np.maximum(_mean_around(power, 200), 1e-12 * float(power.max()) + 1e-30)
    inner = slice(_FRAME // _HOP, -(_FRAME // _HOP))
    background = np.percentile(smooth[inner], 10, axis=0) if num_frames > 12 else 0.0
    level = np.sqrt(np.maximum(smooth - background, 1e-4 * smooth))
    # One bin's power is a poor estimate of what to expect there; with its neighbours a better one.
    hiding = _mean_around(power, FINDER_RATE / _FRAME)
    weighted = spectrum * level / (hiding + _SPEECH_FLOOR * smooth + _STEADY_FLOOR * background)
    return _overlapped(np.fft.irfft(weighted, n=_FRAME, axis=1) * window, len(samples))


def _overlapped(pieces: NDArray[np.float64], num_samples: int) -> NDArray[np.float64]:
    """Add the frames up where they belong and cut the padding off."""
    sound = np.zeros((len(pieces) - 1) * _HOP + 2 * _FRAME)
    for i in range(_FRAME // _HOP):
        column = pieces[:, i * _HOP : (i + 1) * _HOP].reshape(-1)
        sound[i * _HOP : i * _HOP + len(column)] += column
    return sound[_FRAME : _FRAME + num_samples]


def _mean_around(power: ArrayLike, hertz: float) -> NDArray[np.float64]:
    """Mean over `hertz` to both sides of every bin."""
    reach = round(hertz * _FRAME / FINDER_RATE)
    edges = ((0, 0), (reach + 1, reach))
    sums = np.cumsum(np.pad(np.asarray(power), edges), axis=1, dtype=np.float64)
    width = 2 * reach + 1
    mean: NDArray[np.float64] = (sums[:, width:] - sums[:, :-width]) / width
    return np.maximum(mean, 0.0)  # sums of large and small powers may round below it
