"""Reading of hanzi runs and English words: abbreviations, initials, contractions, capitals."""

from __future__ import annotations

import re

from kouji.text.normalise import english
from kouji.text.normalise.capitals import COMMON, is_spelt, read_letters
from kouji.text.normalise.reading import Reader, View, reader

_TITLES = {
    "Dr": "doctor", "Mr": "mister", "Mrs": "missus", "Ms": "miz", "Prof": "professor",
    "Gen": "general", "Sen": "senator", "Rep": "representative", "Gov": "governor",
    "Capt": "captain", "Sgt": "sergeant", "Lt": "lieutenant", "Col": "colonel", "Rev": "reverend",
    "Hon": "honorable", "Pres": "president", "Supt": "superintendent", "Cmdr": "commander",
    "Mt": "mount", "Ft": "fort", "Messrs": "messers", "Mme": "madame", "Mlle": "mademoiselle",
}  # fmt: skip
_SHORT = {
    "Ave": "avenue", "Rd": "road", "Blvd": "boulevard", "Ln": "lane", "Hwy": "highway",
    "Jr": "junior", "Sr": "senior", "etc": "et cetera", "vs": "versus", "Inc": "incorporated",
    "Ltd": "limited", "Co": "company", "Corp": "corporation", "Bros": "brothers",
    "approx": "approximately", "dept": "department", "Dept": "department", "est": "established",
    "Est": "established", "vol": "volume", "Vol": "volume", "fig": "figure", "Fig": "figure",
    "figs": "figures", "Figs": "figures", "Univ": "university", "Apt": "apartment",
    "Tel": "telephone", "tel": "telephone", "Jan": "january", "Feb": "february",
    "Aug": "august", "Mon": "monday", "Tues": "tuesday", "Wed": "wednesday", "Thurs": "thursday",
    "Fri": "friday", "Sept": "september", "Oct": "october", "Nov": "november", "Dec": "december",
    "Assn": "association", "Assoc": "associates", "govt": "government", "Govt": "government",
    "max": "max", "min": "min", "misc": "miscellaneous", "ext": "extension", "Ext": "extension",
    "ca": "circa", "cf": "compare", "al": "al", "incl": "including", "tbsp": "tablespoons",
    "tsp": "teaspoons", "hr": "hour", "hrs": "hours", "mins": "minutes", "secs": "seconds",
    "oz": "ounces", "lb": "pound", "lbs": "pounds", "Sq": "square", "sq": "square", "pp": "pages",
    "Eq": "equation", "eq": "equation", "Ch": "chapter", "ch": "chapter", "Sec": "section",
    "Fl": "floor", "appt": "appointment", "viz": "namely", "Esq": "esquire",
    "Pl": "place", "Pkwy": "parkway", "Ste": "suite",
}  # fmt: skip
_ALSO_WORDS = frozenset("max min al est ca Co Sec Ch ch Ext".split())
_STREETS = frozenset({"Ave", "Rd", "Blvd", "Ln", "Hwy", "Pl", "Pkwy"})
_WITHOUT_PERIOD = {
    "Dr": "doctor", "Mr": "mister", "Mrs": "missus", "Ms": "miz", "vs": "versus", "Vs": "versus",
    "Blvd": "boulevard", "Jr": "junior", "Prof": "professor", "etc": "et cetera", "Mt": "mount",
    "VS": "versus", "MR": "mister", "MRS": "missus", "DR": "doctor", "Ltd": "limited",
    "approx": "approximately", "km": "kilometers", "kg": "kilograms", "cm": "centimeters",
    "mm": "millimeters", "mph": "miles per hour", "lbs": "pounds",
    "hrs": "hours", "Rd": "road", "pls": "please", "plz": "please",
    "idk": "IDK", "imo": "IMO", "imho": "IMHO", "fyi": "FYI", "omg": "OMG", "irl": "IRL",
    "YoY": "year over year", "QoQ": "quarter over quarter", "pts": "points", "yyds": "YYDS",
    "thx": "thanks", "ppl": "people",
}  # fmt: skip
_LATIN = {
    "e.g": "for example", "i.e": "that is", "a.k.a": "AKA", "Ph.D": "PHD", "p.s": "PS",
    "P.S": "PS", "n.b": "NB", "N.B": "NB", "U.S": "US", "U.K": "UK", "et al": "et al",
}  # fmt: skip
_TECH = {
    "C++": "C plus plus", "C#": "C sharp", "F#": "F sharp", "Node.js": "node JS", "A+": "A plus",
    "Next.js": "next JS", "Vue.js": "view JS", "React.js": "react JS", "O'Reilly": "O'Reilly",
    "Notepad++": "notepad plus plus", "B+": "B plus", "G++": "G plus plus", "g++": "G plus plus",
    "w/o": "without", "w/": "with", "n/a": "NA", "N/A": "NA", "c/o": "care of", "b/c": "because",
    "TCP/IP": "TCP IP", "A/C": "AC", "a/c": "AC", "Ctrl": "control", "E-mail": "e mail",
    "Disney+": "disney plus", "WWII": "world war two", "WWI": "world war one",
    "y/o": "year old", "M&Ms": "M and M's", "M&M's": "M and M's",
    "Wi-Fi": "wifi", "wi-fi": "wifi", "WI-FI": "wifi",
}  # fmt: skip
_CAPITAL_WORD = re.compile(r"(?:^|[^A-Za-z])([A-Z']{2,})[^A-Za-z]{1,3}$")
_CAPITAL_NEXT = re.compile(r"[^A-Za-z]{1,3}([A-Z']{2,})(?![a-z])")


def _hanzi(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    return match.group()


def _ends_sentence(match: re.Match[str], view: View) -> bool:
    return re.match(r"\s*$|\s+[A-Z\"']|\s*\n", view.after(match)) is not None


def _abbreviation(match: re.Match[str], view: View) -> str | None:
    """A known short form with its period, which may also end the sentence."""
    word = match["word"]
    if (
        word == "Dr"
        and re.search(r"[A-Z][a-z]+\s$", view.before(match))
        and not re.match(r"\s+[A-Z]", view.after(match))
    ):
        return "drive" + _break_after(match, view)
    if word in _TITLES:
        if not re.match(r"\s*$|\s+[a-zA-Z&]", view.after(match)):
            return None
        return _TITLES[word] + ("" if view.after(match).strip() else " .")
    if word in ("St", "No", "no", "Nos", "p", "Art", "c"):
        return _ambiguous(match, view, word)
    runs_on = re.match(r"\s*[a-z0-9,(&]", view.after(match)) is not None
    if word in _ALSO_WORDS and not runs_on:
        return _SHORT[word] + " ." if word in ("al", "est", "Co") else None
    said = _SHORT[word]
    if word in _STREETS:
        return said + _break_after(match, view)
    return said + " ." if _ends_sentence(match, view) and not _is_name_part(word) else said


def _break_after(match: re.Match[str], view: View) -> str:
    """A street's period may end the sentence, or stand before the name of a town."""
    return " ." if not view.after(match).strip() else " ," if _ends_sentence(match, view) else ""


def _is_name_part(word: str) -> bool:
    return word in ("Jan", "Feb", "Aug", "Sept", "Oct", "Nov", "Dec", "Vol", "Fig", "Figs", "vs")


def _ambiguous(match: re.Match[str], view: View, word: str) -> str | None:
    """St. is a saint before a name unless a name or number stands before it; No. wants a number."""
    after, before = view.after(match), view.before(match)
    if word == "St":
        after_name = re.search(r"(?:[A-Z][a-z]+|\d(?:st|nd|rd|th))\s$", before)
        if after_name and not re.search(
            r"\b(?:In|At|The|To|Near|Of|From|On|By|Visit|And)\s$", before
        ):
            return "street" + _break_after(match, view)
        return "saint" if re.match(r"\s+[A-Z]", after) else "street"
    if not re.match(r"\s?\d", after):
        return None
    if word == "p":
        return "page"
    return {"c": "circa", "Nos": "numbers", "Art": "article"}.get(word, "number")


def _numbered(match: re.Match[str], view: View) -> str:
    from kouji.text.normalise import chinese

    if view.language(match) == "zh":
        return "第" + chinese.cardinal(match["number"])
    return f"number {english.cardinal(match['number'])}"


def _bare(match: re.Match[str], view: View) -> str | None:
    word = match.group()
    if word == "St" and re.match(r"\s[A-Z][a-z]", view.after(match)):
        return "saint"
    if word == "St" and re.search(r"[A-Z][a-z]+\s$|\d(?:st|nd|rd|th)\s$", view.before(match)):
        return "street"
    return _WITHOUT_PERIOD.get(word)


def _dotted(match: re.Match[str], view: View) -> str:
    """U.S.A., e.g., J.K.: letters parted by periods."""
    text = match.group().removesuffix(".")
    said = _LATIN.get(text) or text.replace(".", "").upper()
    is_end = re.match(r"\s*$|\s*\n", view.after(match)) or (
        text not in ("e.g", "i.e")
        and re.match(
            r"\s+(?:The|He|She|It|We|They|This|That|But|And|In|I|You|A)\b", view.after(match)
        )
    )
    return said + (" ." if match.group().endswith(".") and is_end else "")


def _initial(match: re.Match[str], view: View) -> str | None:
    """The J. of J. Smith, but not the end of "plan B. Then"."""
    is_after_word = re.search(r"[a-z0-9]\s$", view.before(match)) is not None
    is_after_name = re.search(r"\b[A-Z][a-z]+\s$", view.before(match)) is not None
    return None if is_after_word and not is_after_name else match["letter"]


def _side(match: re.Match[str], view: View) -> str | None:
    """123 E. 4th St."""
    if not re.search(r"(?:\d|\b(?:on|at|to|of))\s$", view.before(match)):
        return None
    return {"N": "north", "S": "south", "E": "east", "W": "west"}[match["side"]]


def _tech(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    return _TECH[match.group()]


def _joined_letters(match: re.Match[str], view: View) -> str:
    """R&D, AT&T, Q&A, in either language."""
    return f"{match['left']} and {match['right']}" if view else ""


def _plural_letters(match: re.Match[str], view: View) -> str | None:
    """CEOs, PhDs, NASA's: letters (or a word) with an s of their own."""
    letters, ending = match["letters"], match["ending"].replace("'S", "'s")
    if letters in COMMON and ending != "s":
        return letters.lower() + "'s"
    if letters == "PhD":
        return "PH D's"
    if not is_spelt(letters, shouted=_is_shouted(match, view)):
        return letters.lower() + ("'s" if ending != "s" else "s")
    return f"{letters[:-1]} {letters[-1]}'s"


def _is_shouted(match: re.Match[str], view: View) -> bool:
    """True where a neighbouring word is in capitals too and is an ordinary word."""
    left = _CAPITAL_WORD.search(view.before(match))
    right = _CAPITAL_NEXT.match(view.after(match))
    return any(found is not None and found[1].replace("'", "") in COMMON for found in (left, right))


def _word(match: re.Match[str], view: View) -> str:
    word = match.group()
    if "'" in word:
        return _contraction(word)
    if len(word) == 1:
        return word if word in "IAa" else word.upper() if word not in "n" else word
    return read_letters(word, shouted=_is_shouted(match, view))


def _contraction(word: str) -> str:
    if word.isupper():
        return word.lower() if not word.startswith("I'") else "I" + word[1:].lower()
    stem, mark, ending = word.rpartition("'")
    if re.fullmatch("[A-Za-z][a-z]*(?:'[A-Za-z][a-z]*)*", word):
        return word
    is_name = stem.isalpha() and ending.islower()
    return read_letters(stem) + mark + ending if is_name else word.lower()  # McDonald's


_TECH_NAMES = "|".join(re.escape(name) for name in sorted(_TECH, key=len, reverse=True))
_SHORT_NAMES = "|".join(
    sorted([*_TITLES, *_SHORT, "St", "No", "no", "Nos", "p", "Art", "c"], key=len, reverse=True)
)
HANZI_READERS: tuple[Reader, ...] = (reader("hanzi", "[{H}]+", _hanzi),)
NAME_READERS: tuple[Reader, ...] = (
    reader("technical name", rf"(?:{_TECH_NAMES})(?![A-Za-z\d+#])", _tech),
    reader("numbered", r"N[oO]\.?\s?(?P<number>\d+)(?![\d.]*\d)", _numbered),
)  # fmt: skip
LETTER_READERS: tuple[Reader, ...] = (
    reader("abbreviation", rf"(?P<word>{_SHORT_NAMES})\.(?![A-Za-z]\b)", _abbreviation),
    reader("dotted letters", r"(?:Ph\.D\.?|(?:[A-Za-z]\.){2,}(?![A-Za-z]{2})"
           r"|(?:[A-Za-z]\.)+[A-Za-z](?![A-Za-z]))",
           _dotted),
    reader("side of a town", r"(?P<side>[NSEW])\.?(?=\s\d{1,3}(?:st|nd|rd|th)\b|\s[A-Z][a-z]+\s"
           r"(?:St|Ave|Rd|Blvd|Dr|Ln|Street|Avenue|Road|Boulevard|Drive|Lane)\b)", _side),
    reader("initial", r"(?P<letter>[A-Z])\.(?=\s?[A-Z])", _initial),
    reader("joined letters", r"(?P<left>[A-Z]{1,3})\s?&\s?(?P<right>[A-Z]{1,3})(?![A-Za-z])",
           _joined_letters),
    reader("plural letters", r"(?P<letters>[A-Z]{2,}|PhD)(?P<ending>'[sS]|s)(?![A-Za-z])",
           _plural_letters),
    reader("bare abbreviation", "[A-Za-z]+(?![A-Za-z'])", _bare),
    reader("word", "[A-Za-z]+(?:'[A-Za-z]+)*", _word),
)  # fmt: skip
