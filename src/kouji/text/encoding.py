"""Bytes of a text file to text: by the byte order mark, else UTF-8, else GB 18030."""

from __future__ import annotations

import codecs

from kouji.errors import UsageError

MAX_TEXT_BYTES = 64 << 20  # larger than any book; guards against naming a recording by mistake
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode(content: bytes, origin: str) -> str:
    """Text from bytes: by its byte order mark, else UTF-8, else GB 18030.

    raises: UsageError naming `origin` if it is none of these
    """
    if len(content) > MAX_TEXT_BYTES:
        raise UsageError("too much text", seen=origin, allowed=f"up to {MAX_TEXT_BYTES >> 20} MiB")
    marked = next((name for bom, name in _BOMS if content.startswith(bom)), None)
    for encoding in [marked] if marked else ["utf-8", "gb18030"]:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\0" not in text:
            return text
    raise UsageError("this is not a text", seen=origin, allowed="UTF-8, UTF-16 or GB 18030")
