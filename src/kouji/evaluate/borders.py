"""Whether chunks of streamed speech click where they meet.

A click is a bend of the wave sharper than all others around it. So the second difference of the
samples at each border is compared with the sharpest within 10 ms on either side.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kouji.evaluate.systems import StreamingSynthesiser

_AROUND_SECONDS = 0.01
_FLOOR = 1e-4  # bends below are silence; no border is judged by less


@dataclass(frozen=True)
class Borders:
    """How many there were, and the sharpest bend at one in dB over those around it.

    Below 0 no border stands out from the speech it is in; a click is far above.
    """

    count: int
    sharpest_db: float


def measure_borders(
    synthesiser: StreamingSynthesiser, spoken: Iterable[tuple[str, Any]]
) -> Borders | None:
    """Stream texts in voices and listen at every border; None if there was none.

    spoken: (text, voice)
    """
    bends = []
    for text, voice in spoken:
        chunks = synthesiser.stream(text, voice)
        pieces = [np.asarray(chunk.samples, np.float64) for chunk in chunks]
        bends += border_bends(pieces, synthesiser.sample_rate)
    return Borders(len(bends), float(max(bends))) if bends else None


def border_bends(pieces: list[NDArray[np.float64]], sample_rate: int) -> list[float]:
    """The bend at each border between pieces (samples,), in dB over the sharpest around it."""
    samples = np.concatenate([np.zeros(0), *pieces])
    bend = np.abs(np.diff(samples, n=2, prepend=samples[:1], append=samples[-1:]))
    reach = round(_AROUND_SECONDS * sample_rate)
    found = []
    for border in np.cumsum([len(piece) for piece in pieces])[:-1]:
        near = slice(max(border - 2, 0), border + 2)  # every second difference that crosses it
        before = bend[max(border - reach, 0) : near.start]
        after = bend[near.stop : border + reach]
        around = max(np.max(before, initial=_FLOOR), np.max(after, initial=_FLOOR))
        found.append(20 * float(np.log10(np.max(bend[near], initial=1e-9) / around)))
    return found
