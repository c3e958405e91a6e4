"""Turn a sound file into mono blocks, never holding more than one block of its channels.

libsndfile decodes the core formats; PyAV, an optional package, the rest. Knows decoders and their
errors. Does not know limits on duration, sampling rates or amplitudes: the loader judges those.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from kouji.audio.completeness import truncated
from kouji.audio.containers import Container
from kouji.errors import UnreadableAudio
from kouji.types import Samples

MAX_CHANNELS = 64
BLOCK_VALUES = 1 << 17  # 512 KiB of float32 over all channels
_SNDFILE_UNSUPPORTED = (1, 4)  # SF_ERR_UNRECOGNISED_FORMAT, SF_ERR_UNSUPPORTED_ENCODING


@dataclass(frozen=True)
class Decoding:
    """A file being decoded: its rate, the frames its header promises (if any), mono blocks."""

    sample_rate: int
    num_frames: int | None
    blocks: Iterator[Samples]


def open_decoding(file: BinaryIO, container: Container) -> Decoding:
    """Begin to decode `file`, a seekable binary file at its start.

    Raises UnreadableAudio now or from `blocks`, when the data is damaged or breaks off.
    """
    if not container.is_core or (container.prefers_av and _has_av()):
        return _open_av(file, container)
    import soundfile

    try:
        return _open_sndfile(file, container)
    except soundfile.LibsndfileError as error:
        if error.code not in _SNDFILE_UNSUPPORTED:
            raise _damaged(container, error.error_string) from error
        file.seek(0)
        return _open_av(file, container)


def _has_av() -> bool:
    try:
        import av  # noqa: F401
    except ImportError:
        return False
    return True


def _damaged(container: Container, detail: object) -> UnreadableAudio:
    """One error for all decoders' complaints, in one line."""
    seen = " ".join(str(detail).split())[:120]
    return UnreadableAudio(
        f"the {container.name} file is damaged or truncated",
        seen=seen,
        allowed="intact files",
        cure="copy or export it again",
    )


def _check_channels(num_channels: int, container: Container) -> int:
    if not 1 <= num_channels <= MAX_CHANNELS:
        raise UnreadableAudio(
            f"the {container.name} file has too many channels",
            seen=num_channels,
            allowed=f"1 to {MAX_CHANNELS}",
            cure="mix it down first",
        )
    return num_channels


class _ForgivingFile:
    """A file whose impossible seeks stay put: soundfile prints what its callbacks raise."""

    def __init__(self, file: BinaryIO) -> None:
        self.read, self.tell, self._seek = file.read, file.tell, file.seek

    def seek(self, offset: int, whence: int = 0) -> int:
        try:
            return self._seek(offset, whence)
        except (OSError, ValueError, OverflowError):
            return self.tell()


def _open_sndfile(file: BinaryIO, container: Container) -> Decoding:
    import soundfile

    class Sequential(soundfile.SoundFile):  # type: ignore[misc]
        """Read forward only: soundfile seeks after each read, which fails on open-ended FLAC."""

        def seekable(self) -> bool:
            return False

    source = Sequential(_ForgivingFile(file), "r")
    num_channels = _check_channels(source.channels, container)
    # Open-ended files report the largest number there is.
    num_frames = source.frames if 0 <= source.frames < 1 << 40 else None
    return Decoding(
        source.samplerate, num_frames, _sndfile_blocks(source, container, num_channels, num_frames)
    )


def _sndfile_blocks(
    source: Any, container: Container, num_channels: int, num_frames: int | None
) -> Iterator[Samples]:
    import soundfile

    block = np.empty((BLOCK_VALUES // num_channels, num_channels), np.float32)
    num_read = 0
    with source:
        while True:
            try:
                values = source.read(out=block)
            except soundfile.SoundFileError as error:
                detail = getattr(error, "error_string", error)
                of_all = f" of {num_frames}" if num_frames else ""
                seen = f"{detail} after {num_read}{of_all} frames"
                raise _damaged(container, seen) from error
            if len(values):
                yield _downmix(values)
            num_read += len(values)
            if len(values) < len(block):
                break
    if num_frames is not None and num_read < num_frames:
        raise truncated(container.name, f"{num_frames} frames", f"{num_read}")


def _downmix(values: Samples) -> Samples:
    """(frames, channels) -> (frames,), the mean; a copy, since blocks reuse their memory."""
    with np.errstate(invalid="ignore", over="ignore"):  # the loader refuses what comes of it
        return np.asarray(values.mean(axis=1, dtype=np.float32))


def to_float(values: np.ndarray[Any, Any]) -> Samples | None:
    """Scale integer samples to [-1, 1); None when the dtype has no agreed scale."""
    if values.dtype.kind == "f":
        return values.astype(np.float32)
    if values.dtype == np.uint8:  # unsigned eight-bit sound has its zero at 128
        return (values.astype(np.float32) - 128.0) / 128.0
    if values.dtype.name in ("int8", "int16", "int32"):
        return values.astype(np.float32) / np.float32(-np.iinfo(values.dtype).min)
    return None


def _open_av(file: BinaryIO, container: Container) -> Decoding:
    try:
        import av
    except ImportError as error:
        raise UnreadableAudio(
            f"reading this {container.name} file needs the package av",
            seen="av is not installed",
            allowed="wav, flac, mp3, ogg and opus without it",
            cure="run: pip install av, or convert the file to wav",
        ) from error
    try:
        # The demuxer is named so that no playlist or protocol can be smuggled in.
        source = av.open(file, "r", format=container.demuxer, metadata_errors="ignore")
    except (av.FFmpegError, ValueError) as error:
        raise _damaged(container, error) from error
    streams = [s for s in source.streams.audio if s.codec_context is not None]
    if not streams:
        source.close()
        raise UnreadableAudio(
            f"the {container.name} file has no sound track that can be decoded",
            allowed="files with sound in a common codec",
        )
    stream = streams[0]
    # For bare streams (mp3, aac) ffmpeg's duration is a guess from the bit rate.
    is_stated = container.demuxer in ("mov", "matroska", "asf")
    num_frames = _promised_frames(source, stream) if is_stated else None
    blocks = _av_blocks(source, stream, container, num_frames)
    return Decoding(stream.sample_rate, num_frames, blocks)


def _promised_frames(source: Any, stream: Any) -> int | None:
    """Frames by the track's or the container's header; None where neither knows."""
    seconds = 0.0
    if stream.duration and stream.time_base:
        seconds = float(stream.duration * stream.time_base)
    elif source.duration:
        seconds = source.duration / 1_000_000
    return round(seconds * stream.sample_rate) or None


def _av_blocks(
    source: Any, stream: Any, container: Container, num_frames: int | None
) -> Iterator[Samples]:
    import av

    num_read, sample_rate = 0, stream.sample_rate
    with source:
        try:
            for frame in source.decode(stream):
                if frame.sample_rate != sample_rate:
                    raise _damaged(container, f"the rate changes to {frame.sample_rate} Hz")
                num_channels = _check_channels(frame.layout.nb_channels, container)
                samples = to_float(frame.to_ndarray())
                if samples is None:
                    raise _damaged(container, f"unknown sample format {frame.format.name}")
                is_planar = frame.format.is_planar
                mono = _downmix(samples.T if is_planar else samples.reshape(-1, num_channels))
                num_read += len(mono)
                yield mono
        except (av.FFmpegError, ValueError) as error:
            raise _damaged(container, f"{error} after {num_read} frames") from error
    # Codecs trim up to two of their frames as padding; 0.1 s covers all of them.
    if num_frames is not None and num_read < num_frames - sample_rate // 10:
        raise truncated(container.name, f"{num_frames} frames", f"{num_read}")
