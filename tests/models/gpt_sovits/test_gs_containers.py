"""Files are told by content: kind, version, tag; wrong ones say what they are."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from gs_files import TINY_T2S, save, sovits_content, t2s_content

from kouji.errors import ModelError
from kouji.models.archives.key_report import compare_keys, group_names
from kouji.models.gpt_sovits import containers
from kouji.models.gpt_sovits.config import VERSIONS, SoVITSConfig, T2SConfig
from kouji.models.gpt_sovits.containers import (
    read_checkpoint,
    require_kind,
    require_speakable,
    upstream_version,
)
from kouji.models.gpt_sovits.keys import (
    expected_sovits,
    expected_t2s,
    is_training_only,
    require_keys,
)


@pytest.mark.parametrize("is_tuned", [False, True], ids=["official", "fine-tuned"])
@pytest.mark.parametrize("version", ["v1", "v2", "v2Pro"])
def test_sovits_versions_are_told_by_content(tmp_path: Path, version: str, is_tuned: bool) -> None:
    path = save(sovits_content(version, is_tuned=is_tuned), tmp_path / "x.pth")
    read = read_checkpoint(path)
    assert (read.kind, read.version, read.is_lora, read.tag) == ("sovits", version, False, None)
    assert read.info == "8epoch_496iteration"
    assert read.config["model"]["upsample_rates"] == [10, 8, 2, 2, 2]
    assert read.content_hash == hashlib.sha256(path.read_bytes()).hexdigest()
    require_speakable(read)


@pytest.mark.parametrize(("tag", "version"), [("05", "v2Pro"), ("06", "v2ProPlus")])
def test_tagged_files_are_read(tmp_path: Path, tag: str, version: str) -> None:
    read = read_checkpoint(save(sovits_content("v2Pro"), tmp_path / "x.pth", tag))
    assert (read.tag, read.version) == (tag, version)


def test_shapes_beat_tag_and_config(tmp_path: Path) -> None:
    content = sovits_content("v2Pro")
    for channels, version in ((768, "v2ProPlus"), (512, "v2Pro")):
        content["weight"]["dec.conv_pre.weight"] = torch.zeros(channels, 16, 7)
        assert read_checkpoint(save(content, tmp_path / "x.pth", "06")).version == version
    content = sovits_content("v2")
    content["config"].model.version = "v2ProPlus"
    assert read_checkpoint(save(content, tmp_path / "x.pth", "00")).version == "v2"


def test_t2s_versions_are_told_by_their_table(tmp_path: Path) -> None:
    assert read_checkpoint(save(t2s_content(), tmp_path / "x.ckpt")).version == "v2"
    first = dataclasses.replace(TINY_T2S, num_phones=512)
    read = read_checkpoint(save(t2s_content(first), tmp_path / "x.ckpt"))
    assert (read.kind, read.version, read.info) == ("t2s", "v1", "GPT-e15")
    assert read.config["output_dir"] == "logs/s1"
    assert T2SConfig.from_checkpoint(read.config, read.weight) == first


def later_version(**more: Any) -> dict[str, Any]:
    """A v3 or v4 file as far as its names go."""
    weight = {"cfm.estimator.time_embed.time_mlp.0.weight": torch.zeros(2)}
    weight |= {"enc_p.text_embedding.weight": torch.zeros(732, 4), "bridge.0.weight": torch.ones(1)}
    return {"weight": weight, "config": {"model": {}}, "info": "2epoch"} | more


@pytest.mark.parametrize(
    ("content", "tag", "version", "is_lora"),
    [
        (later_version(), None, "v3", False),
        (later_version(config={"model": {"version": "v4"}}), None, "v4", False),
        (later_version(), "02", "v3", False),
        (later_version(lora_rank=32), "03", "v3", True),
        (later_version(lora_rank=32), "04", "v4", True),
        (
            {
                "weight": {"cfm.base_model.model.x.lora_A.default.weight": torch.zeros(2)},
                "config": {"model": {"version": "v4"}},
            },
            None,
            "v4",
            True,
        ),
    ],
)
def test_later_versions_are_recognised_and_refused(
    tmp_path: Path, content: dict[str, Any], tag: str | None, version: str, is_lora: bool
) -> None:
    read = read_checkpoint(save(content, tmp_path / "x.pth", tag))
    assert (read.kind, read.version, read.is_lora) == ("sovits", version, is_lora)
    with pytest.raises(ModelError, match=f"{version} is recognised but not spoken yet.*come later"):
        require_speakable(read)


OTHERS: dict[str, Any] = {
    "discriminator": {"weight": {"discriminators.0.convs.0.bias": torch.zeros(2)}, "config": {}},
    "eres2net": {"conv1.weight": torch.zeros(2), "layer1.0.convs.0.weight": torch.zeros(2)},
    "vocoder": {
        "conv_pre.weight": torch.zeros(2),
        "ups.0.weight": torch.zeros(2),
        "resblocks.0.convs1.0.weight": torch.zeros(2),
    },
    "hubert": {"feature_extractor.conv_layers.0.conv.weight": torch.zeros(2)},
    "bert": {"bert.embeddings.word_embeddings.weight": torch.zeros(2)},
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_networks_are_named(tmp_path: Path, kind: str) -> None:
    read = read_checkpoint(save(OTHERS[kind], tmp_path / "x.pth"))
    assert (read.kind, read.version) == (kind, "")
    with pytest.raises(ModelError, match="another kind"):
        require_kind(read, "sovits")
    if kind == "vocoder":
        assert read_checkpoint(save({"generator": OTHERS[kind]}, tmp_path / "x.pth")).kind == kind


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {
                "state_dict": t2s_content()["weight"],
                "optimizer_states": [],
                "epoch": 3,
                "pytorch-lightning_version": "2.4",
            },
            "T2S",
        ),
        ({"model": {"enc_p.x": torch.zeros(1)}, "iteration": 8, "optimizer": {}}, "SoVITS"),
        (
            {
                "model": {"discriminators.0.x": torch.zeros(1)},
                "iteration": 8,
                "learning_rate": 1e-4,
            },
            "discriminator",
        ),
    ],
)
def test_training_states_are_named_with_advice(
    tmp_path: Path, content: dict[str, Any], words: str
) -> None:
    path = save(content, tmp_path / "G_233333333333.pth")
    read = read_checkpoint(path)
    assert read.kind == "resume"
    assert words in read.info
    with pytest.raises(ModelError, match=r"training state.*not the one in logs"):
        read_checkpoint(path, "t2s")


def test_swapped_files_are_told(tmp_path: Path) -> None:
    t2s = save(t2s_content(), tmp_path / "x.ckpt")
    sovits = save(sovits_content("v2Pro"), tmp_path / "x.pth", "05")
    with pytest.raises(ModelError, match=r"SoVITS weights v2Pro.*allowed: T2S.*swapped"):
        read_checkpoint(sovits, "t2s")
    with pytest.raises(ModelError, match=r"T2S \(GPT\) weights v2.*allowed: SoVITS.*swapped"):
        read_checkpoint(t2s, "sovits")


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {"a": 1},
        {"weight": {"a": 1}},
        {"weight": {"a": torch.zeros(1)}, "config": {}},
        t2s_content()["weight"],
        {},
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, content: Any) -> None:
    with pytest.raises(ModelError, match=r"no checkpoint.*x\.pth"):
        read_checkpoint(save(content, tmp_path / "x.pth"))


def test_a_lost_config_is_refused(tmp_path: Path) -> None:
    content = t2s_content()
    del content["config"]
    with pytest.raises(ModelError, match="lost its config"):
        read_checkpoint(save(content, tmp_path / "x.ckpt"))


def test_the_official_order_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(sovits_content("v1"), tmp_path / "x.pth")
    assert upstream_version(read_checkpoint(path))[:2] == ("v1", "v1")
    path = save(sovits_content("v2Pro"), tmp_path / "x.pth", "06")
    assert upstream_version(read_checkpoint(path)) == ("v2", "v2ProPlus", "tag 06")
    # By size alone a small v2 file is taken for v1; the table of phones corrects it.
    path = save(sovits_content("v2"), tmp_path / "x.pth")
    verdict = upstream_version(read_checkpoint(path))
    assert verdict[:2] == ("v2", "v2")
    assert verdict.reason.startswith("size of")
    head = hashlib.md5(path.read_bytes()[:8192]).hexdigest()
    monkeypatch.setitem(containers.KNOWN_HEADS, head, ("s2Gv2Pro.pth", "v2Pro"))
    assert upstream_version(read_checkpoint(path)) == ("v2", "v2Pro", "hash of s2Gv2Pro.pth")


# --- keys


@pytest.fixture(scope="session")
def official_keys(shared_dir: Path) -> dict[str, dict[str, list[int]]]:
    """Names and shapes of the published checkpoints."""
    listed = shared_dir / "reference" / "gpt_sovits_keys.json"
    loaded: dict[str, dict[str, list[int]]] = json.loads(listed.read_text(encoding="utf-8"))
    return loaded


def empty(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """Tensors of these shapes that take no memory."""
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_rule_gives_the_official_sovits_tensors(
    official_keys: dict[str, dict[str, list[int]]], version: str
) -> None:
    shapes = dict(official_keys[f"sovits_{'v2' if version == 'v1' else version} (G)"])
    if version == "v1":  # differs in two shapes only
        shapes["enc_p.text_embedding.weight"] = [322, 192]
        shapes["ref_enc.spectral.0.fc.weight"] = [128, 1025]
    config = SoVITSConfig.from_checkpoint({}, empty(shapes), version)
    assert {name: list(shape) for name, shape in expected_sovits(config).items()} == shapes
    kernels = (20 if version == "v2ProPlus" else 16, 16, 8, 2, 2)
    assert config.upsample_kernels == kernels
    assert (config.num_heads, config.frame_samples) == (2, 640)


@pytest.mark.parametrize("num_phones", [512, 732])
def test_the_rule_gives_the_official_t2s_tensors(
    official_keys: dict[str, dict[str, list[int]]], num_phones: int
) -> None:
    shapes = dict(next(keys for name, keys in official_keys.items() if name.startswith("t2s")))
    shapes["model.ar_text_embedding.word_embeddings.weight"] = [num_phones, 512]
    config = T2SConfig.from_checkpoint({"model": {"head": 16}}, empty(shapes))
    assert {name: list(shape) for name, shape in expected_t2s(config).items()} == shapes
    assert (config.num_layers, config.feed_forward, config.eos) == (24, 2048, 1024)


def test_the_rule_gives_the_tensors_of_the_vectors(goldens_dir: Path) -> None:
    """Other sizes than the official ones, through the same rule."""
    for name in ("v2", "v2Pro"):
        config = json.loads((goldens_dir / f"sovits_{name}_config.json").read_text())
        listed = json.loads((goldens_dir / f"sovits_{name}_manifest.json").read_text())
        shapes = {entry["key"]: entry["shape"] for entry in listed}
        sizes = SoVITSConfig.from_checkpoint(config, empty(shapes), name)
        assert {key: list(shape) for key, shape in expected_sovits(sizes).items()} == shapes


def test_training_tensors_may_be_there_or_not() -> None:
    weight = sovits_content("v2")["weight"]
    config = SoVITSConfig.from_checkpoint({"model": {"n_layers": 2}}, weight, "v2")
    expected = expected_sovits(config)
    assert compare_keys(weight, expected, is_training_only).is_fitting
    tuned = {name: tensor for name, tensor in weight.items() if not name.startswith("enc_q")}
    del tuned["quantizer.vq.layers.0._codebook.embed_avg"]
    assert compare_keys(tuned, expected, is_training_only).is_fitting


def test_the_report_is_grouped_and_complete() -> None:
    content = t2s_content()
    weight, config = content["weight"], content["config"]
    for layer in range(2):
        del weight[f"model.h.layers.{layer}.linear1.weight"]
        weight[f"model.extra.{layer}.x"] = torch.zeros(1)
    weight["model.ar_predict_layer.weight"] = torch.zeros(1025, 4)
    expected = expected_t2s(T2SConfig.from_checkpoint(config, weight))
    with pytest.raises(ModelError) as caught:
        require_keys(weight, expected, "x.ckpt")
    for words in (
        "x.ckpt",
        "missing: model.h.layers.{0..1}.linear1.weight",
        "unexpected: model.extra.{0..1}.x",
        "model.ar_predict_layer.weight is 1025x4, not 1025x16",
    ):
        assert words in str(caught.value)


def test_a_file_with_fewer_layers_is_incomplete() -> None:
    content = t2s_content()
    weight = {name: t for name, t in content["weight"].items() if ".layers.1." not in name}
    config = T2SConfig.from_checkpoint(content["config"], weight)
    report = compare_keys(weight, expected_t2s(config))
    assert "model.h.layers.1.norm1.bias" in report.missing


def test_names_are_grouped_by_their_numbers() -> None:
    assert group_names(["a.0.b", "a.1.b", "a.2.b", "c"]) == ("a.{0..2}.b", "c")
    assert group_names(["f.0.x", "f.2.x", "f.4.x"]) == ("f.{0,2,4}.x",)
    assert group_names(["a.0.b.0.c", "a.1.b.1.c"]) == ("a.{0..1}.b.{0..1}.c (2 of these)",)
    assert group_names(["a.7.b"]) == ("a.7.b",)
    assert group_names(["evil{0}.1.x", "\x1b[2J"]) == (
        "evil(0).1.x",
        "\N{REPLACEMENT CHARACTER}[2J",
    )


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("model", {"upsample_rates": [10, 8, 2, 2]}, "upsample_rates"),
        ("model", {"upsample_rates": [9, 8, 2, 2, 2]}, "upsample_rates"),
        ("model", {"upsample_rates": [10, 8, 4, 2, 2]}, "hop_length"),
        ("model", {"upsample_rates": "no"}, "upsample_rates"),
        ("model", {"resblock_dilation_sizes": [[1]]}, "resblock_dilation_sizes"),
        ("model", {"n_layers": 10**6}, "n_layers"),
        ("model", {"n_layers": float("nan")}, "n_layers"),
        ("data", {"hop_length": 512.5}, "hop_length"),
        ("data", {"hop_length": True}, "hop_length"),
        ("data", {"filter_length": 64}, "filter_length"),
    ],
)
def test_a_config_that_contradicts_is_named(
    section: str, values: dict[str, Any], message: str
) -> None:
    weight = sovits_content("v2")["weight"]
    config = {"model": {"n_layers": 2}} | {section: values}
    with pytest.raises(ModelError, match=message):
        SoVITSConfig.from_checkpoint(config, weight, "v2")


@pytest.mark.parametrize("values", [{"head": 3}, {"head": 0}, {"EOS": 1025}, {"EOS": -1}])
def test_wrong_heads_and_end_tokens_are_named(values: dict[str, int]) -> None:
    content = t2s_content()
    with pytest.raises(ModelError, match=next(iter(values))):
        T2SConfig.from_checkpoint({"model": values}, content["weight"])
    with pytest.raises(ModelError, match="wrong model"):
        T2SConfig.from_checkpoint({"model": [1]}, content["weight"])
