"""What a file says it is, before any decoder touches it.

Knows magic numbers and the sizes that container headers promise, so that foreign files are named
and truncated ones are refused with both figures. Does not decode a single sample.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from kouji.errors import UnreadableAudio

ALLOWED = "wav, flac, mp3, ogg, opus, m4a, aac, webm and other common sound files"
HEAD_BYTES = 4096  # enough for every magic number below, the TAR one at 257 included


@dataclass(frozen=True)
class Container:
    """A kind of sound file: our name, ffmpeg's demuxer, and whether libsndfile reads it."""

    name: str
    demuxer: str
    is_core: bool = False


_WAV = Container("WAV", "wav", is_core=True)
_AIFF = Container("AIFF", "aiff", is_core=True)
_AU = Container("AU", "au", is_core=True)
_CAF = Container("CAF", "caf", is_core=True)
_W64 = Container("Wave64", "w64", is_core=True)
_FLAC = Container("FLAC", "flac", is_core=True)
_OGG = Container("Ogg", "ogg", is_core=True)
_MP3 = Container("MP3", "mp3", is_core=True)
_MP4 = Container("MP4", "mov")
_WEBM = Container("WebM", "matroska")
_ADTS = Container("AAC", "aac")
_AMR = Container("AMR", "amr")
_ASF = Container("WMA", "asf")

_SOUND = (
    (b"fLaC", _FLAC),
    (b"OggS", _OGG),
    (b".snd", _AU),
    (b"caff", _CAF),
    (b"riff\x2e\x91\xcf\x11", _W64),
    (b"\x1aE\xdf\xa3", _WEBM),
    (b"#!AMR", _AMR),
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", _ASF),
)
_FOREIGN = (
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x1f\x8b", "gzip data"),
    (b"BZh", "bzip2 data"),
    (b"\xfd7zXZ", "xz data"),
    (b"7z\xbc\xaf", "a 7z archive"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"Rar!", "a rar archive"),
    (b"%PDF", "a PDF"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"SQLite format", "a database"),
    (b"\x93NUMPY", "a numpy array"),
    (b"MThd", "a MIDI score, which holds notes and no sound"),
    (b"#EXTM3U", "a playlist"),
)


def identify(head: bytes) -> Container:
    """Name the sound container that begins with `head`; raise UnreadableAudio for all else."""
    if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:12] == b"WAVE":
        return _WAV
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _AIFF
    for magic, container in _SOUND:
        if head.startswith(magic):
            return container
    if head[4:8] in (b"ftyp", b"moov", b"mdat") and head[:2] == b"\0\0":
        return _MP4
    if head[:3] == b"ID3":
        return _MP3
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        if head[1] & 0xF6 == 0xF0:  # layer bits 00: not MPEG audio layer I to III
            return _ADTS
        if head[1] & 0x06 and head[1] & 0x18 != 0x08 and head[:3] != b"\xff\xd8\xff":
            return _MP3
    raise UnreadableAudio(
        "this is not a sound file", seen=_describe(head), allowed=ALLOWED, cure="convert it first"
    )


def _describe(head: bytes) -> str:
    """Say in a few words what bytes that are no sound look like."""
    if not head:
        return "an empty file"
    for magic, description in _FOREIGN:
        if head.startswith(magic):
            return description
    if head[257:262] == b"ustar":
        return "a tar archive"
    if not any(head):
        return "zero bytes only"
    try:
        text = head.decode("utf-8", errors="strict" if len(head) < HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return f"unknown data beginning {head[:8].hex(' ')}"
    if "\0" in text or "\ufffd" in text or len(text) < len(head) // 4:
        return f"unknown data beginning {head[:8].hex(' ')}"
    kind = "a web page" if text.lstrip()[:9].lower().startswith(("<!doctype", "<html")) else "text"
    return f"{kind} beginning {' '.join(text[:40].split())[:24]!r}"


def check_complete(file: BinaryIO, container: Container, num_bytes: int) -> None:
    """Refuse a file whose container promises more bytes than there are.

    file: seekable, left at an undefined position; num_bytes: its whole size
    """
    if container is _WAV:
        _check_wav(file, num_bytes)
    elif container is _OGG:
        _check_ogg(file, num_bytes)


def truncated(container: str, promised: str, found: str) -> UnreadableAudio:
    """The one error for files that break off."""
    return UnreadableAudio(
        f"the {container} file is truncated",
        seen=f"its header promises {promised}, it holds {found}",
        allowed="complete files",
        cure="copy or record it again",
    )


# Writers that cannot seek back leave one of these as the size of the data: "until the end".
_OPEN_ENDED = (0, 0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF)


def _check_wav(file: BinaryIO, num_bytes: int) -> None:
    file.seek(0)
    head = file.read(12)
    order = ">" if head[:4] == b"RIFX" else "<"
    is_rf64 = head[:4] == b"RF64"
    position = 12
    for _ in range(10_000):
        file.seek(position)
        header = file.read(8)
        if len(header) < 8:
            raise UnreadableAudio(
                "the WAV file holds no sound",
                seen="no data chunk",
                allowed="a fmt and a data chunk",
            )
        (num_chunk_bytes,) = struct.unpack(order + "I", header[4:])
        if header[:4] == b"data":
            is_open = is_rf64 or any(0 <= end - num_chunk_bytes <= 128 for end in _OPEN_ENDED)
            num_found = num_bytes - position - 8
            if num_chunk_bytes > num_found and not is_open:
                raise truncated("WAV", f"{num_chunk_bytes} bytes", f"{num_found} bytes")
            return
        position += 8 + num_chunk_bytes + num_chunk_bytes % 2


_OGG_HEADER = struct.Struct("<4sBBqIIIB")


def _check_ogg(file: BinaryIO, num_bytes: int) -> None:
    """Walk the pages; each must be whole and the last one of a stream must say it is the last."""
    position, has_end = 0, False
    while position < num_bytes:
        file.seek(position)
        header = file.read(_OGG_HEADER.size)
        if len(header) < _OGG_HEADER.size:
            raise truncated("Ogg", "a whole last page", f"{len(header)} bytes of it")
        magic, _, flags, _, _, _, _, num_segments = _OGG_HEADER.unpack(header)
        if magic != b"OggS":
            return  # damage or a tag behind the stream: the decoder judges
        table = file.read(num_segments)
        num_page_bytes = _OGG_HEADER.size + num_segments + sum(table)
        if position + num_page_bytes > num_bytes:
            raise truncated(
                "Ogg", f"a last page of {num_page_bytes} bytes", f"{num_bytes - position}"
            )
        has_end = bool(flags & 0x04)
        position += num_page_bytes
    if not has_end:
        raise truncated("Ogg", "an end page", "none")
