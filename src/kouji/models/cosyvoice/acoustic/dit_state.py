"""One segment on its way through the flow of version 3: what it is given, keeps and gives.

It alone knows where a segment stands; `dit_flow` computes. A streamed segment keeps the keys and
values of its frames, so that a piece computes its own frames and no others. The whole chunks of
the prompt come from `KeptPrompts`, or are computed with the first piece and then shared. Where
`CacheRoom` has no room, a piece keeps nothing, and the next one computes its frames again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.cosyvoice.acoustic.dit import POSITION_TAPS, rotations
from kouji.models.cosyvoice.acoustic.flow_attention import Span, attend, chunk_spans
from kouji.models.cosyvoice.acoustic.flow_cache import Convs, FrameCache
from kouji.models.cosyvoice.acoustic.flow_cost import step_flops
from kouji.models.cosyvoice.acoustic.flow_noise import fixed_noise
from kouji.models.cosyvoice.acoustic.flow_piece import Piece, check_turn, cut_piece
from kouji.models.cosyvoice.acoustic.lookahead import TOKENS_BEHIND
from kouji.models.cosyvoice.acoustic.packed_dit import DiTRow, Moved
from kouji.models.cosyvoice.conditioning import Conditioning, Manner
from kouji.models.cosyvoice.config import FRAMES_PER_TOKEN, MELS, NOISE_FRAMES

if TYPE_CHECKING:
    from kouji.models.cosyvoice.acoustic.dit_flow import DitFlow


@dataclass
class _Work:
    """A piece being solved.

    begin:    its first frame, counted from the beginning of the prompt; `x` goes on from there
    num_left_out: frames of `x` that are not to be given
    is_causal: under the causal mask, with what is kept; else full attention over all of it
    keeps:    its frames are kept for the next piece
    """

    x: Tensor
    base: Tensor
    turns: Tensor
    begin: int
    num_left_out: int
    spans: list[Span]
    is_causal: bool
    keeps: bool
    is_final: bool
    step: int = 0

    @property
    def end(self) -> int:
        return self.begin + len(self.x)


class DitState:
    """`flow.FlowState`; made by `DitFlow.open`.

    num_flops: of all steps until now
    """

    def __init__(
        self,
        flow: DitFlow,
        voice: Conditioning,
        *,
        is_streamed: bool,
        manner: Manner,
        num_tokens: int | None,
        is_exact: bool,
    ) -> None:
        self.flow, self.voice, self.is_streamed, self.manner = flow, voice, is_streamed, manner
        self.is_exact = is_exact
        self.num_flops = 0
        self._given: list[int] = []  # tokens rendered until now
        self._work: _Work | None = None
        self._is_over = False
        self._prompt_frames = self._kept_frames()
        self._prompt: FrameCache | None = None
        self._own: FrameCache | None = None
        self._num_kept = 0  # frames both have, counted from the beginning of the prompt
        self._expected = None if num_tokens is None else len(voice.mel) + 2 * num_tokens

    def _kept_frames(self) -> int:
        """Of the prompt, those that no token of a segment can change: its whole chunks.

        Its last tokens look ahead on the segment's first. None where nothing may be shared.
        """
        chunk, ahead = self.flow.config.chunk_tokens, self.flow.config.lookahead_tokens
        settled = max(0, len(self.voice.tokens) - ahead)
        is_shared = self.is_streamed and not self.is_exact
        return FRAMES_PER_TOKEN * (settled // chunk * chunk) if is_shared else 0

    @property
    def num_steps_left(self) -> int:
        """Of the piece that was fed."""
        return self.flow.config.num_steps - self._work.step if self._work else 0

    @property
    def step_number(self) -> int:
        """The next step's place among them."""
        assert self._work is not None
        return self._work.step

    @property
    def cost(self) -> int:
        """Frames the next step computes."""
        return len(self._work.x) if self._work and self.num_steps_left else 0

    @property
    def num_bytes(self) -> int:
        """Memory of its caches; a prompt that all streams of the voice share is not counted."""
        own = self._own.num_bytes if self._own else 0
        is_shared = self._prompt is None or self.flow.prompts.holds(self._prompt)
        work = sum(t.nbytes for t in (self._work.x, self._work.base)) if self._work else 0
        return own + work + (0 if is_shared or not self._prompt else self._prompt.num_bytes)

    @property
    def bytes_due(self) -> int:
        """See `cache_room.Stream`."""
        own = self._own.bytes_due if self._own else 0
        return own + self._prompt_due

    @property
    def _prompt_due(self) -> int:
        """Of a prompt that is this stream's alone."""
        prompt = self._prompt
        return 0 if prompt is None or self.flow.prompts.holds(prompt) else prompt.bytes_due

    @property
    def _settled(self) -> int:
        """Frames in the prompt's cache; the own one goes on from there."""
        return 0 if self._prompt is None else self._prompt_frames

    @torch.inference_mode()
    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        """Begin the next piece; see `flow`.

        raises: ModelError for tokens that are no speech, too many of them, a piece that does not
                end with a chunk, or one out of turn
        """
        check_turn(
            is_over=self._is_over,
            is_waiting=self._work is not None,
            is_allowed=is_final or self.is_streamed,
        )
        before = len(self.voice.tokens) + len(self._given)
        config = self.flow.config
        piece = cut_piece(tokens, is_final=is_final, num_before=before, config=config)
        is_causal = self.is_streamed and not (is_final and self.manner.streaming == "official")
        self._work = self._begin(piece, is_causal) if len(piece.tokens) else self._nothing()
        self._given += piece.tokens.tolist()
        self._is_over = is_final

    def _nothing(self) -> _Work:
        none = torch.zeros(0, MELS, device=self.flow.device)
        return _Work(none, none, none, 0, 0, [], False, False, True, self.flow.config.num_steps)

    def _begin(self, piece: Piece, is_causal: bool) -> _Work:
        flow, before = self.flow, len(self.voice.mel) + FRAMES_PER_TOKEN * len(self._given)
        begin = self._find_past() if is_causal else 0
        tokens = torch.cat((self.voice.tokens, torch.tensor(self._given).long(), piece.tokens))
        end = FRAMES_PER_TOKEN * len(tokens)
        assert is_causal or piece.is_final
        spans = chunk_spans(begin, end, FRAMES_PER_TOKEN * flow.config.chunk_tokens)
        keeps = not piece.is_final and self._make_room(end)
        return _Work(
            fixed_noise()[begin:end].to(flow.device),
            self._base(tokens, piece.ahead, begin),
            rotations(end - begin, flow.dit.config.head_width, begin).to(flow.device),
            begin,
            before - begin,
            spans if is_causal else [Span(0, end, end)],
            is_causal,
            keeps,
            piece.is_final,
        )

    def _base(self, tokens: Tensor, ahead: Tensor, begin: int) -> Tensor:
        flow, first = self.flow, begin // FRAMES_PER_TOKEN
        known = tokens.to(flow.device)
        behind = known[max(0, first - TOKENS_BEHIND) : first]
        mu = flow.front.frames(known[first:], ahead.to(flow.device), behind)
        condition = torch.zeros_like(mu)
        said = self.voice.mel[begin:].to(flow.device)
        condition[: len(said)] = said
        return flow.dit.base(condition, mu, flow.front.speaker(self.voice.speaker.to(flow.device)))

    def _find_past(self) -> int:
        """Frames there is no need to compute."""
        room, prompts = self.flow.room, self.flow.prompts
        if not room.holds(self, self.bytes_due):
            self._let_go()  # a prompt that was shared has become this stream's alone
        if self._num_kept or not self._prompt_frames:
            return self._num_kept
        self._prompt = prompts.get(self.voice.key)
        if self._prompt is not None:
            self._num_kept = self._prompt_frames
            return self._num_kept
        fresh = self.flow.new_cache(self._prompt_frames, self._prompt_frames)
        if room.holds(self, fresh.bytes_due):
            self._prompt = fresh
        return 0

    def _make_room(self, end: int) -> bool:
        """For frames until `end`, if it is there: ample, or just enough."""
        flow, settled, needed = self.flow, self._settled, end - self._settled
        own = self._own
        if own is None:
            expected = max(needed, (self._expected or end) - settled)
            own = flow.new_cache(expected, NOISE_FRAMES - settled)
        else:
            expected = own.grown(needed)
        for num_frames in (expected, needed):
            if flow.room.holds(self, self._prompt_due + own.bytes_of(num_frames)):
                own.reserve(num_frames)
                self._own = own
                return True
        return False

    def _let_go(self) -> None:
        self._prompt = self._own = None
        self._num_kept = 0

    # --- one step

    def row(self) -> DiTRow:
        """What the next step computes."""
        work = self._work
        assert work is not None
        return DiTRow(work.step, work.x, work.base, work.turns, self._past(work), self._attend)

    def _past(self, work: _Work) -> Convs:
        source = self._own if work.begin > self._settled else self._prompt
        kept = source.convs[work.step] if source and work.is_causal and work.begin else None
        return kept or self.flow.dit.no_past()

    def _attend(self, layer: int, q: Tensor, both: Tensor) -> Tensor:
        work = self._work
        assert work is not None
        blocks = self._blocks(work, layer, both) if work.is_causal else [both]
        return attend(q, blocks, work.spans)

    def _blocks(self, work: _Work, layer: int, both: Tensor) -> list[Tensor]:
        """Kept frames and new ones in order."""
        step, settled, blocks = work.step, self._settled, list[Tensor]()
        if self._prompt is not None:
            num_new = max(0, settled - work.begin)
            if num_new:
                self._prompt.write(step, layer, both[:, :, :num_new], 0)
                both = both[:, :, num_new:]
            blocks.append(self._prompt.read(step, layer, settled))
        at = max(0, work.begin - settled)
        if work.keeps:
            assert self._own is not None
            self._own.write(step, layer, both, at)
            return [*blocks, self._own.read(step, layer, work.end - settled)]
        if at:
            assert self._own is not None
            blocks.append(self._own.read(step, layer, at))
        return [*blocks, both.to(self.flow.cache_shape.dtype)]

    def advance(self, moved: Moved, move: Callable[[Tensor, int], Tensor]) -> None:
        """End a step; `move` makes one of velocities."""
        work = self._work
        assert work is not None
        x = work.x + move(moved.velocities, work.step)
        if work.is_causal:
            self._keep_convs(work, moved.windows)
        self.num_flops += step_flops(self.flow.dit.config, len(work.x), work.spans)
        work.x, work.step = x, work.step + 1
        if not self.num_steps_left:
            self._finish(work)

    def _keep_convs(self, work: _Work, windows: Convs) -> None:
        """The last frames each convolution saw, of this piece and of the prompt in it."""
        reach = POSITION_TAPS - 1  # a window begins so many frames before the piece
        if self._prompt is not None and not work.begin:
            self._prompt.convs[work.step] = tuple(
                window[:, self._prompt_frames :][:, :reach].clone() for window in windows
            )
        if work.keeps:
            assert self._own is not None
            self._own.convs[work.step] = tuple(window[:, -reach:].clone() for window in windows)

    def _finish(self, work: _Work) -> None:
        """Share the prompt where this piece computed it; let go of what nobody will hear."""
        if work.is_causal and self._prompt is not None and not work.begin:
            self._prompt = self.flow.prompts.put(self.voice.key, self._prompt)
            self._num_kept = self._prompt_frames
        if work.keeps:
            self._num_kept = work.end
        if work.is_final:
            self._let_go()

    def take(self) -> Tensor:
        """The frames of the piece that is solved, (frames, 80) float32 on the flow's device."""
        if self._work is None or self.num_steps_left:
            raise ModelError("frames of a piece that is not solved", cure="step until none is left")
        mel, self._work = self._work.x[self._work.num_left_out :], None
        return mel.clone()
