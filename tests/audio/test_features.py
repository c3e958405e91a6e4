"""Front-end features against golden vectors of the original front ends, and their own promises."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from kouji.audio import fbank, features
from kouji.audio.sinc import sinc_resample
from kouji.errors import ConfigError, UsageError

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def cosyvoice(shared_dir: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    folder = shared_dir / "goldens/cosyvoice3/frontend"
    tensors = load_file(folder / "features.safetensors")
    import soundfile

    for name, seconds in (("zero_shot_prompt", None), ("cross_lingual_prompt", 3.0)):
        samples, rate = soundfile.read(shared_dir / f"audio/{name}.wav", dtype="float32")
        kept = samples if seconds is None else samples[: round(seconds * rate)]
        tensors[f"{name}.source"] = torch.from_numpy(kept)
        tensors[f"{name}.rate"] = torch.tensor(rate)
    tensors.setdefault("zero_shot_prompt.wav24", tensors["zero_shot_prompt.source"])
    filters = load_file(folder / "filters.safetensors")
    return tensors | {f"filter.{name}": value for name, value in filters.items()}


@pytest.fixture(scope="module")
def gpt_sovits(goldens_dir: Path) -> dict[str, torch.Tensor]:
    import soundfile

    folder = goldens_dir
    with np.load(folder / "audio_frontend.npz") as arrays:
        tensors = {name: torch.from_numpy(arrays[name]) for name in arrays}
    samples, rate = soundfile.read(folder / "ref32k.wav", dtype="float32")
    assert rate == 32000
    return tensors | {"source": torch.from_numpy(samples)[None]}


def assert_log_mel_close(ours: torch.Tensor, golden: torch.Tensor) -> None:
    """1e-4 in the log, or 3e-7 in magnitude where a band is empty but for float32 rounding.

    (A float64 STFT is 4e-4 away from the goldens in such cells: at Nyquist of an upsampled clip,
    where the magnitude is near sqrt(magnitude_epsilon). They are few.)
    """
    assert ours.shape == golden.shape
    is_equal = (ours - golden).abs() < 1e-4
    assert is_equal.float().mean() > 0.99
    assert (is_equal | ((ours.exp() - golden.exp()).abs() < 3e-7)).all()


@pytest.mark.parametrize("clip", ["zero_shot_prompt", "cross_lingual_prompt"])
@pytest.mark.parametrize(
    ("name", "config"),
    [("mel_v3", features.COSYVOICE3_MEL), ("mel_v2", features.COSYVOICE2_MEL)],
)
def test_cosyvoice_mel(cosyvoice, clip: str, name: str, config: features.MelConfig) -> None:
    ours = features.mel_spectrogram(cosyvoice[f"{clip}.wav24"][None], config)[0]
    assert_log_mel_close(ours, cosyvoice[f"{clip}.{name}"])


@pytest.mark.parametrize("clip", ["zero_shot_prompt", "cross_lingual_prompt"])
def test_cosyvoice_16k_features(cosyvoice, clip: str) -> None:
    samples = cosyvoice[f"{clip}.wav16"][None]
    whisper = features.mel_spectrogram(samples, features.WHISPER_MEL)[0]
    assert (whisper - cosyvoice[f"{clip}.whisper128"]).abs().max() < 1e-4
    bands = fbank.kaldi_fbank(samples, fbank.ERES2NET_FBANK)[0]
    assert (bands - cosyvoice[f"{clip}.fbank"]).abs().max() < 2e-3
    speaker = fbank.kaldi_fbank(samples, fbank.CAMPPLUS_FBANK)[0]
    assert (speaker - cosyvoice[f"{clip}.fbank_cmn"]).abs().max() < 2e-3


@pytest.mark.parametrize("clip", ["zero_shot_prompt", "cross_lingual_prompt"])
def test_cosyvoice_resampling(cosyvoice, clip: str) -> None:
    source, rate = cosyvoice[f"{clip}.source"][None], int(cosyvoice[f"{clip}.rate"])
    for target, name in ((16000, "wav16"), (24000, "wav24")):
        ours, golden = sinc_resample(source, rate, target)[0], cosyvoice[f"{clip}.{name}"]
        assert ours.shape == golden.shape
        assert (ours - golden).abs().max() < 1e-5


def test_cosyvoice_filters(cosyvoice) -> None:
    for name, config in (
        ("mel_v2", features.COSYVOICE2_MEL),
        ("mel_v3", features.COSYVOICE3_MEL),
        ("whisper128", features.WHISPER_MEL),
    ):
        ours = features.mel_filterbank(config, CPU, torch.float32)
        assert (ours - cosyvoice[f"filter.{name}"]).abs().max() < 1e-6
    ours = fbank.kaldi_filterbank(fbank.ERES2NET_FBANK, CPU, torch.float32)
    assert (ours - cosyvoice["filter.kaldi80"]).abs().max() < 1e-6


def test_gpt_sovits_spectrograms(gpt_sovits) -> None:
    source = gpt_sovits["source"]
    linear = features.linear_spectrogram(source, features.GPT_SOVITS_SPECTROGRAM)
    assert list(linear.shape) == gpt_sovits["spec32k_shape"].tolist()
    assert (linear[..., :60] - gpt_sovits["spec32k"]).abs().max() < 1e-4
    mel = features.mel_from_spectrogram(gpt_sovits["spec32k"], features.GPT_SOVITS_MEL)
    assert (mel - gpt_sovits["mel128_from_spec"]).abs().max() < 1e-4
    mel = features.mel_spectrogram(source[:, :64000], features.GPT_SOVITS_MEL)
    assert_log_mel_close(mel, gpt_sovits["mel128"])


def test_gpt_sovits_vocoder_mels(gpt_sovits) -> None:
    source = gpt_sovits["source"]
    at_24k = sinc_resample(source, 32000, 24000)
    for samples, config, name in (
        (at_24k, features.GPT_SOVITS_V3_MEL, "v3_mel100_norm"),
        (source, features.GPT_SOVITS_V4_MEL, "v4_mel100_norm"),
    ):
        mel = features.mel_spectrogram(samples, config)[..., :60]
        assert (mel - gpt_sovits[name]).abs().max() < 1e-4


def test_gpt_sovits_resampling_and_fbank(gpt_sovits) -> None:
    source = gpt_sovits["source"]
    at_24k = sinc_resample(source, 32000, 24000)
    assert at_24k.shape[1] == int(gpt_sovits["resample_32k_24k_len"])
    assert (at_24k[:, :4800] - gpt_sovits["resample_32k_24k_first4800"]).abs().max() < 1e-5
    at_16k = sinc_resample(source, 32000, 16000)
    assert (at_16k[:, :48000] - gpt_sovits["resample_32k_16k"]).abs().max() < 1e-5
    as_44k1 = sinc_resample(source[:, :44100], 44100, 32000)
    assert (as_44k1 - gpt_sovits["resample_44k1_32k_of_first44100"]).abs().max() < 1e-5
    bands = fbank.kaldi_fbank(at_16k)[0]
    assert list(bands.shape) == gpt_sovits["fbank80_shape"].tolist()
    assert (bands[:150] - gpt_sovits["fbank80"]).abs().max() < 1e-3


@pytest.mark.parametrize("snip_edges", [True, False])
@pytest.mark.parametrize("num_samples", [401, 16000, 7777])
def test_fbank_equals_kaldi(snip_edges: bool, num_samples: int) -> None:
    native = pytest.importorskip("kaldi_native_fbank")
    samples = 0.3 * np.random.default_rng(num_samples).standard_normal(num_samples)
    options = native.FbankOptions()
    options.frame_opts.dither = 0.0
    options.frame_opts.snip_edges = snip_edges
    options.mel_opts.num_bins = 80
    oracle = native.OnlineFbank(options)
    oracle.accept_waveform(16000, samples.astype(np.float32).tolist())
    oracle.input_finished()
    golden = np.stack([oracle.get_frame(index) for index in range(oracle.num_frames_ready)])
    config = fbank.FbankConfig(snip_edges=snip_edges)
    ours = fbank.kaldi_fbank(torch.from_numpy(samples).float()[None], config)[0].numpy()
    assert ours.shape == golden.shape
    assert np.abs(ours - golden).max() < 1e-3


@pytest.mark.parametrize("num_samples", [0, 1, 479, 480, 700, 721, 1440, 24001])
def test_frame_count_is_samples_over_hop(num_samples: int) -> None:
    mel = features.mel_spectrogram(torch.zeros(2, num_samples), features.MINI_MEL)
    assert mel.shape == (2, 80, num_samples // 480)
    assert torch.isfinite(mel).all()


def test_batch_equals_one_by_one() -> None:
    batch = 0.1 * torch.randn(3, 9600, generator=torch.Generator().manual_seed(0))
    for config in (features.MINI_MEL, features.WHISPER_MEL):
        together = features.mel_spectrogram(batch, config)
        alone = torch.cat([features.mel_spectrogram(row[None], config) for row in batch])
        assert torch.allclose(together, alone, atol=1e-5)


def test_gradient_is_finite_even_at_silence() -> None:
    samples = torch.zeros(1, 4800, requires_grad=True)
    with torch.inference_mode():
        features.mel_spectrogram(torch.zeros(1, 4800), features.MINI_MEL)  # fills the caches
    features.mel_spectrogram(samples + 1e-3, features.MINI_MEL).sum().backward()
    assert samples.grad is not None
    assert torch.isfinite(samples.grad).all()


def test_half_precision_is_computed_in_float32() -> None:
    samples = 0.1 * torch.randn(1, 4800, generator=torch.Generator().manual_seed(1))
    mel = features.mel_spectrogram(samples.bfloat16(), features.MINI_MEL)
    assert mel.dtype == torch.float32
    exact = features.mel_spectrogram(samples.double(), features.MINI_MEL)
    assert exact.dtype == torch.float64


def test_energy_of_known_sines() -> None:
    time = torch.arange(24000) / 24000
    sine = torch.sin(2 * math.pi * 440 * time)[None]
    for gain_db in (0.0, -20.0, -60.0):
        level = features.energy(sine * 10 ** (gain_db / 20), features.MINI_MEL)
        assert level.shape == (1, 50)
        assert (level[:, 3:-3] - (gain_db - 10 * math.log10(2))).abs().max() < 0.05
    assert (features.energy(torch.zeros(1, 24000), features.MINI_MEL) == -100).all()


def test_mel_energy_follows_the_gain_in_every_log() -> None:
    noise = 0.1 * torch.randn(1, 24000, generator=torch.Generator().manual_seed(2))
    for config in (features.MINI_MEL, features.GPT_SOVITS_V3_MEL, features.WHISPER_MEL):
        free = dataclasses.replace(config, dynamic_range=None)
        loud, quiet = (
            features.mel_energy(features.mel_spectrogram(noise * gain, free), free)
            for gain in (1.0, 0.1)
        )
        assert (loud - quiet - 20.0).abs().max() < 0.1


@pytest.mark.parametrize(
    "change",
    [{"fmax": 13000.0}, {"power": 3}, {"hop_length": 0}, {"log": "log2"}, {"padding": "both"}],
)
def test_impossible_configs_are_named(change: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        dataclasses.replace(features.MINI_MEL, **change)


def test_shapes_are_checked() -> None:
    with pytest.raises(UsageError, match="batch of waveforms"):
        features.mel_spectrogram(torch.zeros(24000), features.MINI_MEL)
