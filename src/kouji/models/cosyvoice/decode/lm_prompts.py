"""A segment and a voice joined to what the language model starts from, checked beforehand."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import torch
from torch import Tensor

from kouji.errors import ModelError, TextError
from kouji.models.cosyvoice.conditioning import Conditioning, LMPart, LMPiece, TextSegment
from kouji.models.cosyvoice.config import (
    FRAMES_PER_TOKEN,
    NOISE_FRAMES,
    TOKEN_RATE_HZ,
    LMConfig,
)
from kouji.models.cosyvoice.decode.official_decode import MAX_RATIO, MIN_RATIO
from kouji.models.stages import Prompt

MAX_TOKENS = NOISE_FRAMES // FRAMES_PER_TOKEN  # of reference and speech together

# Speech tokens per text token. A text token is a word or less in English (3 to 5 a second), 1 to
# 1.5 characters in Chinese (4 to 5 a second): 5 to 9. Fewer where tokens are short: spelled pinyin
# takes two a syllable, Korean and Russian two or three a word. More where they are long (a name of
# four characters in one) or the style is slow. Silences weigh in short texts: hence three seconds.
FEWEST_PER_TEXT_TOKEN, MOST_PER_TEXT_TOKEN = 2.5, 15
LONGEST_SILENCE_SECONDS = 3


class LMInputs(NamedTuple):
    """What a prompt carries for prefill.

    num_common: positions at its beginning that other texts are likely to share
    """

    piece: LMPiece
    num_common: int = 0


def make_prompt(segment: TextSegment, voice: Conditioning, config: LMConfig) -> Prompt:
    """Join them: sos, prompt text and text, task, and in `zero_shot` the reference's tokens.

    At most 20 speech tokens are made per token of `text`, as officially, where a system prefix
    inside `text` counts; and no more than the flow has noise for. At least 2 per token of what is
    to be heard: officially the prefix counts here too, which would force a short text to be long
    if it were enforced, and in version 3 it is not (see `official_decode.decode`).

    raises: TextError for nothing to speak, no room for it, or version 3 without its
            `<|endofprompt|>`; ModelError for ids these weights do not have
    """
    check_segment(segment, config)
    text = torch.cat([segment.prompt_text, segment.text]).tolist()
    is_prompted = segment.mode == "zero_shot"
    tokens = _checked_tokens(voice.tokens, config)
    parts = [LMPart("sos"), LMPart("text", tuple(text)), LMPart("task")]
    piece = LMPiece((*parts, LMPart("speech", tokens if is_prompted else ())))
    least = int(MIN_RATIO * segment.num_spoken)
    most = min(int(MAX_RATIO * len(segment.text)), MAX_TOKENS - len(tokens))
    if most <= least:
        seen = f"{segment.num_spoken} text tokens behind {len(tokens)} tokens of the reference"
        cure = "cut the text into shorter segments"
        raise TextError("segment too long", seen=seen, allowed=f"{MAX_TOKENS} tokens", cure=cure)
    low, high = plausible_tokens(segment.num_spoken)
    return Prompt(
        num_positions=piece.num_positions,
        next_position=piece.num_positions,
        history=torch.empty(0, dtype=torch.int64),
        prefix_key=piece_key(piece),
        num_phones=segment.num_spoken,
        min_tokens=least,
        max_tokens=most,
        expected_tokens=(min(low, most), min(high, most)),
        payload=LMInputs(piece, 1 + len(text) - segment.num_spoken),
    )


def check_segment(segment: TextSegment, config: LMConfig) -> None:
    """Refuse what the network cannot read; raises as `make_prompt`."""
    if not 0 < segment.num_spoken <= len(segment.text):
        cure = "give a text with words"
        raise TextError("nothing to speak", seen=f"{len(segment.text)} text tokens", cure=cure)
    text = torch.cat([segment.prompt_text, segment.text])
    _check_range(text, config.text_rows, "unknown text token")
    if config.version == "cosyvoice3" and not bool((text == config.end_of_prompt).any()):
        cure = "begin with 'You are a helpful assistant.<|endofprompt|>'"
        raise TextError("no <|endofprompt|> before the text", cure=cure)


def plausible_tokens(num_spoken: int) -> tuple[int, int]:
    """Shortest and longest speech, in tokens, that so many text tokens can be."""
    most = MOST_PER_TEXT_TOKEN * num_spoken + LONGEST_SILENCE_SECONDS * TOKEN_RATE_HZ
    return math.floor(FEWEST_PER_TEXT_TOKEN * num_spoken), most


def piece_key(piece: LMPiece) -> str:
    """Hash of everything the network reads."""
    return hashlib.blake2b(repr(piece).encode(), digest_size=16).hexdigest()


def _checked_tokens(tokens: Tensor, config: LMConfig) -> tuple[int, ...]:
    _check_range(tokens, config.codebook, "unknown speech token in the reference")
    return tuple(tokens.tolist())


def _check_range(ids: Tensor, num_ids: int, fault: str) -> None:
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < num_ids:
        seen, allowed = (int(ids.min()), int(ids.max())), f"0 to {num_ids - 1}"
        cure = "use the tokenizer that belongs to these weights"
        raise ModelError(fault, seen=seen, allowed=allowed, cure=cure)
