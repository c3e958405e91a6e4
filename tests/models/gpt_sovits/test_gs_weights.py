"""From a file to a network: the numbers of the file, in copies of its own, or a clear no."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from gs_files import TINY_T2S, HParams, save, sovits_content, t2s_content
from gs_sovits import Golden
from safetensors.torch import load_file

from kouji.errors import ModelError
from kouji.models.gpt_sovits.sovits import SoVITS, fold_weight_norm
from kouji.models.gpt_sovits.t2s import T2S
from kouji.models.gpt_sovits.weights import Copies, load_sovits, load_t2s


def test_a_t2s_file_becomes_its_network(tmp_path: Path) -> None:
    content = t2s_content(seed=3)
    path = save(content, tmp_path / "anna-e15.ckpt")
    loaded = load_t2s(path)
    assert isinstance(loaded.network, T2S)
    assert (loaded.version, loaded.info, loaded.path) == ("v2", "GPT-e15", path)
    assert len(loaded.content_hash) == 64
    state = loaded.network.state_dict()
    assert {f"model.{name}" for name in state} == set(content["weight"])
    for name, tensor in state.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, content["weight"][f"model.{name}"].float())


@pytest.mark.parametrize("version", ["v1", "v2", "v2Pro"])
def test_a_sovits_file_becomes_its_network(tmp_path: Path, version: str) -> None:
    path = save(sovits_content(version, is_tuned=True), tmp_path / "x.pth")
    loaded = load_sovits(path)
    assert isinstance(loaded.network, SoVITS)
    assert loaded.network.config.version == loaded.version == version
    assert not loaded.network.training
    assert all(value.dtype == torch.float32 for value in loaded.network.parameters())


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_networks_do_not_depend_on_their_file(tmp_path: Path, dtype: torch.dtype) -> None:
    """Training that overwrites a file in place must not reach a network loaded from it."""
    t2s, sovits = t2s_content(), sovits_content()
    for content in (t2s, sovits):
        content["weight"] = {name: item.to(dtype) for name, item in content["weight"].items()}
    paths = save(t2s, tmp_path / "x.ckpt"), save(sovits, tmp_path / "x.pth")
    networks = load_t2s(paths[0]).network, load_sovits(paths[1]).network
    before = [[value.clone() for value in network.parameters()] for network in networks]
    for path in paths:
        path.write_bytes(bytes(path.stat().st_size))
    for network, values in zip(networks, before, strict=True):
        assert all(map(torch.equal, network.parameters(), values))


def test_folding_gives_what_torch_computes() -> None:
    """Against torch's own weight norm, on a plain and on a transposed convolution."""
    for layer in (torch.nn.Conv1d(3, 5, 3), torch.nn.ConvTranspose1d(4, 6, 5)):
        normed = torch.nn.utils.parametrizations.weight_norm(layer)
        with torch.no_grad():
            normed.parametrizations.weight.original0.mul_(1.7)
        parts = {
            "x.weight_g": normed.parametrizations.weight.original0.detach(),
            "x.weight_v": normed.parametrizations.weight.original1.detach(),
            "x.bias": normed.bias.detach(),
        }
        folded = fold_weight_norm(parts)
        assert set(folded) == {"x.weight", "x.bias"}
        torch.testing.assert_close(folded["x.weight"], normed.weight.detach())


def test_wrong_files_say_what_they_are(tmp_path: Path) -> None:
    t2s, sovits = save(t2s_content(), tmp_path / "a"), save(sovits_content(), tmp_path / "b")
    with pytest.raises(ModelError, match="swapped"):
        load_t2s(sovits)
    with pytest.raises(ModelError, match="swapped"):
        load_sovits(t2s)
    later = {"weight": {"cfm.x": torch.zeros(1)}, "config": {"model": {"version": "v4"}}}
    with pytest.raises(ModelError, match="v4 is recognised"):
        load_sovits(save(later, tmp_path / "c"))
    broken = sovits_content()
    del broken["weight"]["enc_p.proj.weight"]
    with pytest.raises(ModelError, match=r"missing: enc_p\.proj\.weight"):
        load_sovits(save(broken, tmp_path / "d"))


def test_copies_are_made_one_by_one() -> None:
    weight = {"a": torch.ones(2).half(), "enc_q.pre.bias": torch.ones(1)}
    copies = Copies(weight)
    assert list(copies) == ["a"]
    assert "enc_q.pre.bias" not in copies
    assert copies["a"] is not copies["a"]
    assert copies["a"].dtype == torch.float32


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss is in kB there")
def test_loading_peaks_near_one_copy(tmp_path: Path) -> None:
    """In float32 the weights take twice their file; the file's own pages are the third part."""
    config = dataclasses.replace(TINY_T2S, hidden=320, feed_forward=1280, num_layers=10)
    path = save(t2s_content(config), tmp_path / "x.ckpt")
    program = (
        "import resource, sys\n"
        "from kouji.models.gpt_sovits.weights import load_t2s\n"
        "load_t2s(sys.argv[2])\n"  # what a first load costs once
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "network = load_t2s(sys.argv[1])\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    small = save(t2s_content(), tmp_path / "small.ckpt")
    command = [sys.executable, "-c", program, str(path), str(small)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 3.4 * path.stat().st_size


@pytest.mark.parametrize(("version", "tag"), [("v2", None), ("v2Pro", "05")])
def test_a_file_gives_the_official_numbers(
    tmp_path: Path, goldens_dir: Path, version: str, tag: str | None
) -> None:
    """The vectors' network, written as upstream writes files, opened as a user's file is."""
    golden = Golden.load(goldens_dir, version)
    content = {"weight": golden.state, "config": HParams(**golden.config), "info": "1epoch"}
    loaded = load_sovits(save(content, tmp_path / "x.pth", tag))
    assert loaded.version == version
    style = golden.reference(loaded.network, 0)
    codes, phones = golden.array("d_codes")[0], golden.array("d_text")
    (samples,) = loaded.network.decode(codes, phones, style)
    wanted = golden.array("d_wav_n0").flatten()
    torch.testing.assert_close(samples, wanted, atol=1e-5, rtol=0)


def test_a_t2s_file_gives_the_official_tensors(tmp_path: Path, goldens_dir: Path) -> None:
    weight = load_file(goldens_dir / "t2s_weights.safetensors")
    config = json.loads((goldens_dir / "t2s_config.json").read_text())
    path = save({"weight": weight, "config": config, "info": "GPT-e20"}, tmp_path / "x.ckpt")
    loaded = load_t2s(path)
    assert loaded.network.config.num_layers == config["model"]["n_layer"]
    assert loaded.network.config.num_heads == config["model"]["head"]
    for name, tensor in loaded.network.state_dict().items():
        assert torch.equal(tensor, weight[f"model.{name}"])
