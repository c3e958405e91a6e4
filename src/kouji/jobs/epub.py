"""EPUB books: paragraphs in the order of the spine, by the standard library alone.

An EPUB is a zip of XML from anywhere: sizes are counted while unpacking, declared sizes are not
believed; entities are refused, not expanded; nothing outside the zip is looked at.
"""

from __future__ import annotations

import html
import io
import posixpath
import re
import zipfile
import zlib
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree import ElementTree

from kouji.errors import UsageError
from kouji.jobs.job import JobLine
from kouji.jobs.prose import lines_of
from kouji.text.encoding import MAX_TEXT_BYTES, decode

MAX_XML_BYTES = 4 << 20  # of the container and the package document
MAX_FILES = 20_000
_CONTAINER = "META-INF/container.xml"
_TEXT_KINDS = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")
_UNSPOKEN = {"head", "script", "style", "svg", "math", "nav", "rt", "rp", "template", "iframe"}
_INLINE = {
    "a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "del", "dfn", "em", "font", "i", "ins",
    "kbd", "mark", "q", "ruby", "rb", "s", "samp", "small", "span", "strike", "strong", "sub",
    "sup", "img", "image", "time", "tt", "u", "var", "wbr",
}  # fmt: skip
_BODY = re.compile(r"<(?:\w{1,20}:)?body[\s>]", re.IGNORECASE)
_ENCODING = re.compile(rb"(?:encoding|charset)\s*=\s*[\"']?([A-Za-z0-9_-]{1,40})")
_OLD = {
    "iso-8859-1": "cp1252", "latin1": "cp1252", "latin-1": "cp1252", "windows-1252": "cp1252",
    "cp1252": "cp1252", "iso-8859-15": "iso-8859-15", "windows-1250": "cp1250",
    "iso-8859-2": "iso-8859-2",
}  # fmt: skip
_NOTE = re.compile(r"epub:type\s*=\s*[\"'][^\"'<>]{0,100}noteref|role\s*=\s*[\"']doc-noteref")
# A tag whose values may hold `>`; none holds `<`, so one look ends at the next tag's start.
_TAG = re.compile(r"<(?:[^<>\"']++|\"[^\"<]*+\"|'[^'<]*+')*+>")
_SOFT_HYPHEN = "\u00ad"  # where a word may be broken; no sound
_NAME = re.compile(r"</?([A-Za-z][A-Za-z0-9:_-]{0,60})")


def read_epub(content: bytes, name: str) -> list[JobLine]:
    """The paragraphs of a book.

    raises: UsageError for a file that is no EPUB, is damaged or encrypted, or unpacks to too much
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return lines_of(_paragraphs(_Book(archive, name)))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise UsageError(
            "this is not an EPUB, or it is damaged", seen=f"{name}: {error}"
        ) from error
    except (RuntimeError, OSError, ValueError) as error:  # encrypted; offsets out of the file
        raise UsageError("this EPUB cannot be unpacked", seen=f"{name}: {error}") from error


class _Book:
    """The files of an EPUB, within a budget of unpacked bytes."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self.name, self._archive, self._left = name, archive, MAX_TEXT_BYTES
        infos = archive.infolist()
        if len(infos) > MAX_FILES:
            raise UsageError("too many files in this EPUB", seen=f"{name}: {len(infos)}")
        self._infos = {info.filename: info for info in infos}

    def read(self, path: str, most: int = MAX_TEXT_BYTES) -> bytes:
        """A file; what is not there or too large is an error that names it."""
        if path not in self._infos:
            raise UsageError("this EPUB lacks a file", seen=f"{self.name}: {path[:100]}")
        limit = min(most, self._left)
        with self._archive.open(self._infos[path]) as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            allowed = f"{most >> 20} MiB, {MAX_TEXT_BYTES >> 20} MiB in all"
            seen = f"{self.name}: {path[:100]}"
            raise UsageError("this EPUB unpacks to too much", seen=seen, allowed=allowed)
        self._left -= len(content)
        return content

    def xml(self, path: str) -> ElementTree.Element:
        """A small XML file without entities of its own."""
        content = self.read(path, MAX_XML_BYTES)
        text = decode(content, f"{self.name}: {path}").removeprefix("\ufeff")
        if "<!ENTITY" in text or re.search(r"<!DOCTYPE[^>]{0,1000}\[", text):
            raise UsageError("this EPUB declares XML entities", seen=f"{self.name}: {path[:100]}")
        # The declaration names the encoding of the bytes; this is text already.
        text = re.sub(r"^\s*<\?xml[^>]{0,200}\?>", "", text, count=1)
        try:
            return ElementTree.fromstring(text)
        except ElementTree.ParseError as error:
            seen = f"{self.name}: {path[:100]}: {error}"
            raise UsageError("this EPUB holds broken XML", seen=seen) from error

    def spine(self) -> list[str]:
        """The paths of the chapters, in the order of reading."""
        container = self.xml(_CONTAINER)
        package = next((item.get("full-path") for item in _named(container, "rootfile")), None)
        if not package:
            raise UsageError("this EPUB names no package document", seen=self.name)
        root = self.xml(package)
        folder = posixpath.dirname(package)
        paths = {
            item.get("id", ""): posixpath.normpath(
                posixpath.join(folder, unquote(item.get("href", "").partition("#")[0]))
            )
            for item in _named(root, "item")
            if item.get("media-type") in _TEXT_KINDS
        }
        references = [item.get("idref", "") for item in _named(root, "itemref")]
        chapters = list(dict.fromkeys(paths[name] for name in references if name in paths))
        if not chapters:
            raise UsageError(
                "this EPUB has no spine: the order of its chapters is unknown", seen=self.name
            )
        return chapters


def _named(root: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Elements of a local name, whatever their namespace."""
    return (item for item in root.iter() if item.tag.rpartition("}")[2] == name)


def _paragraphs(book: _Book) -> Iterator[tuple[str, str]]:
    for number, path in enumerate(book.spine(), start=1):
        text = _text_of(book.read(path), f"{book.name}: {path}")
        body = _BODY.search(text)
        for said in spoken_blocks(text[body.start() :] if body else text):
            yield f"chapter {number}", said


def _text_of(content: bytes, name: str) -> str:
    """A chapter in the encoding it names, where that is one of the old ones of one byte."""
    named = _ENCODING.search(content[:1000])
    if named and (encoding := _OLD.get(named.group(1).decode().lower())):
        return content.decode(encoding, errors="replace")
    return decode(content, name)


def spoken_blocks(text: str) -> Iterator[str]:
    """The paragraphs of an XHTML text; in one pass, whatever it holds."""
    said: list[str] = []
    hidden, depth = "", 0
    for is_tag, piece in _pieces(text):
        if not is_tag:
            if not hidden:
                said.append(html.unescape(piece).replace(_SOFT_HYPHEN, ""))
            continue
        found = _NAME.match(piece)
        if not found:
            continue
        name = found.group(1).rpartition(":")[2].lower()
        if hidden:
            if name == hidden and not piece.endswith("/>"):
                depth += -1 if piece.startswith("</") else 1
                hidden = hidden if depth else ""
            continue
        is_hidden = name in _UNSPOKEN or (name == "a" and _NOTE.search(piece))
        if is_hidden and not piece.startswith("</") and not piece.endswith("/>"):
            hidden, depth = name, 1
            if name == "a":  # within a sentence, which goes on behind it
                continue
        if name not in _INLINE and name not in ("rt", "rp"):
            if whole := " ".join("".join(said).split()):
                yield whole
            said.clear()
    if whole := " ".join("".join(said).split()):
        yield whole


def _pieces(text: str) -> Iterator[tuple[bool, str]]:
    """Text and tags (True) in turn; comments and declarations are left out."""
    place = 0
    while place < len(text):
        start = text.find("<", place)
        if start < 0:
            yield False, text[place:]
            return
        if start > place:
            yield False, text[place:start]
        if text.startswith("<!--", start):
            end = text.find("-->", start + 4)
            place = len(text) if end < 0 else end + 3
        elif text.startswith("<![CDATA[", start):
            end = text.find("]]>", start)
            end = len(text) if end < 0 else end
            yield False, html.escape(text[start + 9 : end])
            place = end + 3
        else:
            found = _TAG.match(text, start)
            end = found.end() if found else text.find(">", start) + 1
            if not end:
                return
            yield True, text[start:end]
            place = end
