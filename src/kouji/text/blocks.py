"""A long text in blocks of about a minute, each spoken and kept on its own.

Knows the splitter and marks: no block cuts through a mark.
"""

from __future__ import annotations

from kouji.errors import MarkError
from kouji.text.markup import parse
from kouji.text.split import SplitLimits, split

BLOCK_PHONES = 900  # about a minute of speech: what an interruption costs at most


def cut_blocks(text: str) -> list[str]:
    """The text as blocks that together hold every character; one block where marks span cuts.

    raises: MarkError for a wrong mark anywhere in the text, before anything is rendered
    """
    limits = SplitLimits(first_max=BLOCK_PHONES // 3, max=BLOCK_PHONES, min=BLOCK_PHONES // 4)
    if text.lstrip().startswith("<speak"):
        parse(text)
        return [text]
    blocks = [text[span.start : span.end] for span in split(text, limits)]
    try:
        for block in blocks:
            parse(block)
    except MarkError:
        parse(text)  # a mark that is wrong in the whole text too is the caller's to correct
        return [text]
    return blocks
