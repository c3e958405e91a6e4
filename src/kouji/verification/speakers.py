"""Is it the same speaker? Two recordings are compared by the speaker encoder of `mini`.

The encoder was trained to make a voice sound alike, which tells speakers apart well enough
to be a check (docs/consent.md: error rates on speakers it never heard). It cannot tell a
living voice from a good copy of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kouji.types import Audio, Samples

if TYPE_CHECKING:
    from kouji.models.mini.speaker import SpeakerEncoder

# Natural log of mel power, added to both recordings alike. The encoder was trained on clean
# speech and hears the hiss between harmonics as a trait of the voice: at 30 dB of white noise
# on one side alone 17 % of pairs went wrong (equal error), with the floor 6 %.
MEL_FLOOR = -6.0
MIN_SECONDS = 1.0  # of speech, below which an embedding says nothing


def embed(audio: Audio) -> NDArray[np.float32]:
    """(channels,) unit vector that says who speaks; silence around and between is left out."""
    import torch

    from kouji.audio.features import MINI_MEL, mel_spectrogram
    from kouji.audio.loudness import normalise_loudness
    from kouji.audio.resample import resample
    from kouji.models.mini.config import MEL_MEAN, MEL_STD

    speech = Audio(_only_speech(audio), audio.sample_rate)
    levelled = normalise_loudness(resample(speech, MINI_MEL.sample_rate))
    with torch.inference_mode():
        mel = mel_spectrogram(torch.from_numpy(levelled.samples)[None], MINI_MEL).transpose(1, 2)
        mel = torch.logaddexp(mel, torch.tensor(MEL_FLOOR))
        mel = (mel - MEL_MEAN) / MEL_STD
        embedding = _encoder()(mel, torch.ones_like(mel[..., :1]))[0].numpy()
    unit: NDArray[np.float32] = embedding / np.linalg.norm(embedding)
    return unit


def likeness(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Cosine of two embeddings: 1 for the same recording, about 0 for strangers."""
    return float(first @ second)


def _only_speech(audio: Audio) -> Samples:
    from kouji.audio.vad import speech_spans

    rate = audio.sample_rate
    spans = speech_spans(audio)
    if sum(end - start for start, end in spans) < MIN_SECONDS:
        return audio.samples
    parts = [audio.samples[round(start * rate) : round(end * rate)] for start, end in spans]
    return np.concatenate(parts)


@lru_cache(maxsize=1)
def _encoder() -> SpeakerEncoder:
    from kouji.models.mini.weights import load_checkpoint

    return load_checkpoint().acoustic.speaker_encoder
