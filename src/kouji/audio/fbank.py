"""Kaldi's filter bank features in torch, as speaker encoders were trained on them.

Batched, differentiable, on the device of the samples; filters and windows are built once per
(config, device, dtype). Knows nothing of files or models.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from kouji.audio.features import as_batch, triangles


@dataclass(frozen=True, kw_only=True)
class FbankConfig:
    """Kaldi's filter bank features (compute-fbank-feats) with dither 0 and no energy column.

    subtract_mean removes each band's mean over time, as speaker encoders want it;
    waveform_scale 32768 gives Kaldi's own integer scale, 1 is what CAM++ and ERes2NetV2 use.
    """

    sample_rate: int = 16000
    num_mels: int = 80
    frame_length: int = 400  # 25 ms
    hop_length: int = 160  # 10 ms
    fmin: float = 20.0
    fmax: float | None = None
    preemphasis: float = 0.97
    snip_edges: bool = True
    subtract_mean: bool = False
    waveform_scale: float = 1.0

    @property
    def n_fft(self) -> int:
        """Frame length rounded up to a power of two."""
        return 1 << (self.frame_length - 1).bit_length()


CAMPPLUS_FBANK = FbankConfig(subtract_mean=True)
ERES2NET_FBANK = FbankConfig()


def kaldi_fbank(samples: Tensor, config: FbankConfig = ERES2NET_FBANK) -> Tensor:
    """Log mel filter bank energies the way Kaldi computes them.

    Per frame: remove DC, pre-emphasis, povey window (Hann^0.85), power spectrum, mel, natural log
    floored at float32's epsilon.
    samples: (batch, samples) at config.sample_rate, in [-1, 1]
    returns: (batch, frames, mels); frames = 1 + (samples - 400) // 160 with snip_edges
    """
    frames = _kaldi_frames(as_batch(samples) * config.waveform_scale, config)
    if frames.shape[1] == 0:
        return frames.new_zeros(frames.shape[0], 0, config.num_mels)
    frames = frames - frames.mean(dim=2, keepdim=True)
    previous = torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
    frames = frames - config.preemphasis * previous
    frames = frames * _povey(config.frame_length, frames.device, frames.dtype)
    spectrum = torch.fft.rfft(frames, n=config.n_fft)[..., :-1]  # Kaldi leaves out Nyquist
    power = spectrum.real.square() + spectrum.imag.square()
    bank = kaldi_filterbank(config, frames.device, frames.dtype)
    fbank = torch.matmul(power, bank.T).clamp(min=torch.finfo(torch.float32).eps).log()
    return fbank - fbank.mean(dim=1, keepdim=True) if config.subtract_mean else fbank


def _kaldi_frames(samples: Tensor, config: FbankConfig) -> Tensor:
    """Cut (batch, samples) into (batch, frames, frame_length), mirrored if not snip_edges."""
    size, hop = config.frame_length, config.hop_length
    num_samples = samples.shape[1]
    if config.snip_edges:
        if num_samples < size:
            return samples.new_zeros(samples.shape[0], 0, size)
        return samples.unfold(1, size, hop)
    num_frames = (num_samples + hop // 2) // hop
    first = hop // 2 - size // 2
    index = first + torch.arange(num_frames, device=samples.device)[:, None] * hop
    index = index + torch.arange(size, device=samples.device)[None]
    index = index % max(1, 2 * num_samples)  # mirror with the edge repeated, as Kaldi does
    index = torch.where(index >= num_samples, 2 * num_samples - 1 - index, index)
    return samples[:, index]


@lru_cache(maxsize=16)
def kaldi_filterbank(config: FbankConfig, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Kaldi's filters (mels, n_fft // 2): triangles that are straight in mel, not in hertz."""
    top = config.sample_rate / 2 if config.fmax is None else config.fmax
    with torch.inference_mode(False):
        # Steps rounded to float32 as the trained front ends had them: float64 gives filters 1.4e-5
        # away. The logarithm by way of float64: float32's own is not the same on every CPU.
        hz = torch.arange(config.n_fft // 2) * (config.sample_rate / config.n_fft)
        bins = 1127.0 * (1.0 + hz / 700.0).double().log().float()
        low, high = (1127.0 * math.log(1.0 + edge / 700.0) for edge in (config.fmin, top))
        step = (high - low) / (config.num_mels + 1)
        edges = low + torch.arange(config.num_mels + 2, dtype=torch.float32) * step
        return triangles(bins, edges).to(device=device, dtype=dtype)


@lru_cache(maxsize=8)
def _povey(size: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    with torch.inference_mode(False):
        window = torch.hann_window(size, periodic=False, dtype=torch.float64).pow(0.85)
        return window.to(device=device, dtype=dtype)
