"""HuBERT: the official numbers, every spelling of its files, and what is refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gs_networks import Hostile, uniform, write_hubert
from safetensors.torch import load_file, save_file
from torch import Tensor

from kouji.errors import ModelError, UsageError
from kouji.models.gpt_sovits.hubert import Hubert

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def tensors(goldens_dir: Path) -> dict[str, Tensor]:
    return load_file(goldens_dir / "hubert_tiny.safetensors")


@pytest.fixture(scope="module")
def hubert(goldens_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Hubert:
    return Hubert.load(write_hubert(tmp_path_factory.mktemp("hubert"), goldens_dir))


def test_official_numbers(hubert: Hubert, goldens_dir: Path) -> None:
    golden = np.load(goldens_dir / "hubert_tiny.npz")
    features = hubert.features(torch.from_numpy(golden["wav16k_padded"])[None])
    hidden = features.transpose(1, 2).numpy()
    assert hidden.shape == tuple(golden["shape"].tolist())
    first, last = golden["last_hidden_first80"], golden["last_hidden_last10"]
    assert np.abs(hidden[:, : first.shape[1]] - first).max() < 1e-4
    assert np.abs(hidden[:, -last.shape[1] :] - last).max() < 1e-4
    assert hubert.num_channels == hidden.shape[2]
    assert hubert.num_bytes > 0


def test_batch_equals_one_by_one(hubert: Hubert) -> None:
    samples = uniform(1, 3, 4000, low=-0.5, high=0.5)
    together = hubert.features(samples)
    alone = torch.cat([hubert.features(row[None]) for row in samples])
    assert torch.allclose(together, alone, atol=1e-5)


def test_frames(hubert: Hubert) -> None:
    window, hop = hubert.window_samples, hubert.hop_samples
    for num_samples in (window, window + hop - 1, window + hop, 5000):
        frames = hubert.features(torch.zeros(1, num_samples)).shape[2]
        assert frames == hubert.count_frames(num_samples) == (num_samples - window) // hop + 1
    assert hubert.count_frames(window - 1) == 0


def spell_as_today(name: str) -> str:
    name = name.replace("conv.weight_g", "conv.parametrizations.weight.original0")
    return name.replace("conv.weight_v", "conv.parametrizations.weight.original1")


@pytest.mark.parametrize("spelling", ["today", "prefixed", "without_mask", "with_head", "half"])
def test_every_spelling_of_the_file(
    tmp_path: Path,
    goldens_dir: Path,
    hubert: Hubert,
    tensors: dict[str, Tensor],
    spelling: str,
) -> None:
    changed = {
        "today": {spell_as_today(name): value for name, value in tensors.items()},
        "prefixed": {f"hubert.{name}": value for name, value in tensors.items()},
        "without_mask": {k: v for k, v in tensors.items() if k != "masked_spec_embed"},
        "with_head": {**tensors, "lm_head.weight": torch.zeros(3, 3)},
        "half": {name: value.half() for name, value in tensors.items()},
    }[spelling]
    samples = uniform(2, 1, 3000, low=-0.5, high=0.5)
    again = Hubert.load(write_hubert(tmp_path / "model", goldens_dir, changed))
    tolerance = 0.05 if spelling == "half" else 1e-6
    assert torch.allclose(again.features(samples), hubert.features(samples), atol=tolerance)


def test_safetensors_go_first(
    tmp_path: Path, goldens_dir: Path, hubert: Hubert, tensors: dict[str, Tensor]
) -> None:
    folder = write_hubert(tmp_path / "model", goldens_dir)
    (folder / "pytorch_model.bin").write_bytes(b"damaged")
    save_file(tensors, folder / "model.safetensors")
    samples = torch.zeros(1, 1000)
    assert torch.equal(Hubert.load(folder).features(samples), hubert.features(samples))


def test_loading_draws_no_random_numbers(tmp_path: Path, goldens_dir: Path) -> None:
    folder = write_hubert(tmp_path / "model", goldens_dir)
    before = torch.get_rng_state()
    Hubert.load(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_keys_that_do_not_fit_are_named(
    tmp_path: Path, goldens_dir: Path, tensors: dict[str, Tensor]
) -> None:
    name = "encoder.layer_norm.bias"
    changed = {
        **tensors,
        "encoder.extra": torch.zeros(1),
        "encoder.layer_norm.weight": torch.ones(5),
    }
    del changed[name]
    with pytest.raises(ModelError) as caught:
        Hubert.load(write_hubert(tmp_path / "model", goldens_dir, changed))
    message = str(caught.value)
    assert f"missing {name}" in message
    assert "unknown encoder.extra" in message
    assert "encoder.layer_norm.weight (5,)" in message


def test_hostile_pickle_is_refused(tmp_path: Path, goldens_dir: Path) -> None:
    folder = write_hubert(tmp_path / "model", goldens_dir)
    trace = tmp_path / "executed"
    torch.save({"encoder.layer_norm.bias": Hostile(trace)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError):
        Hubert.load(folder)
    assert not trace.exists()


def test_directories_that_are_none(tmp_path: Path, goldens_dir: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        Hubert.load(tmp_path / "missing")
    folder = write_hubert(tmp_path / "model", goldens_dir)
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match="no weights"):
        Hubert.load(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ModelError, match="JSON object"):
        Hubert.load(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ModelError, match=r"config\.json"):
        Hubert.load(folder)
    (folder / "config.json").write_text(json.dumps({"conv_dim": [1], "conv_kernel": [1, 2]}))
    with pytest.raises(ModelError, match="wrong value"):
        Hubert.load(folder)


def test_waveforms_that_are_none(hubert: Hubert) -> None:
    for samples in (torch.zeros(5000), torch.zeros(1, 10)):
        with pytest.raises(UsageError, match="waveforms"):
            hubert.features(samples)


def test_missing_library_is_named(
    tmp_path: Path, goldens_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_hubert(tmp_path / "model", goldens_dir)
    monkeypatch.setitem(sys.modules, "transformers.models.hubert.modeling_hubert", None)
    with pytest.raises(UsageError, match=r"kouji\[gpt-sovits\]"):
        Hubert.load(folder)
