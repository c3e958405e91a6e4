"""What the networks that hear are given: samples at their rates, and three spectral features.

The numbers are those of the official front end (CosyVoice, FunAudioLLM): nothing is trimmed, no
loudness changed, and what is shorter than 30 s is not padded. Knows no networks and no files.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from kouji.audio.fbank import CAMPPLUS_FBANK, kaldi_fbank
from kouji.audio.features import (
    COSYVOICE2_MEL,
    COSYVOICE3_MEL,
    WHISPER_MEL,
    MelConfig,
    mel_spectrogram,
)
from kouji.audio.sinc import sinc_resample
from kouji.errors import ModelError
from kouji.models.cosyvoice.config import SAMPLE_RATE
from kouji.types import Audio

HEARING_RATE = 16_000  # Hz, of the speech tokenizer and of CAM++
TOKENIZER_MELS = WHISPER_MEL.num_mels
_FLOW_MELS = {config.top_hz: config for config in (COSYVOICE3_MEL, COSYVOICE2_MEL)}


def samples_at(audio: Audio, sample_rate: int) -> Tensor:
    """(1, samples) float32 of a recording, resampled by torchaudio's default windowed sinc."""
    samples = torch.from_numpy(np.ascontiguousarray(audio.samples, np.float32))[None]
    return sinc_resample(samples, audio.sample_rate, sample_rate)


def flow_mel_config(fmax_hz: float) -> MelConfig:
    """The flow's mel: 80 bands up to 12 kHz in version 3, up to 8 kHz in version 2.

    raises: ModelError for another upper edge
    """
    if fmax_hz not in _FLOW_MELS:
        allowed = " or ".join(f"{edge:g}" for edge in _FLOW_MELS)
        raise ModelError("unknown mel of the flow", seen=f"{fmax_hz:g} Hz", allowed=f"{allowed} Hz")
    return _FLOW_MELS[fmax_hz]


def flow_mel(samples: Tensor, fmax_hz: float) -> Tensor:
    """Natural log-mel at 50 Hz, as the flow gives and takes it.

    samples: (1, samples) float32 at 24 kHz
    returns: (samples // 480, 80) float32
    """
    config = flow_mel_config(fmax_hz)
    assert config.sample_rate == SAMPLE_RATE
    return mel_spectrogram(samples, config)[0].T.contiguous()


def tokenizer_mel(samples: Tensor) -> Tensor:
    """Whisper's log-mel with 128 bands, not padded to 30 s.

    samples: (1, samples) float32 at 16 kHz
    returns: (1, 128, samples // 160) float32
    """
    return mel_spectrogram(samples, WHISPER_MEL)


def speaker_fbank(samples: Tensor) -> Tensor:
    """Kaldi's filter banks of a waveform in [-1, 1], each band less its mean.

    samples: (1, samples) float32 at 16 kHz
    returns: (1, 1 + (samples - 400) // 160, 80) float32
    """
    return kaldi_fbank(samples, CAMPPLUS_FBANK)
