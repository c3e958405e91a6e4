"""Where a streamed segment is cut, and the noise it is drawn with: functions of numbers alone.

Streaming as Kouji defines it. Run k looks at the first `run_tokens(k)` tokens; prior and flow run
over all of them (under a tenth of the cost of speech). Frames up to `LOOKAHEAD_TOKENS` before the
end are settled and never drawn again. The next run takes over behind them: the first frames it adds
are faded from what the run before had there. Both runs use the same noise at the same frame and
the same positions in time, so they differ by the text's future only. The generator then runs over
the settled frames with its full context: chunks joined are what it makes of all settled frames at
once, without seams to hide.

The official way (`SoVITS.decode_streaming`) instead runs the generator over each chunk's own
frames, fades by a sine that does not sum to one, draws fresh noise, and aligns the samples of
neighbouring chunks by correlation (SOLA).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

RUN_TOKENS = (24, 60, 120)  # where the first runs look to; about a second, then growing
RUN_GROWTH = 100  # tokens more for every later run
LOOKAHEAD_TOKENS = 6  # tokens a settled frame has seen beyond itself, 240 ms
FADE_TOKENS = 4  # of them, over which a run hands over to the next
NOISE_BLOCK_FRAMES = 64


def run_tokens(run: int) -> int:
    """Tokens that run number `run` looks at, if the segment has more than these."""
    last = len(RUN_TOKENS) - 1
    return RUN_TOKENS[min(run, last)] + RUN_GROWTH * max(0, run - last)


def frame_noise(seed: int, num_frames: int, channels: int) -> Tensor:
    """Standard normal noise; frame t depends on `seed` and t alone.

    returns: (num_frames, channels) float32

    Philox (Salmon et al. 2011) keyed by seed and block: a longer draw begins like a shorter one.
    """
    blocks = []
    for block in range(-(-num_frames // NOISE_BLOCK_FRAMES)):
        key = np.array([seed % (1 << 64), block], dtype=np.uint64)
        generator = np.random.Generator(np.random.Philox(key=key))
        shape = (NOISE_BLOCK_FRAMES, channels)
        blocks.append(generator.standard_normal(shape, dtype=np.float32))
    return torch.from_numpy(np.concatenate(blocks)[:num_frames])


def hand_over(before: Tensor, after: Tensor) -> Tensor:
    """Fade linearly from the frames of one run to those of the next.

    before: (frames, channels); after: (frames or more, channels), both from the same frame on
    returns: like `after`
    """
    num_frames = min(len(before), len(after))
    steps = torch.arange(num_frames, device=after.device, dtype=after.dtype)
    share = ((steps + 0.5) / max(1, num_frames))[:, None]
    mixed = before[:num_frames] * (1 - share) + after[:num_frames] * share
    return torch.cat([mixed, after[num_frames:]])
