"""g2pW: which characters are asked, what the network is given, and a real tiny ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kouji.errors import ModelError
from kouji.models.gpt_sovits.bert import Vocabulary
from kouji.models.gpt_sovits.text.g2pw import CONTEXT_CHARACTERS, G2PW, MAX_CHARACTERS
from kouji.models.gpt_sovits.text.zh import Pinyin, phonemize
from kouji.models.gpt_sovits.text.zh_pinyin import read_sentence

LABELS = ("ㄏㄤ2", "ㄒㄧㄥ2", "ㄓㄨㄥ1", "ㄓㄨㄥ4")  # sorted, as the network numbers them


class FakeSession:
    """Says the last reading a character can have, and keeps what it was given."""

    def __init__(self) -> None:
        self.inputs: list[dict[str, np.ndarray]] = []

    def run(self, outputs, inputs):
        self.inputs.append(inputs)
        return [inputs["phoneme_mask"] * np.arange(1, inputs["phoneme_mask"].shape[1] + 1)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    polyphonic = ["中\tㄓㄨㄥ1", "中\tㄓㄨㄥ4", "行\tㄒㄧㄥ2", "行\tㄏㄤ2", "和\tㄏㄤ2"]
    (tmp_path / "POLYPHONIC_CHARS.txt").write_text("\n".join(polyphonic) + "\n", "utf-8")
    (tmp_path / "MONOPHONIC_CHARS.txt").write_text("銀\tㄒㄧㄥ2\n似\tㄏㄤ2\n", "utf-8")
    syllables = {"ㄓㄨㄥ": "zhong", "ㄏㄤ": "hang", "ㄒㄧㄥ": "xing"}
    (tmp_path / "bopomofo_to_pinyin_wo_tune_dict.json").write_text(json.dumps(syllables), "utf-8")
    (tmp_path / "char_bopomofo_dict.json").write_text("{}", "utf-8")
    (tmp_path / "config.py").write_text("use_mask = True\nraise SystemExit\n", "utf-8")
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n中\n行\n國\n。\n", "utf-8")
    (tmp_path / "g2pW.onnx").write_bytes(_tiny_network())
    return tmp_path


def test_only_ambiguous_characters_are_asked(folder: Path) -> None:
    session = FakeSession()
    read = G2PW(folder, session=session)
    assert read.pinyin(["中国银行。", "和似"]) == [
        ["zhong4", "guo2", "xing2", "xing2", "。"],  # 銀 as the table says, 中 行 as the network
        read_sentence("和似"),  # in the tables, yet officially left to pypinyin
    ]
    assert len(session.inputs) == 1
    given = session.inputs[0]
    assert given["input_ids"].tolist() == [[2, 4, 6, 1, 5, 7, 3]] * 2
    assert given["position_ids"].tolist() == [1, 4]
    assert given["char_ids"].tolist() == [0, 2]  # among 中 和 行
    assert given["attention_mask"].min() == 1
    assert given["token_type_ids"].max() == 0
    assert given["phoneme_mask"].shape == (2, len(LABELS))
    assert given["phoneme_mask"].dtype == np.float32


def test_context_is_cropped_and_long_sentences_are_asked_in_parts(folder: Path) -> None:
    session = FakeSession()
    read = G2PW(folder, session=session)
    read("国" * 30 + "中" + "国" * 40)
    assert session.inputs[0]["input_ids"].shape == (1, 2 * CONTEXT_CHARACTERS + 3)
    assert session.inputs[0]["position_ids"].tolist() == [CONTEXT_CHARACTERS + 1]
    long = ("中" + "国" * 99) * 12
    assert read(long)[::100] == ["zhong4"] * 12
    assert all(each["input_ids"].shape[1] <= MAX_CHARACTERS + 2 for each in session.inputs)


def test_a_real_file_answers_through_the_library(folder: Path) -> None:
    """The tiny network gives the mask back: the first label a character can have."""
    read = G2PW(folder)
    assert read("中行") == ["zhong1", "hang2"]
    spoken = phonemize("中行", Pinyin(read=read))
    assert spoken.phones == ("zh", "ong1", "h", "ang2")


def test_a_vocabulary_of_elsewhere_is_taken(folder: Path) -> None:
    (folder / "vocab.txt").unlink()
    with pytest.raises(ModelError, match="vocabulary"):
        G2PW(folder)
    ids = {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2}
    assert G2PW(folder, vocabulary=Vocabulary(ids))("中") == ["zhong1"]


def test_labels_may_name_their_character_and_the_mask_may_be_off(folder: Path) -> None:
    (folder / "config.py").write_text("use_mask = False\nuse_char_phoneme = True\n", "utf-8")
    session = FakeSession()
    assert G2PW(folder, session=session)("中") == ["xing2"]  # the last label of all: 行 ㄒㄧㄥ2
    assert session.inputs[0]["phoneme_mask"].min() == 1
    (folder / "config.py").write_text("use_mask =", "utf-8")
    with pytest.raises(ModelError, match=r"config\.py cannot be read"):
        G2PW(folder, session=session)


def test_a_network_of_other_labels_is_refused(folder: Path) -> None:
    class Other(FakeSession):
        def run(self, outputs, inputs):
            return [super().run(outputs, inputs)[0][:, 1:]]

    with pytest.raises(ModelError, match="does not fit its tables"):
        G2PW(folder, session=Other())("中")


def test_what_is_missing_or_broken_is_named(folder: Path) -> None:
    (folder / "g2pW.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match="cannot be opened"):
        G2PW(folder)
    (folder / "MONOPHONIC_CHARS.txt").write_text("銀行\n", "utf-8")
    with pytest.raises(ModelError, match="line 1 of MONOPHONIC_CHARS"):
        G2PW(folder)
    (folder / "MONOPHONIC_CHARS.txt").unlink()
    with pytest.raises(ModelError, match=r"lacks MONOPHONIC_CHARS\.txt"):
        G2PW(folder)


def _field(number: int, content: bytes | str | int) -> bytes:
    """One field of a protocol buffer: a small number, or bytes with their length."""
    if isinstance(content, int):
        return bytes([number << 3, content])
    raw = content.encode() if isinstance(content, str) else content
    size = bytes([len(raw)]) if len(raw) < 128 else bytes([len(raw) & 127 | 128, len(raw) >> 7])
    return bytes([number << 3 | 2]) + size + raw


def _tensor_info(name: str, element_type: int, *axes: str) -> bytes:
    shape = b"".join(_field(1, _field(2, axis)) for axis in axes)
    return _field(1, name) + _field(2, _field(1, _field(1, element_type) + _field(2, shape)))


def _tiny_network() -> bytes:
    """An ONNX file with the inputs of g2pW whose output is its phoneme mask."""
    int64, float32 = 7, 1
    identity = _field(1, "phoneme_mask") + _field(2, "probs") + _field(4, "Identity")
    inputs = [
        _tensor_info(name, int64, "queries", "tokens")
        for name in ("input_ids", "token_type_ids", "attention_mask")
    ]
    inputs += [_tensor_info("phoneme_mask", float32, "queries", "labels")]
    inputs += [_tensor_info(name, int64, "queries") for name in ("char_ids", "position_ids")]
    graph = _field(1, identity) + _field(2, "tiny") + b"".join(_field(11, each) for each in inputs)
    graph += _field(12, _tensor_info("probs", float32, "queries", "labels"))
    return _field(1, 8) + _field(7, graph) + _field(8, _field(2, 13))
