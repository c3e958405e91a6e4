"""A GPT-SoVITS directory of toy widths with random weights: real containers, real code paths.

Everything is written the way training and upstream write it: torch zips of half precision
tensors, an attribute bag as config, transformers folders for HuBERT and BERT.
"""

from __future__ import annotations

import json
import pickle
import sys
import types
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from kouji.models.gpt_sovits.config import SoVITSConfig, T2SConfig
from kouji.models.gpt_sovits.keys import expected_sovits, expected_t2s

WIDTH = 16
MAX_SECONDS = 0.4  # of speech in upstream's count: 20 tokens, since toy weights rarely end
T2S = T2SConfig(hidden=WIDTH, num_heads=2, num_layers=2, feed_forward=64, bert_channels=WIDTH)
SOVITS = SoVITSConfig(
    hidden=WIDTH,
    latent=WIDTH,
    feed_forward=32,
    token_layers=1,
    text_layers=2,
    joint_layers=1,
    mrte_channels=WIDTH,  # where the voice embedding is added
    style_channels=WIDTH,
    style_hidden=WIDTH,
    ssl_channels=WIDTH,
    generator_channels=32,
)
_TAGS = {"v2Pro": b"05", "v2ProPlus": b"06"}


def write_directory(folder: Path, seed: int = 0) -> Path:
    """A folder that speaks v2: T2S, SoVITS, HuBERT and BERT."""
    write_t2s(folder / "GPT_weights_v2" / "toy-e8.ckpt", seed)
    write_sovits(folder / "SoVITS_weights_v2" / "toy_e8_s96.pth", seed + 1)
    write_hubert(folder / "chinese-hubert-base")
    write_bert(folder / "chinese-roberta-wwm-ext-large")
    return folder


def write_t2s(path: Path, seed: int) -> Path:
    """A fine-tuned T2S file as upstream saves it."""
    model = {
        "vocab_size": T2S.vocabulary,
        "phoneme_vocab_size": T2S.num_phones,
        "embedding_dim": WIDTH,
        "hidden_dim": WIDTH,
        "head": T2S.num_heads,
        "n_layer": T2S.num_layers,
        "dropout": 0,
        "EOS": T2S.eos,
        "random_bert": 0,
    }
    config = {"data": {"max_sec": MAX_SECONDS}, "model": model}
    weight = _random(expected_t2s(T2S), seed)
    return _save(path, {"weight": weight, "config": config, "info": "GPT-e8"})


def write_sovits(path: Path, seed: int, version: str = "v2") -> Path:
    """A fine-tuned SoVITS file: half precision, no posterior, an attribute bag as config."""
    old = {"num_phones": 322, "style_bins": 1025} if version == "v1" else {}
    shapes = expected_sovits(replace(SOVITS, version=version, **old))
    kept = {name: shape for name, shape in shapes.items() if not name.startswith("enc_q.")}
    data = {"filter_length": 2048, "hop_length": 640, "win_length": 2048, "sampling_rate": 32_000,
            "n_speakers": 300}  # fmt: skip
    model = {"upsample_rates": [10, 8, 2, 2, 2], "resblock_kernel_sizes": [3, 7, 11],
             "resblock_dilation_sizes": [[1, 3, 5]] * 3, "semantic_frame_rate": "25hz"}  # fmt: skip
    train = {"segment_size": 20480}
    with _upstream_config_class() as bag:
        config = bag(data=bag(**data), model=bag(**model), train=bag(**train), version=version)
        content = {"weight": _random(kept, seed), "config": config, "info": "8epoch_96iteration"}
        return _save(path, content, _TAGS.get(version))


def write_hubert(folder: Path) -> Path:
    """A folder of HuBERT."""
    from transformers import HubertConfig, HubertModel

    config = HubertConfig(
        hidden_size=WIDTH,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        conv_dim=(8,) * 7,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=2,
    )
    return _save_pretrained(HubertModel, config, folder)


def write_bert(folder: Path) -> Path:
    """A folder of BERT that knows a thousand characters."""
    from transformers import BertConfig, BertForMaskedLM

    signs = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *",.!?…-"]
    signs += [chr(0x4E00 + index) for index in range(1000)]
    config = BertConfig(
        vocab_size=len(signs),
        hidden_size=WIDTH,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
    )
    _save_pretrained(BertForMaskedLM, config, folder)
    (folder / "vocab.txt").write_text("\n".join(signs) + "\n", encoding="utf-8")
    return folder


def _save_pretrained(kind: type, config: object, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        network = kind(config)
    torch.save(network.state_dict(), folder / "pytorch_model.bin")
    values = json.dumps(config.to_dict())  # type: ignore[attr-defined]
    (folder / "config.json").write_text(values, encoding="utf-8")
    return folder


def _random(shapes: dict[str, tuple[int, ...]], seed: int) -> dict[str, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    weights = {}
    for name, shape in shapes.items():
        fan_in = max(1, torch.Size(shape[1:]).numel())
        value = torch.randn(shape, generator=rng) / fan_in**0.5
        if name.endswith(("gamma", "norm1.weight", "norm2.weight", "weight_g", "alpha")):
            value = 1 + 0.1 * value
        weights[name] = value.half()
    return weights


def _save(path: Path, content: object, tag: bytes | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, pickle_module=pickle)
    if tag is not None:
        path.write_bytes(tag + path.read_bytes()[2:])
    return path


class _upstream_config_class:  # noqa: N801
    """The class `utils.HParams`, there while a file is written and gone when it is read."""

    def __enter__(self) -> type:
        module = types.ModuleType("utils")

        class HParams:
            def __init__(self, **values: object) -> None:
                self.__dict__.update(values)

        HParams.__module__, HParams.__qualname__ = "utils", "HParams"
        module.HParams = HParams  # type: ignore[attr-defined]
        self._before = sys.modules.get("utils")
        sys.modules["utils"] = module
        return HParams

    def __exit__(self, *_: object) -> None:
        del sys.modules["utils"]
        if self._before is not None:
            sys.modules["utils"] = self._before
