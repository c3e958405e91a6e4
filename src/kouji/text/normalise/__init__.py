"""Normalisation: from written text to words that can be spoken, Chinese and English mixed.

Numbers, dates, money, units, addresses, symbols and emoji become words; each item keeps the
span of source text it stands for, and what is not read is listed with a reason. Our own
rules, as the wetext family misreads ￥1,234.50 and x², loses spans and starts slowly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kouji.text.normalise.spoken import SILENT, Dropped, Normalised, Spoken

if TYPE_CHECKING:
    from kouji.types import Language

__all__ = ["SILENT", "Dropped", "Normalised", "Spoken", "normalise"]


def normalise(text: str, *, language: Language | None = None) -> Normalised:
    """Turn any text into spoken items; never raises on Unicode, however odd.

    language: how numbers and symbols are read where no word stands near; by default Chinese
    if the text has hanzi, else English. Hanzi are always "zh", Latin words always "en".
    """
    from kouji.text.normalise.fold import fold
    from kouji.text.normalise.scanner import Scanner

    scanner = Scanner(fold(text), text, language)
    scanner.run()
    dropped = tuple(sorted(scanner.dropped, key=lambda drop: drop.start))
    return Normalised(tuple(scanner.items), dropped)
