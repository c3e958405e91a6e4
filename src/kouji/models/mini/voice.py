"""Reference audio to the conditioning of `mini`: a speaker embedding.

A voice that was adapted (`kouji finetune`) has offsets of the decoder besides; both are kept as
arrays beside the voice. The networks themselves are shared by all voices.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.audio.features import MINI_MEL, mel_spectrogram
from kouji.audio.slice import find_best_part
from kouji.models.layers.shift_block import Offsets
from kouji.models.mini.config import MEL_MEAN, MEL_STD, SAMPLE_RATE
from kouji.models.mini.model import AcousticModel
from kouji.types import Audio

RANK = 16  # of the offsets; one for all, so that voices fit in one batch
_PARTS = tuple(field.name for field in fields(Offsets))
PART_SECONDS = (3.0, 10.0)  # of a longer reference that is heard
_MIN_SAMPLES = SAMPLE_RATE // 5  # reflection padding needs some frames


@dataclass(frozen=True)
class AdaptedVoice:
    """speaker: (channels,) embedding; decoder: offsets of batch one, one a block."""

    speaker: Tensor
    decoder: tuple[Offsets, ...]


def best_part(reference: Audio) -> Audio:
    """The part of a reference that is heard: of one kept whole with its words, the best 10 s."""
    if reference.duration <= PART_SECONDS[1]:
        return reference
    rate = reference.sample_rate
    first, last = (round(seconds * rate) for seconds in find_best_part(reference, PART_SECONDS))
    return Audio(reference.samples[first:last], rate)


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


def pack_conditioning(voice: Tensor | AdaptedVoice) -> dict[str, NDArray[np.float32]]:
    """The arrays kept beside a voice."""
    if isinstance(voice, Tensor):
        return {"speaker": voice.cpu().numpy()}
    arrays = {"speaker": voice.speaker.cpu().numpy()}
    for number, offsets in enumerate(voice.decoder):
        arrays |= {
            f"decoder.{number}.{name}": getattr(offsets, name)[0].cpu().numpy() for name in _PARTS
        }
    return arrays


def unpack_conditioning(
    arrays: Mapping[str, NDArray[np.float32]], device: torch.device
) -> Tensor | AdaptedVoice:
    """Undo `pack_conditioning`."""
    tensors = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
    speaker = tensors.pop("speaker")
    if not tensors:
        return speaker
    blocks = range(len(tensors) // len(_PARTS))
    decoder = tuple(
        Offsets(*(tensors[f"decoder.{number}.{name}"][None] for name in _PARTS))
        for number in blocks
    )
    return AdaptedVoice(speaker, decoder)


def join_offsets(rows: Sequence[Sequence[Offsets]], dtype: torch.dtype) -> tuple[Offsets, ...]:
    """The offsets of several rows as batches; rows without any get zeros, none at all stay none.

    rows: of each row one `Offsets` of batch one a block, or nothing; all of one rank
    """
    known = next((row for row in rows if row), ())
    return tuple(
        Offsets(
            *(
                torch.cat(
                    [
                        getattr(row[number], name) if row else torch.zeros_like(getattr(one, name))
                        for row in rows
                    ]
                ).to(dtype)
                for name in _PARTS
            )
        )
        for number, one in enumerate(known)
    )
