"""Spectral features in torch: mel and linear spectrograms, energy per frame.

Everything is batched, differentiable and runs on the device of the samples; windows and filter
banks are built once per (config, device, dtype). A config says exactly what a model family was
trained on and travels with its checkpoint. Knows nothing of files or models; rates are the
caller's business (see `resample` and `sinc`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from kouji.errors import ConfigError, UsageError

DB_FLOOR = -100.0  # silence in dB; below any recording, finite for statistics


@dataclass(frozen=True, kw_only=True)
class SpectrogramConfig:
    """A short-time Fourier transform and how its magnitude is taken.

    padding: "frame"  reflect (n_fft - hop)/2 on both sides: frames = samples // hop, frame t is
                      centred at (t + 0.5) * hop
             "center" reflect n_fft/2 on both sides: frame t is centred at t * hop
             "none"   only whole windows
    power:   1 gives sqrt(re² + im² + magnitude_epsilon), 2 gives re² + im²
    """

    sample_rate: int
    n_fft: int
    hop_length: int
    win_length: int
    power: int = 1
    magnitude_epsilon: float = 1e-9
    padding: Literal["frame", "center", "none"] = "frame"
    drop_last_frame: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.hop_length <= self.win_length <= self.n_fft:
            raise ConfigError(
                "a spectrogram needs hop_length <= win_length <= n_fft",
                seen=(self.hop_length, self.win_length, self.n_fft),
                allowed="positive and in this order",
            )
        if self.power not in (1, 2):
            raise ConfigError("unknown spectrogram power", seen=self.power, allowed="1 or 2")
        if self.padding not in ("frame", "center", "none"):
            raise ConfigError(
                "unknown padding", seen=self.padding, allowed='"frame", "center", "none"'
            )

    @property
    def pad_samples(self) -> int:
        """Samples mirrored at each end."""
        sides = {"frame": (self.n_fft - self.hop_length) // 2, "center": self.n_fft // 2, "none": 0}
        return sides[self.padding]

    def count_frames(self, num_samples: int) -> int:
        """Frames that `num_samples` samples give."""
        windows = (num_samples + 2 * self.pad_samples - self.n_fft) // self.hop_length + 1
        return max(0, windows - self.drop_last_frame)


@dataclass(frozen=True, kw_only=True)
class MelConfig(SpectrogramConfig):
    """A mel spectrogram; the result is (log(max(mel, floor)) + shift) / scale.

    fmax None means half the sample rate; log None leaves mel magnitudes as they are;
    dynamic_range (in log units) lifts everything more than this below the item's maximum.
    """

    num_mels: int
    fmin: float = 0.0
    fmax: float | None = None
    mel_scale: Literal["slaney", "htk"] = "slaney"
    norm: Literal["slaney"] | None = "slaney"
    log: Literal["ln", "log10"] | None = "ln"
    floor: float = 1e-5
    dynamic_range: float | None = None
    shift: float = 0.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.fmin < self.top_hz <= self.sample_rate / 2:
            raise ConfigError(
                "mel band edges do not fit the sample rate",
                seen=(self.fmin, self.top_hz),
                allowed=f"0 <= fmin < fmax <= {self.sample_rate / 2:g}",
            )
        if self.mel_scale not in ("slaney", "htk") or self.norm not in ("slaney", None):
            raise ConfigError(
                "unknown mel scale or norm",
                seen=(self.mel_scale, self.norm),
                allowed='"slaney" or "htk"; norm "slaney" or None',
            )
        if self.log not in ("ln", "log10", None) or self.floor <= 0:
            raise ConfigError(
                "unknown logarithm or floor",
                seen=(self.log, self.floor),
                allowed='"ln", "log10" or None; floor > 0',
            )

    @property
    def top_hz(self) -> float:
        """Upper edge of the highest band."""
        return self.sample_rate / 2 if self.fmax is None else self.fmax


# 80 bands, 50 frames/s: CosyVoice 3's definition, and what `mini` hears references by.
MINI_MEL = MelConfig(
    sample_rate=24000, n_fft=1920, hop_length=480, win_length=1920, num_mels=80, fmax=12000.0
)
COSYVOICE3_MEL = MINI_MEL
# What `mini` makes sound of: windows of 40 ms, 100 frames/s. A window of 80 ms cannot say when
# within it something began (docs/experiments.md).
MINI_FINE_MEL = MelConfig(
    sample_rate=24000, n_fft=960, hop_length=240, win_length=960, num_mels=80, fmax=12000.0
)
COSYVOICE2_MEL = MelConfig(
    sample_rate=24000, n_fft=1920, hop_length=480, win_length=1920, num_mels=80, fmax=8000.0
)
# Whisper's log-mel with 128 bands, input of the CosyVoice speech tokenizer; not padded to 30 s.
WHISPER_MEL = MelConfig(
    sample_rate=16000,
    n_fft=400,
    hop_length=160,
    win_length=400,
    num_mels=128,
    power=2,
    padding="center",
    drop_last_frame=True,
    log="log10",
    floor=1e-10,
    dynamic_range=8.0,
    shift=4.0,
    scale=4.0,
)
GPT_SOVITS_SPECTROGRAM = SpectrogramConfig(
    sample_rate=32000, n_fft=2048, hop_length=640, win_length=2048, magnitude_epsilon=1e-8
)
GPT_SOVITS_MEL = MelConfig(
    sample_rate=32000,
    n_fft=2048,
    hop_length=640,
    win_length=2048,
    num_mels=128,
    magnitude_epsilon=1e-8,
)
# (x + 12) / 14 * 2 - 1 written as one shift and scale.
GPT_SOVITS_V3_MEL = MelConfig(
    sample_rate=24000,
    n_fft=1024,
    hop_length=256,
    win_length=1024,
    num_mels=100,
    magnitude_epsilon=1e-8,
    shift=5.0,
    scale=7.0,
)
GPT_SOVITS_V4_MEL = MelConfig(
    sample_rate=32000,
    n_fft=1280,
    hop_length=320,
    win_length=1280,
    num_mels=100,
    magnitude_epsilon=1e-8,
    shift=5.0,
    scale=7.0,
)


def mel_spectrogram(samples: Tensor, config: MelConfig) -> Tensor:
    """Mel spectrogram of waveforms at `config.sample_rate`.

    samples: (batch, samples) float in [-1, 1]; half precisions are computed in float32
    returns: (batch, mels, frames), frames = config.count_frames(samples)
    """
    return mel_from_spectrogram(linear_spectrogram(samples, config), config)


def mel_from_spectrogram(spectrogram: Tensor, config: MelConfig) -> Tensor:
    """Apply the filter bank and logarithm of `config` to (batch, bins, frames)."""
    bank = mel_filterbank(config, spectrogram.device, spectrogram.dtype)
    mel = torch.matmul(bank, spectrogram)
    if config.log is None:
        return mel
    mel = mel.clamp(min=config.floor)
    mel = mel.log() if config.log == "ln" else mel.log10()
    if config.dynamic_range is not None and mel.shape[-1] > 0:
        top = mel.amax(dim=(1, 2), keepdim=True)
        mel = torch.maximum(mel, top - config.dynamic_range)
    if config.shift == 0.0 and config.scale == 1.0:
        return mel
    return (mel + config.shift) / config.scale


def linear_spectrogram(samples: Tensor, config: SpectrogramConfig) -> Tensor:
    """Magnitude (power 1) or power (2) spectrogram.

    samples: (batch, samples) float
    returns: (batch, n_fft // 2 + 1, frames)
    """
    samples = as_batch(samples)
    num_frames = config.count_frames(samples.shape[1])
    if num_frames == 0:
        return samples.new_zeros(samples.shape[0], config.n_fft // 2 + 1, 0)
    spectrum = torch.stft(
        _pad(samples, config.pad_samples),
        config.n_fft,
        config.hop_length,
        config.win_length,
        window=_hann(config.win_length, samples.device, samples.dtype),
        center=False,
        return_complex=True,
    )[..., :num_frames]
    power = spectrum.real.square() + spectrum.imag.square()
    return power if config.power == 2 else (power + config.magnitude_epsilon).sqrt()


def energy(samples: Tensor, config: SpectrogramConfig) -> Tensor:
    """Loudness of each frame in dB relative to a full-scale constant, Hann-weighted.

    samples: (batch, samples); returns (batch, frames) on the frames of `config`, >= DB_FLOOR.
    A full-scale sine gives -3 dB.
    """
    samples = as_batch(samples)
    num_frames = config.count_frames(samples.shape[1])
    if num_frames == 0:
        return samples.new_zeros(samples.shape[0], 0)
    weight = _hann(config.win_length, samples.device, samples.dtype)
    left = (config.n_fft - config.win_length) // 2
    kernel = torch.nn.functional.pad(weight / weight.sum(), (left, 0))
    power = torch.nn.functional.conv1d(
        _pad(samples, config.pad_samples).square()[:, None],
        kernel[None, None],
        stride=config.hop_length,
    )[:, 0, :num_frames]
    return 10.0 * power.clamp(min=10.0 ** (DB_FLOOR / 10.0)).log10()


def mel_energy(log_mel: Tensor, config: MelConfig) -> Tensor:
    """Energy of each frame of a log-mel in dB: root of the summed squared band magnitudes.

    log_mel: (batch, mels, frames) as `mel_spectrogram` gives for `config` (log "ln" or "log10")
    returns: (batch, frames)
    """
    if config.log is None:
        raise UsageError("energy needs a logarithmic mel", seen=None, allowed='log "ln" or "log10"')
    natural = log_mel * config.scale - config.shift
    natural = natural * math.log(10.0) if config.log == "log10" else natural
    magnitudes_squared = natural * (2.0 / config.power)
    return torch.logsumexp(magnitudes_squared, dim=1) * (10.0 / math.log(10.0))


@lru_cache(maxsize=64)
def mel_filterbank(config: MelConfig, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Triangular mel filters (mels, n_fft // 2 + 1); scale "slaney" (Auditory Toolbox) or "htk"."""
    with torch.inference_mode(False):  # cached tensors must be usable by autograd later
        bins = torch.linspace(0, config.sample_rate / 2, config.n_fft // 2 + 1, dtype=torch.float64)
        low, high = (_hz_to_mel(hz, config.mel_scale) for hz in (config.fmin, config.top_hz))
        points = torch.linspace(low, high, config.num_mels + 2, dtype=torch.float64)
        edges = _mel_to_hz(points, config.mel_scale)
        bank = triangles(bins, edges)
        if config.norm == "slaney":  # unit area per band
            bank = bank * (2.0 / (edges[2:] - edges[:-2]))[:, None]
        return bank.to(device=device, dtype=dtype)


def triangles(bins: Tensor, edges: Tensor) -> Tensor:
    """Filters (bands, bins) rising from edges[i] to edges[i+1] and falling to edges[i+2]."""
    rising = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0.0)


# Slaney's mel: linear to 1000 Hz (3 mel per 200 Hz), then 27 steps per factor 6.4.
_BREAK_HZ, _BREAK_MEL, _LOG_STEP = 1000.0, 15.0, math.log(6.4) / 27.0


def _hz_to_mel(hz: float, scale: str) -> float:
    if scale == "htk":
        return 2595.0 * math.log10(1.0 + hz / 700.0)
    if hz < _BREAK_HZ:
        return hz * 3.0 / 200.0
    return _BREAK_MEL + math.log(hz / _BREAK_HZ) / _LOG_STEP


def _mel_to_hz(mel: Tensor, scale: str) -> Tensor:
    if scale == "htk":
        return 700.0 * (torch.pow(10.0, mel / 2595.0) - 1.0)
    above = _BREAK_HZ * torch.exp(_LOG_STEP * (mel - _BREAK_MEL))
    return torch.where(mel < _BREAK_MEL, mel * 200.0 / 3.0, above)


@lru_cache(maxsize=32)
def _hann(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        # Made in float32 whatever the samples are: the trained front ends did so, and a last-bit
        # difference shows (7e-4 against 9e-4) in bands that are empty but for rounding.
        return torch.hann_window(size, periodic=True, dtype=torch.float32).to(device, dtype)


def as_batch(samples: Tensor) -> Tensor:
    """Check (batch, samples) and lift half precisions and integers to float32."""
    if samples.dim() != 2:
        raise UsageError(
            "features need a batch of waveforms",
            seen=tuple(samples.shape),
            allowed="(batch, samples)",
            cure="add a batch axis with samples[None]",
        )
    return samples if samples.dtype == torch.float64 else samples.float()


def _pad(samples: Tensor, pad: int) -> Tensor:
    """Mirror `pad` samples at both ends; clips too short to mirror are padded with zeros."""
    mode = "reflect" if samples.shape[1] > pad else "constant"
    return torch.nn.functional.pad(samples, (pad, pad), mode=mode)
