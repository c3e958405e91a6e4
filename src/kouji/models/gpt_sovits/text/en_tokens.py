"""Words and marks of normalised English, cut as the tokenizer for tweets cuts them.

Only what can happen in normalised text (letters, blanks and `' . , ? ! -`) is covered: there are
no digits, emoticons or addresses with signs left.
"""

from __future__ import annotations

import re

_RUN_OF_SIGNS = re.compile(r"([^a-zA-Z0-9])\1{3,}")
_TOKEN = re.compile(
    r"""
    [a-z0-9]+(?:[.\-][a-z0-9]+)*\.[a-z]{2,13}\b  # a bare domain, "example.com", stays whole
    | [a-z][a-z'\-]+[a-z]                          # a word with inner apostrophes or dashes
    | [a-z0-9]+
    | \.(?:\s*\.)+                                 # dots of an ellipsis
    | \S
    """,
    re.VERBOSE | re.IGNORECASE,
)


def tokenize(text: str) -> list[str]:
    """Tokens of normalised English in order, case kept; marks are tokens of their own."""
    return _TOKEN.findall(_RUN_OF_SIGNS.sub(r"\1\1\1", text))
