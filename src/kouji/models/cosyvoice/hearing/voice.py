"""A recording to the conditioning of CosyVoice, and speech to tokens that another voice says.

Computed once per voice; kept beside it as plain arrays. A voice that came from a `spk2info.pt`
has no recording: the same arrays are all there is of it, with the tokens of its prompt text.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.errors import ReferenceRefused, VoiceError
from kouji.models.cosyvoice.conditioning import Conditioning, SpeechSegment
from kouji.models.cosyvoice.config import FRAMES_PER_TOKEN, MELS, SAMPLE_RATE, SPEAKER_WIDTH
from kouji.models.cosyvoice.hearing import features
from kouji.models.cosyvoice.hearing.reference import cut_source
from kouji.models.family import PreparedSegment, PreparedText
from kouji.types import Audio

FORMAT = 1  # of the arrays
_FORMAT, _TOKENS, _MEL, _SPEAKER, _TEXT = "format", "tokens", "mel", "speaker", "prompt_text"


@dataclass(frozen=True)
class Hearing:
    """What hears a recording.

    tokenizer:   (1, 128, frames) -> (tokens,) int64, `onnx_models.SpeechTokenizer`
    speaker:     (1, frames, 80) -> (192,) float32, `onnx_models.CampPlus`
    mel_fmax_hz: of the flow's mel
    """

    tokenizer: Callable[[Tensor], Tensor]
    speaker: Callable[[Tensor], Tensor]
    mel_fmax_hz: float


@torch.no_grad()
def condition(prompt: Audio, hearing: Hearing) -> Conditioning:
    """Encode a reference that `reference.choose_prompt` chose.

    Mel and tokens are cut to each other: what the shorter of them lacks, the other loses.
    raises: ModelError, ReferenceRefused where nothing is heard
    """
    samples = features.samples_at(prompt, features.HEARING_RATE)
    tokens = hearing.tokenizer(features.tokenizer_mel(samples))
    mel = features.flow_mel(features.samples_at(prompt, SAMPLE_RATE), hearing.mel_fmax_hz)
    num_tokens = min(len(mel) // FRAMES_PER_TOKEN, len(tokens))
    if num_tokens == 0:
        raise ReferenceRefused(
            "too_short", "the reference is too short", seen=f"{prompt.duration:.2f} s"
        )
    speaker = hearing.speaker(features.speaker_fbank(samples))
    return make_conditioning(tokens[:num_tokens], mel[: FRAMES_PER_TOKEN * num_tokens], speaker)


@torch.no_grad()
def hear_speech(piece: Audio, hearing: Hearing) -> SpeechSegment:
    """The tokens of speech to be said again, 30 s at most.

    raises: ModelError
    """
    samples = features.samples_at(piece, features.HEARING_RATE)
    return SpeechSegment(hearing.tokenizer(features.tokenizer_mel(samples)))


def prepare_conversion(source: Audio, hearing: Hearing) -> PreparedText:
    """Speech of any length as segments that another voice says.

    raises: AudioError where there is nothing to convert, ModelError
    """
    pieces, warnings = cut_source(source)
    heard = (hear_speech(piece, hearing) for piece in pieces)
    return PreparedText(tuple(PreparedSegment("", segment) for segment in heard), warnings)


def make_conditioning(tokens: Tensor, mel: Tensor, speaker: Tensor) -> Conditioning:
    """The record of a voice, with the hash of its content."""
    parts = (
        tokens.to("cpu", torch.int64, copy=True),
        mel.to("cpu", torch.float32, copy=True).contiguous(),
        speaker.to("cpu", torch.float32, copy=True),
    )
    digest = hashlib.sha256()
    for part in parts:
        digest.update(f"{part.dtype} {tuple(part.shape)}\n".encode())
        digest.update(part.numpy().tobytes())
    return Conditioning(digest.hexdigest()[:32], *parts)


def pack_conditioning(
    conditioning: Conditioning, prompt_text: Tensor | None = None
) -> dict[str, NDArray[Any]]:
    """The arrays kept beside a voice; undone by `unpack_conditioning`.

    prompt_text: (tokens,) int64 of a speaker whose recording is not there, `unpack_prompt_text`
    """
    arrays = {
        _FORMAT: np.array([FORMAT]),
        _TOKENS: conditioning.tokens.numpy(force=True),
        _MEL: conditioning.mel.numpy(force=True),
        _SPEAKER: conditioning.speaker.numpy(force=True),
    }
    if prompt_text is not None and len(prompt_text):
        arrays[_TEXT] = prompt_text.to(torch.int64).numpy(force=True)
    return arrays


def unpack_conditioning(arrays: Mapping[str, NDArray[Any]], codebook: int) -> Conditioning:
    """Undo `pack_conditioning`; VoiceError for arrays that are of something else.

    codebook: tokens of the model; a voice with others is another model's
    """
    try:
        if int(np.asarray(arrays[_FORMAT]).item()) != FORMAT:
            raise ValueError(f"format {arrays[_FORMAT]}, where {FORMAT} is known")
        tokens, mel, speaker = (np.asarray(arrays[name]) for name in (_TOKENS, _MEL, _SPEAKER))
        _check(tokens, mel, speaker, codebook)
    except (KeyError, TypeError, ValueError) as error:
        raise VoiceError(
            "a voice's kept conditioning is damaged",
            seen=f"no {error}" if isinstance(error, KeyError) else error,
            cure="delete its cosyvoice file beside the voice, which is made again; "
            "import the voice again where it has no recording",
        ) from error
    return make_conditioning(*(torch.from_numpy(np.array(a)) for a in (tokens, mel, speaker)))


def unpack_prompt_text(arrays: Mapping[str, NDArray[Any]]) -> Tensor | None:
    """(tokens,) int64 of what an imported speaker says in the prompt; None where it has none."""
    ids = np.asarray(arrays.get(_TEXT, np.zeros(0)), np.int64).reshape(-1)
    return torch.from_numpy(ids.copy()) if len(ids) else None


def _check(tokens: NDArray[Any], mel: NDArray[Any], speaker: NDArray[Any], codebook: int) -> None:
    """ValueError unless the three are a voice."""
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
        raise ValueError(f"tokens {tokens.dtype} {tokens.shape}")
    if len(tokens) and not 0 <= tokens.min() <= tokens.max() < codebook:
        raise ValueError(f"tokens {tokens.min()} to {tokens.max()}, where {codebook} are known")
    if mel.shape != (FRAMES_PER_TOKEN * len(tokens), MELS):
        raise ValueError(f"mel {mel.shape} of {len(tokens)} tokens")
    if speaker.shape != (SPEAKER_WIDTH,):
        raise ValueError(f"speaker {speaker.shape}")
    if not (np.isfinite(mel).all() and np.isfinite(speaker).all()):
        raise ValueError("values that are not finite")
