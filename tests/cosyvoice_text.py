"""Ids of CosyVoice's text tokenizer as people read them, special tokens by name."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from kouji.models.cosyvoice.text.tokenizer import CosyTokenizer


def text_of(tokenizer: CosyTokenizer, ids: Sequence[int]) -> str:
    """The text of ids; the tokenizer itself tears the letters of tokens such as [ào]."""
    names = {number: name for name, number in tokenizer.special_ids.items()}
    parts = []
    for is_special, run in groupby(ids, names.__contains__):
        same = list(run)
        parts.append(
            "".join(names[each] for each in same) if is_special else tokenizer.decode(same)
        )
    return "".join(parts)
