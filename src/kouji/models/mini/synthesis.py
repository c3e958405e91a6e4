"""Plans to mel frames, mel frames to samples: spans of several plans in one batch.

Both networks see a fixed number of frames to each side, so a chunk is computed with that
much context and cut: chunks joined equal the whole, and a padded row equals the row alone
(to rounding, about 1e-6).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.models.mini.config import HOP_SAMPLES, MEL_STD
from kouji.models.mini.excitation import noise, to_samples
from kouji.models.mini.fine_mel import join_bands
from kouji.models.mini.model import AcousticModel
from kouji.models.mini.plan import Plan
from kouji.models.mini.refine import refine
from kouji.models.mini.vocoder import EDGE_FRAMES, Pitch, Vocoder, source_pulses
from kouji.models.mini.voice import join_offsets

FADE_SAMPLES = HOP_SAMPLES // 4  # 5 ms
# oneDNN keeps the code it made for every length it has met; multiples of this are few. Without,
# 500 mixed requests grew the process by a sixth.
PADDED_FRAMES = 32
_DRAWS = 4  # of the noise, where samples are fitted to a measured mel
CROSSOVER_BAND = 66  # of 80 mel bands, at about 7.3 kHz


class Networks:
    """The two networks that make sound, in their working precision.

    context: frames to each side of a span that its samples depend on
    """

    def __init__(self, acoustic: AcousticModel, vocoder: Vocoder) -> None:
        self.acoustic, self.vocoder = acoustic, vocoder
        weight = acoustic.leave.weight
        self.dtype, self.device = weight.dtype, weight.device
        self.context = vocoder.stack.reach + EDGE_FRAMES

    def decode(self, plans: Sequence[Plan], spans: Sequence[tuple[int, int]]) -> list[Tensor]:
        """Mel frames of a span of each plan, with as much context as the decoder can see.

        Two passes in one batch: bands a 16 kHz recording has come from the narrow-band pass,
        the rest from the full-band one. Few training voices are full-band, and asking for
        full band alone pulled every voice towards them (docs/experiments.md).

        returns: (frames, FINE_CHANNELS) normalised fine mel per plan, float32
        """
        reach = self.acoustic.reach
        wide = [
            (max(0, start - reach), min(plan.num_frames, end + reach))
            for plan, (start, end) in zip(plans, spans, strict=True)
        ]
        x = _stack([plan.x[a:b] for plan, (a, b) in zip(plans, wide, strict=True)])
        log_f0 = _stack([plan.log_f0[a:b] for plan, (a, b) in zip(plans, wide, strict=True)])
        voicing = _stack([plan.voicing[a:b] for plan, (a, b) in zip(plans, wide, strict=True)])
        mask = _mask([b - a for a, b in wide], self.device)
        speaker = torch.stack([plan.speaker for plan in plans]).to(self.dtype)
        is_full = torch.arange(2 * len(plans), device=self.device) >= len(plans)
        narrow, full = self.acoustic.decode(
            _twice(x.to(self.dtype)),
            _twice(mask.to(self.dtype)),
            _twice(log_f0),
            _twice(torch.sigmoid(voicing) * mask[..., 0]),
            _twice(speaker),
            is_full.float(),
            join_offsets([*(plan.offsets for plan in plans), *[()] * len(plans)], self.dtype),
        ).chunk(2)
        mel = join_bands(narrow, full, CROSSOVER_BAND)
        return [
            row[start - a : end - a]
            for row, (start, end), (a, _) in zip(mel, spans, wide, strict=True)
        ]

    def vocode(
        self,
        plans: Sequence[Plan],
        mels: Sequence[Tensor],
        spans: Sequence[tuple[int, int]],
        seeds: Sequence[int],
    ) -> list[NDArray[np.float32]]:
        """Samples of exactly the given spans; their edges lack context unless they are ends.

        They are not fitted to the mel as in `vocode_mel`: a decoded mel is smoother than a
        measured one, and the fit took the vocoder's clearness back (docs/experiments.md).
        """
        counts = [end - start for start, end in spans]
        mask = _mask(counts, self.device)
        cut = list(zip(plans, spans, strict=True))
        pitch = Pitch(
            _stack([plan.log_f0[a:b] for plan, (a, b) in cut]),
            _stack([plan.voicing[a:b] for plan, (a, b) in cut]),
        )
        pulses = _stack(
            [plan.pulses[a * HOP_SAMPLES : b * HOP_SAMPLES] for plan, (a, b) in cut], HOP_SAMPLES
        )
        hiss = _stack(
            [
                noise(seed, a, b - a).to(self.device)
                for (a, b), seed in zip(spans, seeds, strict=True)
            ],
            HOP_SAMPLES,
        )
        mel = _stack(list(mels)).to(self.dtype)
        raw = self.vocoder(mel, mask.to(self.dtype), pulses, hiss, pitch)
        gain = torch.exp(_stack([plan.gain[a:b] for plan, (a, b) in cut]) * MEL_STD)
        wave = (raw * to_samples(gain)).cpu().numpy()
        return [
            _faded(row[: (end - start) * HOP_SAMPLES], plan, start, end)
            for row, (plan, (start, end)) in zip(wave, cut, strict=True)
        ]


@torch.inference_mode()
def vocode_mel(
    vocoder: Vocoder, mel: Tensor, seed: int, *, is_fitted: bool = True
) -> NDArray[np.float32]:
    """Samples of anyone's measured mel: f0 is read off the mel, the samples are fitted to it.

    mel:       (frames, FINE_CHANNELS) normalised fine mel, on the vocoder's device
    is_fitted: False gives what the vocoder alone makes, as when speaking
    returns:   (frames * HOP_SAMPLES,)
    """
    rows = mel[None].to(vocoder.enter.weight.dtype)
    mask = torch.ones_like(rows[..., :1])
    pitch = vocoder.pitch_head(rows, mask)
    harmonic, breath = vocoder.envelopes(rows, mask, pitch)
    num_draws = _DRAWS if is_fitted else 1
    hiss = torch.stack([noise(seed + draw, 0, len(mel)) for draw in range(num_draws)])
    draws = vocoder.filter_source(
        source_pulses(pitch).expand(num_draws, -1), hiss.to(mel.device), harmonic, breath, mask
    )
    made = refine(draws[None], mel[None], mask) if is_fitted else draws
    return made[0].cpu().numpy()


def _faded(samples: NDArray[np.float32], plan: Plan, start: int, end: int) -> NDArray[np.float32]:
    """A copy of a span, faded in and out where it touches the ends of its segment."""
    faded = samples.astype(np.float32)
    ramp = np.linspace(0, 1, min(FADE_SAMPLES, len(faded)), dtype=np.float32)
    if start == 0:
        faded[: len(ramp)] *= ramp
    if end == plan.num_frames:
        faded[len(faded) - len(ramp) :] *= ramp[::-1]
    return faded


def _twice(rows: Tensor) -> Tensor:
    """The batch behind itself, for a second pass over the same rows."""
    return torch.cat([rows, rows])


def _stack(rows: Sequence[Tensor], per_frame: int = 1) -> Tensor:
    """Rows side by side, padded to a multiple of `PADDED_FRAMES`.

    per_frame: elements of a row to one frame
    """
    stacked = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    missing = -stacked.shape[1] % (PADDED_FRAMES * per_frame)
    return torch.nn.functional.pad(stacked, [0, 0] * (stacked.ndim - 2) + [0, missing])


def _mask(counts: Sequence[int], device: torch.device) -> Tensor:
    longest = -(-max(counts) // PADDED_FRAMES) * PADDED_FRAMES
    clock = torch.arange(longest, device=device)
    return (clock[None] < torch.tensor(list(counts), device=device)[:, None]).float()[..., None]
