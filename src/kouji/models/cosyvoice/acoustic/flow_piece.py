"""What a flow may be given: voices and pieces of tokens, checked before anything is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.cosyvoice.conditioning import Conditioning
from kouji.models.cosyvoice.config import (
    FRAMES_PER_TOKEN,
    MELS,
    NOISE_FRAMES,
    SPEAKER_WIDTH,
    FlowConfig,
)

MAX_TOKENS = NOISE_FRAMES // FRAMES_PER_TOKEN


class Piece(NamedTuple):
    """Tokens to be rendered, (tokens,) int64, and those that follow: none in a final piece."""

    tokens: Tensor
    ahead: Tensor
    is_final: bool


def check_voice(voice: Conditioning, config: FlowConfig) -> None:
    """Raises ModelError for a voice this flow cannot read."""
    num_tokens = len(voice.tokens)
    check_tokens(voice.tokens, config, "a voice with")
    wanted = {
        "mel": (voice.mel, (FRAMES_PER_TOKEN * num_tokens, MELS)),
        "embedding": (voice.speaker, (SPEAKER_WIDTH,)),
    }
    for name, (tensor, shape) in wanted.items():
        if tensor.shape != shape:
            raise ModelError(
                f"a voice whose {name} does not fit its {num_tokens} tokens",
                seen=tuple(tensor.shape),
                allowed=str(shape),
                cure="encode the voice again",
            )


def check_tokens(tokens: Tensor, config: FlowConfig, whose: str = "") -> None:
    """Raises ModelError for tokens that are no speech."""
    strange = tokens[(tokens < 0) | (tokens >= config.codebook)]
    if len(strange):
        raise ModelError(
            f"{whose} speech tokens out of the codebook".strip(),
            seen=strange[:5].tolist(),
            allowed=f"0 to {config.codebook - 1}",
            cure="leave stop ids out, and use tokens of this model's tokenizer",
        )


def check_turn(*, is_over: bool, is_waiting: bool, is_allowed: bool) -> None:
    """Raises ModelError for a piece that may not come now.

    is_over:    the final piece has come
    is_waiting: frames of the piece before have not been taken
    is_allowed: it is final, or the segment is streamed
    """
    if is_over or is_waiting:
        what = "after the final one" if is_over else "before the last one was taken"
        raise ModelError(f"a piece of speech {what}", cure="open a state for each segment")
    if not is_allowed:
        raise ModelError(
            "a piece of a segment that is not streamed",
            allowed="one final piece",
            cure="open the segment with is_streamed",
        )


def cut_piece(
    tokens: Sequence[int], *, is_final: bool, num_before: int, config: FlowConfig
) -> Piece:
    """The next piece of a segment.

    tokens:     from the first not rendered yet on
    num_before: tokens before it, those of the prompt included

    raises: ModelError
    """
    given = torch.as_tensor(tokens, dtype=torch.int64)
    check_tokens(given, config)
    if num_before + len(given) > MAX_TOKENS:
        raise ModelError(
            "more speech than the flow has noise for",
            seen=f"{num_before + len(given)} tokens of prompt and segment",
            allowed=f"up to {MAX_TOKENS}",
            cure="cut the text into shorter segments",
        )
    if is_final:
        return Piece(given, given[:0], True)
    num_rendered = len(given) - config.lookahead_tokens
    if num_rendered < 1 or (num_before + num_rendered) % config.chunk_tokens:
        first = config.chunk_tokens - num_before % config.chunk_tokens
        raise ModelError(
            "a piece that does not end with a chunk",
            seen=f"{len(given)} tokens after {num_before}",
            allowed=f"{first + config.lookahead_tokens} and multiples of {config.chunk_tokens} "
            f"more, the last {config.lookahead_tokens} of them to be seen only",
            cure="wait for more tokens, or say that the piece is final",
        )
    return Piece(given[:num_rendered], given[num_rendered:], False)
