"""What a classifier hears: log-mel spectrograms relative to the loudest point of each window.

Batched torch on the device of the samples, always float32, also inside a model that was cast to
half precision. Its tables are buffers, so that a trace or an export takes them along.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kouji.audio.features import mel_filterbank
from kouji.errors import UsageError
from kouji.models.classifier.config import ClassifierConfig

_NEPERS_PER_10_DB = math.log(10.0)  # the mel holds powers
RANGE = 8 * _NEPERS_PER_10_DB  # 80 dB below the loudest point nothing is heard
# A window without any sound is not stretched over the whole range: its loudest point counts as
# 40 dB above the floor at least.
_QUIET = 4 * _NEPERS_PER_10_DB


class LogMel(nn.Module):
    """Samples to log-mel.

    The result lies in [-2, 2]: 2 is the loudest point of the window, -2 is 80 dB below it or less.
    So the volume of a recording does not matter, and padding with zeros looks like silence.
    """

    window: Tensor
    bank: Tensor

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.mel = config.mel
        self._fill(torch.device("cpu"))

    def _fill(self, device: torch.device) -> None:
        window = torch.hann_window(self.mel.win_length, periodic=True, dtype=torch.float32)
        bank = mel_filterbank(self.mel, torch.device("cpu"), torch.float32)
        self.register_buffer("window", window.to(device), persistent=False)
        self.register_buffer("bank", bank.to(device), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Follow the model to its device, but never to half precision."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._fill(self.window.device)
        return self

    def forward(self, samples: Tensor) -> Tensor:
        """Hear windows of sound.

        samples: (batch, samples) float at `config.sample_rate`
        returns: (batch, 1, mels, frames) float32, frames = samples // hop_length + 1
        """
        if samples.dim() != 2 or samples.shape[1] <= self.mel.pad_samples:
            raise UsageError(
                "a classifier hears a batch of windows",
                seen=tuple(samples.shape),
                allowed=f"(batch, samples), more than {self.mel.pad_samples} samples",
            )
        mel = self._log_mel(samples.float())
        floor = math.log(self.mel.floor)
        loudest = mel.amax(dim=(1, 2), keepdim=True).clamp(min=floor + _QUIET)
        unit = (mel - loudest).clamp(min=-RANGE) / (RANGE / 4) + 2.0
        return unit[:, None]

    def _log_mel(self, samples: Tensor) -> Tensor:
        pad = self.mel.pad_samples
        padded = nn.functional.pad(samples[:, None], (pad, pad), mode="reflect")[:, 0]
        spectrum = torch.stft(
            padded,
            self.mel.n_fft,
            self.mel.hop_length,
            self.mel.win_length,
            window=self.window,
            center=False,
            return_complex=True,
        )
        parts = torch.view_as_real(spectrum)
        power = parts.square().sum(dim=-1)  # (batch, bins, frames)
        return torch.matmul(self.bank, power).clamp(min=self.mel.floor).log()
