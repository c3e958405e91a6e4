"""Reading Chinese with g2pW: what the network is asked, and what becomes of its answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kouji.errors import ModelError
from kouji.models.gpt_sovits.text import g2pw
from kouji.models.gpt_sovits.text.g2pw import G2PW, load_pinyin
from kouji.models.gpt_sovits.text.zh import phonemize

pytest.importorskip("opencc", reason="needs kouji[gpt-sovits]")

POLYPHONIC = {"長": ["ㄓㄤ3", "ㄔㄤ2"], "行": ["ㄒㄧㄥ2", "ㄏㄤ2"], "一": ["ㄧ1"]}
MONOPHONIC = {"很": "ㄏㄣ3", "似": "ㄕ4", "怪": "ㄎㄨ4"}
TO_PINYIN = {"ㄓㄤ": "zhang", "ㄔㄤ": "chang", "ㄒㄧㄥ": "xing", "ㄏㄤ": "hang", "ㄏㄣ": "hen"}


class FakeSession:
    """Prefers labels in the order of `wanted`, within what the mask allows."""

    def __init__(self, wanted: list[str], labels: list[str]) -> None:
        self.preference = [
            len(wanted) - wanted.index(each) if each in wanted else 0 for each in labels
        ]
        self.asked: list[dict[str, Any]] = []

    def run(self, outputs: Any, inputs: dict[str, Any]) -> list[Any]:
        self.asked.append(inputs)
        return [inputs["phoneme_mask"] * np.array(self.preference, dtype=np.float32)]


def make(wanted: list[str], **options: Any) -> tuple[G2PW, FakeSession]:
    labels = sorted({each for readings in POLYPHONIC.values() for each in readings})
    session = FakeSession(wanted, labels)

    def encode(text: str) -> Sequence[int]:
        return [1, *(ord(sign) for sign in text), 2]

    return G2PW(session, encode, POLYPHONIC, MONOPHONIC, TO_PINYIN, **options), session


def test_the_network_reads_what_it_knows_and_pypinyin_the_rest() -> None:
    read, session = make(["ㄓㄤ3", "ㄏㄤ2"])
    assert read("行长很好,") == ["hang2", "zhang3", "hen3", "hao3", ","]
    (inputs,) = session.asked
    assert inputs["input_ids"].shape == (2, 7)
    assert inputs["input_ids"][0, 2] == ord("長")  # it reads traditional characters
    assert inputs["position_ids"].tolist() == [1, 2]
    assert inputs["char_ids"].tolist() == [1, 2]  # of the sorted characters
    assert inputs["phoneme_mask"].sum(axis=1).tolist() == [2, 2]


def test_the_context_is_cut() -> None:
    read, session = make(["ㄔㄤ2"])
    assert read("好" * 40 + "长" + "好" * 40)[40] == "chang2"
    (inputs,) = session.asked
    assert inputs["input_ids"].shape == (1, 16 + 1 + 16 + 2)
    assert inputs["position_ids"].tolist() == [17]


def test_characters_not_asked_and_readings_not_known() -> None:
    read, session = make(["ㄧ1"])
    assert read("一怪") == ["yi1", "guai4"]  # ㄎㄨ is in no map
    assert read("") == []
    assert not session.asked


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = tmp_path / "G2PWModel"
    model.mkdir()
    (model / "g2pW.onnx").write_bytes(b"no network")
    lines = [f"{sign}\t{each}" for sign, readings in POLYPHONIC.items() for each in readings]
    (model / "POLYPHONIC_CHARS.txt").write_text("\n".join(lines), "utf-8")
    lines = [f"{sign}\t{reading}" for sign, reading in MONOPHONIC.items()]
    (model / "MONOPHONIC_CHARS.txt").write_text("\n".join(lines), "utf-8")
    (model / "bopomofo_to_pinyin_wo_tune_dict.json").write_text(json.dumps(TO_PINYIN), "utf-8")
    (model / "config.py").write_text("use_mask = True\nimport os\nos.abort()\n", "utf-8")
    signs = ["[CLS]", "[SEP]", "[UNK]", "長", "行", "很", "好"]
    (tmp_path / "vocab.txt").write_text("\n".join(signs), "utf-8")
    return model


def test_a_folder_is_opened_with_the_dictionary_beside_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, session = make(["ㄓㄤ3", "ㄏㄤ2"])
    monkeypatch.setattr(g2pw, "_open_session", lambda path, num_threads: session)
    (folder.parent / "polyphonic.rep").write_text("很好: ['hen3', 'hao4']\n", "utf-8")
    pinyin = load_pinyin(folder, folder.parent)
    assert pinyin.known == {"很好": ["hen3", "hao4"]}
    spoken = phonemize("行长很好", pinyin)
    assert spoken.phones == ("h", "ang2", "zh", "ang3", "h", "en3", "h", "ao4")
    assert session.asked[0]["input_ids"].tolist()[0] == [0, 4, 3, 5, 6, 1]


def test_damage_is_named(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"g2pW\.onnx cannot be opened"):
        load_pinyin(folder, folder.parent)
    (folder / "MONOPHONIC_CHARS.txt").write_text("很 ㄏㄣ3", "utf-8")
    with pytest.raises(ModelError, match="line 1 of MONOPHONIC"):
        g2pw._read_pairs(folder / "MONOPHONIC_CHARS.txt")
    (folder / "bopomofo_to_pinyin_wo_tune_dict.json").write_text("{", "utf-8")
    with pytest.raises(ModelError, match="is damaged"):
        g2pw._read_map(folder / "bopomofo_to_pinyin_wo_tune_dict.json")
    (folder / "g2pW.onnx").unlink()
    with pytest.raises(ModelError, match="lacks files"):
        load_pinyin(folder, folder.parent)
