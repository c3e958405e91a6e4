"""The one phone inventory of `mini`: pinyin initials and finals, ARPAbet, pauses.

A phone is a symbol plus a tone: Mandarin tones 1-5 for finals, lexical stress 0-2
for English vowels, nothing for consonants and pauses. Symbols and tones have ids of
their own, so a model embeds them separately and shares what it learns of a vowel
across its tones. The order is part of trained checkpoints: append, never reorder.
"""

from __future__ import annotations

from typing import NamedTuple

PAD = "_"
EDGE = "sil"  # silence before the first and, where the text has no mark, after the last phone
PAUSES = (",", ".", "?", "!")
INITIALS = tuple("b p m f d t n l g k h j q x zh ch sh r z c s".split())
# -i after z c s is `ii`, after zh ch sh r `iii`; u-umlaut is `v`; `rr` is the erhua coda.
FINALS = tuple(
    "a o e ee ai ei ao ou an en ang eng er i ii iii ia ie iao iou ian in iang ing iong "
    "u ua uo uai uei uan uen uang ong ueng v ve van vn rr".split()
)
ARPABET_VOWELS = tuple("AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW".split())
ARPABET_CONSONANTS = tuple("B CH D DH F G HH JH K L M N NG P R S SH T TH V W Y Z ZH".split())
SYMBOLS = (PAD, EDGE, *PAUSES, *INITIALS, *FINALS, *ARPABET_VOWELS, *ARPABET_CONSONANTS)
SYMBOL_IDS = {symbol: index for index, symbol in enumerate(SYMBOLS)}

# tone ids: 0 none, 1-5 Mandarin tones, 6-8 English stress 0-2
NUM_TONES = 9
STRESS_OFFSET = 6


class Phone(NamedTuple):
    """One phone: a symbol of `SYMBOLS` and a tone id of 0 to 8."""

    symbol: str
    tone: int = 0

    def __str__(self) -> str:
        if self.tone >= STRESS_OFFSET:
            return f"{self.symbol}{self.tone - STRESS_OFFSET}"
        return f"{self.symbol}{self.tone or ''}"


def is_silence(symbol: str) -> bool:
    """True for the edge silence and the pauses: phones without a sound of their own."""
    return symbol == EDGE or symbol in PAUSES
