"""What every language of GPT-SoVITS turns a piece of text into."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Phonemes:
    """Symbols of one piece of text in one language.

    phones:    names of the symbol table, in order; a name the table lacks is spoken as UNK
    word2ph:   phones per character of `norm_text`; None where the language has no such count
    norm_text: what was spoken, normalised
    """

    phones: tuple[str, ...]
    word2ph: tuple[int, ...] | None
    norm_text: str
