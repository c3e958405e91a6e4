"""Reading of addresses: URLs, e-mail, IP, file names and paths, @handles and #hashtags."""

from __future__ import annotations

import re

from kouji.text.normalise import chinese, english
from kouji.text.normalise.capitals import read_letters
from kouji.text.normalise.reading import Reader, View, reader

_MARKS = {
    ".": ("点", "dot"), "/": ("斜杠", "slash"), "@": ("艾特", "at"), "-": ("横杠", "dash"),
    "_": ("下划线", "underscore"), "?": ("问号", "question mark"), "=": ("等于", "equals"),
    "&": ("和", "and"), "#": ("井号", "hash"), "%": ("百分号", "percent"), ":": ("冒号", "colon"),
    "+": ("加", "plus"), "~": ("波浪号", "tilde"), "*": ("星号", "star"),
    "\\": ("反斜杠", "backslash"),
}  # fmt: skip
_TOP = (
    "com|org|net|edu|gov|io|ai|cn|uk|us|de|fr|jp|eu|app|dev|info|biz|me|tv|co|hk|tw|au|ca|ru|in|kr|cc"
    "|xyz|top|shop|site|online|store|tech|cloud|mil|int"
)
_TEXT_FILES = (
    "txt|md|pdf|docx?|xlsx?|pptx?|csv|tsv|json|ya?ml|toml|xml|html?|css|js|ts|py|ipynb|java|cpp|hpp|rs|go|sh"
    "|zip|rar|gz|tar|exe|apk|dmg|jpe?g|png|gif|svg|webp|mp3|mp4|wav|flac|mov|avi|mkv|log|ini|cfg|sql|db|bat"
)
_HOST = rf"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?\.)+(?:{_TOP})"
_PATH = r"(?:/[\w~%&=?#.:+@/-]*[\w/]|/)?"
_END = r"(?![A-Za-z0-9-])"
# With a scheme anything goes; without one only hosts of well-known endings are believed.
_URL = (
    rf"(?:(?P<scheme>https?|ftp)://[A-Za-z0-9.-]*[A-Za-z0-9](?::\d+)?{_PATH}"
    rf"|www\.[A-Za-z0-9.-]*[A-Za-z0-9]{_PATH}|{_HOST}{_END}(?::\d+)?{_PATH})"
)


def say_address(address: str, column: int) -> str:
    """Letters as words or spelt, digits one by one, marks by name; column 0 Chinese, 1 English."""
    said: list[str] = []
    for part in re.findall(r"[A-Za-z]+|\d+|[^A-Za-z\d]", address):
        if part.isdecimal():
            said.append((chinese.digits if column == 0 else english.digits)(part))
        elif part.isascii() and part.isalpha():
            said.append(_say_name(part))
        else:
            said.append(_MARKS.get(part, ("", ""))[column])
    return " ".join(said)


def _say_name(name: str) -> str:
    if len(name) <= 2:
        return name if name in ("me", "us", "my", "go", "is", "to", "we", "hi") else name.upper()
    if name in ("www", "edu"):
        return name.upper()
    return read_letters(name)


def _column(match: re.Match[str], view: View) -> int:
    return 0 if view.language(match) == "zh" else 1


def _url(match: re.Match[str], view: View) -> str:
    address = re.sub(r"^(?:https?|ftp)://", "", match.group()).rstrip("/")
    return say_address(address, _column(match, view))


def _address(match: re.Match[str], view: View) -> str:
    return say_address(match.group(), _column(match, view))


def _ip(match: re.Match[str], view: View) -> str | None:
    if any(int(part) > 255 for part in match["host"].split(".")):
        return None
    return say_address(match.group(), _column(match, view))


def _path(match: re.Match[str], view: View) -> str | None:
    if re.fullmatch(r"(?:/[A-Z]?[a-z]*)", match.group()):
        return None
    return say_address(match.group(), _column(match, view))


def _handle(match: re.Match[str], view: View) -> str:
    column = _column(match, view)
    return _MARKS["@"][column] + " " + _say_tag(match["name"], column)


def _hashtag(match: re.Match[str], view: View) -> str:
    column = _column(match, view)
    return ("话题", "hashtag")[column] + " " + _say_tag(match["name"], column)


def _say_tag(name: str, column: int) -> str:
    said: list[str] = []
    for part in re.findall(r"[A-Za-z]+|\d+|_|[^\x00-\x7f]+", name):
        if part.isdecimal():
            say = (
                chinese.digits
                if column == 0
                else english.year
                if len(part) == 4
                else english.number
            )
            said.append(say(part))
        else:
            is_name = part.isascii() and part != "_"
            said.append(read_letters(part) if is_name else _MARKS.get(part, (part, part))[column])
    return " ".join(said)


def _numbered(match: re.Match[str], view: View) -> str:
    number = match["number"]
    if view.language(match) == "zh":
        return chinese.cardinal(number) + "号"
    return f"number {english.cardinal(number)}"


_USER = r"[A-Za-z0-9][A-Za-z0-9._%+-]*@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]*[A-Za-z0-9])+"
_COMMON: tuple[Reader, ...] = (
    reader("e-mail", _USER, _address),
    reader("URL", _URL, _url),
    reader("file name", rf"[A-Za-z0-9_][\w-]*(?:\.[\w-]+)*?\.(?:{_TEXT_FILES})(?![A-Za-z0-9]|\.\w)",
           lambda match, view: _address(match, view) if match.group().isascii() else None),
    reader("name with underscores", r"[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+(?![A-Za-z0-9])", _address),
)  # fmt: skip
DIGIT_READERS: tuple[Reader, ...] = (
    *_COMMON,
    reader("IP address", r"(?P<host>\d{1,3}(?:\.\d{1,3}){3})(?::\d+)?(?:/\d{1,2})?(?!\.?\d)", _ip),
)
LETTER_READERS: tuple[Reader, ...] = (
    *_COMMON,
    reader("Windows path", r"[A-Z]:\\[\w.\\-]+", _address),
)
SYMBOL_READERS: tuple[Reader, ...] = (
    reader("path", r"(?<![\w/])(?:~|\.{1,2})?(?:/[A-Za-z0-9_.-]*[A-Za-z0-9_-])+/?(?![\w])", _path),
    reader("handle", r"@(?P<name>\w+)(?!\w)", _handle),
    reader("heading", r"(?<![^\n])#{1,6} +(?=\S)(?!\d+(?:\s|$))", lambda match, view: ""),  # noqa: ARG005
    reader("numbered", r"#\s?(?P<number>\d{1,6})(?!\w)", _numbered),
    reader("hashtag", r"#(?P<name>\w+)#?", _hashtag),
)
