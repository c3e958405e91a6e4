"""Loading: every format, source and shape gives the same sound; wrong ones a named error."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kouji.audio import load
from kouji.audio.load import load_audio
from kouji.errors import AudioError, KoujiError, UnreadableAudio
from kouji.types import Audio

RATE = 24000


def chirp(seconds: float = 1.0, sample_rate: int = RATE) -> np.ndarray:
    """A tone that rises from 200 to 2200 Hz: unlike a plain tone it shows any shift in time."""
    times = np.arange(int(seconds * sample_rate)) / sample_rate
    return (0.4 * np.sin(2 * np.pi * (200 * times + 1000 * times**2))).astype(np.float32)


def encoded(samples: np.ndarray, kind: str, subtype: str | None, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def encoded_by_av(samples: np.ndarray, kind: str, codec: str, rate: int = RATE) -> bytes:
    av = pytest.importorskip("av")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.codec_context.open()
        num_frame = stream.codec_context.frame_size
        resampler = av.AudioResampler(stream.format, "mono", rate, frame_size=num_frame)
        frame = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = rate
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(piece))
    return buffer.getvalue()


def likeness(first: np.ndarray, second: np.ndarray) -> float:
    """Correlation at the best shift within 1500 samples; lossy codecs delay a little."""
    size = min(len(first), len(second))
    spectrum = np.fft.rfft(first[:size], 2 * size) * np.fft.rfft(second[:size], 2 * size).conj()
    peak = np.roll(np.fft.irfft(spectrum), 1500)[:3000].max()
    return float(peak / np.sqrt((first[:size] ** 2).sum() * (second[:size] ** 2).sum()))


CORE = [
    ("WAV", "PCM_16", 1e-4),
    ("WAV", "PCM_24", 1e-6),
    ("WAV", "PCM_32", 1e-6),
    ("WAV", "PCM_U8", 1e-2),
    ("WAV", "FLOAT", 0),
    ("WAV", "DOUBLE", 0),
    ("WAV", "ULAW", 2e-2),
    ("FLAC", "PCM_16", 1e-4),
    ("AIFF", "PCM_16", 1e-4),
    ("AU", "PCM_16", 1e-4),
    ("CAF", "PCM_16", 1e-4),
    ("W64", "PCM_16", 1e-4),
    ("RF64", "PCM_16", 1e-4),
]


@pytest.mark.parametrize(("kind", "subtype", "tolerance"), CORE)
def test_lossless_formats(kind: str, subtype: str, tolerance: float) -> None:
    audio = load_audio(encoded(chirp(), kind, subtype))
    assert audio.sample_rate == RATE
    assert audio.samples.dtype == np.float32
    assert audio.samples.shape == (RATE,)
    assert np.abs(audio.samples - chirp()).max() <= tolerance


@pytest.mark.parametrize(("kind", "subtype"), [("MP3", None), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_lossy_core_formats(kind: str, subtype: str | None) -> None:
    if subtype == "FLAC":
        data = encoded_by_av(chirp(), "ogg", "flac")
    else:
        data = encoded(chirp(), kind, subtype)
    audio = load_audio(data)
    assert audio.sample_rate == RATE
    assert abs(audio.duration - 1) < 0.06
    assert likeness(audio.samples, chirp()) > 0.98


@pytest.mark.parametrize(
    ("kind", "codec"),
    [("ipod", "aac"), ("mp4", "aac"), ("adts", "aac"), ("webm", "libopus")],
)
def test_formats_through_av(kind: str, codec: str) -> None:
    rate = 48000 if codec == "libopus" else RATE
    audio = load_audio(encoded_by_av(chirp(1, rate), kind, codec, rate), sample_rate=RATE)
    assert abs(audio.duration - 1) < 0.1
    assert likeness(audio.samples, chirp()) > 0.96  # the shift cuts up to 4 % off the end


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000, 96000, 192000])
@pytest.mark.parametrize("num_channels", [1, 2, 8])
def test_rates_and_channels(rate: int, num_channels: int) -> None:
    samples = np.repeat(chirp(0.5, rate)[:, None], num_channels, axis=1)
    samples[:, 0] *= 0.5
    expected = samples.mean(axis=1)
    data = encoded(samples, "WAV", "FLOAT", rate)
    assert np.abs(load_audio(data).samples - expected).max() < 1e-6
    assert len(load_audio(data, sample_rate=16000).samples) == pytest.approx(8000, abs=1)


def test_all_sources_agree(tmp_path: Path) -> None:
    data = encoded(chirp(), "WAV", "FLOAT")
    path = tmp_path / "名字 with spaces.wav"
    path.write_bytes(data)
    with path.open("rb") as file:
        sources = [path, str(path), data, bytearray(data), io.BytesIO(data), file]
        results = [load_audio(source).samples for source in sources]
    results.append(load_audio(Audio(chirp(), RATE)).samples)
    results.append(load_audio(chirp(), array_rate=RATE).samples)
    for samples in results:
        assert np.array_equal(samples, chirp())


@pytest.mark.parametrize(
    "array",
    [
        chirp().astype(np.float64),
        np.round(chirp() * 2**15).astype(np.int16),
        np.round(chirp().astype(np.float64) * 2**31).astype(np.int32),
        np.stack([chirp(), chirp()]),
        np.stack([chirp(), chirp()], axis=1),
        chirp()[None],
    ],
)
def test_arrays_of_many_kinds(array: np.ndarray) -> None:
    audio = load_audio(array, array_rate=RATE)
    assert audio.samples.dtype == np.float32
    assert np.abs(audio.samples - chirp()).max() < 1e-4


def test_eight_bit_arrays() -> None:
    levels = np.array([0, 128, 255], np.uint8)
    assert load_audio(levels, array_rate=RATE).samples.tolist() == [-1, 0, 127 / 128]
    assert load_audio(np.array([-128, 0], np.int8), array_rate=RATE).samples.tolist() == [-1, 0]


def test_an_array_is_not_shared() -> None:
    array = chirp()
    audio = load_audio(array, array_rate=RATE)
    array[:] = 0
    assert np.array_equal(audio.samples, chirp())


def test_resampled_on_the_way_equals_resampled_after() -> None:
    data = encoded(chirp(20, 48000), "WAV", "FLOAT", 48000)
    from kouji.audio.resample import resample

    whole = resample(load_audio(data), 16000).samples
    assert np.abs(load_audio(data, sample_rate=16000).samples - whole).max() < 1e-5


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF - 36])
def test_open_ended_wav(size: int) -> None:
    data = bytearray(encoded(chirp(), "WAV", "PCM_16"))
    position = data.index(b"data")
    data[position + 4 : position + 8] = size.to_bytes(4, "little")
    assert load_audio(bytes(data)).samples.shape == (RATE,)


def test_open_ended_flac() -> None:
    data = bytearray(encoded(chirp(), "FLAC", "PCM_16"))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert load_audio(bytes(data)).samples.shape == (RATE,)


def test_core_formats_work_without_av(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded_by_av(chirp(), "ipod", "aac")
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    for kind, subtype in [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("MP3", None), ("OGG", "OPUS")]:
        assert load_audio(encoded(chirp(), kind, subtype)).duration == pytest.approx(1, abs=0.06)
    with pytest.raises(UnreadableAudio, match=r"pip install"):
        load_audio(data)


def test_the_limit_is_checked_from_the_header_and_while_decoding() -> None:
    data = bytearray(encoded(np.zeros(RATE * 30, np.float32), "FLAC", "PCM_16"))
    assert len(data) < 20_000
    with pytest.raises(UnreadableAudio, match=r"too long \(seen: 30\.0 s; allowed: up to 10 s"):
        load_audio(bytes(data), max_seconds=10)
    data[21] &= 0xF0  # the header now promises nothing
    data[22:26] = bytes(4)
    with pytest.raises(
        UnreadableAudio, match=r"too long \(seen: over 1\d\.\d s; allowed: up to 10"
    ):
        load_audio(bytes(data), max_seconds=10)


def test_a_bomb_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hours of silence in a small file that hides its length: only the limit is ever held."""
    data = bytearray(encoded(np.zeros((48000 * 60, 8), np.float32), "FLAC", "PCM_16", 48000))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    held: list[int] = []
    original = load.Resampler.push

    def counting(self: load.Resampler, samples: np.ndarray, last: bool = False) -> np.ndarray:
        held.append(len(samples))
        return original(self, samples, last)

    monkeypatch.setattr(load.Resampler, "push", counting)
    with pytest.raises(UnreadableAudio, match="too long"):
        load_audio(bytes(data), max_seconds=5)
    assert sum(held) <= 5 * 48000
    assert max(held) <= 1 << 19


ARRAYS = {
    "no rate": (chirp(), None),
    "rate zero": (chirp(), 0),
    "rate too high": (chirp(), 400_000),
    "rate a float": (chirp(), 24000.0),
    "empty": (np.zeros(0, np.float32), RATE),
    "one sample": (np.zeros(1, np.float32), RATE),
    "no channels": (np.zeros((100, 0), np.float32), RATE),
    "nan": (np.full(100, np.nan, np.float32), RATE),
    "infinite": (np.full(100, -np.inf, np.float32), RATE),
    "beyond float32": (np.full(100, 1e300), RATE),
    "wrong scale": (chirp() * 32768, RATE),
    "int64": (np.arange(100), RATE),
    "uint16": (np.zeros(100, np.uint16), RATE),
    "bool": (np.zeros(100, bool), RATE),
    "complex": (np.zeros(100, complex), RATE),
    "text": (np.array(["a", "b"]), RATE),
    "objects": (np.array([None, 1]), RATE),
    "scalar": (np.array(0.5), RATE),
    "three axes": (np.zeros((2, 2, 100), np.float32), RATE),
    "a picture": (np.zeros((100, 100), np.float32), RATE),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_wrong_arrays(case: str) -> None:
    array, rate = ARRAYS[case]
    with pytest.raises(AudioError):
        load_audio(array, array_rate=rate)


@pytest.mark.parametrize("samples", [[0.0, 0.1], np.zeros(10), np.full(9, np.nan, np.float32)])
def test_a_wrong_audio_object(samples: object) -> None:
    rate = RATE if isinstance(samples, list) or np.isnan(samples).any() else 1
    with pytest.raises(AudioError):
        load_audio(Audio(samples, rate))  # type: ignore[arg-type]


@pytest.mark.parametrize("source", [None, 5, [0.1, 0.2], object()])
def test_wrong_sources(source: object) -> None:
    with pytest.raises(AudioError, match="allowed: a path, bytes"):
        load_audio(source)  # type: ignore[arg-type]


def test_paths_that_cannot_be_read(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo.wav"
    os.mkfifo(fifo)
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    names = [
        tmp_path,
        tmp_path / "none.wav",
        fifo,
        tmp_path / "loop.wav",
        "nul\0.wav",
        "",
        "x" * 999,
    ]
    for name in names:
        with pytest.raises(UnreadableAudio, match="cannot read"):
            load_audio(name)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(encoded(chirp(), "WAV", "PCM_16"))
    path.chmod(0)
    with pytest.raises(UnreadableAudio, match="Permission denied"):
        load_audio(path)


def test_file_objects_that_cannot_be_read() -> None:
    closed = io.BytesIO(b"RIFF")
    closed.close()
    with pytest.raises(UnreadableAudio, match="cannot be read"):
        load_audio(closed)
    with pytest.raises(AudioError, match="mode 'rb'"):
        load_audio(io.StringIO("RIFF"))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "arguments",
    [{"max_seconds": 0}, {"max_seconds": float("nan")}, {"max_seconds": "9"}, {"sample_rate": 1}],
)
def test_wrong_arguments(arguments: dict[str, object]) -> None:
    with pytest.raises(KoujiError):
        load_audio(encoded(chirp(), "WAV", "PCM_16"), **arguments)  # type: ignore[arg-type]


FOREIGN = {
    "empty": (b"", "an empty file"),
    "text": (b"Dear diary, today I recorded nothing.\n" * 9, "text beginning 'Dear diary"),
    "chinese text": ("今天天气很好。".encode() * 40, "text beginning '今天"),
    "web page": (b"<!DOCTYPE html><html>404</html>", "a web page"),
    "zip": (b"PK\x03\x04" + bytes(99), "a zip archive"),
    "gzip": (b"\x1f\x8b\x08" + bytes(99), "gzip data"),
    "pdf": (b"%PDF-1.7 ...", "a PDF"),
    "picture": (b"\x89PNG\r\n\x1a\n" + bytes(99), "a PNG picture"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(99), "a JPEG picture"),
    "zeros": (bytes(5000), "zero bytes only"),
    "playlist": (b"#EXTM3U\n/etc/passwd\n", "a playlist"),
    "random": (bytes(range(128, 256)) * 9, "unknown data beginning 80 81 82"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_foreign_files_are_named(case: str) -> None:
    data, description = FOREIGN[case]
    with pytest.raises(UnreadableAudio, match="not a sound file") as caught:
        load_audio(data)
    assert description in str(caught.value)
    assert "\n" not in str(caught.value)


def test_truncated_files_name_both_figures() -> None:
    data = encoded(chirp(), "WAV", "PCM_16")
    with pytest.raises(UnreadableAudio, match=r"truncated .*promises 48000 bytes.*holds 47000"):
        load_audio(data[:-1000])


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "broken.wav"
    path.write_bytes(encoded(chirp(), "WAV", "PCM_16")[:-1000])
    with pytest.raises(UnreadableAudio, match=r"'broken\.wav': the WAV file is truncated \(seen: "):
        load_audio(path)


def test_real_recordings(shared_dir: Path) -> None:
    audio = load_audio(shared_dir / "audio" / "zero_shot_prompt.wav", sample_rate=16000)
    assert audio.sample_rate == 16000
    assert audio.duration == pytest.approx(3.48, abs=0.01)
