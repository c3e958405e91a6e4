"""The watermark: chunks equal the whole; quiet; found after damage, and nowhere else."""

from pathlib import Path

import numpy as np
import pytest
import soxr

from kouji.audio import watermark_code
from kouji.audio.encode import encode_bytes
from kouji.audio.load import load_audio
from kouji.audio.resample import resample
from kouji.audio.watermark import EmbedState, detect, embed, threshold
from kouji.audio.watermark_finder import speed_threshold
from kouji.errors import AudioError
from kouji.types import Audio

RATE = 24000
PAYLOAD = 0xDEADBEEF


def speech_like(seconds: float, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Gliding harmonics in syllables with hiss: what matters to the mark is that gaps exist."""
    rng = np.random.default_rng(seed)
    times = np.arange(int(seconds * rate)) / rate
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * times + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voice = sum(np.sin(k * phase + k * k) / k for k in range(1, 50))
    syllables = np.clip(np.sin(2 * np.pi * 3 * times), 0, 1)
    samples = 0.1 * voice * syllables + 0.003 * rng.standard_normal(len(times))
    return samples.astype(np.float32)


def snr_db(clean: np.ndarray, marked: np.ndarray) -> float:
    return float(10 * np.log10((clean**2).sum() / ((marked - clean) ** 2).sum()))


@pytest.mark.parametrize("rate", [16000, 22050, 24000, 32000, 44100, 48000])
def test_chunks_equal_the_whole(rate: int) -> None:
    speech = speech_like(2, rate)
    whole = embed(speech, rate, PAYLOAD)
    assert whole.shape == speech.shape
    assert whole.dtype == np.float32
    for seed in range(4):
        cuts = np.sort(np.random.default_rng(seed).integers(0, len(speech), 40))
        state = EmbedState(rate, PAYLOAD)
        parts = [embed(part, rate, PAYLOAD, state) for part in np.split(speech, cuts)]
        assert [len(part) for part in parts] == [len(part) for part in np.split(speech, cuts)]
        assert np.abs(np.concatenate(parts) - whole).max() < 1e-6


def test_one_sample_at_a_time() -> None:
    speech = speech_like(0.2)
    state = EmbedState(RATE, 1)
    parts = [embed(speech[i : i + 1], RATE, 1, state) for i in range(len(speech))]
    assert np.abs(np.concatenate(parts) - embed(speech, RATE, 1)).max() < 1e-6


@pytest.mark.parametrize("rate", [16000, 22050, 24000, 44100, 48000])
def test_the_mark_is_quiet_and_found(rate: int) -> None:
    speech = speech_like(3, rate)
    marked = embed(speech, rate, PAYLOAD)
    assert snr_db(speech, marked) > 24
    found = detect(Audio(marked, rate))
    assert found.found
    assert found.payload == PAYLOAD
    assert not detect(Audio(speech, rate)).found


@pytest.mark.parametrize("payload", [0, 1, 0x80000000, 0xFFFFFFFF, 123456789])
def test_numbers_come_back(payload: int) -> None:
    assert detect(Audio(embed(speech_like(3), RATE, payload), RATE)).payload == payload


def test_the_mark_follows_the_level() -> None:
    """It scales with the speech, silence stays silent, and nothing precedes a sudden sound."""
    speech = speech_like(2)
    quiet = embed(speech * np.float32(0.01), RATE, 5)
    assert np.allclose(quiet, embed(speech, RATE, 5) * 0.01, atol=1e-7)
    silence = np.zeros(RATE, np.float32)
    around = np.concatenate([silence, speech, silence])
    marked = embed(around, RATE, 5)
    assert not marked[:RATE].any()
    assert not marked[-RATE + 2 * RATE // 20 :].any()


@pytest.mark.parametrize("format", ["mp3", "opus", "aac", "flac", "wav"])
def test_codecs(format: str) -> None:
    speech = speech_like(4)
    found = detect(load_audio(encode_bytes(Audio(embed(speech, RATE, PAYLOAD), RATE), format)))
    assert found.found
    if format != "opus":
        assert found.payload == PAYLOAD


def test_other_damage() -> None:
    speech = speech_like(4)
    marked = embed(speech, RATE, PAYLOAD)
    noise = np.random.default_rng(1).standard_normal(len(marked)).astype(np.float32)
    noise *= np.sqrt((marked**2).mean()) / 10
    assert detect(resample(Audio(marked, RATE), 16000)).payload == PAYLOAD
    assert detect(resample(Audio(marked, RATE), 48000)).payload == PAYLOAD
    assert detect(Audio(-0.1 * marked, RATE)).payload == PAYLOAD
    assert detect(Audio(np.clip(marked * 3, -0.5, 0.5), RATE)).found
    assert detect(Audio(marked + noise, RATE)).found
    assert detect(Audio(marked[31_234 : 31_234 + RATE], RATE)).found
    assert detect(Audio(np.concatenate([speech_like(5, seed=3), marked]), RATE)).found


def test_long_recordings_are_searched_in_windows() -> None:
    speech = np.concatenate([speech_like(8, seed=i) for i in range(4)])
    assert not detect(Audio(speech, RATE)).found
    marked = speech.copy()
    marked[16 * RATE : 22 * RATE] = embed(speech[16 * RATE : 22 * RATE], RATE, 77)
    found = detect(Audio(marked, RATE))
    assert found.found
    assert found.payload == 77
    assert threshold(4) > threshold(1)


@pytest.mark.parametrize("seed", range(10))
def test_other_sounds_carry_no_mark(seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = np.arange(4 * RATE) / RATE
    sounds = [
        rng.standard_normal(len(times)),
        np.sin(2 * np.pi * 440 * times),
        np.sign(np.sin(2 * np.pi * (100 + seed) * times)),
        (np.arange(len(times)) % RATE == 0) * 1.0,
        np.cumsum(rng.standard_normal(len(times))) * 1e-3,
    ]
    for sound in sounds:
        audio = Audio((0.1 * sound).astype(np.float32), RATE)
        assert not detect(audio, search_speeds=seed == 0).found


def test_sounds_too_short_or_too_low() -> None:
    for audio in (
        Audio(np.zeros(0, np.float32), RATE),
        Audio(np.zeros(RATE, np.float32), RATE),
        Audio(speech_like(0.1), RATE),
        Audio(speech_like(3, 8000), 8000),
    ):
        assert detect(audio).found is False


def test_two_streams_do_not_meet() -> None:
    state = EmbedState(RATE, 1)
    embed(speech_like(0.5), RATE, 1, state)
    with pytest.raises(AudioError, match="another stream"):
        embed(speech_like(0.5), RATE, 2, state)
    assert np.array_equal(embed(speech_like(1), RATE, 9), embed(speech_like(1), RATE, 9))


@pytest.mark.parametrize("payload", [-1, 1 << 32, 1.5, "x", None])
def test_wrong_numbers(payload: object) -> None:
    with pytest.raises(AudioError, match="4294967295"):
        embed(speech_like(0.1), RATE, payload)  # type: ignore[arg-type]


@pytest.mark.parametrize("speed", [0.95, 1.0132, 1.05])
def test_another_speed(speed: float) -> None:
    """Faster or slower, pitch and all: found, with the number, and how much."""
    speech = speech_like(4)
    changed = soxr.resample(embed(speech, RATE, PAYLOAD), RATE * speed, RATE)
    found = detect(Audio(changed, RATE))
    assert found.found
    assert found.payload == PAYLOAD
    assert found.speed == pytest.approx(speed, abs=1e-4)
    assert not detect(Audio(changed, RATE), search_speeds=False).found
    assert not detect(Audio(soxr.resample(speech, RATE * speed, RATE), RATE)).found
    assert speed_threshold(2) > speed_threshold(1) > threshold(1)


def test_telephone_sound() -> None:
    """8 kHz, and 8 kHz brought back to 24: half of the band is enough."""
    marked = Audio(embed(speech_like(4), RATE, PAYLOAD), RATE)
    narrow = resample(marked, 8000)
    assert detect(narrow).payload == PAYLOAD
    assert detect(resample(narrow, RATE)).payload == PAYLOAD


@pytest.mark.parametrize("rate", [8000, 15999, 24001])
def test_wrong_rates(rate: int) -> None:
    with pytest.raises(AudioError, match="cannot carry"):
        embed(speech_like(0.1), rate, 1)


@pytest.mark.parametrize("lost", [(), (0, 1, 2), (1, 3, 5), (3, 4, 5)])
def test_any_three_symbols_give_the_number(lost: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    for payload in (0, 1, PAYLOAD, 0xFFFFFFFF, *rng.integers(1 << 32, size=5).tolist()):
        fits = rng.standard_normal((6, watermark_code.NUM_VALUES))
        for place, value in enumerate(watermark_code.symbols_of(payload)):
            fits[place, value] = fits[place, value] if place in lost else 20.0
        read = watermark_code.read_number(fits)
        assert read is not None
        assert read[0] == payload


def test_weak_symbols_count_together_and_noise_is_no_number() -> None:
    rng = np.random.default_rng(1)
    read = []
    for _ in range(20):
        fits = rng.standard_normal((6, watermark_code.NUM_VALUES))
        assert watermark_code.read_number(fits) is None
        fits[np.arange(6), watermark_code.symbols_of(PAYLOAD)] += 4.5
        number = watermark_code.read_number(fits)
        read.append(number and number[0])
    assert set(read) <= {PAYLOAD, None}
    assert read.count(PAYLOAD) >= 18  # each symbol alone would be wrong about one time in three


def test_real_speech(shared_dir: Path) -> None:
    """A few recordings; the table over hundreds is made by benchmarks/watermark.py."""
    folder = shared_dir / "corpus" / "speech"
    paths = (
        sorted(folder.glob("ljspeech/*/*.ogg"))[:3] + sorted(folder.glob("aishell1/*/*.ogg"))[:3]
    )
    for path in paths:
        audio = load_audio(path, sample_rate=RATE)
        marked = Audio(embed(audio.samples, RATE, PAYLOAD), RATE)
        assert not detect(audio, search_speeds=path == paths[0]).found
        assert detect(marked).payload == PAYLOAD
        assert detect(load_audio(encode_bytes(marked, "mp3"))).found
