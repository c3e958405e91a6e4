"""Reading of Roman numerals, where a title, a ruler or a grade makes them numbers.

"I" alone, and letters such as CD or MIX, are words unless such a cue stands before them.
"""

from __future__ import annotations

import re

from kouji.text.normalise import chinese, english
from kouji.text.normalise.reading import Reader, View, reader

_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}
_VALID = re.compile(r"M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})")
_COUNT_CUES = re.compile(
    r"\b(?:Chapter|Part|Act|Scene|Book|Volume|Vol\.|Section|Appendix|Type|Phase|Stage|Class|War|Article"
    r"|Title|Season|Episode|Level|Grade|Bowl|Fantasy|Rocky|Figure|Table|Unit|Lesson|Canto|Schedule"
    r"|Schedule|Category|Apollo|Olympiad|Division|Annex|Theorem|Symphony|Sonata|Model|Mark|Mk"
    r"|chapter|part|act|scene|book|volume|section|type|phase|stage|class|grade|level|factor)\s$"
)
_RULERS = re.compile(
    r"\b(?:Henry|Louis|Elizabeth|George|Edward|Charles|James|William|Richard|Philip|Napoleon|Pius"
    r"|John|Paul|Benedict|Nicholas|Alexander|Catherine|Frederick|Francis|Ivan|Peter|Leo|Gregory"
    r"|Innocent|Wilhelm|Otto|Ramses|Ramesses|Ptolemy|Darius|Xerxes|Mary|Robert|Alfonso|Ferdinand"
    r"|Gustav|Christian|Margaret|Victoria|Urban|Clement|Boniface|Felipe|Carlos|Albert|Leopold|Haakon"
    r"|Harald|Henri|Cleopatra|Antiochus|Constantine|Justinian|Theodosius|Mehmed|Murad|Selim)\s$"
)
_CHINESE_COUNTED = re.compile(r"\s?[级型期类度章卷册部篇节代区号条]")
_PLAIN = re.compile("II|III|IV|VI|VII|VIII|IX|XI|XII|XIII|XIV|XV|XVI|XVII|XVIII|XIX|XXI|XXII")


def value(numeral: str) -> int | None:
    """The number a valid Roman numeral stands for, else None."""
    if not numeral or not _VALID.fullmatch(numeral):
        return None
    total = 0
    for this, following in zip(numeral, numeral[1:] + " ", strict=True):
        worth = _VALUES[this]
        total += -worth if worth < _VALUES.get(following, 0) else worth
    return total


def _roman(match: re.Match[str], view: View) -> str | None:
    numeral = match["numeral"].upper()
    if match["numeral"].islower() and not _COUNT_CUES.search(view.before(match)):
        return None
    number = value(numeral)
    if number is None:
        return None
    before = view.before(match)
    if view.language(match) == "zh":
        return _chinese_roman(numeral, number, before, view.after(match, 3))
    if _RULERS.search(before):
        return f"the {english.ordinal(str(number))}"
    is_count = _COUNT_CUES.search(before) is not None
    after_article = re.search(r"\b(?:an?|[Aa]n|the)\s$", before)
    if numeral == "IV" and not is_count and not re.search(r"\b[A-Z][a-z]+\s$", before):
        return None  # a drip
    if is_count or (_PLAIN.fullmatch(numeral) and not after_article):
        return english.cardinal(str(number))
    return None


def _roman_owner(match: re.Match[str], view: View) -> str | None:
    """Elizabeth II's."""
    number = value(match["numeral"])
    if number is None or not _RULERS.search(view.before(match)):
        return None
    return f"the {english.ordinal(str(number))}'s"


def _chinese_roman(numeral: str, number: int, before: str, after: str) -> str | None:
    said = chinese.cardinal(str(number))
    in_order = before.endswith(("第", "第 "))
    if in_order or _COUNT_CUES.search(before):
        return said
    if set(numeral) <= {"I"} and _CHINESE_COUNTED.match(after):
        return said
    if (len(numeral) > 1 and _PLAIN.fullmatch(numeral)) or numeral in ("XX",):
        return said
    return None


def _sign(match: re.Match[str], view: View) -> str:
    """The single characters Ⅰ to Ⅻ, one or several."""
    from unicodedata import normalize

    text = normalize("NFKC", match.group()).upper()
    number = value(text)
    if number is None:
        return text
    if view.language(match) == "zh":
        return chinese.cardinal(str(number))
    if _RULERS.search(view.before(match)):
        return f"the {english.ordinal(str(number))}"
    return english.cardinal(str(number))


LETTER_READERS: tuple[Reader, ...] = (
    reader("Roman numeral", r"(?P<numeral>[IVXLCDM]+|[ivx]+)(?![A-Za-z\d&'+#-])", _roman),
    reader("Roman numeral of an owner", r"(?P<numeral>[IVXLCDM]{2,})'s(?![A-Za-z])", _roman_owner),
)
SYMBOL_READERS: tuple[Reader, ...] = (reader("Roman sign", "[\u2160-\u217f]+", _sign),)
