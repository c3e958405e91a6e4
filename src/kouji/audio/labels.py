"""The label "AI-generated" inside audio files: written as tags, read back from any of ours.

Knows tag layouts: RIFF INFO, Vorbis comments (FLAC, Ogg), ID3v2.4 (MP3, and in front of AAC, whose
ADTS frames have no place for text, as HTTP live streaming does it). Raw PCM carries none.
Does not know audio; the mark inside the sound is watermark.py.
"""

from __future__ import annotations

import io
import json
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from kouji.errors import UnreadableAudio

PLAIN_LABEL = "AI-generated"
MAX_TAG_BYTES = 1 << 20  # what is read of a file's tags at most

_RIFF_IDS = {
    "title": b"INAM",
    "artist": b"IART",
    "comment": b"ICMT",
    "copyright": b"ICOP",
    "date": b"ICRD",
    "software": b"ISFT",
    "aigc": b"AIGC",  # a chunk of our own; the standard names none
}
_ID3_IDS = {
    "title": b"TIT2",
    "artist": b"TPE1",
    "copyright": b"TCOP",
    "date": b"TDRC",
    "software": b"TSSE",
}


@dataclass(frozen=True)
class Labels:
    """What a file says about itself: the claim, the AIGC fields, all tags (lower-case names)."""

    is_ai_generated: bool
    aigc: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def label_tags(produce_id: str, *, producer: str = "kouji") -> dict[str, str]:
    """The tags every synthesised file carries.

    The plain words are for people; the AIGC record for machines, with the seven fields of China's
    labelling standard GB 45438-2025: Label 1 means "is generated", then who made it, and which
    one. The last three are for whoever spreads the file; what is not known is empty.
    """
    record = {
        "Label": "1",
        "ContentProducer": producer,
        "ProduceID": produce_id,
        "ReservedCode1": "",
        "ContentPropagator": "",
        "PropagateID": "",
        "ReservedCode2": "",
    }
    return {
        "comment": PLAIN_LABEL,
        "software": "kouji",
        "AIGC": json.dumps({"AIGC": record}, ensure_ascii=False, separators=(",", ":")),
    }


def clean_tags(tags: dict[str, str]) -> dict[str, str]:
    """Tags any format can hold: single lines without control characters and lone surrogates."""
    return {_clean(name).replace("=", " "): _clean(value) for name, value in tags.items()}


def _clean(value: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]+", " ", value).strip()


def tags_as_comment(tags: dict[str, str]) -> str:
    """Fold tags into one comment, for writers that offer no field of a free name."""
    named = {name.lower(): value for name, value in tags.items()}
    return " ".join(value for key in ("comment", "aigc") if (value := named.get(key)))


def riff_info(tags: dict[str, str]) -> bytes:
    """A LIST INFO chunk in UTF-8, empty without tags; names RIFF has no field for are left out."""
    body = b""
    for name, value in tags.items():
        chunk_id = _RIFF_IDS.get(name.lower())
        if chunk_id is not None:
            text = value.encode() + b"\0"
            body += chunk_id + struct.pack("<I", len(text)) + text + b"\0" * (len(text) % 2)
    return b"LIST" + struct.pack("<I", 4 + len(body)) + b"INFO" + body if body else b""


def id3_tag(tags: dict[str, str]) -> bytes:
    """An ID3v2.4 tag in UTF-8, empty without tags; unknown names become TXXX frames."""
    body = b"".join(_id3_frame(name, value) for name, value in tags.items())
    return b"ID3\x04\0\0" + _seven_bit(len(body)) + body if body else b""


def _id3_frame(name: str, value: str) -> bytes:
    frame_id = _ID3_IDS.get(name.lower(), b"TXXX")
    text = b"\x03" + value.encode()  # 3: UTF-8
    if name.lower() == "comment":
        frame_id, text = b"COMM", b"\x03eng\0" + value.encode()
    elif frame_id == b"TXXX":
        text = b"\x03" + name.encode() + b"\0" + value.encode()
    return frame_id + _seven_bit(len(text)) + b"\0\0" + text


def _seven_bit(number: int) -> bytes:
    """ID3's numbers: 28 bits over four bytes whose high bit is never set."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def read_labels(source: str | Path | bytes) -> Labels:
    """Read the tags of a wav, flac, ogg, opus, mp3 or aac file; a file without any has none.

    source: a path, or the beginning of a file
    raises: UnreadableAudio when the path cannot be opened
    """
    if isinstance(source, bytes):
        return _labels(_read_tags(io.BytesIO(source)))
    try:
        with Path(source).open("rb") as file:
            return _labels(_read_tags(file))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UnreadableAudio(f"cannot read {str(source)!r}", seen=reason) from error


def _labels(tags: dict[str, str]) -> Labels:
    aigc = _aigc_record(tags.get("aigc") or tags.get("comment", ""))
    is_ai = aigc.get("Label") == "1" or PLAIN_LABEL.lower() in tags.get("comment", "").lower()
    return Labels(is_ai, aigc, tags)


def _aigc_record(text: str) -> dict[str, str]:
    """The AIGC object in `text`, with or without its outer name; empty when there is none."""
    start = text.find("{")
    if start < 0:
        return {}
    try:
        record, _ = json.JSONDecoder().raw_decode(text[start:])
    except (ValueError, RecursionError):
        return {}
    record = record.get("AIGC", record) if isinstance(record, dict) else {}
    if not isinstance(record, dict):
        return {}
    return {str(key): str(value) for key, value in record.items()}


def _read_tags(file: BinaryIO) -> dict[str, str]:
    head = file.read(12)
    file.seek(0)
    if head[:4] in (b"RIFF", b"RF64"):
        pairs = _riff_pairs(file)
    elif head[:3] == b"ID3":
        pairs = chain(_id3_pairs(file.read(MAX_TAG_BYTES)), _pairs_behind_id3(file, head))
    elif head[:4] == b"fLaC":
        pairs = _flac_pairs(file)
    elif head[:4] == b"OggS":
        pairs = _ogg_pairs(file.read(MAX_TAG_BYTES))
    else:
        pairs = iter(())
    return {name.lower(): value for name, value in pairs}


def _pairs_behind_id3(file: BinaryIO, head: bytes) -> Iterator[tuple[str, str]]:
    """Of a FLAC file with an ID3 tag in front, which is where C2PA puts its manifest."""
    start = 10 + _from_seven_bit(head[6:10])
    file.seek(start)
    if file.read(4) == b"fLaC":
        yield from _flac_pairs(file, start)


def _riff_pairs(file: BinaryIO) -> Iterator[tuple[str, str]]:
    """Walk the chunks of a WAV file to its LIST INFO, before or behind the sound."""
    names = {chunk_id: name for name, chunk_id in _RIFF_IDS.items()}
    position = 12
    for _ in range(1000):
        file.seek(position)
        header = file.read(12)
        if len(header) < 12:
            return
        (num_bytes,) = struct.unpack("<I", header[4:8])
        if header[:4] == b"LIST" and header[8:] == b"INFO":
            body = file.read(min(max(0, num_bytes - 4), MAX_TAG_BYTES))
            while len(body) >= 8:
                chunk_id, (size,) = body[:4], struct.unpack("<I", body[4:8])
                text = body[8 : 8 + size].rstrip(b"\0").decode(errors="replace")
                if chunk_id in names:
                    yield names[chunk_id], text
                body = body[8 + size + size % 2 :]
        position += 8 + num_bytes + num_bytes % 2


def _id3_pairs(data: bytes) -> Iterator[tuple[str, str]]:
    """Text frames of an ID3v2.3 or 2.4 tag; unsynchronised and compressed ones are passed over."""
    names = {frame_id: name for name, frame_id in _ID3_IDS.items()}
    end = 10 + _from_seven_bit(data[6:10])
    position = 10
    while position + 10 <= min(end, len(data)):
        frame_id, size = data[position : position + 4], data[position + 4 : position + 8]
        num_bytes = _from_seven_bit(size) if data[3] == 4 else int.from_bytes(size, "big")
        body = data[position + 10 : position + 10 + num_bytes]
        position += 10 + num_bytes
        if frame_id in names:
            yield names[frame_id], _id3_text(body[:1], body[1:])[-1]
        elif frame_id == b"TXXX":
            parts = _id3_text(body[:1], body[1:])
            yield parts[0], parts[-1]
        elif frame_id == b"COMM":
            yield "comment", _id3_text(body[:1], body[4:])[-1]


def _from_seven_bit(data: bytes) -> int:
    number = 0
    for byte in data:
        number = number << 7 | byte & 0x7F
    return number


def _id3_text(encoding: bytes, data: bytes) -> list[str]:
    """The NUL-separated strings of a frame: description first where there is one."""
    codec = {b"\0": "latin-1", b"\1": "utf-16", b"\2": "utf-16-be"}.get(encoding, "utf-8")
    return data.decode(codec, errors="replace").strip("\0").split("\0")


def _flac_pairs(file: BinaryIO, start: int = 0) -> Iterator[tuple[str, str]]:
    """The VORBIS_COMMENT block (type 4) among FLAC's metadata blocks; `start` is that of fLaC."""
    file.seek(start + 4)
    for _ in range(128):
        header = file.read(4)
        if len(header) < 4:
            return
        num_bytes = int.from_bytes(header[1:], "big")
        if header[0] & 0x7F == 4:
            yield from _vorbis_pairs(file.read(min(num_bytes, MAX_TAG_BYTES)))
            return
        if header[0] & 0x80:
            return
        file.seek(num_bytes, io.SEEK_CUR)


def _ogg_pairs(data: bytes) -> Iterator[tuple[str, str]]:
    """The comment packet, second of every Opus, Vorbis and FLAC stream; pages joined first."""
    packets, position = b"", 0
    while data[position : position + 4] == b"OggS" and position + 27 <= len(data):
        table = data[position + 27 : position + 27 + data[position + 26]]
        start = position + 27 + len(table)
        position = start + sum(table)
        packets += data[start:position]
    for mark in (b"OpusTags", b"\x03vorbis"):
        at = packets.find(mark)
        if at >= 0:
            yield from _vorbis_pairs(packets[at + len(mark) :])
            return


def _vorbis_pairs(data: bytes) -> Iterator[tuple[str, str]]:
    """Vendor string, then counted NAME=value strings, every length in 32 bits, little-endian."""

    def take(position: int) -> tuple[bytes, int]:
        if position + 4 > len(data):
            return b"", len(data) + 1
        (num_bytes,) = struct.unpack_from("<I", data, position)
        return data[position + 4 : position + 4 + num_bytes], position + 4 + num_bytes

    _, position = take(0)
    position += 4  # the count; the end of the data ends the walk just as well
    while position + 4 <= len(data):
        text, position = take(position)
        name, sign, value = text.decode(errors="replace").partition("=")
        if not sign or position > len(data):
            return
        # ffmpeg writes a comment as DESCRIPTION, as the Vorbis specification names it.
        yield "comment" if name.lower() == "description" else name, value
