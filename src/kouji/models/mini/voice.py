"""Reference audio to the conditioning of `mini`: one speaker embedding."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.audio.features import MINI_MEL, mel_spectrogram
from kouji.models.mini.config import MEL_MEAN, MEL_STD, SAMPLE_RATE
from kouji.models.mini.model import AcousticModel
from kouji.types import Audio

_MIN_SAMPLES = SAMPLE_RATE // 5  # reflection padding needs some frames


@torch.inference_mode()
def embed_reference(acoustic: AcousticModel, reference: Audio) -> Tensor:
    """Embed a cleaned reference.

    acoustic:  in float32: an embedding is computed once and must not depend on precision
    reference: 24 kHz, at the loudness of training (-23 LUFS)
    returns:   (channels,) float32
    """
    assert reference.sample_rate == SAMPLE_RATE
    samples = np.pad(reference.samples, (0, max(0, _MIN_SAMPLES - len(reference.samples))))
    device = acoustic.leave.weight.device
    mel = mel_spectrogram(torch.from_numpy(samples)[None].to(device), MINI_MEL)
    mel = (mel.transpose(1, 2) - MEL_MEAN) / MEL_STD
    embedding: Tensor = acoustic.speaker_encoder(mel, torch.ones_like(mel[..., :1]))[0]
    return embedding


def pack_conditioning(embedding: Tensor) -> dict[str, NDArray[np.float32]]:
    """The arrays kept beside a voice."""
    return {"speaker": embedding.cpu().numpy()}


def unpack_conditioning(arrays: dict[str, NDArray[np.float32]], device: torch.device) -> Tensor:
    """Undo `pack_conditioning`."""
    return torch.from_numpy(arrays["speaker"]).to(device)
