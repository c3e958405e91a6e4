"""From speech tokens to mel: what both versions' flows offer the renderer.

    state = flow.open(voice, is_streamed=True)      # one segment; owns caches and everything else
    state.feed(tokens, is_final=False)              # begins to solve a piece
    while state.num_steps_left:
        flow.step([state, ...])                     # one Euler step in each, in one batch
    mel = state.take()                              # (frames, 80) float32, the piece's frames

A piece is the tokens from the first not rendered yet on. Not final, its last
`lookahead_tokens` are seen and not rendered, and what is rendered ends on a multiple of
`chunk_tokens` counted from the beginning of the prompt. States at different steps, of any
lengths, streamed or whole, share a batch, and none hears of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from kouji.models.cosyvoice.conditioning import Conditioning, Manner
from kouji.models.cosyvoice.config import FlowConfig


class FlowState(Protocol):
    """One segment on its way through the flow.

    num_steps_left: of the piece that was fed; 0: `take` it, or feed another
    cost:           frames the next step computes, prompt included where it is not cached
    num_bytes:      memory of its caches
    """

    @property
    def num_steps_left(self) -> int: ...
    @property
    def cost(self) -> int: ...
    @property
    def num_bytes(self) -> int: ...

    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        """Begin the next piece; the one before must have been taken."""
        ...

    def take(self) -> Tensor:
        """The frames of the piece that is solved, (frames, 80) float32."""
        ...


class Flow(Protocol):
    """One set of weights; one thread at a time."""

    config: FlowConfig

    @property
    def num_bytes(self) -> int:
        """Memory of weights and kept prompts."""
        ...

    def open(
        self,
        voice: Conditioning,
        *,
        is_streamed: bool,
        manner: Manner,
        num_tokens: int | None,
        is_exact: bool,
    ) -> FlowState:
        """Begin a segment.

        is_streamed: pieces under the causal mask; else one final piece under full attention,
                     the official numbers
        num_tokens:  expected of the segment, to size caches; None: not known
        is_exact:    the same bits each time: no kept prompts, and no look at others' memory
        """
        ...

    def step(self, states: Sequence[Any]) -> None:
        """One Euler step further in each of the states, which have steps left."""
        ...


class VocoderState(Protocol):
    """One segment on its way through the vocoder; what it keeps of the frames before."""

    @property
    def num_bytes(self) -> int: ...


class Vocoder(Protocol):
    """Mel to samples, chunk by chunk, in rows."""

    @property
    def num_bytes(self) -> int: ...

    def open(self, seed: int) -> VocoderState:
        """Begin a segment; `seed` decides the noise of its source, where that is drawn."""
        ...

    def vocode(
        self, states: Sequence[Any], mels: Sequence[Tensor], is_final: Sequence[bool]
    ) -> list[Tensor]:
        """The samples that these frames settle, in one batch.

        mels:    (frames, 80) float32 each, the frames behind those given before; 0 or more
        returns: (samples,) float32 each; the last frames' follow when more frames come, or with
                 the final call, after which a segment has 480 samples for each frame
        """
        ...
