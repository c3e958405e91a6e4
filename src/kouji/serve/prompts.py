"""The texts of CosyVoice's clients: what is to be spoken, and how, apart from the model's signs.

An instruction is prose that ends in `<|endofprompt|>`, often after a sentence of the recipe; a
text may begin with its language, as in `<|en|>Good morning`. Nothing of these is ever spoken.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_END = "<|endofprompt|>"
_RECIPE = re.compile(r"\s*you are a helpful assistant\s*[.。]?\s*", re.IGNORECASE)
_LANGUAGE = re.compile(r"\s*<\|(zh|en|jp|ja|yue|ko)\|>")
_NAMES = {"jp": "ja"}


class Spoken(NamedTuple):
    """A text with what was said about it; language None leaves it to the text."""

    text: str
    manner: str
    language: str | None


def read_instruct(text: str) -> str:
    """An instruction without the model's signs, as plain words."""
    before, _, after = text.partition(_END)
    words = _RECIPE.sub("", before, count=1) if _RECIPE.match(before) else before
    return f"{words.strip()} {after.replace(_END, ' ').strip()}".strip()


def read_prompt_text(text: str) -> tuple[str, str]:
    """What is said in a recording, and the instruction before it."""
    before, end, after = text.partition(_END)
    if not end:
        return text.strip(), ""
    return after.replace(_END, " ").strip(), read_instruct(before)


def read_text(text: str) -> Spoken:
    """A text to speak."""
    before, end, after = text.partition(_END)
    manner, text = (read_instruct(before), after) if end else ("", text)
    language = _LANGUAGE.match(text)
    if language is None:
        return Spoken(text, manner, None)
    name = language.group(1)
    return Spoken(text[language.end() :], manner, _NAMES.get(name, name))
