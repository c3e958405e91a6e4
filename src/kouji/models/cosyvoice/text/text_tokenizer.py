"""What the text side asks of a tokenizer; `tokenizer.CosyTokenizer` answers."""

from __future__ import annotations

from typing import Protocol


class TextTokenizer(Protocol):
    """Text to ids of the language model; safe to use from many threads."""

    def encode(self, text: str) -> list[int]:
        """Ids of a text in which special tokens count as such."""
        ...

    def encode_plain(self, text: str) -> list[int]:
        """Ids of a text that may look like special tokens and holds none."""
        ...
