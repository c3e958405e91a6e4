"""The plan of a segment: everything decided before sound is made.

Durations, pitch, energy and voicing of one request, computed alone, in float32 and over
the whole segment: it is cheap, and so the plan is bit for bit the same whoever shares
the batch, however the audio is cut into chunks, and in whatever precision it is rendered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.models.layers.shift_block import Offsets
from kouji.models.mini.config import LOG_F0_STD, MEL_STD, MiniConfig
from kouji.models.mini.frontend import FREE, PhoneSequence
from kouji.models.mini.model import AcousticModel
from kouji.models.mini.prosody import NUM_FEATURES, word_edges
from kouji.models.mini.vocoder import Pitch, source_pulses
from kouji.models.mini.voice import AdaptedVoice
from kouji.text.phones import FINALS, INITIALS, SYMBOLS, is_silence
from kouji.text.style import Style

_SEMITONE = np.log(2) / 12 / LOG_F0_STD  # in units of normalised log-f0
_DECIBEL = np.log(10) / 20 / MEL_STD  # in units of normalised log-mel
_SILENT = np.array([is_silence(symbol) for symbol in SYMBOLS])
_MANDARIN = np.array([symbol in (*INITIALS, *FINALS) for symbol in SYMBOLS])
MAX_PHONE_FRAMES = 60
EDGE_SILENCE_FRAMES = 2  # of silence at least: a vowel that begins on the first frame clicks


@dataclass(frozen=True)
class Plan:
    """One segment, ready to render.

    durations: (phones,) frames
    x:         (frames, width) decoder input
    log_f0:    (frames,) normalised; voicing: (frames,) logit
    pulses:    (frames * HOP_SAMPLES,) the voiced source
    speaker:   (channels,)
    gain:      (frames,) the wished loudness, in units of the normalised log-mel
    offsets:   of the decoder, where the voice was adapted
    """

    sequence: PhoneSequence
    durations: NDArray[np.int64]
    x: Tensor
    log_f0: Tensor
    voicing: Tensor
    pulses: Tensor
    speaker: Tensor
    gain: Tensor
    offsets: tuple[Offsets, ...] = ()

    @property
    def num_frames(self) -> int:
        """Length in frames."""
        return len(self.x)

    @property
    def num_samples(self) -> int:
        """Length in samples."""
        return len(self.pulses)


@torch.inference_mode()
def make_plan(
    model: AcousticModel,
    sequence: PhoneSequence,
    voice: Tensor | AdaptedVoice,
    style: Style,
    pace: float = 1.0,
    seed: int = 0,
) -> Plan:
    """Decide how a segment is spoken.

    model:   in float32 on the CPU or a GPU
    voice:   (channels,) embedding on the same device, or that with offsets of the decoder
    pace:    factor on predicted durations that makes their mean that of the training data
    seed:    decides which of the likely readings, where the model draws one
    """
    speaker = voice.speaker if isinstance(voice, AdaptedVoice) else voice
    device = speaker.device
    symbols = torch.from_numpy(sequence.symbols).to(device)[None]
    tones = torch.from_numpy(sequence.tones).to(device)[None]
    mask = torch.ones(1, symbols.shape[1], 1, device=device)
    encoded = model.encode(symbols, tones, mask, speaker[None])
    if model.config.prosody_width:
        words = word_edges(sequence.symbols, sequence.units)
        edges = torch.from_numpy(words).to(device)[None]
        noise = reading_noise(model.config, sequence.symbols, seed).to(device)[None]
        predicted = model.draw_prosody(symbols, tones, edges, mask, speaker[None], noise)
    else:
        predicted = model.predict_prosody(encoded, mask, speaker[None])
    durations = frame_counts(predicted.log_duration[0].cpu().numpy(), sequence, style, pace)
    prosody = _styled(predicted.prosody[0], sequence, style)
    counts = torch.from_numpy(durations).to(device)[None]
    x, frame_mask, base = model.expand(encoded, prosody[None], counts, int(durations.sum()))
    pitch = model.frame_pitch(x, frame_mask, base, speaker[None])
    log_f0 = pitch.log_f0[0].clamp(-4.0, 4.0)
    pulses = source_pulses(Pitch(log_f0[None], pitch.voicing))[0]
    return Plan(
        sequence,
        durations,
        x[0],
        log_f0,
        pitch.voicing[0],
        pulses,
        speaker,
        _frame_gain(sequence, style, counts[0]),
        voice.decoder if isinstance(voice, AdaptedVoice) else (),
    )


def reading_noise(config: MiniConfig, symbols: NDArray[np.int64], seed: int) -> Tensor:
    """What decides a reading: (phones, NUM_FEATURES), at the temperatures of the model.

    symbols: (phones,) ids
    """
    generator = torch.Generator().manual_seed(seed % (1 << 63))
    noise = torch.randn(len(symbols), NUM_FEATURES, generator=generator)
    usual, mandarin = map(torch.tensor, (config.prosody_temperature, config.mandarin_temperature))
    is_mandarin = torch.from_numpy(_MANDARIN[symbols])[:, None]
    return noise * torch.where(is_mandarin, mandarin, usual)


def frame_counts(
    log_durations: NDArray[np.float32], sequence: PhoneSequence, style: Style, pace: float
) -> NDArray[np.int64]:
    """Whole frames per phone.

    What rounding takes from one phone it gives to the next, so that speech rate is kept;
    a sounding phone has at least one frame.
    """
    ideal = np.clip(np.expm1(log_durations.astype(np.float64)), 0.0, MAX_PHONE_FRAMES)
    ideal = ideal * pace / (sequence.rate * style.rate)
    counts = np.zeros(len(ideal), dtype=np.int64)
    owed = 0.0
    for index, wish in enumerate(ideal):
        if sequence.frames[index] != FREE:
            counts[index] = sequence.frames[index]
            continue
        least = 0 if _SILENT[sequence.symbols[index]] else 1
        if index in (0, len(ideal) - 1):
            least = EDGE_SILENCE_FRAMES
        counts[index] = max(least, int(np.floor(wish + owed + 0.5)))
        owed = float(np.clip(owed + wish - counts[index], -1.0, 1.0))
    return counts


def _styled(prosody: Tensor, sequence: PhoneSequence, style: Style) -> Tensor:
    """Predicted (phones, 3) prosody with the wishes of marks and style on top."""
    device = prosody.device
    semitones = torch.from_numpy(sequence.semitones).to(device) + style.pitch_semitones
    voicing = torch.sigmoid(prosody[:, 1])
    pitch = prosody[:, 0]
    weight = voicing / voicing.sum().clamp(min=1e-3)
    centre = (pitch * weight).sum()
    pitch = centre + (pitch - centre) * style.pitch_range + semitones * _SEMITONE
    return torch.stack([pitch, voicing, prosody[:, 2]], dim=-1)


def _frame_gain(sequence: PhoneSequence, style: Style, durations: Tensor) -> Tensor:
    """Wished loudness of each frame, (frames,), in units of the normalised log-mel.

    It scales the samples: asked through the decoder's energy input, 6 dB gave only 1, and the
    vocoder made 3 of 6 in its mel.
    """
    decibels = torch.from_numpy(sequence.energy_db) + style.energy_db
    decibels = decibels * torch.from_numpy(~_SILENT[sequence.symbols])
    gain: Tensor = (decibels.to(durations.device) * _DECIBEL).repeat_interleave(durations)
    return gain
