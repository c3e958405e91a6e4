"""Version 2's vocoder: the official numbers, whole and streamed, and rows that never meet."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from cosyvoice_hift import (
    GivenNoise,
    PlainVocoder,
    golden_config,
    overridden,
    random_mel,
    random_weights,
    tiny_config,
)
from safetensors.torch import load_file
from torch import Tensor

from kouji.models.cosyvoice.vocoder import hift_body
from kouji.models.cosyvoice.vocoder.plain_hift import KEPT_SAMPLES, PlainHift, PlainState

FRAME = 480
Golden = dict[str, Tensor]


@pytest.fixture(scope="module")
def folder(shared_dir: Path) -> Path:
    found = shared_dir / "goldens" / "cosyvoice2"
    if not (found / "hift").is_dir():
        pytest.skip(f"no vectors at {found}")
    return found


@pytest.fixture(scope="module")
def golden(folder: Path) -> Golden:
    return load_file(folder / "hift" / "hift.safetensors")


@pytest.fixture
def official(folder: Path, golden: Golden) -> PlainHift:
    weights = load_file(folder / "hift" / "weights.safetensors")
    return PlainHift(golden_config(folder), weights, noise=GivenNoise(golden["noise_gauss"][0]))


@pytest.fixture(scope="module")
def vocoder() -> PlainHift:
    config = tiny_config("cosyvoice2")
    return PlainHift(config, random_weights(config))


def whole(vocoder: PlainHift, mel: Tensor, seed: int = 0) -> Tensor:
    return vocoder.vocode([vocoder.open(seed)], [mel], [True])[0]


def test_equals_the_official_numbers(official: PlainHift, golden: Golden) -> None:
    wave = whole(official, golden["mel"][0].T)
    torch.testing.assert_close(wave, golden["final.wav"][0], rtol=0, atol=1e-2)


def test_equals_the_official_sound_given_the_official_source(
    official: PlainHift, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(official, "_source", lambda state, f0: golden["final.source"][0, 0])
    wave = whole(official, golden["mel"][0].T)
    torch.testing.assert_close(wave, golden["final.wav"][0], rtol=0, atol=2e-5)


def test_takes_the_source_of_the_call_before(official: PlainHift, golden: Golden) -> None:
    state = official.open(0)
    state.source = golden["cache_source"].flatten()
    (wave,) = official.vocode([state], [golden["mel"][0].T], [True])
    torch.testing.assert_close(wave, golden["cached.wav"][0], rtol=0, atol=1e-2)
    assert not torch.allclose(wave, golden["final.wav"][0], rtol=0, atol=1e-2)


def test_equals_the_official_speech_whole_and_streamed(folder: Path) -> None:
    golden = load_file(folder / "token2wav" / "token2wav.safetensors")
    weights = overridden(load_file(folder / "hift" / "weights.safetensors"))
    vocoder = PlainHift(
        golden_config(folder), weights, noise=GivenNoise(torch.zeros(94 * FRAME, 9))
    )
    state, start = vocoder.open(0), 0
    for number in range(4):
        mel = golden[f"stream.chunk{number}.mel_all"][0].T
        new, start = mel[start:], len(mel)
        (wave,) = vocoder.vocode([state], [new], [number == 3])
        wanted = golden[f"stream.chunk{number}.wav"][0]
        torch.testing.assert_close(wave, wanted, rtol=0, atol=2e-6)
    wave = whole(vocoder, golden["stream.chunk3.mel_all"][0].T)
    torch.testing.assert_close(wave, golden["full.speed1.0.wav"][0], rtol=0, atol=2e-6)


@pytest.mark.parametrize("num_frames", [1, 31, 32, 70])
def test_equals_the_plain_network(
    vocoder: PlainHift, num_frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hift_body, "TILE_BYTES", 8192)  # many stretches: 256 frames of 8 channels
    config = tiny_config("cosyvoice2")
    mel, plain = random_mel(num_frames), PlainVocoder(config, random_weights(config))
    wave = whole(vocoder, mel, seed=3)
    wanted = plain(mel, vocoder.noise.rows(3, 0, num_frames * FRAME))
    assert wanted.abs().max() > 0.01
    assert (wave - wanted).norm() < 0.02 * wanted.norm()


def test_rows_do_not_hear_each_other(vocoder: PlainHift) -> None:
    config = tiny_config("cosyvoice2")
    together = PlainHift(config, random_weights(config))
    together._is_batching = True  # as on a GPU
    mels = [random_mel(length, length) for length in (40, 5, 64)]

    def stream(vocoder: PlainHift, rows: list[int]) -> dict[int, Tensor]:
        states: dict[int, PlainState] = {row: vocoder.open(row) for row in rows}
        parts: dict[int, list[Tensor]] = {row: [] for row in rows}
        for start, end, is_final in [(0, 4, False), (4, 30, False), (30, 64, True)]:
            pieces = [mels[row][start:end] for row in rows]
            waves = vocoder.vocode([states[row] for row in rows], pieces, [is_final] * len(rows))
            for row, wave in zip(rows, waves, strict=True):
                parts[row].append(wave)
                assert is_final or sum(map(len, parts[row])) == FRAME * max(
                    0, min(end, len(mels[row])) - 8
                )
        return {row: torch.cat(part) for row, part in parts.items()}

    for row, wave in stream(together, [2, 0, 1]).items():
        assert len(wave) == len(mels[row]) * FRAME
        alone = stream(vocoder, [row])[row]
        torch.testing.assert_close(wave, alone, rtol=0, atol=2e-4)


def test_the_seed_decides_the_noise(vocoder: PlainHift) -> None:
    mel = random_mel(12)
    first, again, other = (whole(vocoder, mel, seed) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_stream_that_ends_without_more_frames_is_complete(vocoder: PlainHift) -> None:
    state, mel = vocoder.open(0), random_mel(20)
    (first,) = vocoder.vocode([state], [mel], [False])
    kept = state.num_bytes
    assert vocoder.vocode([state], [mel[:0]], [False])[0].shape == (0,)
    assert state.num_bytes == kept
    (last,) = vocoder.vocode([state], [mel[:0]], [True])
    assert (len(first), len(last)) == (12 * FRAME, KEPT_SAMPLES)
    assert len(whole(vocoder, mel[:0])) == 0
