"""What a model family offers the engine: decode, acoustic and vocode, each on batches of rows.

These protocols are the whole seam between `kouji.models` and `kouji.engine`: the engine
schedules rows without knowing a family, a family computes batches without knowing a
scheduler. What is typed `Any` is the family's own business and passes through unread.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class SamplingOptions:
    """How tokens are drawn, in one request; the defaults are those of GPT-SoVITS.

    temperature:        divides the logits before top-k
    top_k:              tokens kept; 1 is greedy
    top_p:              probability mass kept; 1 keeps all
    repetition_penalty: divides positive and multiplies negative logits of tokens already there
    repetition_window: 0 for the rules of GPT-SoVITS; above it repetition-aware sampling (VALL-E 2)
                       over so many of the newest tokens
    repetition_share:  of the window from which on a token is drawn again, from all others
    """

    temperature: float = 1.0
    top_k: int = 15
    top_p: float = 1.0
    repetition_penalty: float = 1.35
    repetition_window: int = 0
    repetition_share: float = 0.1


@dataclass(frozen=True)
class RenderOptions:
    """How one request is rendered.

    is_streamed: chunks leave as soon as the family's look-ahead allows; else whole segments
    speed:       factor on the speech rate
    style:       the family's own wishes
    is_exact:    the same bits each time, so nothing that others left behind is used, although it
                 would differ by rounding only; the engine says so
    """

    is_streamed: bool = False
    speed: float = 1.0
    style: Any = None
    is_exact: bool = False


@dataclass(frozen=True)
class Prompt:
    """One segment in one voice, ready for prefill.

    num_positions: cache positions that prefill writes
    next_position: position id of the first generated token; later ones follow
    history:       (tokens,) int64 on the CPU; tokens the repetition penalty counts as used
    prefix_key:    content hash: equal keys on one decoder mean equal prefill
    num_phones:    of the text to speak, pauses included
    min_tokens:    as many are made before the end token may be drawn
    max_tokens:    the row is stopped there
    expected_tokens: shortest and longest plausible outcome, for the guard
    script:        where the text is still being written: what is fed and drawn when
    payload:       the family's inputs
    """

    num_positions: int
    next_position: int
    history: Tensor
    prefix_key: str
    num_phones: int
    min_tokens: int
    max_tokens: int
    expected_tokens: tuple[int, int]
    script: Script | None = None
    payload: Any = field(repr=False, default=None)


@dataclass(frozen=True)
class Turn:
    """What a row with a script does next; with nothing set, it draws as every row does.

    piece:         inputs to write behind what is in the slot; the draw is from their logits
    num_positions: of the piece
    is_waiting:    nothing can be done until more text has come
    forced:        taken in place of a draw, and not fed: a piece, a wait or the end follows
    allowed_ids:   stop ids that may be drawn; all others are masked
    """

    piece: Any = field(repr=False, default=None)
    num_positions: int = 0
    is_waiting: bool = False
    forced: int | None = None
    allowed_ids: tuple[int, ...] = ()


class Script(Protocol):
    """Tells a row, whose text is still being written, what comes next. Owned by one row.

    Its text grows in another thread; what it says depends on tokens and text alone.
    """

    def next(self, tokens: Sequence[int]) -> Turn:
        """The next turn, after these tokens were made; asked after each token and each wait."""
        ...

    def steers(self, token: int) -> bool:
        """True for stop ids that end no row: they stay in its history, not fed back nor heard."""
        ...

    def on_news(self, wake: Callable[[], None] | None) -> None:
        """Call `wake`, from any thread, whenever text has come or ended; None: nobody any more."""
        ...

    def give_up(self) -> None:
        """Wait for no more text: what has come is all."""
        ...


class KVCache(Protocol):
    """Keys and values of all layers, in `num_slots` preallocated rows of `num_positions`."""

    num_slots: int
    num_positions: int

    @property
    def num_bytes(self) -> int:
        """Memory of all slots."""
        ...

    def copy_out(self, slot: int, num_positions: int) -> Any:
        """A copy of the first positions of a slot, to be kept and shared."""
        ...

    def copy_in(self, slot: int, prefix: Any) -> None:
        """Write what `copy_out` gave into the beginning of a slot."""
        ...


class Decoder(Protocol):
    """The autoregressive stage of one set of weights.

    identity:      family and hash of the weights; rows of one identity share a batch
    vocabulary:    tokens, the end token included
    eos:           the first of the tokens that end a row: no id from here on is a sound
    stops_on_argmax: the row also ends when the likeliest token (after the penalty) is `eos`
    token_rate_hz: tokens per second of speech
    silent_tokens: tokens that sound like silence, as far as the family knows them
    num_bytes:     memory of the weights
    """

    identity: str
    vocabulary: int
    eos: int
    stops_on_argmax: bool
    token_rate_hz: float
    silent_tokens: frozenset[int]

    @property
    def num_bytes(self) -> int: ...

    @property
    def cache_key(self) -> str:
        """Decoders with equal keys can share one cache (same layers, heads, dtype, device)."""
        ...

    def new_cache(self, num_slots: int, num_positions: int) -> KVCache:
        """Allocate slots."""
        ...

    def slot_bytes(self, num_positions: int) -> int:
        """Memory of one slot."""
        ...

    def prompt(self, segment: Any, voice: Any) -> Prompt:
        """Join a prepared segment and a voice's conditioning."""
        ...

    def prefill(self, prompts: Sequence[Prompt], cache: Any, slots: Sequence[int]) -> Tensor:
        """Write the prompts into their slots.

        returns: (rows, vocabulary) float32 logits of the first token
        """
        ...

    def step(
        self, tokens: Tensor, positions: Tensor, lengths: Tensor, slots: Tensor, cache: Any
    ) -> Tensor:
        """One token further in every row; writes position `lengths` of each slot.

        tokens:    (rows,) int64, drawn last
        positions: (rows,) int64, their position ids
        lengths:   (rows,) int64, positions already in the slot
        slots:     (rows,) int64
        returns:   (rows, vocabulary) float32 logits

        Pure in its tensors: shapes and addresses depend on the number of rows only, so a GPU
        may record it once and replay it.
        """
        ...


class ScriptedDecoder(Decoder, Protocol):
    """A decoder that can go on reading in the middle of a row; only rows with a script ask it."""

    def extend(
        self, pieces: Sequence[Any], cache: Any, slots: Sequence[int], lengths: Sequence[int]
    ) -> Tensor:
        """Write the pieces of `Turn`s behind what is in their slots.

        lengths: positions already in each slot
        returns: (rows, vocabulary) float32 logits behind the last position of each piece
        """
        ...


class RenderRow(Protocol):
    """The way of one segment from tokens to samples; owns all its state.

    acoustic_cost: frames the next call of `acoustic` would work on; 0: nothing is ready
    is_midway:     the next call goes on with what the last one began: no use in waiting for mates
    vocode_cost:   frames the next call of `vocode` would work on; 0: nothing is ready
    is_done:       every sample has been given out
    info:          the family's facts about the segment, for its report
    """

    @property
    def acoustic_cost(self) -> int: ...
    @property
    def vocode_cost(self) -> int: ...
    @property
    def is_midway(self) -> bool: ...
    @property
    def is_done(self) -> bool: ...
    @property
    def info(self) -> Any: ...

    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        """All tokens made so far. What is ready depends on their number alone, never on time."""
        ...


class Renderer(Protocol):
    """The acoustic and the vocode stage of one set of weights.

    identity:    as for `Decoder`
    sample_rate: of the samples
    vocode_rows: rows worth vocoding together: on a CPU one fills it, and more only make others wait
    packs_rows:  `acoustic` takes rows of any lengths without padding them to the longest
    num_bytes:   memory of the weights
    """

    identity: str
    sample_rate: int
    vocode_rows: int
    packs_rows: bool

    @property
    def num_bytes(self) -> int: ...

    def open(
        self, segment: Any, voice: Any, options: RenderOptions, seed: int, *, is_last: bool
    ) -> RenderRow:
        """Begin a segment; a family without decode stage is ready at once."""
        ...

    def acoustic(self, rows: Sequence[Any]) -> None:
        """Advance rows with `acoustic_cost` > 0 by one piece each, in one batch."""
        ...

    def vocode(self, rows: Sequence[Any]) -> list[NDArray[np.float32]]:
        """The next samples of rows with `vocode_cost` > 0, in one batch."""
        ...


@dataclass(frozen=True)
class SpeechModel:
    """The weights that speak one voice; `decoder` is None for a family without that stage."""

    renderer: Renderer
    decoder: Decoder | None = None
