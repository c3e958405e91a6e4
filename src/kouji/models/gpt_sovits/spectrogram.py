"""Spectrograms and mels as GPT-SoVITS models hear them, from reference audio and for training.

Adds to `kouji.audio.features` what is this family's own: the way to 32 kHz, the rule about
peaks, and exactness. Transforms run in float64: in bands that are empty but for rounding, two
float32 FFT libraries differ by more than the published numbers' tolerance.
"""

from __future__ import annotations

import torch
from torch import Tensor

from kouji.audio.features import (
    GPT_SOVITS_MEL,
    GPT_SOVITS_SPECTROGRAM,
    GPT_SOVITS_V3_MEL,
    GPT_SOVITS_V4_MEL,
    MelConfig,
    linear_spectrogram,
    mel_from_spectrogram,
    mel_spectrogram,
)
from kouji.audio.resample import resample
from kouji.audio.sinc import sinc_resample
from kouji.types import Audio

SAMPLE_RATE = GPT_SOVITS_SPECTROGRAM.sample_rate
HOP_SAMPLES = GPT_SOVITS_SPECTROGRAM.hop_length  # 640 samples = 20 ms
LARGEST_DIVISOR = 2.0  # a peak of 3 leaves 1.5: the official rule stops dividing at 2
HUBERT_RATE = 16000


def reference_samples(audio: Audio) -> Tensor:
    """A recording as the style encoder's spectrogram is taken from: 32 kHz, peaks tamed.

    audio:   mono at its native rate
    returns: (1, samples) float32
    """
    samples = torch.from_numpy(audio.samples).float()[None]
    return tame_peak(sinc_resample(samples, audio.sample_rate, SAMPLE_RATE))


def tame_peak(samples: Tensor) -> Tensor:
    """Divide samples beyond full scale by their peak, by 2 at most (as the models were given)."""
    peak = float(samples.abs().max()) if samples.numel() else 0.0
    return samples / min(LARGEST_DIVISOR, peak) if peak > 1.0 else samples


def hubert_samples(audio: Audio) -> Tensor:
    """A recording as HuBERT hears it: 16 kHz by soxr, raw, of librosa's length.

    audio:   mono at its native rate
    returns: (1, ceil(samples * 16000 / rate)) float32
    """
    wanted = -(-len(audio.samples) * HUBERT_RATE // audio.sample_rate)
    samples = torch.from_numpy(resample(audio, HUBERT_RATE).samples)[None]
    return torch.nn.functional.pad(samples, (0, wanted - samples.shape[1]))  # or cut


def speaker_samples(samples: Tensor) -> Tensor:
    """The speaker encoder's 16 kHz from `reference_samples`: (1, samples) -> (1, samples)."""
    return sinc_resample(samples, SAMPLE_RATE, HUBERT_RATE)


def linear(samples: Tensor) -> Tensor:
    """Linear magnitudes: (batch, samples) at 32 kHz -> (batch, 1025, samples // 640) float32."""
    return linear_spectrogram(samples.double(), GPT_SOVITS_SPECTROGRAM).float()


def training_mel(spectrogram: Tensor) -> Tensor:
    """The log-mel target of training: (batch, 1025, frames) of `linear` -> (batch, 128, frames)."""
    return mel_from_spectrogram(spectrogram, GPT_SOVITS_MEL)


def training_mel_of(samples: Tensor) -> Tensor:
    """The same from samples, differentiable and in their own precision (float32 or float64).

    samples: (batch, samples) at 32 kHz; returns (batch, 128, samples // 640)
    """
    return mel_spectrogram(samples, GPT_SOVITS_MEL)


def mel_v3(samples: Tensor) -> Tensor:
    """v3's mel in [-1, 1]: (batch, samples) at 24 kHz -> (batch, 100, samples // 256)."""
    return _exact_mel(samples, GPT_SOVITS_V3_MEL)


def mel_v4(samples: Tensor) -> Tensor:
    """v4's mel in [-1, 1]: (batch, samples) at 32 kHz -> (batch, 100, samples // 320)."""
    return _exact_mel(samples, GPT_SOVITS_V4_MEL)


def undo_normalisation(mel: Tensor, config: MelConfig = GPT_SOVITS_V4_MEL) -> Tensor:
    """From [-1, 1] back to the natural logarithm that v3's and v4's vocoders take."""
    return mel * config.scale - config.shift


def _exact_mel(samples: Tensor, config: MelConfig) -> Tensor:
    return mel_spectrogram(samples.double(), config).float()
