"""Load any sound a user has as mono float32, or say in one line why not.

Knows sources (path, bytes, file object, array), limits and what sane samples are. Memory stays
bounded: the duration is checked against the header first and again on every decoded block.
Does not know how a format is decoded, nor what a good recording is.
"""

from __future__ import annotations

import io
import math
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from kouji.audio.completeness import check_complete, mp3_seconds
from kouji.audio.containers import identify
from kouji.audio.decode import BLOCK_VALUES, MAX_CHANNELS, Decoding, open_decoding, to_float
from kouji.audio.resample import MAX_RATE_HZ, MIN_RATE_HZ, Resampler, check_rate
from kouji.audio.resample import resample as resample_whole
from kouji.errors import AudioError, UnreadableAudio
from kouji.types import Audio, Samples

MIN_SAMPLES = 2
MAX_AMPLITUDE = 16.0  # 24 dB over full scale; beyond it the scale itself is wrong
MAX_STREAM_BYTES = 1 << 30  # what is read from a file object at most
MAX_FRAMES = 1 << 28  # 1 GiB of float32, 93 minutes at 48 kHz


class AudioTooLong(UnreadableAudio):
    """More than `max_seconds`, by the header or while decoding."""


class NoSound(UnreadableAudio):
    """Sound that is no longer than a sample."""


Source = str | Path | bytes | BinaryIO | Audio | NDArray[Any]


def load_audio(
    source: Source,
    *,
    sample_rate: int | None = None,
    max_seconds: float = 3600.0,
    array_rate: int | None = None,
    highest_rate: int | None = None,
) -> Audio:
    """Load mono audio; several channels become their mean.

    source:      path, encoded bytes, readable binary file object (read from where it stands),
                 Audio, or an array (samples,) or (samples, channels) or (channels, samples) of
                 floats, int8, int16, int32 or uint8
    sample_rate: Hz wanted; None keeps the source's rate
    max_seconds: longer sources are refused, by their header or while decoding
    array_rate:  Hz of an array source, used for nothing else
    highest_rate: Hz that a file or its bytes are brought down to while they are decoded, where
                 sample_rate says nothing: a small file of a high rate unpacks to gigabytes
    returns:     at least two finite samples
    raises:      UnreadableAudio for files and bytes that give no sane audio, AudioError for
                 arrays and arguments
    """
    if sample_rate is not None:
        check_rate(sample_rate, "wanted sampling rate")
    if not isinstance(max_seconds, (int, float)) or not max_seconds > 0:
        raise AudioError("max_seconds is wrong", seen=repr(max_seconds), allowed="a number above 0")
    if isinstance(source, (Audio, np.ndarray)):
        audio = _from_array(source, array_rate)
        limit = min(max_seconds, MAX_FRAMES / audio.sample_rate)
        _check_duration(len(audio.samples), audio.sample_rate, limit)
        if sample_rate is not None:
            audio = resample_whole(audio, sample_rate)
        _check_count(len(audio.samples), AudioError)
        return audio
    if isinstance(source, (str, Path)):
        return _from_path(Path(source), sample_rate, max_seconds, highest_rate)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _decode(io.BytesIO(bytes(source)), sample_rate, max_seconds, highest_rate)
    if hasattr(source, "read"):
        return _decode(io.BytesIO(_read_stream(source)), sample_rate, max_seconds, highest_rate)
    raise AudioError(
        "this cannot be loaded as audio",
        seen=type(source).__name__,
        allowed="a path, bytes, a binary file, Audio or a numpy array",
    )


def read_blocks(
    source: Source,
    sample_rate: int,
    *,
    max_seconds: float = math.inf,
    array_rate: int | None = None,
) -> Iterator[Samples]:
    """The sound of `load_audio` block by block, so that hours of it need no memory.

    sample_rate: Hz wanted
    others:      as `load_audio`; file objects and bytes are held whole as they come
    yields:      (samples,) float32, mono, checked; of a sound that is too long none, though a file
                 that does not tell its length (MP3) is decoded once more to find out
    raises:      what `load_audio` raises, at the first block or at the damaged one
    """
    check_rate(sample_rate, "wanted sampling rate")
    if isinstance(source, (str, Path)):
        with _open_regular(Path(source)) as file, _named(Path(source)):
            yield from _resampled(file, sample_rate, max_seconds)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        yield from _resampled(io.BytesIO(bytes(source)), sample_rate, max_seconds)
    elif not isinstance(source, (Audio, np.ndarray)) and hasattr(source, "read"):
        yield from _resampled(io.BytesIO(_read_stream(source)), sample_rate, max_seconds)
    else:
        audio = load_audio(
            source, sample_rate=sample_rate, max_seconds=max_seconds, array_rate=array_rate
        )
        for start in range(0, len(audio.samples), BLOCK_VALUES):
            yield audio.samples[start : start + BLOCK_VALUES]


def _resampled(file: BinaryIO, sample_rate: int, max_seconds: float) -> Iterator[Samples]:
    decoding, blocks = _open(file, max_seconds, math.inf)
    if decoding.num_frames is None and _may_be_longer(file, max_seconds):
        for _ in blocks:
            pass
        decoding, blocks = _open(file, max_seconds, math.inf)
    resampler = Resampler(decoding.sample_rate, sample_rate)
    num_samples = 0
    for block in blocks:
        ready = resampler.push(block)
        num_samples += len(ready)
        yield ready
    ready = resampler.push(np.zeros(0, np.float32), last=True)
    _check_count(num_samples + len(ready), NoSound)
    yield ready


def _may_be_longer(file: BinaryIO, max_seconds: float) -> bool:
    """Whether a file that tells no length has to be decoded to know it; stays in its place."""
    if math.isinf(max_seconds):
        return False
    place = file.tell()
    if identify(file).name != "MP3":
        seconds = math.inf
    else:
        seconds = mp3_seconds(file, file.seek(0, io.SEEK_END))
    file.seek(place)
    return seconds > max_seconds


def _from_path(
    path: Path, sample_rate: int | None, max_seconds: float, highest_rate: int | None
) -> Audio:
    """Load a regular file."""
    with _open_regular(path) as file, _named(path):
        return _decode(file, sample_rate, max_seconds, highest_rate)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Errors name their file, since callers load thousands."""
    try:
        yield
    except UnreadableAudio as error:
        what = f"cannot use {path.name!r}: {error.what}"
        raise type(error)(what, seen=error.seen, allowed=error.allowed, cure=error.cure) from error
    except OSError as error:
        raise _unreadable(path, error.strerror) from error


def _open_regular(path: Path) -> BinaryIO:
    """Open a file that is one: a pipe or device could block for ever or never end."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _unreadable(path, getattr(error, "strerror", None) or error) from error
    raise _unreadable(path, "a directory" if stat.S_ISDIR(mode) else "no regular file")


def _unreadable(path: Path, seen: object) -> UnreadableAudio:
    cure = "check the path and its permissions"
    return UnreadableAudio(f"cannot read {str(path)!r}", seen=seen, allowed="a file", cure=cure)


def _read_stream(file: BinaryIO) -> bytes:
    """Read a file object to its end, within MAX_STREAM_BYTES."""
    try:
        data: object = file.read(MAX_STREAM_BYTES + 1)
    except (OSError, ValueError) as error:
        raise UnreadableAudio("the file object cannot be read", seen=error) from error
    if not isinstance(data, bytes):
        raise AudioError(
            "the file object gives no bytes", seen=type(data).__name__, cure="open it in mode 'rb'"
        )
    if len(data) > MAX_STREAM_BYTES:
        raise UnreadableAudio(
            "the stream is too large",
            seen=f"over {MAX_STREAM_BYTES} bytes",
            allowed=f"up to {MAX_STREAM_BYTES} bytes",
            cure="save it to a file first",
        )
    return data


def _decode(
    file: BinaryIO, sample_rate: int | None, max_seconds: float, highest_rate: int | None
) -> Audio:
    decoding, blocks = _open(file, max_seconds)
    own_rate = min(decoding.sample_rate, highest_rate or decoding.sample_rate)
    target_rate = sample_rate or own_rate
    return Audio(_collect(blocks, Resampler(decoding.sample_rate, target_rate)), target_rate)


def _open(
    file: BinaryIO, max_seconds: float, max_frames: float = MAX_FRAMES
) -> tuple[Decoding, Iterator[Samples]]:
    """A file being decoded, and its checked blocks."""
    num_bytes = file.seek(0, io.SEEK_END)
    if num_bytes == 0:
        raise NoSound(
            "this is not a sound file", seen="an empty file, 0 bytes", allowed="some sound"
        )
    file.seek(0)
    container = identify(file)
    check_complete(file, container, num_bytes)
    file.seek(0)
    decoding = open_decoding(file, container)
    if not MIN_RATE_HZ <= decoding.sample_rate <= MAX_RATE_HZ:
        raise UnreadableAudio(
            "the file's sampling rate is out of range",
            seen=f"{decoding.sample_rate} Hz",
            allowed=f"{MIN_RATE_HZ} to {MAX_RATE_HZ} Hz",
        )
    limit = min(max_seconds, max_frames / decoding.sample_rate)
    if decoding.num_frames is not None:
        _check_duration(decoding.num_frames, decoding.sample_rate, limit)
    return decoding, _checked_blocks(decoding.blocks, decoding.sample_rate, limit)


def _collect(blocks: Iterator[Samples], resampler: Resampler) -> Samples:
    """Join the blocks at the wanted rate; resampled on the way, so high rates cost no memory."""
    ready = bytearray()  # grows in place, where a list of blocks would be held twice when joined
    for block in blocks:
        ready += resampler.push(block).tobytes()
    ready += resampler.push(np.zeros(0, np.float32), last=True).tobytes()
    samples = np.frombuffer(ready, np.float32)
    _check_count(len(samples), NoSound)
    return samples


def _checked_blocks(
    blocks: Iterator[Samples], sample_rate: int, max_seconds: float
) -> Iterator[Samples]:
    """Pass blocks on while they are sane and few; raise at the first that is not."""
    num_frames = 0
    for block in blocks:
        num_frames += len(block)
        _check_duration(num_frames, sample_rate, max_seconds, is_partial=True)
        _check_values(block, UnreadableAudio)
        yield block


def _check_count(num_samples: int, error: type[AudioError]) -> None:
    if num_samples < MIN_SAMPLES:
        allowed = f"{MIN_SAMPLES} samples or more"
        raise error("this holds no sound", seen=f"{num_samples} samples", allowed=allowed)


def _check_duration(
    num_frames: int, sample_rate: int, max_seconds: float, *, is_partial: bool = False
) -> None:
    if num_frames <= max_seconds * sample_rate:
        return
    seen = ("over " if is_partial else "") + f"{num_frames / sample_rate:.1f} s"
    raise AudioTooLong(
        "the audio is too long", seen=seen, allowed=f"up to {max_seconds:g} s", cure="cut it first"
    )


def _check_values(samples: Samples, error: type[AudioError]) -> None:
    """Refuse NaN, infinity and values that are no sound on a scale of -1 to 1."""
    if len(samples) == 0:
        return
    peak = float(np.abs(samples).max())  # NaN and infinity survive abs and max
    if not math.isfinite(peak):
        raise error("the audio holds values that are not finite", seen="NaN or infinity")
    if peak > MAX_AMPLITUDE:
        raise error(
            "the samples are far beyond full scale",
            seen=f"{peak:.4g}",
            allowed=f"up to {MAX_AMPLITUDE:g}, full scale is 1",
            cure="divide them by the full scale of their source",
        )


def mono_piece(values: NDArray[Any]) -> Samples:
    """A piece of a stream as (samples,) float32: an array as `load_audio` takes it, or empty.

    raises: AudioError for what is no sound
    """
    array = np.asarray(values)
    if array.ndim in (1, 2) and array.size == 0:
        return np.zeros(0, np.float32)
    return _mono(array)


def _from_array(source: Audio | NDArray[Any], array_rate: int | None) -> Audio:
    """Check an array or Audio and bring it to mono float32; the caller's memory is not shared."""
    values = source.samples if isinstance(source, Audio) else source
    rate = source.sample_rate if isinstance(source, Audio) else array_rate
    if rate is None:
        raise AudioError(
            "an array does not know its sampling rate", cure="pass array_rate=... in Hz"
        )
    sample_rate = check_rate(rate)
    if not isinstance(values, np.ndarray):
        raise _wrong_shape(type(values).__name__)
    if values.ndim in (1, 2):
        _check_count(0 if min(values.shape) == 0 else max(values.shape), AudioError)
    return Audio(_mono(values), sample_rate)


def _mono(values: NDArray[Any]) -> Samples:
    """(samples,) float32 of an array; a copy."""
    if values.ndim not in (1, 2):
        raise _wrong_shape(values.shape)
    if values.ndim == 2 and min(values.shape) > MAX_CHANNELS:
        raise AudioError(
            "the array has too many channels", seen=values.shape, allowed=f"up to {MAX_CHANNELS}"
        )
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinity, refused below
        samples = to_float(values)
    if samples is None:
        raise AudioError(
            "the array has a dtype without an agreed scale",
            seen=values.dtype,
            allowed="floats, int8, int16, int32, uint8",
            cure="convert it to float32 in -1 to 1",
        )
    if samples.ndim == 2:
        samples = samples.mean(axis=int(np.argmin(samples.shape)), dtype=np.float32)
    _check_values(samples, AudioError)
    return np.ascontiguousarray(samples)


def _wrong_shape(seen: object) -> AudioError:
    return AudioError(
        "the array has the wrong shape", seen=seen, allowed="(samples,) or (samples, channels)"
    )
