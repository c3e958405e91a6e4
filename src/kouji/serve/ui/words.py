"""Every word the studio shows, in English and Chinese, and which of them a browser wants."""

from __future__ import annotations

from collections.abc import Callable

from kouji.serve.ui.sessions import cookie_of
from kouji.serve.ui.wording import WORDS

LANGUAGES = ("en", "zh")
LANGUAGE_COOKIE = "kouji_language"
Say = Callable[..., str]
_FOR_SCRIPT = "js."


def word(key: str, language: str, /, **values: object) -> str:
    """One text; `values` fill its braces."""
    text = WORDS[key][LANGUAGES.index(language)]
    return text.format(**values) if values else text


def speaker_of(language: str) -> Say:
    """`word` for one language."""

    def say(key: str, /, **values: object) -> str:
        return word(key, language, **values)

    return say


def script_words(language: str) -> dict[str, str]:
    """What the page's script shows, by name."""
    index = LANGUAGES.index(language)
    return {
        name.removeprefix(_FOR_SCRIPT): texts[index]
        for name, texts in WORDS.items()
        if name.startswith(_FOR_SCRIPT)
    }


def language_of(cookies: str | None, accepted: str | None) -> str:
    """What was chosen, else what the browser likes best of what there is, else English.

    cookies:  a Cookie header
    accepted: an Accept-Language header
    """
    chosen = cookie_of(cookies, LANGUAGE_COOKIE)
    if chosen in LANGUAGES:
        return str(chosen)
    wishes: list[tuple[float, str]] = []
    for part in (accepted or "").split(","):
        tag, *parameters = part.split(";")
        language = tag.strip().lower().split("-")[0]
        if language in LANGUAGES:
            wishes.append((_weight(parameters), language))
    return max(wishes, key=lambda wish: wish[0])[1] if wishes else LANGUAGES[0]


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.strip().partition("=")
        if name == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0
