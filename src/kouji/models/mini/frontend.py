"""A segment of words as the arrays `mini` reads: phone ids, tones and wishes per phone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kouji.models.mini.config import FRAME_RATE_HZ
from kouji.text.phones import EDGE, SYMBOL_IDS, SYMBOLS, Phone
from kouji.text.units import NEUTRAL, Event, Pause, Prosody, Segment, Word

FREE = -1  # a duration the model chooses
_STRONG_DB, _STRONG_SEMITONES, _STRONG_RATE = 3.0, 1.0, 0.9  # how <strong> is voiced
# Silence after a segment that another follows; the model itself saw clips, not paragraphs.
_JOIN_SECONDS = {",": 0.16, ".": 0.32, "?": 0.34, "!": 0.34}


@dataclass(frozen=True)
class PhoneSequence:
    """One segment; every array is (phones,).

    units:      which unit of the segment a phone belongs to, -1 for edges
    frames:     wished duration, FREE where the model chooses
    rate:       2.0 is twice as fast
    semitones:  added to the predicted pitch
    energy_db:  added to the predicted energy
    """

    symbols: NDArray[np.int64]
    tones: NDArray[np.int64]
    units: NDArray[np.int64]
    frames: NDArray[np.int64]
    rate: NDArray[np.float32]
    semitones: NDArray[np.float32]
    energy_db: NDArray[np.float32]
    warnings: tuple[str, ...] = ()


def sequence_segment(segment: Segment, *, is_last: bool = True) -> PhoneSequence:
    """Lay a segment out as phones: edge silence, words and pauses, a final pause.

    is_last: False puts the silence between two sentences after it
    """
    rows: list[tuple[Phone, int, int, Prosody]] = [(Phone(EDGE), -1, FREE, NEUTRAL)]
    dropped = []
    for index, unit in enumerate(segment.units):
        if isinstance(unit, Word):
            rows += [(phone, index, FREE, unit.prosody) for phone in unit.phones]
        elif isinstance(unit, Pause):
            _add_pause(rows, unit, index)
        elif isinstance(unit, Event):
            dropped.append(unit.name)
    if rows[-1][0].symbol not in _JOIN_SECONDS:
        rows.append((Phone("."), -1, FREE, NEUTRAL))
    last, unit_index, frames, prosody = rows[-1]
    if not is_last:
        least = round(_JOIN_SECONDS[last.symbol] * FRAME_RATE_HZ)
        rows[-1] = (last, unit_index, max(frames, least), prosody)
    return _pack(rows, tuple(f"mini has no sound for [{name}]: left out" for name in dropped))


def _add_pause(rows: list[tuple[Phone, int, int, Prosody]], pause: Pause, index: int) -> None:
    """Append a pause, or lengthen the one that is there already."""
    frames = FREE if pause.seconds is None else max(1, round(pause.seconds * FRAME_RATE_HZ))
    previous = rows[-1][0].symbol
    if previous in _JOIN_SECONDS:
        phone, unit, earlier, prosody = rows[-1]
        wished = [f for f in (earlier, frames) if f != FREE]
        rows[-1] = (phone, unit, sum(wished) if wished else FREE, prosody)
    elif previous != EDGE or pause.seconds is not None:  # nothing to pause after otherwise
        rows.append((Phone(pause.mark), index, frames, NEUTRAL))


def _pack(
    rows: Sequence[tuple[Phone, int, int, Prosody]], warnings: tuple[str, ...]
) -> PhoneSequence:
    strong = np.array([row[3].strong for row in rows], dtype=np.float32)
    prosody = [row[3] for row in rows]
    rate = np.array([p.rate for p in prosody], dtype=np.float32)
    return PhoneSequence(
        symbols=np.array([SYMBOL_IDS[row[0].symbol] for row in rows], dtype=np.int64),
        tones=np.array([row[0].tone for row in rows], dtype=np.int64),
        units=np.array([row[1] for row in rows], dtype=np.int64),
        frames=np.array([row[2] for row in rows], dtype=np.int64),
        rate=rate * np.where(strong > 0, _STRONG_RATE, 1.0).astype(np.float32),
        semitones=np.array([p.pitch_semitones for p in prosody], dtype=np.float32)
        + _STRONG_SEMITONES * strong,
        energy_db=np.array([p.energy_db for p in prosody], dtype=np.float32) + _STRONG_DB * strong,
        warnings=warnings,
    )


def phone_name(symbol: int, tone: int) -> str:
    """How a phone is written in timings: `AH0`, `ang4`, `sh`."""
    return str(Phone(SYMBOLS[symbol], tone))
