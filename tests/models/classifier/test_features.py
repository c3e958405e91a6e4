"""The log-mel of classifiers: shape, range, volume, precision."""

from __future__ import annotations

import pytest
import torch

from kouji.audio.features import mel_spectrogram
from kouji.errors import UsageError
from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.features import LogMel
from kouji.models.classifier.model import SoundModel

CONFIG = ClassifierConfig(labels=("a", "b"), window_seconds=1.0)


def noise(batch: int = 2, samples: int = 22050) -> torch.Tensor:
    return 0.1 * torch.randn(batch, samples, generator=torch.Generator().manual_seed(0))


def test_shape_and_range() -> None:
    mel = LogMel(CONFIG)(noise())
    assert mel.shape == (2, 1, CONFIG.num_mels, CONFIG.mel.count_frames(22050))
    assert mel.amax(dim=(1, 2, 3)).tolist() == [2.0, 2.0]
    assert mel.min() >= -2.0


def test_differences_are_those_of_the_shared_mel() -> None:
    ours = LogMel(CONFIG)(noise())[:, 0]
    shared = mel_spectrogram(noise(), CONFIG.mel)
    expected = (shared - shared.amax(dim=(1, 2), keepdim=True)) / (2 * torch.log(torch.tensor(10)))
    assert torch.allclose(ours - 2.0, expected.clamp(min=-4.0), atol=1e-4)


def test_volume_does_not_matter() -> None:
    assert torch.allclose(LogMel(CONFIG)(noise()), LogMel(CONFIG)(0.3 * noise()), atol=1e-3)


def test_silence_is_finite_and_not_the_loudest() -> None:
    mel = LogMel(CONFIG)(torch.zeros(1, 22050))
    assert mel.isfinite().all()
    assert mel.max() <= 0.0


def test_padding_looks_like_silence() -> None:
    padded = torch.cat([noise(1), torch.zeros(1, 22050)], dim=1)
    assert (LogMel(CONFIG)(padded)[..., -20:] == -2.0).all()


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    whole, alone = LogMel(CONFIG)(noise(3)), LogMel(CONFIG)(noise(3)[1:2])
    assert torch.allclose(whole[1:2], alone, atol=1e-5)


def test_stays_float32_in_a_model_of_half_precision() -> None:
    model = SoundModel(CONFIG)
    before = model.features(noise())
    model.to(torch.bfloat16)
    assert model.features.window.dtype == torch.float32
    assert torch.equal(model.features(noise().float()), before)
    assert model(noise()).dtype == torch.float32


def test_too_few_samples_are_named() -> None:
    with pytest.raises(UsageError, match="batch of windows"):
        LogMel(CONFIG)(torch.zeros(1, 100))


def test_state_holds_the_network_only() -> None:
    assert all(name.startswith("network.") for name in SoundModel(CONFIG).state_dict())
