"""Reading of plain numbers."""

from __future__ import annotations

import re

from kouji.text.normalise import chinese, english
from kouji.text.normalise.reading import Reader, View, reader


def _number(match: re.Match[str], view: View) -> str:
    if view.language(match) == "zh":
        return chinese.number(match.group())
    return english.number(match.group())


READERS: tuple[Reader, ...] = (reader("number", "{N}", _number),)
