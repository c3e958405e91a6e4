"""Quality as a network guesses listeners would rate it: DNSMOS through speechmos.

Scores run from 1 to 5. DNSMOS was made for noise suppression and hears noise and
distortion, not wrong words. Reddy et al., "DNSMOS P.835", ICASSP 2022.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from kouji.evaluate.optional import import_extra
from kouji.types import Audio

SAMPLE_RATE = 16_000


@dataclass(frozen=True)
class QualityScores:
    """Overall quality, quality of the speech, of the background, and overall by P.808."""

    overall: float
    speech: float
    background: float
    p808: float


class QualityJudge:
    """Rates clips one by one."""

    def __init__(self) -> None:
        """Import the judge. Raises UsageError if speechmos is not installed."""
        self._library = import_extra("speechmos.dnsmos", "DNSMOS")

    def rate(self, audio: Audio) -> QualityScores | None:
        """Rate a clip; None if it is silent."""
        from kouji.audio.resample import resample

        samples = resample(audio, SAMPLE_RATE).samples
        peak = float(np.abs(samples).max(initial=0.0))
        if peak == 0:
            return None
        # The judge refuses samples beyond full scale, which resampling can produce.
        answer = self._library.run(samples / max(1.0, peak), SAMPLE_RATE)
        names = ("ovrl_mos", "sig_mos", "bak_mos", "p808_mos")
        return QualityScores(*(float(answer[name]) for name in names))
