"""What a file says it is, before any decoder touches it.

Knows magic numbers, so that foreign files (archives, pictures, text) are refused by name and no
decoder is asked to guess. Does not know what is inside a container.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

from kouji.errors import UnreadableAudio

ALLOWED = "wav, flac, mp3, ogg, opus, m4a, aac, webm and other common sound files"
_HEAD_BYTES = 4096  # enough for every magic number below, the TAR one at 257 included
_MAX_ID3_TAGS = 100


@dataclass(frozen=True)
class Container:
    """A kind of sound file: our name, ffmpeg's demuxer, and whether libsndfile reads it.

    prefers_av: libsndfile reads it, but its decoder writes notes about damage to stderr
    """

    name: str
    demuxer: str
    is_core: bool = False
    prefers_av: bool = False


_WAV = Container("WAV", "wav", is_core=True)
_AIFF = Container("AIFF", "aiff", is_core=True)
_AU = Container("AU", "au", is_core=True)
_CAF = Container("CAF", "caf", is_core=True)
_W64 = Container("Wave64", "w64", is_core=True)
_FLAC = Container("FLAC", "flac", is_core=True)
_OGG = Container("Ogg", "ogg", is_core=True)
_MP3 = Container("MP3", "mp3", is_core=True, prefers_av=True)
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


def id3_bytes(file: BinaryIO) -> int:
    """Size of the ID3v2 tags at the start of `file`; their lengths are of 7-bit bytes."""
    position = 0
    for _ in range(_MAX_ID3_TAGS):
        file.seek(position)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        size = 0
        for byte in head[6:]:
            size = size << 7 | byte & 0x7F
        position += 10 + size + (10 if head[5] & 0x10 else 0)
    return position


def identify(file: BinaryIO) -> Container:
    """Name the sound container that `file` is; raise UnreadableAudio for all else.

    file: seekable, left at an undefined position
    """
    num_tag_bytes = id3_bytes(file)
    file.seek(num_tag_bytes)
    head = file.read(_HEAD_BYTES)
    if num_tag_bytes:  # only these carry ID3 in front; of the three, MP3 alone may begin late
        return next((c for c in (_ADTS, _FLAC) if _match(head) is c), _MP3)
    container = _match(head)
    if container is None:
        raise UnreadableAudio(
            "this is not a sound file",
            seen=_describe(head),
            allowed=ALLOWED,
            cure="convert it first",
        )
    return container


def _match(head: bytes) -> Container | None:
    """The container whose files begin like `head`."""
    if head[:4] in (b"RIFF", b"RF64", b"RIFX") and head[8:12] == b"WAVE":
        return _WAV
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return _AIFF
    for magic, container in _SOUND:
        if head.startswith(magic):
            return container
    if head[4:8] in (b"ftyp", b"moov", b"mdat") and head[:2] == b"\0\0":
        return _MP4
    if len(head) >= 4 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        if head[1] & 0xF6 == 0xF0:  # layer bits 00: not MPEG audio layer I to III
            return _ADTS
        if head[1] & 0x06 and head[1] & 0x18 != 0x08 and head[:3] != b"\xff\xd8\xff":
            return _MP3
    return None


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
        text = head.decode("utf-8", errors="strict" if len(head) < _HEAD_BYTES else "ignore")
    except UnicodeDecodeError:
        return f"unknown data beginning {head[:8].hex(' ')}"
    if "\0" in text or "\ufffd" in text or len(text) < len(head) // 4:
        return f"unknown data beginning {head[:8].hex(' ')}"
    kind = "a web page" if text.lstrip()[:9].lower().startswith(("<!doctype", "<html")) else "text"
    return f"{kind} beginning {' '.join(text[:40].split())[:24]!r}"
