"""Shapes of `mini`: everything that travels with its checkpoint, and the frame clock."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from kouji.errors import ConfigError

SAMPLE_RATE = 24_000
HOP_SAMPLES = 480
FRAME_RATE_HZ = SAMPLE_RATE // HOP_SAMPLES  # 50 frames/s, 20 ms a frame
NUM_MELS = 80

# Fixed scaling of natural-log mels to about zero mean and unit variance.
MEL_MEAN = -6.0
MEL_STD = 2.5
# Between decoder and vocoder a frame carries two fine mels of 10 ms, side by side.
FINE_PER_FRAME = 2
FINE_CHANNELS = FINE_PER_FRAME * NUM_MELS
FINE_MEAN = -7.1  # a window half as long gives 1.1 less; their deviation is that of the others
# Fixed scaling of natural-log f0: 180 Hz is 0, an octave is 2.
LOG_F0_MEAN = 5.193
LOG_F0_STD = 0.3466
# Bands below 7 kHz: loudness is measured where every source has content.
ENERGY_BANDS = 64


@dataclass(frozen=True)
class MiniConfig:
    """Architecture of the acoustic model, speaker encoder and vocoder."""

    width: int = 256
    hidden: int = 768
    speaker_channels: int = 192
    speaker_width: int = 128
    speaker_hidden: int = 256
    speaker_dilations: tuple[int, ...] = (1, 2, 4, 1)
    encoder_dilations: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    variance_dilations: tuple[int, ...] = (1, 1)
    decoder_dilations: tuple[int, ...] = (1, 2, 1, 2, 1, 2, 1, 1)
    vocoder_width: int = 256
    vocoder_hidden: int = 768
    vocoder_dilations: tuple[int, ...] = (1, 1, 2, 1, 1, 1)
    pitch_width: int = 96
    pitch_dilations: tuple[int, ...] = (1, 1, 2, 1)
    frame_pitch_dilations: tuple[int, ...] = (1, 2, 4, 2)
    harmonic_bands: int = 128
    noise_bands: int = 64
    prosody_width: int = 0  # 0: durations, pitch and energy by regression (the first weights)
    prosody_hidden: int = 384
    prosody_speaker: int = 32
    prosody_dilations: tuple[int, ...] = (1, 1, 2, 2, 4, 4)
    prosody_flow_dilations: tuple[int, ...] = (1, 2, 1)
    # Deviation of the noise a reading is drawn from: duration, pitch, voicing, energy. Phones of
    # Mandarin have their own: there pitch makes words.
    prosody_temperature: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)
    mandarin_temperature: tuple[float, ...] = (1.0, 1.0, 1.0, 1.0)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> MiniConfig:
        """Build from a JSON or YAML mapping; an unknown key is a ConfigError."""
        known = {f.name for f in fields(cls)}
        for key in values:
            if key not in known:
                raise ConfigError(
                    "unknown key in mini config", seen=key, allowed=", ".join(sorted(known))
                )
        shapes: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in values.items()
        }
        return cls(**shapes)

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; `from_dict` takes it back."""
        return asdict(self)
