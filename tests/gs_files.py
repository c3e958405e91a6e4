"""Small GPT-SoVITS files as upstream writes them: real names and layouts, toy widths."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from collections import OrderedDict
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from kouji.models.gpt_sovits.config import SoVITSConfig, T2SConfig
from kouji.models.gpt_sovits.keys import Shapes, expected_sovits, expected_t2s

T2S_NAMES = {
    "v1": "s1bert25hz-2kh-longer-epoch=68e-step=50232.ckpt",
    "v2": "gsv-v2final-pretrained/s1bert25hz-5kh-longer-epoch=12-step=369668.ckpt",
    "v2Pro": "s1v3.ckpt",
    "v2ProPlus": "s1v3.ckpt",
}
SOVITS_NAMES = {
    "v1": "s2G488k.pth",
    "v2": "gsv-v2final-pretrained/s2G2333k.pth",
    "v2Pro": "v2Pro/s2Gv2Pro.pth",
    "v2ProPlus": "v2Pro/s2Gv2ProPlus.pth",
}
TINY_T2S = T2SConfig(hidden=16, num_heads=2, num_layers=2, feed_forward=64, bert_channels=8)
TINY_SOVITS = SoVITSConfig(
    hidden=16, latent=16, feed_forward=24, num_heads=2, token_layers=1, text_layers=2,
    joint_layers=1, mrte_channels=32, style_channels=32, style_hidden=16, ssl_channels=8,
    codebook_size=16, generator_channels=32,
)  # fmt: skip


class HParams:
    """Stands in for upstream's bag of attributes while a file is written."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, HParams(**value) if isinstance(value, dict) else value)


HParams.__module__ = "utils"


def tiny_sovits(version: str) -> SoVITSConfig:
    """Sizes of a small network of a version; Plus has its 768 channels, so it stays large."""
    changes: dict[str, Any] = {"version": version}
    if version == "v1":
        changes |= {"num_phones": 322, "style_bins": 1025}
    if "Pro" in version:
        changes |= {"style_channels": 24, "speaker_channels": 20}
    return dataclasses.replace(TINY_SOVITS, **changes)


def draw(shapes: Shapes, seed: int = 0, dtype: torch.dtype = torch.float16) -> dict[str, Tensor]:
    """Tensors of these shapes, small random numbers."""
    source = torch.Generator().manual_seed(seed)
    return OrderedDict(
        (name, (torch.randn(shape, generator=source) / 8).to(dtype))
        for name, shape in shapes.items()
    )


def t2s_content(config: T2SConfig = TINY_T2S, seed: int = 0) -> dict[str, Any]:
    """A T2S checkpoint as fine-tuning exports it."""
    model = {"head": config.num_heads, "n_layer": config.num_layers, "EOS": config.eos}
    model |= {"hidden_dim": config.hidden, "embedding_dim": config.hidden, "vocab_size": 1025}
    return {
        "weight": draw(expected_t2s(config), seed),
        "config": {"model": model, "data": {"max_sec": 54}, "output_dir": Path("logs/s1")},
        "info": "GPT-e15",
    }


def sovits_config_of(config: SoVITSConfig) -> dict[str, Any]:
    """The training configuration of a SoVITS file."""
    return {
        "model": {
            "n_layers": config.text_layers,
            "upsample_rates": list(config.upsample_rates),
            "upsample_kernel_sizes": list(config.upsample_kernels),
            "resblock_kernel_sizes": list(config.resblock_kernels),
            "resblock_dilation_sizes": [list(each) for each in config.resblock_dilations],
            "gin_channels": config.style_channels,
            "semantic_frame_rate": "25hz",
            "version": config.version,
        },
        "data": {"filter_length": 2048, "hop_length": 640, "sampling_rate": 32000},
        "train": {"segment_size": 20480},
        "name": "anna",
    }


def sovits_content(version: str = "v2", seed: int = 0, *, is_tuned: bool = False) -> dict[str, Any]:
    """A SoVITS checkpoint; a fine-tuned one has lost its posterior encoder."""
    config = tiny_sovits(version)
    shapes = expected_sovits(config)
    if is_tuned:
        shapes = {name: shape for name, shape in shapes.items() if not name.startswith("enc_q.")}
    return {
        "weight": draw(shapes, seed),
        "config": HParams(**sovits_config_of(config)),
        "info": "8epoch_496iteration",
    }


def save(content: Any, path: Path, tag: str | None = None) -> Path:
    """Write as `torch.save`, with two characters in the place of PK where upstream does so."""
    module = ModuleType("utils")
    module.HParams = HParams  # type: ignore[attr-defined]
    before = sys.modules.get("utils")
    sys.modules["utils"] = module
    try:
        buffer = io.BytesIO()
        torch.save(content, buffer)
    finally:
        del sys.modules["utils"]
        if before is not None:
            sys.modules["utils"] = before
    data = buffer.getvalue()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if tag is None else tag.encode("ascii") + data[2:])
    return path


def write_networks(folder: Path, *, with_speaker: bool = True) -> None:
    """HuBERT, BERT and the speaker network as far as a look at them goes."""
    for name, kind in (
        ("chinese-hubert-base", "hubert"),
        ("chinese-roberta-wwm-ext-large", "bert"),
    ):
        save({"x": torch.zeros(600)}, folder / name / "pytorch_model.bin")
        config = json.dumps({"model_type": kind})
        (folder / name / "config.json").write_text(config, encoding="utf-8")
    tokenizer = folder / "chinese-roberta-wwm-ext-large" / "tokenizer.json"
    tokenizer.write_text("{}", encoding="utf-8")
    if with_speaker:
        weight = {"conv1.weight": torch.zeros(4), "layer1.0.convs.0.weight": torch.zeros(4)}
        save(weight, folder / "sv" / "pretrained_eres2netv2w24s4ep4.ckpt")


def write_tree(folder: Path, *versions: str) -> Path:
    """An official `pretrained_models` tree with the networks of these versions."""
    write_networks(folder, with_speaker=any("Pro" in version for version in versions))
    for version in versions:
        t2s = TINY_T2S if version != "v1" else dataclasses.replace(TINY_T2S, num_phones=512)
        save(t2s_content(t2s), folder / T2S_NAMES[version])
        save(sovits_content(version), folder / SOVITS_NAMES[version])
    return folder
