"""Spectrograms, mels and resampling against the official numbers, and the rules around them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.audio.fbank import kaldi_fbank
from kouji.audio.features import GPT_SOVITS_V3_MEL
from kouji.audio.load import load_audio
from kouji.audio.sinc import sinc_resample
from kouji.models.gpt_sovits import spectrogram
from kouji.types import Audio

TOLERANCE = 1e-4
Golden = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def golden(goldens_dir: Path) -> Golden:
    with np.load(goldens_dir / "audio_frontend.npz") as arrays:
        return {name: arrays[name] for name in arrays}


@pytest.fixture(scope="module")
def audio(goldens_dir: Path) -> Audio:
    return load_audio(goldens_dir / "ref32k.wav")


@pytest.fixture(scope="module")
def samples(audio: Audio) -> Tensor:
    return spectrogram.reference_samples(audio)


def error(ours: Tensor, official: NDArray[np.float32]) -> float:
    """Largest difference; the goldens keep only the first frames."""
    ours = ours[..., : official.shape[-1]]
    assert tuple(ours.shape) == official.shape
    return float(np.abs(ours.numpy() - official).max())


def test_linear(samples: Tensor, golden: Golden) -> None:
    linear = spectrogram.linear(samples)
    assert linear.shape == tuple(golden["spec32k_shape"].tolist())
    assert linear.dtype == torch.float32
    assert error(linear, golden["spec32k"]) < TOLERANCE


def test_training_mels(samples: Tensor, golden: Golden) -> None:
    mel = spectrogram.training_mel(spectrogram.linear(samples))
    assert error(mel, golden["mel128_from_spec"]) < TOLERANCE
    mel = spectrogram.training_mel_of(samples[:, :64000].double())
    assert error(mel, golden["mel128"]) < TOLERANCE


def test_vocoder_mels(samples: Tensor, golden: Golden) -> None:
    at_24k = sinc_resample(samples, 32000, 24000)
    assert error(spectrogram.mel_v3(at_24k), golden["v3_mel100_norm"]) < TOLERANCE
    mel = spectrogram.mel_v4(samples)
    assert error(mel, golden["v4_mel100_norm"]) < TOLERANCE
    assert float(spectrogram.undo_normalisation(mel).max()) < 5.0
    same = (spectrogram.undo_normalisation(mel, GPT_SOVITS_V3_MEL) + 12.0) / 14.0 * 2.0 - 1.0
    assert torch.allclose(same, mel, atol=1e-6)


def test_sinc_resampling(audio: Audio, samples: Tensor, golden: Golden) -> None:
    assert error(spectrogram.speaker_samples(samples), golden["resample_32k_16k"]) < 1e-6
    at_24k = sinc_resample(samples, 32000, 24000)
    assert at_24k.shape[1] == int(golden["resample_32k_24k_len"])
    assert error(at_24k, golden["resample_32k_24k_first4800"]) < 1e-6
    as_44k1 = Audio(audio.samples[:44100], 44100)
    ours = spectrogram.reference_samples(as_44k1)
    assert error(ours, golden["resample_44k1_32k_of_first44100"]) < 1e-6


def test_hubert_samples(audio: Audio, golden: Golden) -> None:
    ours = spectrogram.hubert_samples(audio)
    assert ours.shape == (1, int(golden["librosa16k_len"]))
    assert error(ours[0], golden["librosa16k_soxr_hq"]) < TOLERANCE


def test_speaker_fbank(samples: Tensor, golden: Golden) -> None:
    fbank = kaldi_fbank(spectrogram.speaker_samples(samples).double())[0]
    assert tuple(fbank.shape) == tuple(golden["fbank80_shape"].tolist())
    assert np.abs(fbank[: len(golden["fbank80"])].numpy() - golden["fbank80"]).max() < 1e-3


@pytest.mark.parametrize(("peak", "left"), [(0.5, 0.5), (1.0, 1.0), (1.6, 1.0), (3.0, 1.5)])
def test_peak_rule_divides_by_two_at_most(peak: float, left: float) -> None:
    samples = torch.tensor([[0.1, -peak, 0.2]])
    assert spectrogram.tame_peak(samples).abs().max().item() == pytest.approx(left)


def test_peak_rule_follows_resampling(tone: Audio) -> None:
    loud = Audio(tone.samples * 6.0, tone.sample_rate)  # peak 3
    assert spectrogram.reference_samples(loud).abs().max().item() == pytest.approx(1.5, abs=0.01)
    assert spectrogram.hubert_samples(loud).abs().max().item() == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 22050, 32000, 44100, 48000, 96000])
def test_lengths_at_every_rate(rate: int) -> None:
    audio = Audio(np.random.default_rng(0).normal(0, 0.1, rate + 7).astype(np.float32), rate)
    wanted = -(-len(audio.samples) * 16000 // rate)
    assert spectrogram.hubert_samples(audio).shape == (1, wanted)
    samples = spectrogram.reference_samples(audio)
    assert samples.shape == (1, -(-len(audio.samples) * 32000 // rate))
    assert spectrogram.linear(samples).shape == (1, 1025, samples.shape[1] // 640)


def test_training_mel_has_a_gradient() -> None:
    samples = torch.zeros(1, 20480, requires_grad=True)
    spectrogram.training_mel_of(samples).sum().backward()
    assert samples.grad is not None
    assert torch.isfinite(samples.grad).all()
