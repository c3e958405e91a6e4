"""Speaker similarity by an independent pretrained encoder (Resemblyzer, 256 channels).

Cosine of two embeddings. The bare number says little, so an output is always set beside
two others: its own reference and a different speaker of the same sex.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kouji.evaluate.optional import import_extra
from kouji.types import Audio

SAMPLE_RATE = 16_000


class SpeakerEncoder:
    """Embeds voices; knows nothing of Kouji's own speaker encoder."""

    def __init__(self) -> None:
        """Load the encoder. Raises UsageError if Resemblyzer is not installed."""
        self._library = import_extra("resemblyzer", "speaker similarity")
        self._encoder: Any = self._library.VoiceEncoder("cpu", verbose=False)

    def embed(self, audio: Audio) -> NDArray[np.float32] | None:
        """Return the unit embedding (256,) of a clip; None if it holds no speech."""
        from kouji.audio.resample import resample

        samples = resample(audio, SAMPLE_RATE).samples
        if not np.abs(samples).max(initial=0.0) > 0:
            return None
        speech = self._library.preprocess_wav(samples)
        if len(speech) < SAMPLE_RATE // 4:
            return None
        return np.asarray(self._encoder.embed_utterance(speech), dtype=np.float32)


def cosine(first: NDArray[np.float32], second: NDArray[np.float32]) -> float:
    """Cosine of the angle between two embeddings."""
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
