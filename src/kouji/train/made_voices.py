"""More voices than the corpus has: the same recordings by smaller and larger speakers.

Speed changes pitch and formants together (Ko et al. 2015, "Audio augmentation for speech
recognition"). Formants alone are moved by giving every spectrum the smoothed envelope of a
longer or shorter vocal tract while its harmonics stay. Knows samples, no speakers and no model.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kouji.audio.griffin_lim import overlap_add
from kouji.errors import ConfigError
from kouji.train.augment import rows_at

_WINDOW, _HOP = 1024, 256
_HARMONICS_HZ = 240.0
_QUEFRENCY_SECONDS = 0.002  # slower ripples of the log spectrum are formants, faster ones pitch
_MOST_GAIN = np.float32(np.log(4.0))  # 12 dB: where there was nothing, nothing is made
_LIMITS = (0.7, 1.4)


@dataclass(frozen=True)
class MadeVoice:
    """How a voice is changed: played `speed` times as fast, then formants moved by a factor."""

    speed: float = 1.0
    formants: float = 1.0

    @property
    def has_full_band(self) -> bool:
        """Whether recordings up to half their sampling rate still are such."""
        return self.speed >= 1


def made_voices(values: Any, where: str) -> tuple[MadeVoice, ...]:
    """Read a list of [speed, formants]; ConfigError for any other value."""
    pairs = [tuple(pair) for pair in values] if _is_list_of_pairs(values) else None
    if pairs is None or not all(_is_factor(x) for pair in pairs for x in pair):
        raise ConfigError(
            f"{where} is wrong",
            seen=values,
            allowed=f"a list of [speed, formants], each {_LIMITS[0]} to {_LIMITS[1]}",
        )
    return tuple(MadeVoice(float(speed), float(formants)) for speed, formants in pairs)


def change_voice(
    samples: NDArray[np.float32], sample_rate: int, voice: MadeVoice
) -> NDArray[np.float32]:
    """Let another speaker say it.

    samples: (samples,)
    returns: (about samples / voice.speed,)
    """
    import soxr

    if voice.speed != 1:
        samples = soxr.resample(samples, sample_rate * voice.speed, sample_rate, quality="HQ")
    if voice.formants != 1 and len(samples):
        samples = _move_formants(samples, sample_rate, voice.formants)
    return np.ascontiguousarray(samples, np.float32)


def _move_formants(
    samples: NDArray[np.float32], sample_rate: int, factor: float
) -> NDArray[np.float32]:
    """Each window's spectrum times the ratio of its moved envelope to its own."""
    count = len(samples)
    window = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)
    padded = np.pad(samples, (_WINDOW, _WINDOW + -count % _HOP))
    rows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP] * window
    spectra = np.fft.rfft(rows)
    envelopes = _envelopes(np.abs(spectra), sample_rate)
    bins = np.arange(envelopes.shape[1])
    moved = rows_at(envelopes.T, np.minimum(bins / factor, bins[-1])).T
    gains = np.exp(np.clip(moved - envelopes, -_MOST_GAIN, _MOST_GAIN))
    changed = np.fft.irfft(spectra * gains, _WINDOW).astype(np.float32) * window
    weights = np.broadcast_to(window**2, changed.shape)
    out, weight = (_overlap_add(rows)[_WINDOW : _WINDOW + count] for rows in (changed, weights))
    return out / weight


def _overlap_add(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sum (windows, _WINDOW) where they stood: (samples,)."""
    frames = torch.from_numpy(np.array(rows.T))[None]
    return overlap_add(frames, _HOP)[0].numpy()


def _envelopes(magnitudes: NDArray[Any], sample_rate: int) -> NDArray[Any]:
    """Natural logs of magnitudes (windows, bins), smooth over bins.

    Power is averaged over some harmonics first: a mean of logarithms would be ruled by the
    valleys between them, and flat where they are deepest. Cutting the cepstrum smooths the rest.
    """
    reach = round(_HARMONICS_HZ / 2 / sample_rate * _WINDOW)
    power = np.pad(magnitudes**2, ((0, 0), (reach + 1, reach)), mode="edge")
    sums = np.cumsum(power, axis=1, dtype=np.float64)  # quiet bands follow loud ones
    means = (sums[:, 2 * reach + 1 :] - sums[:, : -2 * reach - 1]) / (2 * reach + 1)
    cepstra = np.fft.irfft(0.5 * np.log(np.maximum(means, 1e-10)))
    kept = round(_QUEFRENCY_SECONDS * sample_rate)
    cepstra[:, kept:-kept] = 0
    return np.asarray(np.fft.rfft(cepstra).real, np.float32)


def _is_list_of_pairs(values: Any) -> bool:
    return isinstance(values, list | tuple) and all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in values
    )


def _is_factor(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and _LIMITS[0] <= value <= _LIMITS[1]
