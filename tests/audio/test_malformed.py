"""Malformed recordings: each is refused by a named error or loads as sane sound, never else.

All inputs are made here from seeded generators. Whether one is refused is stated where only one
answer is right; random damage may hit sound or structure, so there both answers are right.
"""

import base64
import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile

from kouji.audio.load import load_audio
from kouji.errors import KoujiError, UnreadableAudio

RATE = 24000
MAX_SECONDS = 20.0
HAS_AV = find_spec("av") is not None


def sound(seconds: float = 1.0, rate: int = RATE) -> np.ndarray:
    rng = np.random.default_rng(7)
    times = np.arange(int(seconds * rate)) / rate
    tone = 0.3 * np.sin(2 * np.pi * (150 + 20 * np.sin(times)) * times)
    return (tone + 0.02 * rng.standard_normal(len(times))).astype(np.float32)


def by_soundfile(samples: np.ndarray, kind: str, subtype: str | None, rate: int = RATE) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def by_av(kind: str, codec: str, rate: int) -> bytes:
    import av

    buffer = io.BytesIO()
    with av.open(buffer, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        stream.codec_context.open()
        frame_size = stream.codec_context.frame_size
        resampler = av.AudioResampler(stream.format, "mono", rate, frame_size=frame_size)
        frame = av.AudioFrame.from_ndarray(sound(1, rate)[None], format="flt", layout="mono")
        frame.sample_rate = rate
        for piece in [*resampler.resample(frame), *resampler.resample(None), None]:
            container.mux(stream.encode(piece))
    return buffer.getvalue()


MAKERS: dict[str, Callable[[], bytes]] = {
    "wav": lambda: by_soundfile(sound(), "WAV", "PCM_16"),
    "wav24": lambda: by_soundfile(sound(), "WAV", "PCM_24"),
    "wavfloat": lambda: by_soundfile(sound(), "WAV", "FLOAT"),
    "wavadpcm": lambda: by_soundfile(sound(), "WAV", "IMA_ADPCM"),
    "rf64": lambda: by_soundfile(sound(), "RF64", "PCM_16"),
    "aiff": lambda: by_soundfile(sound(), "AIFF", "PCM_16"),
    "au": lambda: by_soundfile(sound(), "AU", "PCM_16"),
    "caf": lambda: by_soundfile(sound(), "CAF", "PCM_16"),
    "w64": lambda: by_soundfile(sound(), "W64", "PCM_16"),
    "flac": lambda: by_soundfile(sound(), "FLAC", "PCM_16"),
    "mp3": lambda: by_soundfile(sound(), "MP3", None),
    "ogg": lambda: by_soundfile(sound(), "OGG", "VORBIS"),
    "opus": lambda: by_soundfile(sound(), "OGG", "OPUS"),
}
if HAS_AV:
    MAKERS |= {
        "m4a": lambda: by_av("ipod", "aac", RATE),
        "aac": lambda: by_av("adts", "aac", RATE),
        "webm": lambda: by_av("webm", "libopus", 48000),
    }


@cache
def whole(kind: str) -> bytes:
    return MAKERS[kind]()


def refusal(data: object, **options: object) -> str | None:
    """Load `data`; return the error's one line, or None when the result is sane sound."""
    try:
        audio = load_audio(data, max_seconds=MAX_SECONDS, **options)  # type: ignore[arg-type]
    except KoujiError as error:
        message = str(error)
        assert "\n" not in message
        assert 20 < len(message) < 500
        return message
    assert audio.samples.dtype == np.float32
    assert audio.samples.ndim == 1
    assert 2 <= len(audio.samples) <= MAX_SECONDS * audio.sample_rate
    assert np.isfinite(audio.samples).all()
    assert np.abs(audio.samples).max() <= 16
    return None


@pytest.fixture(autouse=True)
def _no_noise(capfd: pytest.CaptureFixture[str]):
    """Nothing is printed, by the decoders' C libraries neither."""
    yield
    out, err = capfd.readouterr()
    assert (out, err) == ("", "")


@pytest.mark.parametrize("kind", MAKERS)
def test_the_whole_files_load(kind: str) -> None:
    assert refusal(whole(kind)) is None


TRUNCATIONS = [0.002, 0.01, 0.05, 0.2, 0.5, 0.8, 0.97, 0.999]


@pytest.mark.parametrize("share", TRUNCATIONS)
@pytest.mark.parametrize("kind", MAKERS)
def test_truncated(kind: str, share: float) -> None:
    data = whole(kind)
    assert refusal(data[: int(len(data) * share)]) is not None


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", MAKERS)
def test_damaged_header(kind: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    data = bytearray(whole(kind))
    for position in rng.integers(0, 120, rng.integers(1, 9)):
        data[position] = rng.integers(256)
    refusal(bytes(data))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", MAKERS)
def test_damaged_anywhere(kind: str, seed: int) -> None:
    """Flipped, missing and foreign bytes."""
    rng = np.random.default_rng(100 + seed)
    data = bytearray(whole(kind))
    position = int(rng.integers(40, len(data)))
    if seed % 3 == 0:
        for at in rng.integers(0, len(data), 40):
            data[at] = rng.integers(256)
    elif seed % 3 == 1:
        del data[position : position + int(rng.integers(1, 300))]
    else:
        data[position:position] = rng.bytes(int(rng.integers(1, 300)))
    refusal(bytes(data))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("kind", MAKERS)
def test_random_bytes_behind_a_true_beginning(kind: str, seed: int) -> None:
    rng = np.random.default_rng(200 + seed)
    refusal(whole(kind)[: 8 << seed] + rng.bytes(3000))


@pytest.mark.parametrize("seed", range(12))
def test_random_bytes(seed: int) -> None:
    rng = np.random.default_rng(300 + seed)
    assert refusal(rng.bytes(int(rng.integers(1, 20_000)))) is not None


def wav(
    pcm: bytes, *, form: int = 1, channels: int = 1, rate: int = RATE, bits: int = 16,
    block: int | None = None, num_data_bytes: int | None = None, before: bytes = b"",
) -> bytes:  # fmt: skip
    """A WAV file with any lie in its header."""
    block = channels * bits // 8 if block is None else block
    byte_rate = rate * block & 0xFFFFFFFF
    fmt = struct.pack("<HHIIHH", form, channels, rate, byte_rate, block, bits)
    num_data_bytes = len(pcm) if num_data_bytes is None else num_data_bytes
    body = b"WAVE" + before + b"fmt " + struct.pack("<I", 16) + fmt
    body += b"data" + struct.pack("<I", num_data_bytes) + pcm
    return b"RIFF" + struct.pack("<I", len(body) & 0xFFFFFFFF) + body


PCM = (sound() * 32767).astype("<i2").tobytes()
NAN = np.full(RATE, np.nan, "<f4").tobytes()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("voice.wav", bytes(20_000_000))
    return buffer.getvalue()


def flac_of_silence(num_frames: int, *, channels: int = 1, promised: int | None = None) -> bytes:
    """Silence packs thousands to one; `promised` is written into STREAMINFO's 36-bit count."""
    samples = np.zeros((num_frames, channels), np.int16)
    data = bytearray(by_soundfile(samples, "FLAC", "PCM_16"))
    if promised is not None:
        data[21] = data[21] & 0xF0 | promised >> 32
        data[22:26] = struct.pack(">I", promised & 0xFFFFFFFF)
    return bytes(data)


def with_sample(value: float) -> bytes:
    samples = sound().astype("<f4")
    samples[5000] = value
    return wav(samples.tobytes(), form=3, bits=32)


REFUSED: dict[str, Callable[[], bytes]] = {
    "nothing": lambda: b"",
    "one byte": lambda: b"R",
    "RIFF alone": lambda: b"RIFF",
    "RIFF of another kind": lambda: b"RIFF" + struct.pack("<I", 9999) + b"AVI LIST" + bytes(9999),
    "WAVE without chunks": lambda: b"RIFF\x04\0\0\0WAVE",
    "no fmt chunk": lambda: b"RIFF\x20\0\0\0WAVEdata\x10\0\0\0" + bytes(16),
    "no data chunk": lambda: wav(b"")[:36],
    "empty data chunk": lambda: wav(b""),
    "one sample": lambda: wav(PCM[:2]),
    "half a sample": lambda: wav(PCM[:1]),
    "data promises more": lambda: wav(PCM, num_data_bytes=len(PCM) + 2),
    "data promises 2^31 bytes": lambda: wav(PCM, num_data_bytes=1 << 31),
    "2^31 eight-bit frames": lambda: wav(PCM, bits=8, num_data_bytes=(1 << 31) + 2),
    "data promises 4 GB": lambda: wav(PCM, num_data_bytes=0xF0000000),
    "a chunk of 4 GB": lambda: wav(PCM, before=b"LIST\xff\xff\xff\xff"),
    "no channels": lambda: wav(PCM, channels=0),
    "65535 channels": lambda: wav(PCM, channels=65535, block=2),
    "200 channels": lambda: wav(PCM * 2, channels=200),
    "rate 0": lambda: wav(PCM, rate=0),
    "rate 1": lambda: wav(PCM, rate=1),
    "rate 3999": lambda: wav(PCM, rate=3999),
    "rate 2^31": lambda: wav(PCM, rate=1 << 31),
    "rate 2^32 - 1": lambda: wav(PCM, rate=0xFFFFFFFF),
    "rate 384001": lambda: wav(PCM, rate=384_001),
    "0 bits": lambda: wav(PCM, bits=0, block=2),
    "500 bits": lambda: wav(PCM, bits=500, block=2),
    "unknown codec": lambda: wav(PCM, form=0x1234),
    "NaN": lambda: with_sample(np.nan),
    "NaN only": lambda: wav(NAN, form=3, bits=32),
    "infinity": lambda: with_sample(np.inf),
    "minus infinity": lambda: with_sample(-np.inf),
    "1e30": lambda: with_sample(1e30),
    "float64 beyond float32": lambda: wav(np.full(999, 1e300).tobytes(), form=3, bits=64),
    "float64 NaN": lambda: wav(np.full(999, np.nan).tobytes(), form=3, bits=64),
    "integers called floats": lambda: wav(PCM[: len(PCM) // 4 * 4], form=3, bits=32),
    "zip bomb": zipped,
    "gzip bomb": lambda: gzip.compress(bytes(20_000_000)),
    "gzipped wav": lambda: gzip.compress(wav(PCM)),
    "zlib": lambda: zlib.compress(wav(PCM)),
    "nested gzip": lambda: gzip.compress(gzip.compress(bytes(20_000_000))),
    "an hour of silence in FLAC": lambda: flac_of_silence(RATE * 3600 // 8, channels=8),
    "FLAC promising 2^31 frames": lambda: flac_of_silence(RATE, promised=1 << 31),
    "FLAC promising 2^36 - 1": lambda: flac_of_silence(RATE, promised=(1 << 36) - 1),
    "FLAC promising a little more": lambda: flac_of_silence(RATE, promised=RATE + 500),
    "FLAC hiding its length": lambda: flac_of_silence(RATE * 30, promised=0),
    "FLAC promising less": lambda: flac_of_silence(RATE * 30, promised=1),
    "FLAC magic alone": lambda: b"fLaC",
    "FLAC without frames": lambda: whole("flac")[:42],
    "OggS alone": lambda: b"OggS",
    "Ogg without its first page": lambda: whole("ogg")[whole("ogg").index(b"OggS", 9) :],
    "Ogg without its end": lambda: whole("opus")[: whole("opus").rindex(b"OggS")],
    "Opus of Vorbis": lambda: whole("ogg").replace(b"\x01vorbis", b"OpusHea"),
    "ID3 tag alone": lambda: b"ID3\x04\0\0\0\0\0\x0a" + bytes(10),
    "ID3 tag of 256 MB": lambda: b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + whole("mp3"),
    "chained ID3 tags": lambda: b"ID3\x04\0\0\0\0\0\0" * 20_000,
    "MP3 header alone": lambda: whole("mp3")[:4],
    "MP3 headers only": lambda: b"\xff\xfb\x90\x00" * 5000,
    "ADTS headers only": lambda: b"\xff\xf1\x50\x80\x00\xff\xfc" * 20_000,
    "ftyp alone": lambda: b"\0\0\0\x18ftypM4A \0\0\0\0M4A mp42",
    "EBML alone": lambda: b"\x1aE\xdf\xa3\x01\0\0\0\0\0\0\x1f" + bytes(50),
    "MP4 box of 2^64 bytes": lambda: b"\0\0\0\x01moov" + b"\xff" * 8 + bytes(99),
    "MP4 boxes in boxes": lambda: b"".join(
        struct.pack(">I", 8 * (5000 - i)) + b"moov" for i in range(5000)
    ),
    "HTML": lambda: b"<html><body>404 Not Found</body></html>" * 50,
    "JSON": lambda: b'{"audio": "none"}',
    "SVG": lambda: b'<?xml version="1.0"?><svg/>',
    "a WAV in base64": lambda: base64.b64encode(wav(PCM)),
    "a WAV behind a line of text": lambda: b"\n" + wav(PCM),
    "UTF-16 text": lambda: "RIFF not a sound".encode("utf-16"),
    "HLS playlist": lambda: b"#EXTM3U\n#EXT-X-TARGETDURATION:9\nfile:///etc/hostname\n",
    "ffmpeg concat script": lambda: b"ffconcat version 1.0\nfile /etc/hostname\n",
    "zeros": lambda: bytes(100_000),
    "0xFF only": lambda: b"\xff" * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    assert refusal(REFUSED[case]()) is not None


def eight_channels() -> bytes:
    samples = np.repeat(sound(2, 192_000)[:, None], 8, axis=1)
    return by_soundfile(samples, "WAV", "PCM_24", 192_000)


HARMLESS: dict[str, Callable[[], bytes]] = {
    "8 channels at 192 kHz": eight_channels,
    "8-bit": lambda: wav(bytes(range(256)) * 40, bits=8),
    "two samples": lambda: wav(PCM[:4]),
    "64 channels": lambda: wav(PCM * 2, channels=64),
    "rate 4000": lambda: wav(PCM, rate=4000),
    "rate 384000": lambda: wav(PCM, rate=384_000),
    "data promises less": lambda: wav(PCM, num_data_bytes=2000),
    "data without end": lambda: wav(PCM, num_data_bytes=0xFFFFFFFF),
    "data without end, sox": lambda: wav(PCM, num_data_bytes=0x7FFFF000),
    "RIFF size zero": lambda: wav(PCM)[:4] + bytes(4) + wav(PCM)[8:],
    "wrong byte rate": lambda: wav(PCM)[:28] + b"\x01\0\0\0" + wav(PCM)[32:],
    "foreign chunk": lambda: wav(PCM, before=b"junk\x04\0\0\0abcd"),
    "text behind the data": lambda: wav(PCM) + b"trailing text",
    "silence": lambda: wav(bytes(48_000)),
    "full scale square": lambda: wav(b"\xff\x7f\x00\x80" * 9000),
    "an ID3 tag before MP3": lambda: b"ID3\x04\0\0\0\0\0\x0a" + bytes(10) + whole("mp3"),
    "an ID3v1 tag behind MP3": lambda: whole("mp3") + b"TAG" + bytes(125),
}


@pytest.mark.parametrize("case", HARMLESS)
def test_harmless(case: str) -> None:
    assert refusal(HARMLESS[case]()) is None
    assert refusal(HARMLESS[case](), sample_rate=16000) is None or case == "two samples"


def test_eight_channels_at_192_khz_are_the_sound_they_hold() -> None:
    samples = load_audio(eight_channels()).samples
    assert np.abs(samples - sound(2, 192_000)).max() < 1e-5


def test_refusals_name_what_they_saw() -> None:
    assert "seen: 458745 Hz; allowed: 4000 to 384000 Hz" in str(refusal(wav(PCM, rate=458_745)))
    with pytest.raises(UnreadableAudio, match=r"header promises 24500 frames, it holds 24000"):
        load_audio(REFUSED["FLAC promising a little more"]())
    with pytest.raises(UnreadableAudio, match=r"too long \(seen: 2863311\.5 s"):
        load_audio(REFUSED["FLAC promising 2^36 - 1"]())
    with pytest.raises(UnreadableAudio, match="200; allowed: 1 to 64"):
        load_audio(REFUSED["200 channels"]())


def test_there_are_more_than_200_inputs() -> None:
    num_per_kind = len(TRUNCATIONS) + 8 + 6 + 6
    assert len(MAKERS) * num_per_kind + 12 + len(REFUSED) + len(HARMLESS) > 200
