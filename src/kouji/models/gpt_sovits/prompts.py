"""A segment and a voice joined to what the decoder starts from, checked before any computing."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import torch

from kouji.errors import ModelError, TextError
from kouji.models.gpt_sovits.conditioning import Conditioning, TextFeatures
from kouji.models.gpt_sovits.config import TOKEN_RATE_HZ, T2SConfig
from kouji.models.gpt_sovits.official_decode import MIN_TOKENS
from kouji.models.stages import Prompt

# Clips of 3 to 25 phones a second is what the family is trained on; faster or slower speech is a
# fault. Silence at both ends weighs in short segments, hence two seconds on top of the longest.
FASTEST_PHONES_PER_SECOND, SLOWEST_PHONES_PER_SECOND = 25, 3
LONGEST_SILENCE_SECONDS = 2


class PromptInputs(NamedTuple):
    """What a prompt carries for prefill."""

    segment: TextFeatures
    voice: Conditioning


def make_prompt(
    segment: TextFeatures,
    voice: Conditioning,
    config: T2SConfig,
    *,
    max_tokens: int,
    max_positions: int,
) -> Prompt:
    """Join them: prompt phones, target phones, prompt tokens.

    A voice without a prompt speaks reference-free: target phones only, tokens from nothing.

    max_tokens:    the row is stopped there
    max_positions: rows of the position tables
    raises: TextError for a segment without phones or longer than the position table;
            ModelError for a phone these weights do not know or BERT of another width
    """
    check_text(segment, config)
    tokens, before = torch.empty(0, dtype=torch.int64), 0
    if voice.prompt is not None and voice.prompt_tokens is not None:
        check_text(voice.prompt, config)
        tokens, before = voice.prompt_tokens.cpu().long(), len(voice.prompt.phones)
    num_phones = len(segment.phones)
    if before + num_phones > max_positions or len(tokens) + max_tokens > max_positions:
        seen = f"{before} + {num_phones} phones, {len(tokens)} tokens of the reference"
        allowed = f"{max_positions} phones, {max_positions - max_tokens} tokens"
        cure = "cut the text into shorter segments"
        raise TextError("segment too long", seen=seen, allowed=allowed, cure=cure)
    return Prompt(
        num_positions=before + num_phones + len(tokens),
        next_position=len(tokens),
        history=tokens,
        prefix_key=_prefix_key(segment, voice),
        num_phones=num_phones,
        min_tokens=MIN_TOKENS,
        max_tokens=max_tokens,
        expected_tokens=plausible_tokens(num_phones),
        payload=PromptInputs(segment, voice),
    )


def check_text(text: TextFeatures, config: T2SConfig) -> None:
    """Refuse what the network cannot read; raises as `make_prompt`."""
    if not len(text.phones):
        raise TextError("nothing to speak", seen=text.text, cure="give a text with words")
    low, high = int(text.phones.min()), int(text.phones.max())
    if low < 0 or high >= config.num_phones:
        allowed = f"0 to {config.num_phones - 1}"
        cure = "use weights of the version whose symbols the text was read with"
        raise ModelError("unknown phone", seen=(low, high), allowed=allowed, cure=cure)
    wanted = (len(text.phones), config.bert_channels)
    if tuple(text.bert.shape) != wanted:
        seen, allowed = tuple(text.bert.shape), str(wanted)
        raise ModelError("BERT features do not fit the T2S", seen=seen, allowed=allowed)


def plausible_tokens(num_phones: int) -> tuple[int, int]:
    """Shortest and longest speech, in tokens, that so many phones can be."""
    least = math.floor(num_phones * TOKEN_RATE_HZ / FASTEST_PHONES_PER_SECOND)
    most = num_phones / SLOWEST_PHONES_PER_SECOND + LONGEST_SILENCE_SECONDS
    return max(MIN_TOKENS, least), math.ceil(most * TOKEN_RATE_HZ)


def _prefix_key(segment: TextFeatures, voice: Conditioning) -> str:
    """Hash of everything prefill sees; the voice counts by its own content hash."""
    digest = hashlib.blake2b(voice.key.encode(), digest_size=16)
    digest.update(segment.phones.cpu().to(torch.int64).numpy().tobytes())
    digest.update(segment.bert.cpu().to(torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()
