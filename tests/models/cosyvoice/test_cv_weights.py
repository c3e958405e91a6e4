"""The three weight files: spellings, faults, hostile content; nothing is run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_cosyvoice import flow_state, hift_state, llm_state, tiny_config
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.cosyvoice.files.keys import LM_HEAD, G, Kind, V, expected_shapes
from kouji.models.cosyvoice.files.weights import content_hash, read_state, require_state
from kouji.models.cosyvoice.vocoder.hift_weights import fold_weight_norm

CONFIG = tiny_config()
STATES: dict[Kind, dict[str, Tensor]] = {
    "llm": llm_state(CONFIG, 0),
    "flow": flow_state(CONFIG, 1),
    "hift": hift_state(CONFIG, 2),
}


def saved(folder: Path, content: Any, **options: Any) -> Path:
    torch.save(content, folder / "some.pt", **options)
    return folder / "some.pt"


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("kind", STATES)
@pytest.mark.parametrize("is_zip", [True, False])
def test_official_files(tmp_path: Path, kind: Kind, is_zip: bool) -> None:
    path = saved(tmp_path, STATES[kind], _use_new_zipfile_serialization=is_zip)
    wanted = {name: value for name, value in STATES[kind].items() if name != LM_HEAD}
    assert same(read_state(path, kind, CONFIG), wanted)


def test_trainer_entries_are_ignored(tmp_path: Path) -> None:
    path = saved(tmp_path, STATES["flow"] | {"epoch": 3, "step": 12_000})
    assert same(read_state(path, "flow", CONFIG), STATES["flow"])


def test_the_tied_head_may_be_absent(tmp_path: Path) -> None:
    rest = {name: value for name, value in STATES["llm"].items() if name != LM_HEAD}
    assert same(read_state(saved(tmp_path, rest), "llm", CONFIG), rest)


@pytest.mark.parametrize("prefix", ["", "generator."])
@pytest.mark.parametrize("spelling", ["new", "old"])
def test_spellings_of_the_vocoder(tmp_path: Path, prefix: str, spelling: str) -> None:
    """From the adversarial trainer, and from before torch's parametrisations: one and the same."""

    def spelled(name: str) -> str:
        old = name.replace(G, "weight_g").replace(V, "weight_v") if spelling == "old" else name
        return prefix + old

    state = {spelled(name): value for name, value in STATES["hift"].items()}
    read = read_state(saved(tmp_path, state), "hift", CONFIG)
    assert same(read, STATES["hift"])


def test_folded_norms_are_those_of_torch(tmp_path: Path) -> None:
    """The norm over all axes but the first, for the transposed convolutions of version 2 too."""
    config = tiny_config("cosyvoice2")
    read = read_state(saved(tmp_path, hift_state(config, 5)), "hift", config)
    folded = fold_weight_norm(read)
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.ConvTranspose1d(32, 16, 16, 8))
    layer.load_state_dict(
        {name.removeprefix("ups.0."): value for name, value in read.items() if "ups.0." in name}
    )
    assert torch.allclose(folded["ups.0.weight"].float(), layer.weight, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_formats(tmp_path: Path, dtype: torch.dtype) -> None:
    state = {name: value.to(dtype) for name, value in STATES["flow"].items()}
    assert same(read_state(saved(tmp_path, state), "flow", CONFIG), state)


def changed(kind: Kind, **tensors: Any) -> dict[str, Any]:
    """A state with tensors exchanged, or dropped where None is given."""
    state = STATES[kind] | {name.replace("__", "."): value for name, value in tensors.items()}
    return {name: value for name, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("llm", changed("llm", llm_decoder__weight=None), r"missing: llm_decoder\.weight"),
        ("llm", changed("llm", new__weight=torch.ones(1)), r"unexpected: new\.weight"),
        (
            "flow",
            changed("flow", input_embedding__weight=torch.ones(80, 80)),
            r"wrong shape: input_embedding\.weight is 80x80, not 81x80",
        ),
        (
            "flow",
            changed("flow", spk_embed_affine_layer__bias=torch.ones(80, dtype=torch.int64)),
            r"spk_embed_affine_layer\.bias: int64",
        ),
        (
            "flow",
            changed("flow", spk_embed_affine_layer__bias=torch.full((80,), torch.nan)),
            r"not finite: spk_embed_affine_layer\.bias",
        ),
        (
            "llm",
            changed("llm", speech_embedding__weight=torch.full((281, 32), -torch.inf)),
            r"not finite: speech_embedding\.weight",
        ),
        ("hift", changed("hift", **{f"conv_pre.{V}": torch.zeros(32, 80, 5)}), "zero: conv_pre"),
        ("llm", STATES["flow"], r"the tensors of flow\.pt"),
        ("hift", STATES["llm"], r"the tensors of llm\.pt"),
        ("flow", {"state_dict": STATES["flow"]}, "state_dict is dict"),
        ("flow", changed("flow", note="hello"), "note is str"),
        ("flow", changed("flow", count=7), "count is int"),
        ("flow", [1, 2], "holds list"),
        ("flow", {}, "missing"),
        ("hift", STATES["hift"] | {"generator.conv_pre.bias": torch.ones(32)}, "there twice"),
    ],
)
def test_faults_are_named(tmp_path: Path, kind: Kind, content: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        read_state(saved(tmp_path, content), kind, CONFIG)


def test_many_faults_read_in_a_few_lines() -> None:
    """Weights of another depth: layers are named as a range, with what the model needs."""
    state = {name: value for name, value in STATES["llm"].items() if ".layers.1." not in name}
    with pytest.raises(ModelError) as raised:
        require_state(state, CONFIG, "llm", "llm.pt")
    assert len(str(raised.value)) < 1000
    assert "kouji pull cosyvoice3" in str(raised.value)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> Any:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    path = saved(tmp_path, changed("flow", evil=Hostile()), pickle_module=pickle)
    with pytest.raises(ModelError, match="asks for code"):
        read_state(path, "flow", CONFIG)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_files_that_are_cut_off(tmp_path: Path, share: float) -> None:
    path = saved(tmp_path, STATES["flow"])
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(ModelError, match=r"some\.pt"):
        read_state(path, "flow", CONFIG)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"\x00" * 100, "no file that torch wrote"),
    ],
)
def test_files_of_other_kinds(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "some.pt").write_bytes(content)
    with pytest.raises(ModelError, match=said):
        read_state(tmp_path / "some.pt", "flow", CONFIG)


def test_the_hash_follows_the_content(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"one")
    first = content_hash(path)
    assert first == content_hash(path)
    assert len(first) == 64
    path.write_bytes(b"three")
    assert content_hash(path) != first
    with pytest.raises(ModelError, match="cannot be read"):
        content_hash(tmp_path / "absent.pt")


def test_golden_weights_fit(shared_dir: Path, tmp_path: Path) -> None:
    """Through our reader the golden weights are the golden weights."""
    from safetensors.torch import load_file

    for kind in STATES:
        golden = load_file(shared_dir / "goldens" / "cosyvoice3" / kind / "weights.safetensors")
        read = read_state(saved(tmp_path, golden), kind)
        golden.pop(LM_HEAD, None)
        assert same(read, golden)
        if kind != "llm":
            assert read.keys() == expected_shapes(CONFIG, kind).keys()
            require_state(read, CONFIG, kind, "golden")
