"""ERes2NetV2: the official numbers at the official size, sizes off tensors, refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from gs_networks import Hostile, seeded_weights, uniform
from torch import Tensor

from kouji.audio.fbank import kaldi_fbank
from kouji.errors import ModelError, UsageError
from kouji.models.gpt_sovits.eres2net import Eres2Net, Eres2NetConfig

TINY = Eres2NetConfig(channels=8, base_width=4, scale=2, expansion=2, blocks=(1, 2, 1, 1))


def tiny_weights() -> dict[str, Tensor]:
    """Official names at toy widths, batch norms with statistics of their own."""
    network = Eres2Net(TINY)
    state = {}
    for index, (name, value) in enumerate(network.state_dict().items()):
        low = 0.5 if name.endswith("running_var") else -0.3
        is_count = not value.is_floating_point()
        state[name] = value if is_count else uniform(index, *value.shape, low=low, high=1.0)
    state["seg_1.weight"], state["seg_1.bias"] = torch.zeros(4, 4), torch.zeros(4)
    return state


def test_official_numbers(goldens_dir: Path) -> None:
    network = Eres2Net.from_state(seeded_weights(goldens_dir / "eres2net_manifest.json"))
    golden = np.load(goldens_dir / "eres2net.npz")
    with torch.inference_mode():
        ours = network(torch.from_numpy(golden["fbank"])[None]).numpy()
    official = golden["emb20480"]
    assert ours.shape == official.shape == (1, network.num_channels)
    assert np.linalg.norm(ours - official) / np.linalg.norm(official) < 1e-4
    assert np.abs(ours - official).max() / np.abs(official).max() < 1e-4


def test_norms_are_folded_without_changing_the_result() -> None:
    weights = tiny_weights()
    plain = Eres2Net(TINY).eval()
    plain.load_state_dict({k: v for k, v in weights.items() if not k.startswith("seg_1")})
    network = Eres2Net.from_state(weights)
    assert network.config == TINY
    assert not any(isinstance(each, torch.nn.BatchNorm2d) for each in network.modules())
    fbank = uniform(5, 2, 37, 80, low=-8.0, high=2.0)
    with torch.no_grad():
        expected = plain(fbank)
        assert torch.allclose(network(fbank), expected, rtol=1e-4, atol=1e-5)
        alone = torch.cat([network(row[None]) for row in fbank])
    assert torch.allclose(alone, expected, rtol=1e-4, atol=1e-5)
    assert network.num_channels == expected.shape[1]


def test_embeds_waveforms(tmp_path: Path) -> None:
    torch.save(tiny_weights(), tmp_path / "sv.ckpt")
    network = Eres2Net.load(tmp_path / "sv.ckpt")
    samples = uniform(9, 1, 8000, low=-0.4, high=0.4)
    with torch.no_grad():
        expected = network(kaldi_fbank(samples))
    assert torch.allclose(network.embed(samples), expected, rtol=1e-2, atol=1e-3)
    assert network.embed(samples[:, :400]).shape == expected.shape
    assert network.num_bytes > 0


def test_waveforms_that_are_none() -> None:
    network = Eres2Net.from_state(tiny_weights())
    for samples in (torch.zeros(8000), torch.zeros(1, 399)):
        with pytest.raises(UsageError, match="speaker vector"):
            network.embed(samples)


def test_keys_that_do_not_fit_are_named() -> None:
    weights = tiny_weights()
    del weights["layer2.0.bn1.running_mean"]
    weights["layer5.weight"] = torch.zeros(1)
    weights["layer4.0.conv3.weight"] = torch.zeros(3, 3, 1, 1)
    with pytest.raises(ModelError) as caught:
        Eres2Net.from_state(weights)
    message = str(caught.value)
    assert "missing layer2.0.bn1.running_mean" in message
    assert "unknown layer5.weight" in message
    assert "layer4.0.conv3.weight (3, 3, 1, 1)" in message


def test_files_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "sv.ckpt"
    with pytest.raises(ModelError):
        Eres2Net.load(path)
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match="ERes2NetV2"):
        Eres2Net.load(path)
    trace = tmp_path / "executed"
    torch.save({"conv1.weight": Hostile(trace)}, path)
    with pytest.raises(ModelError):
        Eres2Net.load(path)
    assert not trace.exists()
    torch.save(tiny_weights(), path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ModelError):
        Eres2Net.load(path)
