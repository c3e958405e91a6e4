"""Encoders for each audio format, writing into any binary file while samples come in.

One class per way of encoding: plain PCM and WAV by hand, everything else by PyAV, or by libsndfile
where PyAV is not installed (then nothing comes out before the end). Knows 16-bit samples and
files. Does not know paths, temporary files or which label belongs into a file.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from kouji.audio.labels import clean_tags, id3_tag, riff_info, tags_as_comment
from kouji.audio.resample import Resampler
from kouji.errors import AudioError, UsageError
from kouji.types import Samples

Pcm = NDArray[np.int16]

FORMATS = ("wav", "flac", "mp3", "opus", "aac", "pcm")
_MPEG_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
CODEC_RATES = {
    "opus": (8000, 12000, 16000, 24000, 48000),
    "mp3": _MPEG_RATES,
    "aac": (*_MPEG_RATES, 64000, 88200, 96000),
}
DEFAULT_BIT_RATES = {"mp3": 64_000, "opus": 32_000, "aac": 64_000}
_BIT_RATE_RANGES = {"mp3": (8_000, 320_000), "opus": (6_000, 256_000), "aac": (8_000, 288_000)}
_MAX_WAV_BYTES = 0xFFFFFFFF - 1_000_000  # 4 GiB less room for the tags
_UNKNOWN_BYTES = 0xFFFFFFFF  # what a stream's header says: until the end


class Codec(Protocol):
    """What every encoder does: take mono samples at the rate it was made for, then finish."""

    def write(self, pcm: Pcm) -> None:
        """Encode (samples,) int16."""

    def close(self) -> None:
        """Write what is held back, and final sizes where the file can seek."""


def codec_rate(format: str, sample_rate: int) -> int:
    """The nearest rate `format` knows that loses nothing, or its highest."""
    rates = CODEC_RATES.get(format)
    if rates is None:
        return sample_rate
    return min((rate for rate in rates if rate >= sample_rate), default=rates[-1])


def check_bit_rate(format: str, bit_rate: int | None) -> int | None:
    """`bit_rate` or the format's default; None where the format has none."""
    low, high = _BIT_RATE_RANGES.get(format, (0, 0))
    if bit_rate is None:
        return DEFAULT_BIT_RATES.get(format)
    if not low <= bit_rate <= high or high == 0:
        allowed = f"{low} to {high} bit/s" if high else "none, it is lossless"
        raise UsageError(f"the bit rate is wrong for {format}", seen=bit_rate, allowed=allowed)
    return bit_rate


def to_pcm(samples: Samples) -> Pcm:
    """Limit to full scale, then 16 bits; 16-bit sound loaded by us comes back bit for bit."""
    limited = np.clip(samples, -1.0, 1.0) * np.float32(32768.0)
    pcm: Pcm = np.minimum(np.rint(limited), 32767).astype(np.int16)
    return pcm


def open_codec(
    format: str, sample_rate: int, file: Any, tags: dict[str, str], bit_rate: int | None
) -> Codec:
    """Begin `format` in `file`; headers get final sizes at the end if `file` can seek."""
    tags = clean_tags(tags)
    if format == "pcm":
        return _Pcm(file)
    if format == "wav":
        return _Wav(file, sample_rate, tags)
    try:
        import av  # noqa: F401
    except ImportError as error:
        if format == "aac":
            raise AudioError(
                "writing aac needs the package av",
                seen="av is not installed",
                allowed="wav, flac, mp3 and opus without it",
                cure="run: pip install av",
            ) from error
        return _Sndfile(format, sample_rate, file, tags, bit_rate)
    return _Av(format, sample_rate, file, tags, bit_rate)


def _can_seek(file: Any) -> bool:
    return bool(getattr(file, "seekable", bool)())


class _Pcm:
    """Raw 16-bit little-endian samples; there is no place for tags."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def write(self, pcm: Pcm) -> None:
        self._file.write(pcm.astype("<i2").tobytes())

    def close(self) -> None:
        pass


class _Wav:
    """16-bit WAV; the tags stand before the sound so that a stream carries them from its start."""

    def __init__(self, file: BinaryIO, sample_rate: int, tags: dict[str, str]) -> None:
        self._file, self._num_bytes = file, 0
        fmt = struct.pack("<IHHIIHH", 16, 1, 1, sample_rate, sample_rate * 2, 2, 16)
        self._middle = b"WAVEfmt " + fmt + riff_info(tags) + b"data"
        self._write_header(_UNKNOWN_BYTES, _UNKNOWN_BYTES)

    def _write_header(self, num_riff: int, num_data: int) -> None:
        sizes = struct.pack("<I", num_riff), struct.pack("<I", num_data)
        self._file.write(b"RIFF" + sizes[0] + self._middle + sizes[1])

    def write(self, pcm: Pcm) -> None:
        self._num_bytes += pcm.nbytes
        if self._num_bytes > _MAX_WAV_BYTES and _can_seek(self._file):
            raise AudioError(
                "this is too long for a wav file",
                seen="over 4 GB",
                allowed="up to 4 GB",
                cure="write flac or mp3",
            )
        self._file.write(pcm.astype("<i2").tobytes())

    def close(self) -> None:
        if _can_seek(self._file):
            self._file.seek(0)
            self._write_header(len(self._middle) + 4 + self._num_bytes, self._num_bytes)
            self._file.seek(0, io.SEEK_END)


class _Sink:
    """The part of a file behind its tag, for a muxer that counts positions from its own start.

    Keeps the first error of the file for `check`: PyAV prints a traceback of its own when a
    second one follows, as on a full disk.
    """

    def __init__(self, file: BinaryIO, num_bytes: int) -> None:
        self._file, self._num_bytes = file, num_bytes
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise what went wrong."""
        if self._error is not None:
            raise self._error

    def write(self, content: bytes) -> int:
        return self._try(lambda: self._file.write(content), len(content))

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        shift = self._num_bytes if whence == io.SEEK_SET else 0
        return self._try(lambda: self._file.seek(offset + shift, whence) - self._num_bytes, offset)

    def tell(self) -> int:
        return self._try(lambda: self._file.tell() - self._num_bytes, 0)

    def _try(self, act: Callable[[], int], otherwise: int) -> int:
        if self._error is None:
            try:
                return act()
            except OSError as error:
                self._error = error
        return otherwise


_AV_NAMES: dict[str, tuple[str, str, dict[str, str]]] = {
    "flac": ("flac", "flac", {}),
    "mp3": ("mp3", "libmp3lame", {"id3v2_version": "0"}),
    "opus": ("ogg", "libopus", {}),
    "aac": ("adts", "aac", {}),
}


class _Av:
    """FLAC, MP3, Opus and AAC by PyAV. ID3 tags are ours, so that AAC has them as well."""

    def __init__(
        self, format: str, sample_rate: int, file: Any, tags: dict[str, str], bit_rate: int | None
    ) -> None:
        import av

        container_format, codec_name, options = _AV_NAMES[format]
        if format == "opus":
            # Else Ogg's serial number is random: the same sound is to be the same bytes.
            serial = zlib.crc32(repr(sorted(tags.items())).encode()) >> 1
            options = {"fflags": "bitexact", "serial_offset": str(serial)}
        if format == "opus" and not _can_seek(file):
            # A stream's pages hold 60 ms: 11 % more bytes than with ffmpeg's 1 s, and no waiting.
            options["page_duration"] = "60000"
        tag = id3_tag(tags) if format in ("mp3", "aac") else b""
        file.write(tag)
        self._sink = _Sink(file, len(tag)) if _can_seek(file) else None
        file = self._sink or file
        self._container = av.open(
            file, "w", format=container_format, options={"flush_packets": "1", **options}
        )
        stream: Any = self._container.add_stream(codec_name, rate=sample_rate, layout="mono")
        self._stream = stream
        if bit_rate is not None:
            stream.bit_rate = bit_rate
        if format == "flac":
            self._container.metadata.update(tags)
        elif format == "opus":
            stream.metadata.update(tags)
        context = stream.codec_context
        context.open()
        self._framer = av.AudioResampler(
            context.format, "mono", sample_rate, frame_size=context.frame_size
        )
        self._sample_rate, self._num_written = sample_rate, 0

    def write(self, pcm: Pcm) -> None:
        from fractions import Fraction

        import av

        if len(pcm) == 0:
            return
        frame = av.AudioFrame.from_ndarray(pcm[None], format="s16", layout="mono")
        frame.sample_rate = self._sample_rate
        frame.time_base = Fraction(1, self._sample_rate)
        frame.pts = self._num_written
        self._num_written += len(pcm)
        for piece in self._framer.resample(frame):
            self._container.mux(self._stream.encode(piece))
        if self._sink is not None:
            self._sink.check()

    def close(self) -> None:
        try:
            if self._num_written:
                for piece in self._framer.resample(None):
                    self._container.mux(self._stream.encode(piece))
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()
        if self._sink is not None:
            self._sink.check()


class _Sndfile:
    """FLAC, MP3 and Opus by libsndfile, held in memory: its headers are rewritten at the end."""

    def __init__(
        self, format: str, sample_rate: int, file: Any, tags: dict[str, str], bit_rate: int | None
    ) -> None:
        import soundfile

        kind, subtype = {
            "flac": ("FLAC", "PCM_16"),
            "mp3": ("MP3", "MPEG_LAYER_III"),
            "opus": ("OGG", "OPUS"),
        }[format]
        self._target, self._buffer = file, io.BytesIO()
        self._file = soundfile.SoundFile(
            self._buffer, "w", sample_rate, 1, format=kind, subtype=subtype
        )
        if format == "mp3":
            self._target.write(id3_tag(tags))
        elif tags:
            self._file.comment = tags_as_comment(tags)
        del bit_rate  # libsndfile offers a compression level only; its defaults are near ours

    def write(self, pcm: Pcm) -> None:
        self._file.write(pcm)

    def close(self) -> None:
        self._file.close()
        self._target.write(self._buffer.getvalue())


class Resampling:
    """A codec behind a resampler, for rates the format does not know."""

    def __init__(self, codec: Codec, source_rate: int, target_rate: int) -> None:
        self._codec, self._resampler = codec, Resampler(source_rate, target_rate)

    def write(self, samples: Samples) -> None:
        """Take (samples,) float32 at the source's rate."""
        self._codec.write(to_pcm(self._resampler.push(samples)))

    def close(self) -> None:
        """Flush the resampler, then the codec."""
        self._codec.write(to_pcm(self._resampler.push(np.zeros(0, np.float32), last=True)))
        self._codec.close()
