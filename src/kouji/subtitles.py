"""Subtitles from word timings: SubRip (srt), WebVTT (vtt) and JSON with every word and phone.

Words are gathered into cues a viewer can read: a cue ends at a pause, before it grows too
wide or lasts too long, and after a sentence. Punctuation is taken from the text that was
spoken. Knows timings and text; knows nothing of audio or models.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from kouji.errors import UsageError
from kouji.types import Timing

FORMATS = ("srt", "vtt", "json")
_REACH = 200  # characters between two words; a word that is not there was put in by a mark
_OPENING = re.compile(r"""[“‘"'(（《「『【]+$""")
_CLOSING = re.compile(r"""[，。、；：？！…—,.;:?!”’"')）》」』】]+""")
_SENTENCE_ENDS = ("。", "？", "！", "…", ".", "?", "!")


@dataclass(frozen=True)
class CueLimits:
    """How words are gathered: columns count 2 for a Chinese character, 1 for a Latin letter."""

    max_columns: int = 42  # one comfortable subtitle line
    max_seconds: float = 6.0
    pause_seconds: float = 0.4  # a silence this long starts a new cue
    min_seconds: float = 0.8  # shorter cues stay on screen until here, if nothing follows


def group_words(words: Sequence[Timing], limits: CueLimits | None = None) -> list[Timing]:
    """Gather words in time order into cues that neither overlap nor drop a word."""
    limits = limits or CueLimits()
    groups: list[list[Timing]] = []
    for word in words:
        if not word.text.strip():
            continue
        if groups and _fits(groups[-1], word, limits):
            groups[-1].append(word)
        else:
            groups.append([word])
    cues = [Timing(join_words(group), group[0].start, group[-1].end) for group in groups]
    return [
        _lengthen(cue, cues[index + 1].start if index + 1 < len(cues) else None, limits)
        for index, cue in enumerate(cues)
    ]


def punctuate(words: Sequence[Timing], text: str) -> list[Timing]:
    """The words with the punctuation that touches them in `text`, where they were read from.

    A word that `text` does not hold (a `sub` of SSML) stays as it is.
    """
    written, place, quotes = [], 0, 0
    for word in words:
        found = text.find(word.text, place, place + _REACH + len(word.text)) if word.text else -1
        if found < 0:
            written.append(word)
            continue
        before = _OPENING.search(text[place:found])
        after = _CLOSING.match(text, found + len(word.text))
        end = after.end() if after else found + len(word.text)
        quotes += text.count('"', place, end)
        if text[end - 1] == '"' and quotes % 2:  # it opens what follows
            end, quotes = end - 1, quotes - 1
        start = found - len(before.group()) if before else found
        written.append(Timing(text[start:end], word.start, word.end))
        place = end
    return written


def join_words(words: Sequence[Timing]) -> str:
    """The words as one line: a space between Latin words, none beside a Chinese character."""
    line = ""
    for word in words:
        text = " ".join(word.text.split())
        if line and not (_is_wide(line[-1]) or _is_wide(text[0]) or _is_closing(text[0])):
            line += " "
        line += text
    return line


def to_srt(words: Sequence[Timing], phones: Sequence[Timing] = (), text: str = "") -> str:
    """SubRip: numbered cues with times as 00:00:01,500. Phones have no place in it."""
    del phones
    blocks = [
        f"{number}\n{_clock(cue.start, ',')} --> {_clock(cue.end, ',')}\n{cue.text}\n"
        for number, cue in enumerate(group_words(punctuate(words, text)), start=1)
    ]
    return "\n".join(blocks)


def to_vtt(words: Sequence[Timing], phones: Sequence[Timing] = (), text: str = "") -> str:
    """WebVTT: cues with times as 00:00:01.500, text escaped as the format asks."""
    del phones
    blocks = [
        f"{_clock(cue.start, '.')} --> {_clock(cue.end, '.')}\n{_escape(cue.text)}\n"
        for cue in group_words(punctuate(words, text))
    ]
    return "\n".join(["WEBVTT\n", *blocks])


def to_json(words: Sequence[Timing], phones: Sequence[Timing] = (), text: str = "") -> str:
    """One JSON object: `words`, `phones` and `cues`, each a list of {text, start, end}."""
    parts = {"words": words, "phones": phones, "cues": group_words(punctuate(words, text))}
    content = {
        name: [
            {"text": item.text, "start": round(item.start, 4), "end": round(item.end, 4)}
            for item in items
        ]
        for name, items in parts.items()
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


_WRITERS: dict[str, Callable[[Sequence[Timing], Sequence[Timing], str], str]] = {
    "srt": to_srt,
    "vtt": to_vtt,
    "json": to_json,
}


def subtitle_format(path: str | Path) -> str:
    """The format a file name asks for; UsageError names those that exist."""
    suffix = Path(path).suffix.lower().removeprefix(".")
    if suffix not in _WRITERS:
        allowed = ", ".join(f".{name}" for name in FORMATS)
        raise UsageError("unknown kind of subtitles", seen=str(path), allowed=allowed)
    return suffix


def save_subtitles(
    path: str | Path,
    words: Sequence[Timing],
    phones: Sequence[Timing] = (),
    *,
    text: str = "",
) -> None:
    """Write subtitles in the format of the file name, whole or not at all.

    text:   what was spoken, for the punctuation of the cues
    raises: UsageError for an unknown suffix or a folder that cannot be written
    """
    path = Path(path)
    content = _WRITERS[subtitle_format(path)](words, phones, text)
    draft = ""
    try:
        descriptor, draft = tempfile.mkstemp(prefix=".", suffix=".tmp", dir=path.parent)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(content)
        os.chmod(draft, 0o644)
        os.replace(draft, path)
    except OSError as error:
        raise UsageError("cannot write subtitles", seen=f"{path}: {error.strerror}") from error
    finally:
        if draft and os.path.exists(draft):
            os.unlink(draft)


def _fits(group: Sequence[Timing], word: Timing, limits: CueLimits) -> bool:
    """True if `word` may join the cue that `group` is becoming."""
    columns = sum(2 if _is_wide(char) else 1 for char in join_words([*group, word]))
    is_sentence = group[-1].text.rstrip("”’\"')）》」』】").endswith(_SENTENCE_ENDS)
    if is_sentence and group[-1].end - group[0].start >= limits.min_seconds:
        return False
    return (
        word.start - group[-1].end < limits.pause_seconds
        and columns <= limits.max_columns
        and word.end - group[0].start <= limits.max_seconds
    )


def _lengthen(cue: Timing, next_start: float | None, limits: CueLimits) -> Timing:
    """Keep a short cue on screen for its minimum, at most until the next one begins."""
    end = max(cue.end, cue.start + limits.min_seconds)
    if next_start is not None:
        end = max(cue.end, min(end, next_start))
    return Timing(cue.text, cue.start, end)


def _is_wide(char: str) -> bool:
    return unicodedata.east_asian_width(char) in "WF"


def _is_closing(char: str) -> bool:
    return char in ",.;:!?)]}%"


def _clock(seconds: float, decimal_mark: str) -> str:
    """Seconds as HH:MM:SS and milliseconds; hours grow beyond two digits where needed."""
    total_ms = max(0, round(seconds * 1000))
    minutes, ms = divmod(total_ms, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{ms // 1000:02}{decimal_mark}{ms % 1000:03}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
