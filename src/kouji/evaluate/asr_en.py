"""English intelligibility: an offline recogniser writes down what it hears.

pocketsphinx 5 with the acoustic and language model of its own wheel. It is a weak
listener (about 0.4 WER on clean read speech), so compare rows of one table only.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kouji.evaluate.optional import import_extra
from kouji.evaluate.wer import normalise_words
from kouji.types import Audio

SAMPLE_RATE = 16_000
PEAK = 0.7  # clips are brought to one level, so that loudness is not a handicap


class EnglishRecogniser:
    """Writes English speech down; each clip is heard alone, whatever came before."""

    def __init__(self) -> None:
        """Load the recogniser. Raises UsageError if pocketsphinx is not installed."""
        pocketsphinx = import_extra("pocketsphinx", "English word error rate")
        # Cepstral means of the whole clip instead of a running estimate: the estimate is
        # carried from clip to clip and would make results depend on their order.
        self._decoder: Any = pocketsphinx.Decoder(
            samprate=SAMPLE_RATE, cmn="batch", loglevel="FATAL"
        )

    def transcribe(self, audio: Audio) -> list[str]:
        """Return the recognised words in lower case; an empty list if nothing was heard."""
        if not np.any(audio.samples):
            return []  # it would invent a word
        self._decoder.start_utt()
        self._decoder.process_raw(_to_pcm(audio), full_utt=True)
        self._decoder.end_utt()
        hypothesis = self._decoder.hyp()
        return normalise_words(hypothesis.hypstr) if hypothesis is not None else []


def _to_pcm(audio: Audio) -> bytes:
    """Level, resample to 16 kHz and pack as 16-bit samples."""
    from kouji.audio.resample import resample

    samples = resample(audio, SAMPLE_RATE).samples
    peak = float(np.abs(samples).max(initial=0.0))
    levelled = samples * (PEAK / peak) if peak > 0 else samples
    return bytes((np.clip(levelled, -1, 1) * 32767).astype("<i2").tobytes())
