"""Teaches `mini` one voice from a minute of it: narrow offsets of the decoder (`kouji finetune`).

The networks stay as they are. Phones, prosody and pitch of the recording are measured once; only
products of narrow matrices beside the decoder's Linears (LoRA, Hu et al. 2022) learn to bring its
mel nearer to the recorded one. Both are compared after smoothing over time, and what is finer than
that is kept as it was: the plain error blurred the mels again, and with them the words. The last
part of the recording is held back: the offsets kept are those that fit it best, and none are kept
that do not fit it better than the voice unadapted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from kouji.audio.features import MINI_MEL
from kouji.errors import ReferenceRefused, TrainingError
from kouji.models.layers.shift_block import Offsets, ShiftBlock
from kouji.models.mini.config import (
    ENERGY_BANDS,
    LOG_F0_MEAN,
    LOG_F0_STD,
    MEL_MEAN,
    MEL_STD,
)
from kouji.models.mini.fine_mel import measure_fine_mel
from kouji.models.mini.model import AcousticModel
from kouji.models.mini.voice import RANK, AdaptedVoice
from kouji.train.alignment import AlignedUnits
from kouji.train.clip_features import acoustic_features, is_full_band, level_speech, measure
from kouji.train.mini_examples import phone_means
from kouji.train.own_alignment import Phones, align_recording, heard_phones
from kouji.types import Audio

MIN_SECONDS = 15.0
_LEVEL_DBFS = -23.0  # as in training
_SMOOTH_FRAMES = 7  # 140 ms
_HELD_BACK = 0.15  # of the recording, its end


@dataclass(frozen=True)
class AdaptSettings:
    """How long and how boldly offsets are learned.

    steps: at most; crops of crop_frames, batch_size a step; patience: looks at what is held back,
           one each look_every steps, without a gain before it ends; keep_detail: weight of what
           changes faster than the smoothing
    """

    steps: int = 120
    batch_size: int = 8
    crop_frames: int = 160
    learning_rate: float = 2e-3
    look_every: int = 20
    patience: int = 3
    keep_detail: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Adapted:
    """An adapted voice, and the error of the smoothed mel held back, before and after."""

    voice: AdaptedVoice
    error_before: float
    error_after: float
    steps: int


@dataclass(frozen=True)
class Minute:
    """A recording as the decoder meets it, each but the speaker (frames, ...).

    mel:       fine, what the decoder is to make of the others
    full_band: there is content up to 12 kHz
    """

    x: Tensor
    log_f0: Tensor
    voiced: Tensor
    mel: Tensor
    speaker: Tensor
    full_band: bool


@dataclass(frozen=True)
class Measures:
    """A recording before anything is known of its words.

    mel:  (frames, mels) natural log, coarse
    fine: (frames, FINE_CHANNELS) normalised fine mel
    f0:   (frames,) Hz, zero where unvoiced
    """

    mel: NDArray[np.float32]
    fine: Tensor
    f0: NDArray[np.float32]
    full_band: bool


def measure_recording(audio: Audio) -> Measures:
    """Mel and pitch of a recording at 24 kHz, at the level of training.

    raises: ReferenceRefused if it is too short to hold anything back
    """
    assert audio.sample_rate == MINI_MEL.sample_rate
    if audio.duration < MIN_SECONDS:
        raise ReferenceRefused(
            "too_short",
            "the recording is too short to adapt to",
            seen=f"{audio.duration:.1f} s",
            allowed=f"at least {MIN_SECONDS:g} s, better a minute",
        )
    known = measure(audio.samples)
    arrays = acoustic_features(level_speech(audio.samples, known.level_dbfs, _LEVEL_DBFS))
    wave = torch.from_numpy(arrays["wave"].astype(np.float32) / 32768.0)
    return Measures(
        arrays["mel"].astype(np.float32),
        measure_fine_mel(wave[None])[0],
        arrays["f0"],
        is_full_band(known.bandwidth_hz),
    )


@torch.no_grad()
def read_minute(
    acoustic: AcousticModel,
    measures: Measures,
    phones: Phones | None = None,
    language: str | None = None,
) -> Minute:
    """Find out what is said when, and lay it out for the decoder.

    phones: as `transcript_phones` gives them; None: those the recogniser hears
    raises: TextError if the phones do not fit
    """
    mel = torch.from_numpy((measures.mel - MEL_MEAN) / MEL_STD)
    speaker = acoustic.speaker_encoder(mel[None], torch.ones(1, len(mel), 1))[0]
    if phones is None:
        phones = heard_phones(measures.mel, language)
    aligned = align_recording(acoustic, measures.mel, phones, speaker)
    voiced = (measures.f0 > 0).astype(np.float32)
    scaled = (np.log(np.maximum(measures.f0, 1.0)) - LOG_F0_MEAN) / LOG_F0_STD
    log_f0 = (scaled * voiced).astype(np.float32)
    x = _decoder_input(acoustic, aligned, mel, log_f0, voiced, speaker)
    return Minute(
        x,
        torch.from_numpy(log_f0),
        torch.from_numpy(voiced),
        measures.fine,
        speaker,
        measures.full_band,
    )


def adapt(
    acoustic: AcousticModel,
    minute: Minute,
    settings: AdaptSettings | None = None,
    advance: Callable[[int], object] = abs,
) -> Adapted:
    """Learn a voice.

    acoustic: in float32 on the CPU; left as it is
    advance:  told of every step taken
    raises:   TrainingError if nothing was learned that fits what was held back
    """
    settings = settings or AdaptSettings()
    border = round(len(minute.mel) * (1 - _HELD_BACK))
    offsets = _new_offsets(acoustic, settings.seed)
    values = [value for one in offsets for value in vars(one).values()]
    optimizer = torch.optim.Adam(values, settings.learning_rate)
    first = best = _held_back_error(acoustic, minute, border, offsets)
    kept, best_step, taken = offsets, 0, 0
    rng = np.random.default_rng(settings.seed)
    for step in range(settings.steps):
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(1.0, 2 * (1 - step / settings.steps))
        loss = _crop_error(acoustic, minute, border, offsets, settings, rng)
        for value, gradient in zip(values, torch.autograd.grad(loss, values), strict=True):
            value.grad = gradient
        optimizer.step()
        advance(1)
        taken = step + 1
        if taken % settings.look_every and taken != settings.steps:
            continue
        error = _held_back_error(acoustic, minute, border, offsets)
        if error < best:
            best, best_step, kept = error, taken, _copied(offsets)
        elif taken - best_step >= settings.patience * settings.look_every:
            break
    if not best < first:
        raise TrainingError(
            "nothing learned of this voice fits what was held back of it",
            seen=f"error {first:.3f} before and at best after",
            cure="give a clean recording of one speaker, or the transcript of this one",
        )
    return Adapted(AdaptedVoice(minute.speaker, kept), first, best, taken)


def _decoder_input(
    acoustic: AcousticModel,
    aligned: AlignedUnits,
    mel: Tensor,
    log_f0: NDArray[np.float32],
    voiced: NDArray[np.float32],
    speaker: Tensor,
) -> Tensor:
    """Phones and measured prosody laid out over the frames: (frames, width)."""
    durations = aligned.durations.astype(np.int64)
    energy = mel[:, :ENERGY_BANDS].mean(dim=1).numpy()
    ones = np.ones(len(mel), np.float32)
    prosody = np.stack(
        [
            phone_means(log_f0, voiced, durations),
            phone_means(voiced, ones, durations),
            phone_means(energy, ones, durations),
        ],
        axis=1,
    )
    symbols, tones = (
        torch.from_numpy(row.astype(np.int64))[None] for row in (aligned.symbols, aligned.tones)
    )
    mask = torch.ones(1, symbols.shape[1], 1)
    encoded = acoustic.encode(symbols, tones, mask, speaker[None])
    counts = torch.from_numpy(durations)[None]
    x, _, _ = acoustic.expand(encoded, torch.from_numpy(prosody)[None], counts, len(mel))
    return x[0]


def _new_offsets(acoustic: AcousticModel, seed: int) -> tuple[Offsets, ...]:
    """Offsets that change nothing yet, ready to learn."""
    generator = torch.Generator().manual_seed(seed)

    def pair(weight: Tensor) -> tuple[Tensor, Tensor]:
        num_out, num_in = weight.shape
        inward = torch.randn(1, RANK, num_in, generator=generator) / num_in**0.5
        return inward.requires_grad_(), torch.zeros(1, num_out, RANK).requires_grad_()

    blocks = [block for block in acoustic.decoder.blocks if isinstance(block, ShiftBlock)]
    return tuple(Offsets(*pair(block.widen.weight), *pair(block.narrow.weight)) for block in blocks)


def _copied(offsets: tuple[Offsets, ...]) -> tuple[Offsets, ...]:
    return tuple(
        Offsets(**{name: value.detach().clone() for name, value in vars(one).items()})
        for one in offsets
    )


def _crop_error(
    acoustic: AcousticModel,
    minute: Minute,
    border: int,
    offsets: tuple[Offsets, ...],
    settings: AdaptSettings,
    rng: np.random.Generator,
) -> Tensor:
    """Error of random stretches before the border, and what their detail loses.

    Frames whose neighbours are cut off do not count.
    """
    length = min(settings.crop_frames, border)
    starts = torch.from_numpy(rng.integers(0, border - length + 1, settings.batch_size))
    made, real = _decode(acoustic, minute, starts, length, offsets)
    with torch.no_grad():
        usual, _ = _decode(acoustic, minute, starts, length, ())
    change = made - usual
    detail = (change - _smooth(change)).abs().mean()
    return _smooth(made - real).abs().mean() + settings.keep_detail * detail


@torch.no_grad()
def _held_back_error(
    acoustic: AcousticModel, minute: Minute, border: int, offsets: tuple[Offsets, ...]
) -> float:
    """Mean absolute error, smoothed over time, of what comes after the border."""
    start, length = torch.tensor([border]), len(minute.mel) - border
    made, real = _decode(acoustic, minute, start, length, offsets)
    return float(_smooth(made - real).abs().mean())


def _decode(
    acoustic: AcousticModel,
    minute: Minute,
    starts: Tensor,
    length: int,
    offsets: tuple[Offsets, ...],
) -> tuple[Tensor, Tensor]:
    """Made and recorded mel of stretches of equal length, without the reach at their ends."""
    rows = starts[:, None] + torch.arange(length)
    count = len(starts)
    made = acoustic.decode(
        minute.x[rows],
        torch.ones(count, length, 1),
        minute.log_f0[rows],
        minute.voiced[rows],
        minute.speaker.expand(count, -1),
        torch.full((count,), float(minute.full_band)),
        offsets,
    )
    reach = min(acoustic.reach, (length - 1) // 2)
    inner = slice(reach, length - reach)
    return made[:, inner], minute.mel[rows][:, inner]


def _smooth(mel: Tensor) -> Tensor:
    """Running mean over frames of (batch, frames, channels); as many frames."""
    means = F.avg_pool1d(
        mel.transpose(1, 2), _SMOOTH_FRAMES, 1, _SMOOTH_FRAMES // 2, count_include_pad=False
    )
    return means.transpose(1, 2)
