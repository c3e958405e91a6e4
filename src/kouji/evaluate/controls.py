"""Do the controls do what they say: sweep rate, pitch and energy, measure the sound.

A control passes when the measured value moves the right way at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kouji.evaluate.prosody import Prosody, measure_prosody
from kouji.evaluate.systems import Synthesiser


@dataclass(frozen=True)
class Control:
    """A field of Style, the values to try in rising order, and how to measure the effect."""

    name: str
    values: tuple[float, ...]
    unit: str
    measure: Callable[[Prosody], float]


@dataclass(frozen=True)
class Sweep:
    """What a control did: `measured` belongs to `asked` value by value."""

    name: str
    unit: str
    asked: tuple[float, ...]
    measured: tuple[float, ...]

    @property
    def is_monotonic(self) -> bool:
        """True if every step up raised the measured value."""
        steps = zip(self.measured, self.measured[1:], strict=False)
        return all(low < high for low, high in steps)


def _semitones(prosody: Prosody) -> float:
    """Median pitch in semitones above 100 Hz; minus infinity if nothing was voiced."""
    return 12 * math.log2(prosody.pitch_hz / 100) if prosody.pitch_hz > 0 else -math.inf


def _speed(prosody: Prosody) -> float:
    """Readings of the sentence per minute: grows with the rate whatever the language."""
    return 60 / prosody.speech_seconds if prosody.speech_seconds > 0 else -math.inf


CONTROLS = (
    Control("rate", (0.7, 0.85, 1.0, 1.2, 1.4), "sentences/min", _speed),
    Control("pitch_semitones", (-4.0, -2.0, 0.0, 2.0, 4.0), "semitones", _semitones),
    Control("energy_db", (-6.0, -3.0, 0.0, 3.0, 6.0), "dBFS", lambda p: p.level_db),
)


def sweep_controls(
    synthesiser: Synthesiser,
    voice: Any,
    text: str,
    *,
    controls: Sequence[Control] = CONTROLS,
    seed: int = 0,
) -> list[Sweep]:
    """Speak `text` once per value of each control and measure what came out."""
    from kouji.text.style import Style

    sweeps = []
    for control in controls:
        measured = []
        for value in control.values:
            setting: dict[str, Any] = {control.name: value}
            style = Style(**setting)
            speech = synthesiser.speak(text, voice, style=style, seed=seed)
            measured.append(control.measure(measure_prosody(speech.audio)))
        sweeps.append(Sweep(control.name, control.unit, control.values, tuple(measured)))
    return sweeps
