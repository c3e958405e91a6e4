"""Encoding: streams and files hold the sound, whole files only, limits instead of wraps."""

import errno
import io
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kouji.audio import encode
from kouji.audio.encode import AudioWriter, Encoder, encode_bytes, format_of, save_audio
from kouji.audio.labels import label_tags
from kouji.audio.load import load_audio
from kouji.errors import AudioError, KoujiError, UsageError
from kouji.types import Audio

RATE = 24000
LOSSLESS = ["wav", "flac"]
LOSSY = ["mp3", "opus", "aac"]
NUM_DELAY = {"wav": 0, "flac": 0, "mp3": 2400, "opus": 0, "aac": 3000}  # codec padding in a stream


def chirp(seconds: float = 2.0, rate: int = RATE) -> np.ndarray:
    times = np.arange(int(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * (200 * times + 500 * times**2))).astype(np.float32)


def streamed(samples: np.ndarray, format: str, rate: int = RATE, **options: object) -> list[bytes]:
    """Encode in chunks of uneven size; one entry a write, the last from close."""
    encoder = Encoder(format, rate, **options)  # type: ignore[arg-type]
    rng = np.random.default_rng(1)
    cuts = np.sort(rng.integers(0, len(samples), 12))
    return [encoder.write(part) for part in np.split(samples, cuts)] + [encoder.close()]


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    size = min(len(first), len(second))
    spectrum = np.fft.rfft(first[:size], 2 * size) * np.fft.rfft(second[:size], 2 * size).conj()
    peak = np.roll(np.fft.irfft(spectrum), 3000)[:6000].max()
    return float(peak / np.sqrt((first[:size] ** 2).sum() * (second[:size] ** 2).sum()))


@pytest.mark.parametrize("format", LOSSLESS)
def test_lossless_streams(format: str) -> None:
    audio = load_audio(b"".join(streamed(chirp(), format)))
    assert audio.sample_rate == RATE
    assert audio.samples.shape == chirp().shape
    assert np.abs(audio.samples - chirp()).max() <= 0.5 / 32768


@pytest.mark.parametrize("format", LOSSY)
@pytest.mark.parametrize("rate", [16000, 22050, 24000, 44100, 48000])
def test_lossy_streams(format: str, rate: int) -> None:
    samples = chirp(2, rate)
    audio = load_audio(b"".join(streamed(samples, format, rate)), sample_rate=rate)
    assert 0 <= len(audio.samples) - len(samples) <= NUM_DELAY[format] * 2
    assert likeness(audio.samples, samples) > 0.95


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus", "aac", "pcm"])
def test_bytes_come_while_samples_go_in(format: str) -> None:
    pytest.importorskip("av")
    encoder = Encoder(format, RATE)
    sizes = [len(encoder.write(part)) for part in np.split(chirp(), 20)]  # 100 ms each
    assert sum(sizes[:4]) > 0
    assert sum(size > 0 for size in sizes[4:]) >= 10
    assert len(encoder.close()) < sum(sizes) / 4
    assert encoder.close() == b""
    with pytest.raises(AudioError, match="closed"):
        encoder.write(chirp())


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus", "aac", "pcm"])
def test_chunks_do_not_change_the_stream(format: str) -> None:
    pytest.importorskip("av")
    whole = Encoder(format, RATE)
    data = whole.write(chirp()) + whole.close()
    if format in ("flac", "opus"):  # Ogg's serial number and FLAC's page cuts differ, the sound not
        first, second = load_audio(data), load_audio(b"".join(streamed(chirp(), format)))
        assert np.abs(first.samples - second.samples).max() < 1e-4
    else:
        assert b"".join(streamed(chirp(), format)) == data


def test_pcm_is_the_plain_samples() -> None:
    pcm = np.frombuffer(b"".join(streamed(chirp(), "pcm")), "<i2")
    assert np.abs(pcm / 32768 - chirp()).max() <= 0.5 / 32768


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus", "aac", "pcm"])
def test_nothing_in_gives_a_stream_all_the_same(format: str) -> None:
    encoder = Encoder(format, RATE)
    data = encoder.write(np.zeros(0, np.float32)) + encoder.close()
    assert isinstance(data, bytes)
    if format == "wav":
        assert len(data) == 44


def test_a_wav_stream_says_that_its_end_is_unknown() -> None:
    data = b"".join(streamed(chirp(), "wav"))
    assert struct.unpack("<I", data[4:8]) == (0xFFFFFFFF,)
    assert struct.unpack("<I", data[40:44]) == (0xFFFFFFFF,)
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        assert file.frames == len(chirp())


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus"])
def test_saved_files_state_their_size(format: str, tmp_path: Path) -> None:
    path = tmp_path / f"out.{format}"
    save_audio(Audio(chirp(), RATE), path)
    with soundfile.SoundFile(str(path)) as file:
        assert file.frames == len(chirp())
    audio = load_audio(path)
    assert len(audio.samples) == len(chirp())
    assert likeness(audio.samples, chirp()) > 0.95
    if format == "wav":
        data = path.read_bytes()
        assert struct.unpack("<I", data[4:8]) == (len(data) - 8,)
        assert struct.unpack("<I", data[40:44]) == (len(data) - 44,)
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_bytes_equal_the_saved_file(tmp_path: Path) -> None:
    for format in ("wav", "flac", "mp3", "aac"):
        save_audio(Audio(chirp(), RATE), tmp_path / "x", format=format)
        assert encode_bytes(Audio(chirp(), RATE), format) == (tmp_path / "x").read_bytes()


@pytest.mark.parametrize("format", ["wav", "flac", "pcm"])
def test_overs_are_limited_not_wrapped(format: str) -> None:
    samples = np.array([0, 1, -1, 1.5, -1.5, 40, -40, 3e38, -3e38, 0.5], np.float32)
    data = encode_bytes(Audio(samples, RATE), format)
    result = np.frombuffer(data, "<i2") / 32768 if format == "pcm" else load_audio(data).samples
    assert np.abs(result - np.clip(samples, -1, 1)).max() <= 1 / 32768


def test_sixteen_bit_sound_returns_bit_for_bit() -> None:
    pcm = np.arange(-32768, 32768, dtype=np.int16)
    audio = load_audio(pcm, array_rate=RATE)
    for format in LOSSLESS:
        assert np.array_equal(load_audio(encode_bytes(audio, format)).samples, audio.samples)


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus"])
def test_without_av(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    parts = streamed(chirp(), format, tags={"comment": "AI-generated"})
    audio = load_audio(b"".join(parts))
    assert len(audio.samples) == pytest.approx(len(chirp()), abs=NUM_DELAY[format])
    assert likeness(audio.samples, chirp()) > 0.95
    with pytest.raises(AudioError, match="pip install av"):
        Encoder("aac", RATE)


def test_bit_rates_are_followed() -> None:
    pytest.importorskip("av")
    audio = Audio(np.random.default_rng(0).uniform(-0.5, 0.5, RATE * 4).astype(np.float32), RATE)
    for format in LOSSY:
        sizes = [len(encode_bytes(audio, format, bit_rate=rate)) for rate in (24_000, 96_000)]
        assert sizes[1] > 2 * sizes[0]
    for format, rate in [("mp3", 1), ("opus", 10**9), ("wav", 64_000)]:
        with pytest.raises(UsageError, match="bit rate"):
            encode_bytes(audio, format, bit_rate=rate)


def test_formats_come_from_suffixes() -> None:
    names = {"a.WAV": "wav", "b.ogg": "opus", "c.opus": "opus", "d.tar.mp3": "mp3", "e.raw": "pcm"}
    for name, format in names.items():
        assert format_of(name) == format
    assert format_of("-", "flac") == "flac"
    for name in ("x", "x.txt", ".wav", ""):
        with pytest.raises(UsageError, match=r"\.flac"):
            format_of(name)
    with pytest.raises(UsageError, match="wav, flac"):
        Encoder("wma", RATE)


@pytest.mark.parametrize(
    "samples",
    [np.zeros((2, 9), np.float32), np.zeros(9, np.int16), np.full(9, np.nan, np.float32),
     np.full(9, np.inf, np.float32), "sound", None],
)  # fmt: skip
def test_wrong_samples_leave_nothing(samples: object, tmp_path: Path) -> None:
    with pytest.raises(AudioError):
        save_audio(Audio(samples, RATE), tmp_path / "out.wav")  # type: ignore[arg-type]
    with pytest.raises(AudioError):
        Encoder("wav", RATE).write(samples)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_a_failure_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "out.wav"
    path.write_bytes(b"old")

    def interrupted() -> None:
        with AudioWriter(path, RATE) as writer:
            writer.write(chirp())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus"])
def test_a_full_disk(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(encode.os, "fsync", full)
    with pytest.raises(AudioError, match="No space left"):
        save_audio(Audio(chirp(), RATE), tmp_path / f"out.{format}")
    assert list(tmp_path.iterdir()) == []


def test_folders_that_cannot_be_written(tmp_path: Path) -> None:
    for path in (tmp_path / "none" / "out.wav", Path("/proc/out.wav")):
        with pytest.raises(AudioError, match="cannot write"):
            save_audio(Audio(chirp(), RATE), path)
    (tmp_path / "folder.wav").mkdir()
    for path in (tmp_path / "folder.wav", Path("/dev/null")):
        with pytest.raises(KoujiError, match="no regular file"):
            save_audio(Audio(chirp(), RATE), path, format="wav")


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "link.wav").symlink_to(tmp_path / "true.wav")
    save_audio(Audio(chirp(), RATE), tmp_path / "link.wav")
    assert (tmp_path / "link.wav").is_symlink()
    assert load_audio(tmp_path / "true.wav").duration == 2


def test_long_files_are_written_piece_by_piece(tmp_path: Path) -> None:
    with AudioWriter(tmp_path / "long.flac", RATE) as writer:
        for _ in range(30):
            writer.write(chirp(1))
        names = [item.name for item in tmp_path.iterdir()]
        assert names[0].startswith(".long.flac.")
        assert len(names) == 1
    assert load_audio(tmp_path / "long.flac").duration == 30


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus", "aac", "pcm"])
def test_the_same_sound_is_the_same_bytes(tone: Audio, format: str) -> None:
    """A job that was interrupted ends in the files of one that was not."""
    tags = label_tags("0badcafe")
    assert encode_bytes(tone, format, tags) == encode_bytes(tone, format, tags)
