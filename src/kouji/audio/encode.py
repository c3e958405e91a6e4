"""Encode speech while it is being made, as a byte stream or as a file that appears whole.

Knows streams, temporary files and renaming. A file is either complete under its name or not there.
Does not know how a format is made (codecs.py) nor what `-` means on a command line.
"""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from kouji.audio.codecs import FORMATS, Resampling, check_bit_rate, codec_rate, open_codec
from kouji.audio.provenance import ManifestSigner, produce_id_of
from kouji.audio.resample import check_rate
from kouji.errors import AudioError, UsageError
from kouji.types import Audio, Samples

SUFFIXES = {
    ".wav": "wav",
    ".flac": "flac",
    ".mp3": "mp3",
    ".opus": "opus",
    ".ogg": "opus",
    ".aac": "aac",
    ".pcm": "pcm",
    ".raw": "pcm",
}


def format_of(path: str | Path, format: str | None = None) -> str:
    """The format asked for, else the one `path`'s suffix stands for; UsageError for others."""
    if format is not None:
        if format not in FORMATS:
            raise UsageError("unknown audio format", seen=format, allowed=", ".join(FORMATS))
        return format
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(
            "the file's suffix names no format we write",
            seen=repr(suffix),
            allowed=" ".join(SUFFIXES),
            cure="rename the output or name a format",
        )
    return SUFFIXES[suffix]


def _open_for(
    file: Any, format: str, sample_rate: int, tags: dict[str, str] | None, bit_rate: int | None
) -> Resampling:
    format = format_of("", format)
    source_rate = check_rate(sample_rate)
    target_rate = codec_rate(format, source_rate)
    codec = open_codec(format, target_rate, file, tags or {}, check_bit_rate(format, bit_rate))
    return Resampling(codec, source_rate, target_rate)


def _check_samples(samples: Samples) -> Samples:
    """(samples,) of finite floats, as float32; AudioError for anything else."""
    values = np.asarray(samples)
    if values.ndim != 1 or values.dtype.kind != "f":
        seen = f"{values.dtype} of shape {values.shape}"
        raise AudioError("only mono floats can be encoded", seen=seen, allowed="(samples,) float32")
    values = values.astype(np.float32, copy=False)
    if not np.isfinite(values).all():
        raise AudioError("the audio holds values that are not finite", seen="NaN or infinity")
    return values


class _Pipe:
    """A file that cannot seek and gives away what was written to it."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


class Encoder:
    """Turn chunks of samples into chunks of one stream; owns the codec's state.

    A stream's headers cannot know its end: WAV states the size "until the end" (0xFFFFFFFF), FLAC
    an unknown length. Without the package av, flac, mp3 and opus come out on close.
    """

    def __init__(
        self,
        format: str,
        sample_rate: int,
        *,
        tags: dict[str, str] | None = None,
        bit_rate: int | None = None,
    ) -> None:
        """Begin a stream.

        format:      wav, flac, mp3, opus (in Ogg), aac (in ADTS) or pcm (16-bit little-endian)
        sample_rate: Hz of the samples; rates the format lacks are resampled on the way
        tags:        text in the file, for instance labels.label_tags(...); pcm drops it
        bit_rate:    bit/s for mp3, opus and aac
        """
        self._pipe, self._is_closed = _Pipe(), False
        self._codec = _open_for(self._pipe, format, sample_rate, tags, bit_rate)

    def write(self, samples: Samples) -> bytes:
        """Encode (samples,) float32, limited to [-1, 1]; returns the bytes ready by now."""
        if self._is_closed:
            raise AudioError("the encoder is closed", cure="begin a new one")
        self._codec.write(_check_samples(samples))
        return self._pipe.take()

    def close(self) -> bytes:
        """End the stream; returns the rest of its bytes. Closing again returns nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._codec.close()
        return self._pipe.take()


class AudioWriter:
    """Write a long file chunk by chunk in constant memory; use it in a `with` block.

    The sound goes to a hidden temporary file in the same folder, which takes its name when the
    block ends well; when an error leaves the block, nothing is left.
    """

    def __init__(
        self,
        path: str | Path,
        sample_rate: int,
        *,
        format: str | None = None,
        tags: dict[str, str] | None = None,
        bit_rate: int | None = None,
        signer: ManifestSigner | None = None,
    ) -> None:
        """Arguments as for Encoder; the format is taken from the suffix unless given.

        signer: puts a C2PA manifest in the finished file, where its format can hold one; a warning
                in the log says where not
        """
        self._format = format_of(path, format)
        self._signer = signer if signer and signer.can_sign(self._format) else None
        self._arguments = (check_rate(sample_rate), tags, bit_rate)
        self._path = Path(os.path.realpath(path))
        if self._path.exists() and not self._path.is_file():
            raise AudioError(
                f"cannot write {str(path)!r}",
                seen="it is no regular file",
                allowed="a file name",
                cure="use - for standard output",
            )
        self._part = self._path.with_name(f".{self._path.name}.{secrets.token_hex(4)}.part")

    def __enter__(self) -> AudioWriter:
        try:
            self._file = self._part.open("x+b")
        except OSError as error:
            raise self._failed(error) from error
        try:
            self._codec = _open_for(self._file, self._format, *self._arguments)
        except BaseException:
            self._discard()
            raise
        return self

    def write(self, samples: Samples) -> None:
        """Encode (samples,) float32, limited to [-1, 1]."""
        try:
            self._codec.write(_check_samples(samples))
        except OSError as error:
            raise self._failed(error) from error

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._discard()
            return
        try:
            self._codec.close()
            if self._signer is not None:
                self._sign(self._signer)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._part.replace(self._path)
        except OSError as problem:
            self._discard()
            raise self._failed(problem) from problem
        except BaseException:
            self._discard()
            raise

    def _sign(self, signer: ManifestSigner) -> None:
        """Go on with a signed copy of the finished file in the place of the file itself."""
        unsigned = self._file
        with unsigned, tempfile.TemporaryFile(dir=self._part.parent) as signed:
            unsigned.seek(0)
            signer.sign(self._format, unsigned, signed, produce_id_of(self._arguments[1] or {}))
            signed.seek(0)
            self._file = self._part.open("w+b")
            shutil.copyfileobj(signed, self._file)

    def _discard(self) -> None:
        with contextlib.suppress(OSError):  # on a full disk closing fails as writing did
            self._file.close()
        self._part.unlink(missing_ok=True)

    def _failed(self, error: OSError) -> AudioError:
        return AudioError(
            f"cannot write {str(self._path)!r}",
            seen=error.strerror or str(error),
            cure="check the folder, its permissions and the space left",
        )


def save_audio(
    audio: Audio,
    path: str | Path,
    *,
    format: str | None = None,
    tags: dict[str, str] | None = None,
    bit_rate: int | None = None,
    signer: ManifestSigner | None = None,
) -> None:
    """Write `audio` to `path` with exact sizes in its header; on any failure nothing is left."""
    with AudioWriter(
        path, audio.sample_rate, format=format, tags=tags, bit_rate=bit_rate, signer=signer
    ) as writer:
        writer.write(audio.samples)


def encode_bytes(
    audio: Audio,
    format: str,
    tags: dict[str, str] | None = None,
    *,
    bit_rate: int | None = None,
    signer: ManifestSigner | None = None,
) -> bytes:
    """The bytes `save_audio` would write."""
    buffer = io.BytesIO()
    codec = _open_for(buffer, format, audio.sample_rate, tags, bit_rate)
    codec.write(_check_samples(audio.samples))
    codec.close()
    content = buffer.getvalue()
    return signer.sign_bytes(content, format, produce_id_of(tags or {})) if signer else content
