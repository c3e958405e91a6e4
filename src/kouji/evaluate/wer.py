"""Word error rate: which words a recogniser could print, and how many of them were missed.

The counting itself is `kouji.text.edits`, which training shares. Knows nothing of audio.
"""

from __future__ import annotations

import re
import unicodedata

from kouji.text.edits import Errors, count_errors, pool

__all__ = ["Errors", "count_errors", "normalise_words", "pool", "spoken_words"]

_APOSTROPHES = dict.fromkeys(map(ord, "’‘ʼ`´"), "'")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")


def normalise_words(text: str) -> list[str]:
    """Reduce English text to the words a recogniser can print.

    Lower case, accents folded, hyphens and punctuation split words, apostrophes inside
    words stay. Write numbers out before (see `spoken_words`): digits are dropped here.
    """
    folded = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES).lower())
    plain = "".join(sign for sign in folded if not unicodedata.combining(sign))
    return _WORD.findall(plain)


def spoken_words(text: str) -> list[str]:
    """Words of an English text as they are read: numbers and symbols written out first."""
    if re.search(r"[\d$€£%&@+=#/]", text):
        from kouji.text.normalise import normalise

        text = " ".join(item.text for item in normalise(text, language="en").items)
    return normalise_words(text)
