"""Sound block by block equals sound loaded whole, and is refused for the same reasons."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from kouji.audio.completeness import mp3_seconds
from kouji.audio.encode import encode_bytes
from kouji.audio.load import AudioTooLong, NoSound, load_audio, mono_piece, read_blocks
from kouji.errors import AudioError, UnreadableAudio
from kouji.types import Audio


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Nine seconds of stereo noise: several blocks."""
    path = tmp_path / "a.flac"
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, (9 * 32_000, 2))
    soundfile.write(path, noise, 32_000, subtype="PCM_16")
    return path


@pytest.mark.parametrize("rate", [32_000, 8000, 22_050])
def test_blocks_joined_are_the_whole(path: Path, rate: int) -> None:
    whole = load_audio(path, sample_rate=rate)
    for source in (path, path.read_bytes(), io.BytesIO(path.read_bytes()), load_audio(path)):
        blocks = list(read_blocks(source, rate))
        if not isinstance(source, Audio):
            assert max(len(block) for block in blocks) < len(whole.samples)
        np.testing.assert_allclose(np.concatenate(blocks), whole.samples, atol=2e-5)


def test_what_loading_refuses_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(AudioTooLong, match=r"a\.flac"):
        list(read_blocks(path, 8000, max_seconds=8.9))
    with pytest.raises(UnreadableAudio, match=r"none\.wav"):
        list(read_blocks(tmp_path / "none.wav", 8000))
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0), 8000)
    with pytest.raises(NoSound):
        list(read_blocks(empty, 8000))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnreadableAudio, match=r"a\.flac"):
        list(read_blocks(path, 8000))


def _encoded(num_samples: int, form: str, rate: int) -> bytes:
    noise = np.random.default_rng(0).normal(0, 0.1, num_samples).astype(np.float32)
    return encode_bytes(Audio(noise, rate), form, None)


@pytest.mark.parametrize("rate", [8000, 16_000, 44_100])
@pytest.mark.parametrize("form", ["mp3", "aac"])
def test_too_long_a_sound_gives_no_block_though_its_header_tells_no_length(
    form: str, rate: int
) -> None:
    recording = _encoded(4 * rate, form, rate)
    whole = np.concatenate(list(read_blocks(recording, rate)))
    seconds = len(whole) / rate
    allowed = list(read_blocks(recording, rate, max_seconds=seconds))
    np.testing.assert_array_equal(np.concatenate(allowed), whole)
    for most in (seconds - 1 / rate, 2.0, 0.001):
        with pytest.raises(AudioTooLong, match="too long"):
            next(read_blocks(recording, rate, max_seconds=most))


@pytest.mark.parametrize("rate", [8000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("behind", [b"", b"TAG" + bytes(125), b"\xff\xfb" + bytes(300)])
def test_the_frames_of_an_mp3_tell_how_long_it_is_at_most(rate: int, behind: bytes) -> None:
    """Never less than is decoded, and little more: so few sounds are decoded twice."""
    recording = _encoded(5 * rate + 17, "mp3", rate)
    num_samples = len(load_audio(recording).samples)
    most = mp3_seconds(io.BytesIO(recording + behind), len(recording + behind))
    assert num_samples / rate <= most < num_samples / rate + 1.0


def test_a_file_left_half_read_is_closed(path: Path) -> None:
    blocks = read_blocks(path, 8000)
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]  # an open file would warn, and warnings are errors


@pytest.mark.parametrize(
    ("piece", "wanted"),
    [
        (np.zeros(0), []),
        (np.array([0.5], np.float64), [0.5]),
        (np.array([-32768, 16384], np.int16), [-1.0, 0.5]),
        (np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 0.0]]), [0.5, 0.5, 0.0]),
    ],
)
def test_pieces_become_mono(piece: Any, wanted: list[float]) -> None:
    np.testing.assert_array_equal(mono_piece(piece), np.array(wanted, np.float32))


@pytest.mark.parametrize("piece", [np.array([np.inf]), np.zeros(3, np.int64), np.zeros((1, 1, 1))])
def test_pieces_that_are_no_sound_are_refused(piece: Any) -> None:
    with pytest.raises(AudioError):
        mono_piece(piece)


def test_an_array_needs_its_rate() -> None:
    with pytest.raises(AudioError, match="rate"):
        list(read_blocks(np.zeros(9, np.float32), 8000))
    audio = Audio(np.zeros(9, np.float32), 8000)
    assert len(np.concatenate(list(read_blocks(audio, 8000)))) == 9
