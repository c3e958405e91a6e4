"""When a stream's tokens are rendered: which of them make the next piece.

A piece ends where the flow's causal mask has a border, counted from the beginning of the prompt,
so that nothing already heard would change with what comes later. The hop grows, for each piece
costs a fixed amount of work; it grows with each segment anew. What is due follows from numbers of
tokens, never from when they came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from kouji.models.cosyvoice.conditioning import Manner
from kouji.models.cosyvoice.config import FlowConfig, Version, silent_tokens

MAX_HOP_CHUNKS = 4  # the official code's: 100 tokens, four seconds
HOP_GROWTH = 2
LEAST_FIRST_TOKENS = 12  # half a second, of which the vocoder keeps a third until more comes

MAX_SILENT_RUN = 5  # tokens that are heard of a silence


class Piece(NamedTuple):
    """Tokens `begin` to `end` go to the flow; `is_final` tells that none follow."""

    begin: int
    end: int
    is_final: bool


class Schedule:
    """The pieces of one segment, in order."""

    def __init__(self, num_prompt: int, config: FlowConfig, manner: Manner, *, is_streamed: bool):
        self._chunk, self._lookahead = config.chunk_tokens, config.lookahead_tokens
        self._is_streamed = is_streamed
        self._begin = 0
        self._is_over = False
        to_border = -num_prompt % self._chunk
        # The official first piece is a whole chunk and what the prompt lacks to a border.
        is_official = manner.streaming == "official"
        least = self._chunk if is_official else min(LEAST_FIRST_TOKENS, self._chunk)
        self._hop = to_border if to_border >= least else to_border + self._chunk
        self._next_hop = HOP_GROWTH * self._chunk

    def due(self, num_tokens: int, *, is_final: bool) -> Piece | None:
        """The next piece, if it can be rendered.

        num_tokens: made so far
        is_final:   no more will come
        """
        if self._is_over:
            return None
        end = self._begin + self._hop + self._lookahead
        if self._is_streamed and num_tokens >= end:
            return Piece(self._begin, end, False)
        return Piece(self._begin, num_tokens, True) if is_final else None

    def begin(self, piece: Piece) -> None:
        """This piece is being rendered."""
        self._is_over = piece.is_final
        self._begin = piece.end if piece.is_final else piece.end - self._lookahead
        self._hop = self._next_hop
        self._next_hop = min(MAX_HOP_CHUNKS * self._chunk, HOP_GROWTH * self._next_hop)


def heard_tokens(tokens: Sequence[int], version: Version) -> list[int]:
    """Tokens without the rest of long silences; what is cut off a beginning never changes."""
    heard, num_silent, silent = [], 0, silent_tokens(version)
    for token in tokens:
        num_silent = num_silent + 1 if token in silent else 0
        if num_silent <= MAX_SILENT_RUN:
            heard.append(token)
    return heard
