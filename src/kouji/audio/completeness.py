"""Find files that break off, by the sizes their own headers promise.

Decoders hide this: most quietly return what is left. Knows the layout of the containers that state
their size, down to page and frame headers, and so how long an MP3 lasts at most. Does not decode a
single sample.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

from kouji.audio.containers import Container, id3_bytes
from kouji.errors import UnreadableAudio

MAX_STEPS = 1_000_000  # pages or frames walked: 7 h of MP3; a file of tiny ones costs no more


def truncated(container: str, promised: str, found: str) -> UnreadableAudio:
    """The one error for files that break off."""
    return UnreadableAudio(
        f"the {container} file is truncated",
        seen=f"its header promises {promised}, it holds {found}",
        allowed="complete files",
        cure="copy or record it again",
    )


def check_complete(file: BinaryIO, container: Container, num_bytes: int) -> None:
    """Refuse a file whose container promises more than there is.

    file: seekable, left at an undefined position; num_bytes: its whole size
    """
    check = _CHECKS.get(container.name)
    if check is not None:
        check(file, num_bytes)


def _read_at(file: BinaryIO, position: int, num_bytes: int) -> bytes:
    file.seek(position)
    return file.read(num_bytes)


# Writers that cannot seek back leave one of these as the size of the data: "until the end".
_OPEN_ENDED = (0x7FFFF000, 0x7FFFFFFF, 0xFFFFFFFF)
_OPEN_SLACK_BYTES = 128  # some subtract the size of their header from it


def _check_wav(file: BinaryIO, num_bytes: int) -> None:
    """Walk the chunks up to the data."""
    head = _read_at(file, 0, 36)
    order = ">" if head[:4] == b"RIFX" else "<"
    position = 12
    for _ in range(MAX_STEPS):
        header = _read_at(file, position, 8)
        if len(header) < 8:
            raise UnreadableAudio(
                "the WAV file holds no sound",
                seen="no data chunk",
                allowed="a fmt and a data chunk",
            )
        (num_chunk_bytes,) = struct.unpack(order + "I", header[4:])
        if header[:4] == b"data":
            if head[:4] == b"RF64" and head[12:16] == b"ds64" and num_chunk_bytes == 0xFFFFFFFF:
                (num_chunk_bytes,) = struct.unpack("<Q", head[28:36])
            is_open = any(0 <= e - num_chunk_bytes <= _OPEN_SLACK_BYTES for e in _OPEN_ENDED)
            num_found = num_bytes - position - 8
            if num_chunk_bytes > num_found and not is_open:
                raise truncated("WAV", f"{num_chunk_bytes} bytes", f"{num_found}")
            return
        position += 8 + num_chunk_bytes + num_chunk_bytes % 2


def _check_aiff(file: BinaryIO, num_bytes: int) -> None:
    (num_promised,) = struct.unpack(">I", _read_at(file, 4, 4))
    if num_promised + 8 > num_bytes:
        raise truncated("AIFF", f"{num_promised + 8} bytes", f"{num_bytes}")


def _check_au(file: BinaryIO, num_bytes: int) -> None:
    header = _read_at(file, 4, 8)
    if len(header) == 8:
        start, num_promised = struct.unpack(">II", header)
        if num_promised != 0xFFFFFFFF and start + num_promised > num_bytes:
            raise truncated("AU", f"{start + num_promised} bytes", f"{num_bytes}")


def _check_w64(file: BinaryIO, num_bytes: int) -> None:
    header = _read_at(file, 16, 8)
    if len(header) == 8 and struct.unpack("<Q", header)[0] > num_bytes:
        raise truncated("Wave64", f"{struct.unpack('<Q', header)[0]} bytes", f"{num_bytes}")


_OGG_HEADER = struct.Struct("<4sBBqIIIB")


def _check_ogg(file: BinaryIO, num_bytes: int) -> None:
    """Walk the pages; each must be whole and the last one must say that it is the last."""
    position, has_end = 0, False
    for _ in range(MAX_STEPS):
        if position >= num_bytes:
            break
        header = _read_at(file, position, _OGG_HEADER.size)
        if len(header) < _OGG_HEADER.size:
            raise truncated("Ogg", "a whole last page", f"{len(header)} bytes of it")
        magic, _, flags, _, _, _, _, num_segments = _OGG_HEADER.unpack(header)
        if magic != b"OggS":
            return  # damage, or a tag behind the stream: the decoder judges
        num_page_bytes = _OGG_HEADER.size + num_segments + sum(file.read(num_segments))
        if position + num_page_bytes > num_bytes:
            raise truncated(
                "Ogg", f"a last page of {num_page_bytes} bytes", f"{num_bytes - position}"
            )
        has_end = bool(flags & 0x04)
        position += num_page_bytes
    if not has_end and position >= num_bytes:
        raise truncated("Ogg", "an end page", "none")


# ISO 11172-3 and 13818-3: kbit/s by (is MPEG-1, layer), index 1 to 14.
_KBITS = {
    (True, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES_HZ = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


def mpeg_frame_bytes(header: bytes) -> int:
    """Size of the MPEG audio frame that begins with these 4 bytes; 0 where none begins."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    kbit_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or kbit_index in (0, 15) or rate_index == 3:
        return 0
    bit_rate = 1000 * _KBITS[version == 3, layer][kbit_index - 1]
    rate = _RATES_HZ[version][rate_index]
    if layer == 1:
        return (12 * bit_rate // rate + padding) * 4
    slots = 72 if layer == 3 and version != 3 else 144
    return slots * bit_rate // rate + padding


def mpeg_frame_seconds(header: bytes) -> float:
    """Duration of the MPEG audio frame that begins with these 4 bytes."""
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    num_samples = 384 if layer == 1 else 576 if layer == 3 and version != 3 else 1152
    return num_samples / _RATES_HZ[version][header[2] >> 2 & 3]


_LONGEST_SECONDS_A_BYTE = 8 / 8000  # no frame has fewer than 8 kbit/s


def mp3_seconds(file: BinaryIO, num_bytes: int) -> float:
    """How long an MP3 lasts at most, by the headers of its frames; decoders cut off padding.

    Bytes that no frame begins with (tags, damage) count as if they were the longest frames.
    """
    position, seconds = id3_bytes(file), 0.0
    for _ in range(MAX_STEPS):
        header = _read_at(file, position, 4)
        num_frame_bytes = mpeg_frame_bytes(header)
        if num_frame_bytes < 4 or position + num_frame_bytes > num_bytes:
            break
        seconds += mpeg_frame_seconds(header)
        position += num_frame_bytes
    return seconds + max(0, num_bytes - position) * _LONGEST_SECONDS_A_BYTE


def adts_frame_bytes(header: bytes) -> int:
    """Size of the ADTS frame that begins with these 6 bytes; 0 where none begins."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return 0
    return (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5


def _check_frames(
    file: BinaryIO, num_bytes: int, name: str, frame_bytes: Callable[[bytes], int]
) -> None:
    """Walk from frame to frame; the last must be whole. The decoder judges damage on the way."""
    position = id3_bytes(file)
    if position >= num_bytes:
        raise truncated(name, "sound behind its tag", "none")
    for _ in range(MAX_STEPS):
        if position >= num_bytes:
            return
        num_frame_bytes = frame_bytes(_read_at(file, position, 8))
        if num_frame_bytes < 4:
            return
        if position + num_frame_bytes > num_bytes:
            found = f"{num_bytes - position}"
            raise truncated(name, f"a last frame of {num_frame_bytes} bytes", found)
        position += num_frame_bytes


def _check_mp3(file: BinaryIO, num_bytes: int) -> None:
    """Compare with the Xing or Info header if there is one, then walk the frames."""
    start = id3_bytes(file)
    first = _read_at(file, start, 200)
    for mark in (b"Xing", b"Info"):
        at = first.find(mark, 4)
        if at > 0 and len(first) >= at + 16:
            flags, _, num_promised = struct.unpack(">III", first[at + 4 : at + 16])
            if flags & 3 == 3 and num_promised > num_bytes - start:
                raise truncated("MP3", f"{num_promised} bytes", f"{num_bytes - start}")
    _check_frames(file, num_bytes, "MP3", mpeg_frame_bytes)


def _check_adts(file: BinaryIO, num_bytes: int) -> None:
    _check_frames(file, num_bytes, "AAC", adts_frame_bytes)


def _check_caf(file: BinaryIO, num_bytes: int) -> None:
    """Walk the chunks; a data chunk of size -1 runs to the end."""
    position = 8
    for _ in range(MAX_STEPS):
        header = _read_at(file, position, 12)
        if not header:
            return
        num_chunk_bytes = struct.unpack(">q", header[4:])[0] if len(header) == 12 else 1 << 32
        if header[:4] == b"data" and num_chunk_bytes == -1:
            return
        position += 12 + max(0, num_chunk_bytes)
        if position > num_bytes:
            raise truncated("CAF", f"{position} bytes or more", f"{num_bytes}")


def _check_mp4(file: BinaryIO, num_bytes: int) -> None:
    """Walk the outermost boxes; size 0 runs to the end, size 1 means a 64-bit size follows."""
    position = 0
    for _ in range(MAX_STEPS):
        header = _read_at(file, position, 16)
        if not header:
            return
        size = struct.unpack(">I", header[:4])[0] if len(header) >= 8 else 8
        if size == 1 and len(header) == 16:
            (size,) = struct.unpack(">Q", header[8:])
        if size == 0:
            return
        position += max(8, size)
        if position > num_bytes:
            raise truncated("MP4", f"{position} bytes or more", f"{num_bytes}")


def _ebml_number(data: bytes, *, keep_marker: bool) -> tuple[int, int]:
    """(value, bytes used) of a variable-length number; its first set bit tells the length."""
    length = 9 - data[0].bit_length() if data and data[0] else 9
    if length > 8 or len(data) < length:
        return -1, 0
    value = int.from_bytes(data[:length], "big")
    return (value if keep_marker else value & (1 << 7 * length) - 1), length


_EBML_HEADER, _EBML_SEGMENT = 0x1A45DFA3, 0x18538067


def _check_webm(file: BinaryIO, num_bytes: int) -> None:
    """The outermost elements: the EBML header, then one Segment whose size may be unknown."""
    position = 0
    for expected in (_EBML_HEADER, _EBML_SEGMENT):
        head = _read_at(file, position, 12)
        kind, num_kind = _ebml_number(head, keep_marker=True)
        size, num_size = _ebml_number(head[num_kind:], keep_marker=False)
        is_unknown = size == (1 << 7 * num_size) - 1
        if kind != expected or num_size == 0 or is_unknown:
            return
        position += num_kind + num_size + size
        if position > num_bytes:
            raise truncated("WebM", f"{position} bytes", f"{num_bytes}")


_CHECKS: dict[str, Callable[[BinaryIO, int], None]] = {
    "WAV": _check_wav,
    "AIFF": _check_aiff,
    "AU": _check_au,
    "Wave64": _check_w64,
    "Ogg": _check_ogg,
    "MP3": _check_mp3,
    "AAC": _check_adts,
    "CAF": _check_caf,
    "MP4": _check_mp4,
    "WebM": _check_webm,
}
