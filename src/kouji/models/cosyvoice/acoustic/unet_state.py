"""One segment on its way through version 2's flow: what is solved, what is kept, what is due.

Everything of a segment lies here, so that dropping it drops all. The encoder is called when a
piece begins; the estimator is called by `unet_flow`, for many segments at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.cosyvoice.acoustic.flow_attention import Span, chunk_spans
from kouji.models.cosyvoice.acoustic.flow_noise import fixed_noise
from kouji.models.cosyvoice.acoustic.flow_piece import Piece, check_turn, check_voice, cut_piece
from kouji.models.cosyvoice.acoustic.packed_conformer import EncoderCache
from kouji.models.cosyvoice.acoustic.unet_step import BRANCHES, PieceStep, StepCache
from kouji.models.cosyvoice.conditioning import Conditioning, Manner
from kouji.models.cosyvoice.config import FRAMES_PER_TOKEN, MELS

if TYPE_CHECKING:
    from kouji.models.cosyvoice.acoustic.unet_flow import UNetFlow


@dataclass(frozen=True)
class Past:
    """All that is kept of the frames before; never written to, so segments may share it."""

    encoder: EncoderCache = field(default_factory=EncoderCache)
    steps: tuple[StepCache, ...] = ()

    @property
    def num_tokens(self) -> int:
        """From the beginning of the prompt on."""
        return self.encoder.num_tokens

    @property
    def num_bytes(self) -> int:
        """Memory of all tensors."""
        return self.encoder.num_bytes + sum(step.num_bytes for step in self.steps)


@dataclass
class Solving:
    """Frames that are solved together.

    x:         (frames, 80) float32, from noise to mel
    given:     (branches, frames, 240) float32: `mu`, speaker and the prompt's mel; zeros
    spans:     what the frames see
    num_known: frames at the beginning that nobody waits for: of the prompt, or heard before
    encoder:   what the encoder keeps, where a piece follows; else None
    flops:     of the encoder and all steps
    past:      by Euler step; given up on the way
    left:      by Euler step, for what follows
    """

    x: Tensor
    given: Tensor
    spans: Sequence[Span]
    num_known: int
    encoder: EncoderCache | None
    flops: int
    past: list[StepCache | None]
    left: list[StepCache] = field(default_factory=list)
    step: int = 0

    @property
    def inputs(self) -> Tensor:
        """(branches * frames, 320), what the estimator reads."""
        return torch.cat([self.x.expand(BRANCHES, -1, -1), self.given], dim=2).flatten(0, 1)

    @property
    def piece_step(self) -> PieceStep:
        """How the estimator meets it next."""
        past = self.past[self.step] if self.past else None
        return PieceStep(self.step, self.spans, past, self.encoder is not None)

    def advance(self, change: Tensor, left: StepCache | None) -> None:
        """One Euler step was done."""
        self.x = self.x + change
        if left is not None:
            self.left.append(left)
        if self.past:
            self.past[self.step] = None
        self.step += 1


class UNetState:
    """`flow.FlowState`; made by `UNetFlow.open`.

    num_flops: of all pieces that were begun, two per multiplication; with the prompt's, where it
               was not kept from an earlier segment of this voice
    """

    def __init__(
        self,
        flow: UNetFlow,
        voice: Conditioning,
        *,
        is_streamed: bool,
        manner: Manner,
        is_exact: bool,
    ) -> None:
        check_voice(voice, flow.config)
        self.flow, self.voice, self.is_streamed, self.manner = flow, voice, is_streamed, manner
        self.is_exact = is_exact
        self.num_flops = 0
        self._speaker = flow.encoder.project_speaker(voice.speaker)
        self._tokens = voice.tokens  # of prompt and segment, begun until now
        self._past: Past | None = None  # between two pieces
        self._prompt: Past | None = None  # the part of it that others share
        self._work: list[Solving] = []
        self._mel: Tensor | None = None
        self._is_over = False

    @property
    def num_steps_left(self) -> int:
        """Of the piece that was fed; twice as many where its voice's prompt is not known yet."""
        return sum(self.flow.config.num_steps - work.step for work in self._work)

    @property
    def cost(self) -> int:
        """Frames the next step computes."""
        return len(self._work[0].x) if self._work else 0

    @property
    def num_bytes(self) -> int:
        """Memory of its caches; a prompt that all streams of the voice share is not counted."""
        encoders = [work.encoder for work in self._work]
        steps = [step for work in self._work for step in (*work.past, *work.left)]
        if self._past is not None:
            encoders, steps = [*encoders, self._past.encoder], [*steps, *self._past.steps]
        kept = [step for step in steps if step is not None]
        own = sum(cache.num_bytes for cache in (*kept, *encoders) if cache is not None)
        if self._prompt is not None and self.flow.prompts.holds(self._prompt):
            own -= len(kept) * self._prompt.steps[0].block_bytes
        return own

    @property
    def bytes_due(self) -> int:
        """See `cache_room.Stream`; the prompt counts in full."""
        return self._bytes_of(self._num_kept)

    def _bytes_of(self, num_tokens: int) -> int:
        return num_tokens * FRAMES_PER_TOKEN * self.flow.bytes_per_frame

    @property
    def _num_kept(self) -> int:
        """Tokens that are kept, or will be."""
        if self._work:
            last = self._work[-1].encoder
            return 0 if last is None else last.num_tokens
        return 0 if self._past is None else self._past.num_tokens

    @torch.inference_mode()
    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        """Begin the next piece; see `flow`. Where it fails, the state is what it was.

        raises: ModelError for tokens that are no speech, too many of them, a piece that does not
                end with a chunk, or one out of turn
        """
        check_turn(
            is_over=self._is_over,
            is_waiting=bool(self._work or self._mel is not None),
            is_allowed=is_final or self.is_streamed,
        )
        num_before, config = len(self._tokens), self.flow.config
        piece = cut_piece(tokens, is_final=is_final, num_before=num_before, config=config)
        work, prompt = self._plan(piece) if len(piece.tokens) else ([], None)
        if not work:
            self._mel = self._speaker.new_zeros(0, MELS)
        self._tokens = torch.cat([self._tokens, piece.tokens])
        self._work, self._prompt, self._is_over = work, prompt, is_final
        self._past = None  # the work has it, and lets go of it step by step
        self.num_flops += sum(part.flops for part in work)

    def take(self) -> Tensor:
        """The frames of the piece that is solved, (frames, 80) float32 on the flow's device."""
        if self._mel is None:
            raise ModelError("frames of a piece that is not solved", cure="step until none is left")
        mel, self._mel = self._mel, None
        return mel

    # --- what is to be solved

    def _plan(self, piece: Piece) -> tuple[list[Solving], Past | None]:
        """What to solve, one after the other, and the prompt in it that others share."""
        flow, tokens = self.flow, torch.cat([self._tokens, piece.tokens])
        num_known, chunk = len(self._tokens), flow.config.chunk_tokens
        if not self.is_streamed or (piece.is_final and self.manner.streaming == "official"):
            return [self._solve(Past(), tokens, piece.ahead, num_known, None, keeps=False)], None
        work, past, prompt = [], self._past, self._prompt
        if past is None and not self.is_exact:
            past = prompt = flow.prompts.get(self.voice.key)
        if past is None and (num_settled := self._num_settled):
            # On their own, for they are then what every segment of this voice begins with.
            settled, ahead = self.voice.tokens[:num_settled], self.voice.tokens[num_settled:]
            ahead = ahead[: flow.config.lookahead_tokens]
            work = [self._solve(Past(), settled, ahead, 0, chunk, keeps=True)]
            past = Past(work[0].encoder or EncoderCache())
        past = past or Past()
        keeps = not piece.is_final and flow.room.holds(self, self._bytes_of(len(tokens)))
        work.append(self._solve(past, tokens, piece.ahead, num_known, chunk, keeps=keeps))
        return work, prompt

    @property
    def _num_settled(self) -> int:
        """Tokens of the prompt that no token of a segment can change, if they can be kept.

        Its whole chunks; its last tokens look ahead on the segment's first.
        """
        config = self.flow.config
        num_seen = max(0, len(self.voice.tokens) - config.lookahead_tokens)
        num_settled = num_seen - num_seen % config.chunk_tokens
        num_bytes = FRAMES_PER_TOKEN * num_settled * self.flow.bytes_per_frame
        can_share = num_bytes <= self.flow.prompts.max_bytes and not self.is_exact
        return num_settled if can_share else 0

    def _solve(
        self,
        past: Past,
        tokens: Tensor,
        ahead: Tensor,
        num_known: int,
        chunk: int | None,
        *,
        keeps: bool,
    ) -> Solving:
        """Encode what the past does not have.

        tokens:    from the beginning of the prompt on
        num_known: of them nobody waits for so many
        """
        flow, begin = self.flow, past.num_tokens
        mu, encoder, flops = flow.encoder(tokens[begin:], ahead, past.encoder, chunk)
        first, last = FRAMES_PER_TOKEN * begin, FRAMES_PER_TOKEN * len(tokens)
        spans = [Span(0, last - first, last)]
        if chunk is not None:
            spans = chunk_spans(first, last, FRAMES_PER_TOKEN * chunk)
        return Solving(
            fixed_noise()[first:last].to(mu.device),
            self._given(mu, first),
            spans,
            max(0, FRAMES_PER_TOKEN * num_known - first),
            encoder if keeps else None,
            flops + flow.config.num_steps * flow.estimator.flops(spans),
            [*past.steps],
        )

    def _given(self, mu: Tensor, first: int) -> Tensor:
        """(branches, frames, 240) from that frame on; the free branch is told nothing."""
        cond = torch.zeros_like(mu)
        prompt = self.voice.mel[first : first + len(mu)]
        cond[: len(prompt)] = prompt.to(mu)
        told = torch.cat([mu, self._speaker.expand_as(mu), cond], dim=1)
        return torch.stack([told, torch.zeros_like(told)])

    # --- one step

    @property
    def solving(self) -> Solving:
        """What the next Euler step is of."""
        return self._work[0]

    def advance(self, change: Tensor, left: StepCache | None) -> None:
        """End a step."""
        work = self._work[0]
        work.advance(change, left)
        if work.step < self.flow.config.num_steps:
            return
        del self._work[0]
        past = None if work.encoder is None else Past(work.encoder, tuple(work.left))
        if self._work:  # what was solved is the prompt
            assert past is not None
            self._prompt = self.flow.prompts.put(self.voice.key, past)
            self._work[0].past = [*self._prompt.steps]
        else:
            self._past, self._mel = past, work.x[work.num_known :]
