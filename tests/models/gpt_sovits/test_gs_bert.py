"""BERT: the official numbers, its tokens, the layers left out, precision and memory."""

from __future__ import annotations

import json
import random
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gs_networks import Hostile, write_bert
from safetensors.torch import load_file, save_file

from kouji.errors import ModelError, UsageError
from kouji.models.gpt_sovits.bert import SKIPPED_LAYERS, Bert, SentenceCache, Vocabulary

pytest.importorskip("transformers")
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def facts(goldens_dir: Path) -> dict[str, Any]:
    return json.loads((goldens_dir / "bert_tiny.json").read_text())


@pytest.fixture(scope="module")
def bert(goldens_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Bert:
    return Bert.load(write_bert(tmp_path_factory.mktemp("bert"), goldens_dir))


@pytest.fixture
def folder(goldens_dir: Path, tmp_path: Path) -> Path:
    return write_bert(tmp_path / "bert", goldens_dir)


def test_official_numbers(bert: Bert, facts: dict[str, Any], goldens_dir: Path) -> None:
    golden = np.load(goldens_dir / "bert_tiny.npz")
    for index, case in enumerate(facts["cases"]):
        assert bert.vocabulary.encode(case["text"]) == case["input_ids"]
        features = bert.features(case["text"], case["word2ph"])
        assert features.shape == tuple(reversed(case["shape"]))
        assert np.abs(features.T.numpy() - golden[f"feat{index}"]).max() < 1e-4


def test_last_layers_are_not_loaded(bert: Bert, facts: dict[str, Any]) -> None:
    layers = facts["config"]["num_hidden_layers"] - SKIPPED_LAYERS
    assert len(bert.network.encoder.layer) == layers
    assert bert.network.pooler is None


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_lower_precision_is_near(
    folder: Path, bert: Bert, facts: dict[str, Any], precision: Any
) -> None:
    half = Bert.load(folder, precision=precision)
    assert half.num_bytes < bert.num_bytes
    for case in facts["cases"]:
        exact = bert.embed(case["text"])
        difference = half.embed(case["text"]) - exact
        assert half.embed(case["text"]).dtype == torch.float32
        assert difference.norm() / exact.norm() < 0.01


def test_tokens_are_those_of_the_library(tmp_path: Path) -> None:
    from transformers import BertTokenizer

    characters = [chr(0x4E00 + 7 * index) for index in range(2000)] + list(",.!?-…")
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *characters, "é", "ａ", "a"]
    (tmp_path / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    library = BertTokenizer(str(tmp_path / "vocab.txt"))
    ours = Vocabulary.load(tmp_path)
    draws = random.Random(0)
    for _ in range(50):
        text = "".join(draws.choices([*characters, "龥"], k=30))
        assert ours.encode(text) == library(text)["input_ids"]
    assert ours.encode("A") == library("A")["input_ids"]
    assert len(ours.encode("abc 12")) == 8  # never joined, unlike a tokenizer's


def test_tokenizer_json_serves_as_well(folder: Path, bert: Bert, facts: dict[str, Any]) -> None:
    (folder / "vocab.txt").unlink()
    ids = {token: index for index, token in enumerate(facts["vocab"])}
    content = {"model": {"type": "WordPiece", "vocab": ids}}
    (folder / "tokenizer.json").write_text(json.dumps(content))
    text = facts["cases"][0]["text"]
    assert torch.equal(Bert.load(folder).embed(text), bert.embed(text))


def test_files_of_old(folder: Path, bert: Bert, facts: dict[str, Any]) -> None:
    """The container before torch 1.6, gamma and beta, positions kept as a tensor."""
    tensors = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): value
        for name, value in load_file(folder / WEIGHTS).items()
    }
    tensors["bert.embeddings.position_ids"] = torch.arange(64)[None]
    (folder / WEIGHTS).unlink()
    path = folder / "pytorch_model.bin"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    text = facts["cases"][0]["text"]
    assert torch.equal(Bert.load(folder).embed(text), bert.embed(text))


def test_long_text_is_read_in_pieces(bert: Bert) -> None:
    size = bert.max_characters
    text = "今天天气真不错" * (size // 7 + 2)
    embedded = bert.embed(text)
    assert len(embedded) == len(text)
    assert torch.equal(embedded[:size], bert.embed(text[:size]))


def test_no_text_and_no_phones(bert: Bert) -> None:
    assert bert.embed("").shape == (0, bert.num_channels)
    assert bert.features("", []).shape == (0, bert.num_channels)
    assert bert.features("你好", [0, 3]).shape == (3, bert.num_channels)


def test_counts_must_match(bert: Bert) -> None:
    with pytest.raises(UsageError, match="2 characters, 3 numbers"):
        bert.features("你好", [2, 2, 1])


def test_sentences_are_remembered(folder: Path) -> None:
    bert = Bert.load(folder)
    first = bert.embed("你好!")
    assert bert.embed("你好!") is first
    features = bert.features("你好!", [1, 1, 1])
    features.zero_()  # belongs to the caller
    assert bert.embed("你好!").abs().sum() > 0
    forgetful = Bert.load(folder, cache_bytes=0)
    assert forgetful.embed("你好!") is not forgetful.embed("你好!")
    assert len(forgetful.cache) == 0


def test_cache_lets_the_oldest_go() -> None:
    cache = SentenceCache(100)
    tensors = {name: torch.full((10,), float(index)) for index, name in enumerate("abc")}
    cache.put("a", tensors["a"])  # 40 bytes each
    cache.put("b", tensors["b"])
    assert cache.get("a") is tensors["a"]  # now the most recent
    cache.put("c", tensors["c"])
    assert cache.get("b") is None
    assert cache.get("a") is not None
    assert (len(cache), cache.num_bytes) == (2, 80)
    cache.put("c", torch.zeros(2))
    assert cache.num_bytes == 48
    cache.put("huge", torch.zeros(1000))
    assert cache.get("huge") is None
    assert cache.num_bytes <= cache.max_bytes


def test_threads_share_the_network(bert: Bert) -> None:
    texts = ["今天天气", "银行行长", "我是中国人", "世界真好"]
    alone = [bert.embed(text).clone() for text in texts]
    bert.cache = SentenceCache(1 << 10)
    results: dict[int, list[torch.Tensor]] = {}

    def work(number: int) -> None:
        results[number] = [bert.embed(text) for text in texts]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for made in results.values():
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(made, alone, strict=True))
    assert len(results) == 4


def test_keys_that_do_not_fit_are_named(folder: Path) -> None:
    tensors = load_file(folder / WEIGHTS)
    del tensors["bert.encoder.layer.0.output.dense.bias"]
    save_file(tensors, folder / WEIGHTS)
    with pytest.raises(ModelError, match=r"missing encoder\.layer\.0\.output\.dense\.bias"):
        Bert.load(folder)


def test_damaged_directories(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 2}))
    with pytest.raises(ModelError, match="too few layers"):
        Bert.load(folder)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:1000])
    with pytest.raises(ModelError, match="safetensors"):
        Bert.load(folder)
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    with pytest.raises(ModelError, match="special tokens"):
        Bert.load(folder)
    (folder / "vocab.txt").unlink()
    with pytest.raises(ModelError, match=r"vocab\.txt or tokenizer\.json"):
        Bert.load(folder)


def test_hostile_pickle_is_refused(folder: Path, tmp_path: Path) -> None:
    (folder / WEIGHTS).unlink()
    trace = tmp_path / "executed"
    torch.save({"bert.pooler": Hostile(trace)}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError):
        Bert.load(folder)
    torch.save([torch.zeros(1)], folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="state dict"):
        Bert.load(folder)
    assert not trace.exists()


def test_missing_library_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers.models.bert.modeling_bert", None)
    with pytest.raises(UsageError, match=r"kouji\[gpt-sovits\]"):
        Bert.load(folder)
