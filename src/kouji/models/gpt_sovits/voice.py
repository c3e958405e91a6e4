"""Reference audio to the conditioning of GPT-SoVITS: style, semantic tokens, transcript.

Computed once per voice and set of weights, in float32; kept beside the voice as plain arrays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kouji.errors import ModelError, ReferenceRefused, TextError, UsageError, VoiceError
from kouji.models.gpt_sovits import spectrogram
from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.reference import Reference, hubert_input

_STYLE, _TOKENS, _PHONES, _BERT, _TEXT = "style", "prompt_tokens", "phones", "bert", "text"


class StyleNetworks(Protocol):
    """What SoVITS knows of voices; weights of one checkpoint."""

    def style(self, spectrogram: Tensor, speaker_vector: Tensor | None = None) -> Tensor:
        """(batch, bins, frames) and, in the Pro versions, (batch, 20480) -> (batch, channels)."""
        ...

    def extract_codes(self, features: Tensor) -> Tensor:
        """(batch, channels, frames) of HuBERT -> (batch, tokens) int64."""
        ...


class SpeechFeatures(Protocol):
    """What HuBERT offers."""

    def features(self, samples: Tensor) -> Tensor:
        """(batch, samples) at 16 kHz -> (batch, channels, frames)."""
        ...


class SpeakerFeatures(Protocol):
    """What ERes2NetV2 offers."""

    def embed(self, samples: Tensor) -> Tensor:
        """(batch, samples) at 16 kHz -> (batch, 20480)."""
        ...


@torch.no_grad()
def condition(
    references: Reference | Sequence[Reference],
    transcript: TextFeatures | None,
    sovits: StyleNetworks,
    hubert: SpeechFeatures | None,
    speaker: SpeakerFeatures | None = None,
) -> Conditioning:
    """Encode a voice with the weights that will speak it.

    references: the first is the one whose words continue; the styles of all are averaged, each
                with its own speaker vector
    transcript: of the first reference; None speaks reference-free, and HuBERT is not asked
    speaker:    for v2Pro and v2ProPlus, None for the others
    returns:    tensors on the CPU
    raises:     UsageError, TextError, ReferenceRefused for what does not go together, ModelError
                where the weights give no numbers
    """
    heard = [references] if isinstance(references, Reference) else list(references)
    _check(heard, transcript, hubert)
    styles = [_style(each, sovits, speaker) for each in heard]
    style = torch.stack(styles).mean(dim=0)
    if not torch.isfinite(style).all():
        raise ModelError(
            "these weights make no voice of the reference",
            seen="a style that is not finite",
            cure="take the checkpoint from its publisher again",
        )
    tokens = None
    if transcript is not None and hubert is not None:
        features = hubert.features(hubert_input(heard[0]))
        tokens = sovits.extract_codes(features.to(_device_of(sovits)))[0].long().cpu().clone()
        transcript = TextFeatures(
            transcript.phones.long().cpu(), transcript.bert.float().cpu(), transcript.text
        )
    return Conditioning(transcript, tokens, style, hash_conditioning(transcript, tokens, style))


def _check(
    references: Sequence[Reference],
    transcript: TextFeatures | None,
    hubert: SpeechFeatures | None,
) -> None:
    if not references:
        raise UsageError("a voice needs a reference", seen="none", allowed="one or more")
    if transcript is None:
        return
    if hubert is None:
        raise UsageError(
            "a voice with a transcript needs HuBERT",
            seen="none",
            cure="load chinese-hubert-base, or leave the transcript out",
        )
    if transcript.phones.numel() == 0:
        raise TextError(
            "the reference's transcript has nothing to speak",
            seen=repr(transcript.text[:40]),
            allowed="the words of the reference",
            cure="correct it, or leave it out",
        )
    if references[0].part is not None:
        start, end = references[0].part
        raise ReferenceRefused(
            "too_long",
            "the transcript does not fit a reference that was cut",
            seen=f"cut to {start:.2f} to {end:.2f} s",
            allowed="3 to 10 s with all its words",
            cure="cut recording and transcript together, or leave the transcript out",
        )


def _style(reference: Reference, sovits: StyleNetworks, speaker: SpeakerFeatures | None) -> Tensor:
    """(channels,) float32 of one reference."""
    samples = spectrogram.reference_samples(reference.audio)
    vector = None if speaker is None else speaker.embed(spectrogram.speaker_samples(samples))
    device = _device_of(sovits)
    vector = None if vector is None else vector.to(device)
    # A copy: what inference mode made may not be used where gradients are kept.
    return sovits.style(spectrogram.linear(samples).to(device), vector)[0].float().cpu().clone()


def _device_of(networks: object) -> torch.device:
    parameters = networks.parameters() if isinstance(networks, nn.Module) else iter(())
    return next((each.device for each in parameters), torch.device("cpu"))


def hash_conditioning(
    prompt: TextFeatures | None, prompt_tokens: Tensor | None, style: Tensor
) -> str:
    """Content hash of what the networks are given: equal keys speak alike."""
    digest = hashlib.sha256()
    parts = [style, prompt_tokens]
    parts += [None, None] if prompt is None else [prompt.phones, prompt.bert]
    for part in parts:
        array = np.zeros(0) if part is None else part.numpy(force=True)
        digest.update(f"{part is None} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def pack_conditioning(conditioning: Conditioning) -> dict[str, NDArray[Any]]:
    """The arrays kept beside a voice; undone by `unpack_conditioning`."""
    arrays: dict[str, NDArray[Any]] = {_STYLE: conditioning.style.numpy(force=True)}
    if conditioning.prompt is not None and conditioning.prompt_tokens is not None:
        prompt = conditioning.prompt
        arrays[_TOKENS] = conditioning.prompt_tokens.numpy(force=True)
        arrays[_PHONES] = prompt.phones.numpy(force=True)
        arrays[_BERT] = prompt.bert.numpy(force=True)
        arrays[_TEXT] = np.frombuffer(prompt.text.encode(), np.uint8)
    return arrays


def unpack_conditioning(arrays: Mapping[str, NDArray[Any]]) -> Conditioning:
    """Undo `pack_conditioning`; VoiceError for arrays that are of something else."""
    try:
        style = torch.from_numpy(np.array(arrays[_STYLE], np.float32))
        prompt, tokens = None, None
        if _TOKENS in arrays:
            tokens = torch.from_numpy(np.array(arrays[_TOKENS], np.int64))
            phones = torch.from_numpy(np.array(arrays[_PHONES], np.int64))
            bert = torch.from_numpy(np.array(arrays[_BERT], np.float32))
            if phones.dim() != 1 or bert.dim() != 2 or len(phones) != len(bert):
                raise ValueError(f"phones {tuple(phones.shape)} with bert {tuple(bert.shape)}")
            text = np.asarray(arrays[_TEXT], np.uint8).tobytes().decode()
            prompt = TextFeatures(phones, bert, text)
        if style.dim() != 1 or (tokens is not None and tokens.dim() != 1):
            raise ValueError(f"style {tuple(style.shape)}")
    except (KeyError, TypeError, ValueError) as error:
        raise VoiceError(
            "a voice's kept conditioning is damaged",
            seen=error,
            cure="delete its gpt-sovits file beside the voice; it is made again",
        ) from error
    return Conditioning(prompt, tokens, style, hash_conditioning(prompt, tokens, style))
