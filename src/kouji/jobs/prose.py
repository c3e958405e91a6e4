"""Plain text and Markdown: a paragraph is a line to speak, a long one several.

Markdown is reduced to what one would read aloud: no code, no addresses, no marks of layout.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from kouji.jobs.job import JobLine
from kouji.text.blocks import cut_blocks
from kouji.text.encoding import decode

SHORT = 400  # characters that are never cut
_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r"^ {0,3}#{1,6}(?:\s+|$)(.*?)(?:\s+#+\s*)?$")
_UNDERLINE = re.compile(r"^ {0,3}(=+|-+)\s*$")
_RULE = re.compile(r"^ {0,3}(?:(?:\*\s*){3,}|(?:-\s*){3,}|(?:_\s*){3,})$")
_ITEM = re.compile(r"^\s*(?:[-*+]|\d{1,9}[.)])\s+(?:\[[ xX]\]\s+)?")
_QUOTE = re.compile(r"^ {0,3}(?:>\s?)+")
_DEFINITION = re.compile(r"^ {0,3}\[[^\]\n]{1,200}\]:\s*\S+")
_TABLE_RULE = re.compile(r"^\s*\|?(?:\s*:?-+:?\s*\|)+\s*(?::?-+:?\s*)?$")
# What stands in brackets behind a link's words, which may hold brackets itself, as in `a_(b)`.
_ADDRESS = r"\([^()\s]{0,2000}(?:\([^()\s]{0,200}\)[^()\s]{0,500})?(?:\s+\"[^\"]{0,500}\")?\)"
_BAR = re.compile(r"(?<!\\)\|")
_INLINE = (
    (re.compile(r"<!--[^>]{0,2000}-->"), ""),
    (re.compile(rf"!\[([^\[\]]{{0,500}})\]{_ADDRESS}"), r"\1"),
    (re.compile(rf"\[([^\[\]]{{1,500}})\]{_ADDRESS}"), r"\1"),
    (re.compile(r"\[([^\[\]]{1,500})\]\[[^\[\]]{0,200}\]"), r"\1"),
    (re.compile(r"\[\^[^\[\]]{1,100}\]"), ""),
    (re.compile(r"<(?:https?|mailto):[^<>\s]{1,2000}>"), ""),
    (re.compile(r"</?[A-Za-z][^<>]{0,500}>"), ""),
    (re.compile(r"(`+)([^`]{1,2000})\1"), r"\2"),
    (re.compile(r"(\*{1,3}|~~)(?=\S)([^*~]{1,2000}?)(?<=\S)\1"), r"\2"),
    (re.compile(r"(?<!\w)(_{1,3})(?=\S)([^_]{1,2000}?)(?<=\S)\1(?!\w)"), r"\2"),
    (re.compile(r"\\([!-/:-@\[-`{-~])"), r"\1"),
)


def read_plain(content: bytes, name: str) -> list[JobLine]:
    """Paragraphs of a plain text: each line is one, as is usual in Chinese, unless empty lines
    part them, as is usual in English. raises: UsageError if it is not a text
    """
    rows = decode(content, name).splitlines()
    return lines_of(_paragraphs(rows))


def read_markdown(content: bytes, name: str) -> list[JobLine]:
    """Headings, paragraphs, items and cells of a Markdown text, as they would be read aloud."""
    return lines_of(_blocks(decode(content, name).splitlines()))


def lines_of(paragraphs: Iterable[tuple[str, str]]) -> list[JobLine]:
    """Lines numbered from 1 of (where, text); a paragraph that is too long becomes several."""
    lines: list[JobLine] = []
    for where, text in paragraphs:
        pieces = [text] if len(text) <= SHORT else cut_blocks(text)
        lines += [
            JobLine(str(len(lines) + number), piece.strip(), where)
            for number, piece in enumerate((p for p in pieces if has_sound(p)), start=1)
        ]
    return lines


def has_sound(text: str) -> bool:
    """It holds a letter or figure; stars between scenes are for the eye."""
    return any(char.isalnum() for char in text)


def _paragraphs(rows: list[str]) -> list[tuple[str, str]]:
    """Rows between empty rows are one paragraph where the text is wrapped, else one each."""
    groups: list[list[tuple[int, str]]] = [[]]
    for number, row in enumerate(rows, start=1):
        if row.strip():
            groups[-1].append((number, row.strip()))
        elif groups[-1]:
            groups.append([])
    groups = [group for group in groups if group]
    if _is_wrapped(groups):
        return [(f"line {group[0][0]}", _joined(row for _, row in group)) for group in groups]
    return [(f"line {number}", row) for group in groups for number, row in group]


def _is_wrapped(groups: list[list[tuple[int, str]]]) -> bool:
    """Rows broken at a width: in paragraphs of several rows most rows end within a sentence."""
    inner = [row for group in groups for _, row in group[:-1]]
    open_ended = [row for row in inner if not row.endswith(tuple("。！？!?….:：;；”\"'」』)）"))]
    return len(inner) >= 2 and len(open_ended) > len(inner) / 2 and len(groups) > 1


def _joined(rows: Iterable[str]) -> str:
    """Rows of one paragraph; a space between them, unless both sides are Chinese."""
    whole = ""
    for row in rows:
        is_latin = bool(whole) and (ord(whole[-1]) < 0x2E80 or ord(row[0]) < 0x2E80)
        whole += (" " if is_latin else "") + row
    return whole


def _blocks(rows: list[str]) -> list[tuple[str, str]]:
    """What is said of a Markdown text, block by block."""
    blocks: list[tuple[str, str]] = []
    waiting: list[str] = []
    began = 0
    fence = ""

    def flush() -> None:
        if text := _plain(_joined(waiting)) if waiting else "":
            blocks.append((f"line {began}", text))
        waiting.clear()

    for number, raw in enumerate(_without_front_matter(rows), start=1):
        if mark := _FENCE.match(raw):
            flush()
            if not fence:
                fence = mark.group(1)
            elif mark.group(1).startswith(fence):
                fence = ""
            continue
        if fence:
            continue
        row = _QUOTE.sub("", raw)
        heading, is_item = _HEADING.match(row), bool(_ITEM.match(row))
        is_layout = _RULE.match(row) or _DEFINITION.match(row) or _TABLE_RULE.match(row)
        is_underline = bool(waiting) and bool(_UNDERLINE.match(row))
        if heading or is_item or is_layout or is_underline or not row.strip():
            flush()
        if is_layout or is_underline or not row.strip():
            continue
        if not waiting:
            began = number
        text = heading.group(1) if heading else _ITEM.sub("", row)
        if row.lstrip().startswith("|"):
            text = ", ".join(cell.strip() for cell in _BAR.split(row.strip().strip("|")))
        if text := text.strip().removesuffix("\\"):  # at the end of a row it only breaks it
            waiting.append(text)
        if heading or row.lstrip().startswith("|"):
            flush()
    flush()
    return blocks


def _without_front_matter(rows: list[str]) -> list[str]:
    """The rows, with the settings some programs put before a text blanked out."""
    if rows and rows[0].strip() == "---":
        for end in range(1, min(len(rows), 200)):
            if rows[end].strip() in ("---", "..."):
                return [""] * (end + 1) + rows[end + 1 :]
    return rows


def _plain(text: str) -> str:
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return " ".join(html.unescape(text).split())
