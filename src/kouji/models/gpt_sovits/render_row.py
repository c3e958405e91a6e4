"""One segment on its way from tokens to samples: what is due, what is settled, what was heard.

All state of a segment lies here; nothing computes. Which tokens a run looks at and which frames
a piece has follow from numbers of tokens, never from when they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.gpt_sovits.chunks import (
    FADE_TOKENS,
    LOOKAHEAD_TOKENS,
    hand_over,
    run_tokens,
)
from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.config import SoVITSConfig
from kouji.models.gpt_sovits.quantizer import FRAMES_PER_TOKEN
from kouji.models.gpt_sovits.sovits import frames_at
from kouji.models.stages import RenderOptions

PIECE_FRAMES = 512  # vocoded at once, about ten seconds: bounds memory and lets others in


@dataclass(frozen=True)
class RenderFacts:
    """What became of a segment.

    num_tokens: given; num_frames: of the latent, at 50 Hz; num_runs: of the prior
    """

    num_tokens: int
    num_frames: int
    num_runs: int


class SoVITSRow:
    """One segment on its way from tokens to samples; implements `stages.RenderRow`.

    Frames are counted from the segment's beginning. `latents` holds those from `start` on that
    are settled; `fading` what the last run had behind them.
    """

    def __init__(
        self,
        segment: TextFeatures,
        voice: Conditioning,
        options: RenderOptions,
        seed: int,
        *,
        config: SoVITSConfig,
        context: int,
    ) -> None:
        self.segment, self.voice, self.seed = segment, voice, seed
        self.is_streamed, self.speed = options.is_streamed, options.speed
        self._config, self._context = config, context
        self._tokens: tuple[int, ...] = ()
        self._is_final = self._is_drawn = False
        self._num_runs = 0
        self._latents = torch.zeros(0, config.latent)
        self._fading: Tensor | None = None
        self._start = self._num_settled = self._num_given = 0

    @property
    def acoustic_cost(self) -> int:
        """Sound that is ready goes out first, so that pieces are cut alike at any pace."""
        return 0 if self.vocode_cost else self._run_length * FRAMES_PER_TOKEN

    @property
    def vocode_cost(self) -> int:
        """Frames whose whole context is settled."""
        ready = self._num_settled - (0 if self._is_drawn else self._context)
        return min(PIECE_FRAMES, max(0, ready - self._num_given))

    @property
    def is_midway(self) -> bool:
        return False

    @property
    def is_done(self) -> bool:
        return self._is_drawn and self._num_given == self._num_settled

    @property
    def info(self) -> RenderFacts:
        return RenderFacts(len(self._tokens), self._num_settled, self._num_runs)

    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        """All tokens so far; raises ModelError for one the codebook does not have."""
        size = self._config.codebook_size
        wrong = next((token for token in tokens if not 0 <= token < size), None)
        if wrong is not None:
            cure = "use a decoder and a renderer of one version"
            raise ModelError("unknown token", seen=wrong, allowed=f"0 to {size - 1}", cure=cure)
        self._tokens, self._is_final = tuple(tokens), is_final
        self._is_drawn = is_final and not tokens

    @property
    def _run_length(self) -> int:
        """Tokens the next run looks at; 0: none is due.

        A run before the last waits for one token more than it looks at: only then it is known not
        to be the last, whenever the tokens came.
        """
        if self._is_drawn:
            return 0
        length = run_tokens(self._num_runs)
        if self.is_streamed and len(self._tokens) > length:
            return length
        return len(self._tokens) if self._is_final else 0

    def next_run(self) -> tuple[tuple[int, ...], int]:
        """The tokens to look at, and how many frames they become at the row's speed."""
        tokens = self._tokens[: self._run_length]
        num_frames = len(tokens) * FRAMES_PER_TOKEN
        if self.is_streamed:  # all runs must put their frames at the same times
            return tokens, max(1, round(num_frames / self.speed))
        return tokens, frames_at(num_frames, self.speed)

    def take_latents(self, latents: Tensor) -> None:
        """What the run gave, (frames, latent): settle all but the look-ahead."""
        is_last = self._is_final and self._run_length == len(self._tokens)
        shown = len(latents) - (0 if is_last else self._frames(LOOKAHEAD_TOKENS))
        shown = max(shown, self._num_settled)
        if is_last:
            fading = None
        else:
            fading = latents[shown : shown + max(1, self._frames(FADE_TOKENS))].clone()
        added = latents[self._num_settled : shown]
        if self._fading is not None and len(added):
            added = hand_over(self._fading, added)
        self._latents = torch.cat([self._latents.to(added.device), added])
        self._fading = fading if len(added) or fading is None else self._fading
        self._num_settled, self._is_drawn = shown, is_last
        self._num_runs += 1

    def next_piece(self) -> tuple[Tensor, int, int]:
        """What the generator works on next.

        returns: (frames, latent), and where in it the frames to give out begin and end
        """
        first, last = self._num_given, self._num_given + self.vocode_cost
        left = max(0, first - self._context)
        right = min(self._num_settled, last + self._context)
        return self._latents[left - self._start : right - self._start], first - left, last - left

    def give(self, num_frames: int) -> None:
        """These frames were heard; forget what no later frame needs."""
        self._num_given += num_frames
        kept = max(self._start, self._num_given - self._context)
        self._latents = self._latents[kept - self._start :].clone()
        self._start = kept

    def _frames(self, num_tokens: int) -> int:
        return round(num_tokens * FRAMES_PER_TOKEN / self.speed)
