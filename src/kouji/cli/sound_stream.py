"""A sound that comes through standard input: wav or bare samples piece by piece, or a whole file.

Knows bytes and their header; what is heard in them is `kouji.classifying`'s.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kouji.errors import UnreadableAudio, UsageError

_SAMPLE_BYTES = {"u8": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4, "f64": 8}
_DTYPES = {"s16": "<i2", "s32": "<i4", "f32": "<f4", "f64": "<f8", "u8": "u1"}
_PIECE_SECONDS = 0.05  # so long a sound waits before it is handed on
_MAX_CHANNELS = 64
_MAX_HEADER_BYTES = 1 << 20  # of chunks before the sound
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE


@dataclass(frozen=True)
class RawFormat:
    """How bare samples are written: interleaved, little-endian."""

    encoding: str = "s16"
    sample_rate: int = 16_000
    num_channels: int = 1

    def __post_init__(self) -> None:
        if self.encoding not in _SAMPLE_BYTES or not 1 <= self.num_channels <= _MAX_CHANNELS:
            raise UsageError(
                "unknown form of raw sound",
                seen=f"{self.encoding}, {self.num_channels} channels",
                allowed=f"{', '.join(_SAMPLE_BYTES)}; 1 to {_MAX_CHANNELS} channels",
            )


@dataclass(frozen=True)
class SoundStream:
    """Sound on its way: `pieces` are (samples, channels)."""

    sample_rate: int
    pieces: Iterator[NDArray[Any]]


def open_stream(file: BinaryIO, raw: RawFormat | None) -> SoundStream | bytes:
    """What comes from `file`: a stream to follow, or the bytes of a file that is no wav.

    raw:    bare samples of this form; None looks for a header
    raises: UnreadableAudio for a wav that is none, or nothing at all
    """
    if raw is not None:
        return SoundStream(raw.sample_rate, _pieces(file, raw, None))
    head = _read(file, 12)
    if not head:
        raise UnreadableAudio("nothing came through standard input", allowed="sound")
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return head + file.read()
    form, num_bytes = _read_header(file)
    return SoundStream(form.sample_rate, _pieces(file, form, num_bytes))


def _read_header(file: BinaryIO) -> tuple[RawFormat, int | None]:
    """The form of the samples, and their bytes where the header knows; stands before them."""
    form, seen = None, 0
    while len(head := _read(file, 8)) == 8:
        name, size = head[:4], struct.unpack("<I", head[4:])[0]
        if name == b"data" and form is not None:
            # Programs that do not know the end yet write 0 or the largest number there is.
            return form, size if 0 < size < 0xFFFFFF00 else None
        seen += size
        if seen > _MAX_HEADER_BYTES:
            break
        body = _read(file, size + size % 2)
        if name == b"fmt ":
            form = _read_format(body)
    raise UnreadableAudio("the wav header is damaged", allowed="fmt and data chunks")


def _read_format(body: bytes) -> RawFormat:
    if len(body) < 16:
        raise UnreadableAudio("the wav header is damaged", seen=f"fmt of {len(body)} bytes")
    kind, num_channels, rate, _, _, num_bits = struct.unpack("<HHIIHH", body[:16])
    if kind == _EXTENSIBLE and len(body) >= 26:
        kind = struct.unpack("<H", body[24:26])[0]
    known = {
        **{(_PCM, 8): "u8", (_PCM, 16): "s16", (_PCM, 24): "s24", (_PCM, 32): "s32"},
        **{(_FLOAT, 32): "f32", (_FLOAT, 64): "f64"},
    }
    if (kind, num_bits) not in known or not 1 <= num_channels <= _MAX_CHANNELS:
        raise UnreadableAudio(
            "this form of wav cannot be followed",
            seen=f"format {kind}, {num_bits} bits, {num_channels} channels",
            allowed="pcm of 8, 16, 24 or 32 bits, float of 32 or 64",
            cure="give the file's path instead, or convert it",
        )
    return RawFormat(known[kind, num_bits], rate, num_channels)


def _pieces(file: BinaryIO, form: RawFormat, num_bytes: int | None) -> Iterator[NDArray[Any]]:
    frame = _SAMPLE_BYTES[form.encoding] * form.num_channels
    wanted = max(1, round(_PIECE_SECONDS * form.sample_rate)) * frame
    left = num_bytes
    while left is None or left > 0:
        data = _read(file, wanted if left is None else min(wanted, left))
        whole = len(data) // frame * frame
        if whole:
            samples = _samples(data[:whole], form.encoding).reshape(-1, form.num_channels)
            # The mean here: of a piece shorter than it has channels nobody could tell the axes.
            yield samples[:, 0] if form.num_channels == 1 else _mean(samples)
        if left is not None:
            left -= len(data)
        if len(data) < wanted and (left is None or left > 0):
            if left:
                raise UnreadableAudio(
                    "the stream breaks off",
                    seen=f"{left} bytes short",
                    allowed="as its header says",
                )
            return


def _samples(data: bytes, encoding: str) -> NDArray[Any]:
    """The samples of all channels in turn; three bytes become the upper ones of four."""
    if encoding != "s24":
        return np.frombuffer(data, _DTYPES[encoding])
    upper = np.frombuffer(data, np.uint8).reshape(-1, 3)
    return np.pad(upper, ((0, 0), (1, 0))).view("<i4")[:, 0]


def _mean(samples: NDArray[Any]) -> NDArray[np.float32]:
    from kouji.audio.decode import to_float

    values = to_float(samples)
    assert values is not None
    return np.asarray(values.mean(axis=1, dtype=np.float32))


def _read(file: BinaryIO, num_bytes: int) -> bytes:
    """So many bytes, fewer only at the end: a pipe gives what it has."""
    parts = bytearray()
    while len(parts) < num_bytes and (part := file.read(num_bytes - len(parts))):
        parts += part
    return bytes(parts)
