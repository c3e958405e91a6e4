"""One segment on its way from speech tokens to samples: what is due, what was heard.

All state of a segment lies here and in the states of flow and vocoder it owns; nothing computes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.cosyvoice.config import FRAMES_PER_TOKEN, MELS, FlowConfig
from kouji.models.cosyvoice.flow import FlowState, VocoderState
from kouji.models.cosyvoice.schedule import Piece, Schedule, heard_tokens
from kouji.models.cosyvoice.stretch import MelStretch, stretch_whole


@dataclass(frozen=True)
class RenderFacts:
    """What became of a segment.

    num_tokens: heard; num_frames: of mel, at 50 Hz; num_pieces: that the flow solved
    """

    num_tokens: int
    num_frames: int
    num_pieces: int


class CosyRow:
    """Implements `stages.RenderRow`.

    flow, vocoder: the row's states in both networks
    """

    def __init__(
        self,
        flow: FlowState,
        vocoder: VocoderState,
        schedule: Schedule,
        config: FlowConfig,
        *,
        is_streamed: bool,
        speed: float,
        max_frames: int,
    ) -> None:
        """Begin.

        max_frames: vocoded at once
        """
        self.flow, self.vocoder = flow, vocoder
        self.is_streamed, self.speed = is_streamed, speed
        self._schedule, self._config = schedule, config
        self._stretch = MelStretch(speed)
        self._max_frames = max_frames
        self._tokens: list[int] = []
        self._is_final = False
        self._solving: Piece | None = None
        self._mel = torch.zeros(0, MELS)  # not vocoded yet
        self._is_drawn = self._is_heard = False  # the mel is complete; the sound is
        self._num_frames = self._num_pieces = 0

    @property
    def acoustic_cost(self) -> int:
        """Sound that is ready goes out first, so that pieces are cut alike at any pace."""
        if self.vocode_cost:
            return 0
        if self._solving is not None:
            return max(1, self.flow.cost)
        piece = self._due
        return 0 if piece is None else max(1, FRAMES_PER_TOKEN * (piece.end - piece.begin))

    @property
    def vocode_cost(self) -> int:
        if self._is_drawn and not self._is_heard:
            return max(1, min(self._max_frames, len(self._mel)))
        return min(self._max_frames, len(self._mel))

    @property
    def is_midway(self) -> bool:
        return self._solving is not None

    @property
    def is_done(self) -> bool:
        return self._is_heard

    @property
    def info(self) -> RenderFacts:
        return RenderFacts(len(self._tokens), self._num_frames, self._num_pieces)

    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        """All tokens so far; raises ModelError for one that is no sound."""
        size = self._config.codebook
        wrong = next((token for token in tokens if not 0 <= token < size), None)
        if wrong is not None:
            cure = "use a language model and a flow of one model directory"
            raise ModelError("unknown token", seen=wrong, allowed=f"0 to {size - 1}", cure=cure)
        self._tokens, self._is_final = heard_tokens(tokens, self._config.version), is_final
        if is_final and not self._tokens:
            self._is_drawn = self._is_heard = True

    @property
    def _due(self) -> Piece | None:
        if self._is_drawn:
            return None
        return self._schedule.due(len(self._tokens), is_final=self._is_final)

    def begin_piece(self) -> None:
        """Hand the next piece to the flow, unless one is being solved."""
        if self._solving is not None:
            return
        piece = self._due
        assert piece is not None, "the row was asked without having work"
        self.flow.feed(self._tokens[piece.begin : piece.end], is_final=piece.is_final)
        self._schedule.begin(piece)
        self._solving = piece

    def end_piece(self) -> None:
        """Take the piece's mel, if it is solved."""
        if self._solving is None or self.flow.num_steps_left:
            return
        is_last = self._solving.is_final
        mel = self.flow.take()
        if self.is_streamed:
            mel = self._stretch.push(mel, is_final=is_last)
        elif self.speed != 1.0:
            mel = stretch_whole(mel, self.speed)
        self._mel = torch.cat([self._mel.to(mel), mel])
        self._num_frames += len(mel)
        self._num_pieces += 1
        self._solving, self._is_drawn = None, is_last

    def next_frames(self) -> tuple[Tensor, bool]:
        """What the vocoder works on next: (frames, 80), and whether none follow."""
        frames = self._mel[: self._max_frames]
        return frames, self._is_drawn and len(frames) == len(self._mel)

    def give(self, num_frames: int, *, is_final: bool) -> None:
        """These frames were vocoded."""
        self._mel = self._mel[num_frames:].clone()
        self._is_heard = is_final
