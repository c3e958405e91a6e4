"""Which of CosyVoice's languages a text is in: by name, else by its script and its small words.

The model reads the language off the text; it is named only to choose how numbers are read.
"""

from __future__ import annotations

import re
import unicodedata

from kouji.errors import UsageError
from kouji.models.cosyvoice.config import Version

LANGUAGES = ("zh", "en", "ja", "ko", "de", "es", "fr", "it", "ru")
_TRAINED_ON: dict[Version, tuple[str, ...]] = {
    "cosyvoice3": LANGUAGES,
    "cosyvoice2": ("zh", "en", "ja", "ko"),
}
CANTONESE = "yue"  # written as Chinese, asked for as a dialect
_AUTO = "auto"
_NAMES = {"cmn": "zh", "jp": "ja", "kr": "ko"}

_KANA = re.compile("[\u3041-\u30fa\u30fd-\u30ff\u31f0-\u31ff\uff66-\uff9d]")
_HANGUL = re.compile("[\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3]")
_CYRILLIC = re.compile("[\u0400-\u052f]")
_HANZI = re.compile("[\u3400-\u9fff\U00020000-\U0003ffff]")
_LATIN_WORD = re.compile("[A-Za-z\u00c0-\u024f]+(?:['’][A-Za-z\u00c0-\u024f]+)?")
_OURS = re.compile(
    "|".join(
        [
            _KANA.pattern,
            _HANGUL.pattern,
            _CYRILLIC.pattern,
            _HANZI.pattern,
            "[A-Za-z\u00c0-\u024f\uff21-\uff5a]",
        ]
    )
)
_MARKS = re.compile(r"<[^<>\n]*>|\[[^\[\]\n]*\]")
_KANA_SHARE = 0.1  # of kana and hanzi: Japanese has more, Chinese with a stray の less
_SMALL_WORDS = {
    "en": "the and of to a in is it that for you with was on are this be have not we they i my",
    "de": "der die das und ist nicht ein eine zu mit den von für auf ich sie es wir im dem auch "
    "sich des wie kostet heute",
    "es": "el los las una que y de es en por con para no un se del lo mi muy está hola como",
    "fr": "le les des une et est que qui dans pour pas un je vous nous il elle du sur ce au en "
    "c'est à très de la",
    "it": "il gli che di è un una non per con sono della del mi si ho questo ciao anche e le nel",
}
_WORDS = {language: frozenset(words.split()) for language, words in _SMALL_WORDS.items()}
_LETTERS = {"de": "äöüß", "es": "ñ¿¡", "fr": "çœêîûëï", "it": "òì"}


def check_language(language: str | None) -> str | None:
    """A caller's name for a language as one of LANGUAGES, `CANTONESE`, or None for any.

    raises: UsageError for a language CosyVoice does not speak
    """
    if language is None or language.lower() == _AUTO:
        return None
    primary = language.lower().replace("_", "-").partition("-")[0]
    primary = _NAMES.get(primary, primary)
    if primary == CANTONESE or primary in LANGUAGES:
        return primary
    raise UsageError(
        "CosyVoice does not speak this language",
        seen=language,
        allowed=", ".join((*LANGUAGES, CANTONESE, _AUTO)),
        cure="name one of these and write the text in it, or take another model",
    )


def language_warnings(language: str, version: Version) -> tuple[str, ...]:
    """What to say about a language of LANGUAGES that this version was not trained on."""
    known = _TRAINED_ON[version]
    if language in known:
        return ()
    return (f"CosyVoice {version[-1]} was trained on {', '.join(known)}: {language} may fail",)


def foreign_script(text: str) -> str:
    """The script of the first letter of a text, such as Thai, if none of its letters are ours."""
    letters = [sign for sign in _MARKS.sub(" ", text) if sign.isalpha()]
    if not letters or any(_OURS.match(letter) for letter in letters):
        return ""
    return unicodedata.name(letters[0], "unknown").split()[0].capitalize()


def guess_language(text: str, *, default: str = "en") -> str:
    """The language of a text, marks and tags aside; `default` where it has no letters."""
    text = _MARKS.sub(" ", text)
    counts = {
        "ja": len(_KANA.findall(text)),
        "ko": len(_HANGUL.findall(text)),
        "ru": len(_CYRILLIC.findall(text)),
        "zh": len(_HANZI.findall(text)),
    }
    if counts["ja"] and counts["ja"] >= _KANA_SHARE * (counts["ja"] + counts["zh"]):
        counts["ja"] += counts.pop("zh")
    words = [word.lower() for word in _LATIN_WORD.findall(text)]
    counts["en"] = len(words)
    best = max(counts, key=lambda language: counts[language])
    if not counts[best]:
        return default
    if counts.get("zh"):  # English words in a Chinese sentence are read as such anyway
        best = "zh" if best == "en" else best
    if best == "en":
        best = _guess_by_words(text.lower(), words)
    return best


def _guess_by_words(text: str, words: list[str]) -> str:
    scores = {
        language: sum(word in known for word in words)
        + 2 * sum(letter in text for letter in _LETTERS.get(language, ""))
        for language, known in _WORDS.items()
    }
    best = max(scores, key=lambda language: scores[language])
    return best if scores[best] > scores["en"] else "en"
