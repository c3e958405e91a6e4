"""What CosyVoice's networks are given, against the official front end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file

from kouji.audio.load import load_audio
from kouji.errors import ModelError
from kouji.models.cosyvoice.hearing import features
from kouji.types import Audio

CLIPS = {"zero_shot_prompt": None, "cross_lingual_prompt": 3.0}


@pytest.fixture(scope="module")
def vectors(shared_dir: Path) -> dict[str, torch.Tensor]:
    path = shared_dir / "goldens" / "cosyvoice3" / "frontend" / "features.safetensors"
    if not path.is_file():
        pytest.skip(f"no vectors at {path}")
    return load_file(path)


@pytest.fixture(scope="module", params=CLIPS)
def clip(request: pytest.FixtureRequest, shared_dir: Path) -> tuple[str, Audio]:
    samples, rate = soundfile.read(shared_dir / f"audio/{request.param}.wav", dtype="float32")
    seconds = CLIPS[request.param]
    kept = samples if seconds is None else samples[: round(seconds * rate)]
    return request.param, Audio(kept, rate)


def test_samples_are_resampled_as_the_official_code_does(clip, vectors) -> None:
    name, audio = clip
    heard = features.samples_at(audio, features.HEARING_RATE)[0]
    assert heard.shape == vectors[f"{name}.wav16"].shape
    assert (heard - vectors[f"{name}.wav16"]).abs().max() < 1e-5


@pytest.mark.parametrize(("version", "fmax_hz"), [("v3", 12_000.0), ("v2", 8_000.0)])
def test_the_mel_of_the_flow(clip, vectors, version: str, fmax_hz: float) -> None:
    name, audio = clip
    ours = features.flow_mel(features.samples_at(audio, 24_000), fmax_hz)
    golden = vectors[f"{name}.mel_{version}"].T
    assert ours.shape == golden.shape
    # Where nothing was recorded (above the clip's own band) what is left is the rounding of the
    # FFT at hand: in float64 these cells are 4e-4 from the golden, and as small in loudness.
    is_near = (ours - golden).abs() < 1e-4
    assert (is_near | ((ours.exp() - golden.exp()).abs() < 3e-7)).all()
    assert is_near.float().mean() > 0.99


def test_what_tokenizer_and_speaker_network_hear(clip, vectors) -> None:
    name, _ = clip
    samples = vectors[f"{name}.wav16"][None]
    mel = features.tokenizer_mel(samples)
    assert mel.shape[:2] == (1, features.TOKENIZER_MELS)
    error = (mel[0] - vectors[f"{name}.whisper128"]).abs()
    # As above: float64 is 2e-5 from the golden in cells 70 dB below the loudest.
    assert error.max() < 5e-5
    assert (error < 1e-5).float().mean() > 0.998
    fbank = features.speaker_fbank(samples)[0]
    assert (fbank - vectors[f"{name}.fbank_cmn"]).abs().max() < 2e-3


@pytest.mark.parametrize("num_samples", [24_000, 24_959, 31_111])
def test_the_number_of_frames(num_samples: int) -> None:
    rng: Any = np.random.default_rng(0)
    audio = Audio(rng.normal(0, 0.1, num_samples).astype(np.float32), 24_000)
    assert features.flow_mel(features.samples_at(audio, 24_000), 12_000.0).shape == (
        num_samples // 480,
        80,
    )
    heard = features.samples_at(audio, 16_000)
    count = heard.shape[1]
    assert count == -(-num_samples * 2 // 3)
    assert features.tokenizer_mel(heard).shape == (1, 128, count // 160)
    assert features.speaker_fbank(heard).shape == (1, 1 + (count - 400) // 160, 80)


def test_another_mel_is_told() -> None:
    with pytest.raises(ModelError, match="7600 Hz; allowed: 12000 or 8000 Hz"):
        features.flow_mel_config(7600.0)


def test_a_recording_is_heard_alike_from_file_and_memory(shared_dir: Path) -> None:
    path = shared_dir / "audio/zero_shot_prompt.wav"
    audio = load_audio(path)
    samples, rate = soundfile.read(path, dtype="float32")
    assert torch.equal(
        features.samples_at(audio, 16_000), features.samples_at(Audio(samples, rate), 16_000)
    )
