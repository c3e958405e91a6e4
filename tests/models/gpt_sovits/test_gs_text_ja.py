"""Japanese for GPT-SoVITS: labels to phones with pitch, and the golden sentences."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from kouji.errors import UsageError
from kouji.models.gpt_sovits.symbols import encode
from kouji.models.gpt_sovits.text import ja
from kouji.models.gpt_sovits.text.ja_numbers import accent_numbers

needs_open_jtalk = pytest.mark.skipif(find_spec("pyopenjtalk") is None, reason="needs kouji[ja]")


@needs_open_jtalk
def test_golden_sentences_sound_alike(text_goldens: Any) -> None:
    cases = text_goldens["ja"]
    wrong = []
    for case in cases:
        spoken = ja.phonemize(case["text"])
        assert (spoken.norm_text, spoken.word2ph) == (case["norm_text"], None)
        if encode(spoken.phones, "v2").tolist() != case["ids"]:
            wrong.append(case["text"])
    assert len(wrong) <= len(cases) // 5, wrong


def _label(phone: str, accent: str = "xx+xx+xx", moras: int = 3) -> str:
    return f"xx^xx-{phone}+xx=xx/A:{accent}/B:xx/F:{moras}_0#0"


def test_labels_become_phones_with_pitch_marks() -> None:
    labels = [
        _label("sil"),
        _label("h", "-1+1+3"), _label("a", "-1+1+3"),
        _label("sh", "0+2+2"), _label("I", "0+2+2"),
        _label("g", "1+3+1"), _label("a", "1+3+1"),
        _label("N", "0+1+1", 1),
        _label("pau"),
        _label("sil"),
    ]  # fmt: skip
    assert ja.prosody_phones(labels) == ["h", "a", "[", "sh", "i", "]", "g", "a", "#", "N", "_"]
    assert ja.prosody_phones([]) == []


@needs_open_jtalk
def test_marks_stay_between_parts_and_blanks_fall() -> None:
    phones = ja.phonemize("はい、 ABC♪!!").phones
    assert phones[-2:] == ("UNK", "!")
    assert "," in phones
    assert ja.phonemize("。").phones == (".",)


@needs_open_jtalk
def test_bare_hanzi_digits_are_one_number() -> None:
    assert "m" in ja.phonemize("一二三四五").phones  # man, ten thousand
    assert ja.phonemize("〇").phones == ("UNK",)  # outside of what the official code reads
    assert ja.phonemize("七五三").phones[:2] == ("sh", "i")


@needs_open_jtalk
@pytest.mark.parametrize(
    ("number", "phones"),
    [
        ("14", "j u [ u UNK y o ] N"),
        ("60", "r o ] k u j u u"),
        ("65", "r o [ k u j u u UNK g o"),
        ("345", "s a ] N by a k u UNK y o ] N j u u UNK g o"),
        ("4年", "y o ] n e N"),
        ("3時", "s a [ N ] j i"),
        ("600", "r o [ cl py a k u"),
        ("12000", "i [ ch i m a ] N UNK n i [ s e ] N"),
    ],
)  # fmt: skip
def test_numbers_have_the_accents_of_plain_open_jtalk(number: str, phones: str) -> None:
    expected = phones.removesuffix(" ]") if phones.endswith("g o") else phones
    assert " ".join(ja.phonemize(number).phones) == expected


def test_a_counter_moves_the_accent_as_its_rule_says() -> None:
    def words() -> list[dict]:
        number = {"string": "二", "pos": "名詞", "pos_group1": "数", "pos_group2": "*"}
        counter = {"string": "個", "pos": "名詞", "pos_group1": "接尾", "pos_group2": "助数詞"}
        return [
            {**number, "acc": 9, "mora_size": 2, "chain_flag": 0},
            {**counter, "acc": 1, "mora_size": 1, "chain_flag": 1},
        ]

    for rule, accent in {"C1": 3, "C2": 3, "C3": 2, "C4": 0, "-1": 9}.items():
        found = words()
        accent_numbers(found, lambda alone: [], {"個": rule})
        assert found[0]["acc"] == accent
    longer = [*words(), {**words()[1], "string": "半"}]
    accent_numbers(longer, lambda alone: [], {"個": "C3"})
    assert longer[0]["acc"] == 9


@needs_open_jtalk
def test_a_missing_user_dictionary_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="user dictionary"):
        ja.use_dictionary(tmp_path / "none.csv", tmp_path / "none.dic")


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyopenjtalk", None)
    ja._open_jtalk.cache_clear()
    try:
        with pytest.raises(UsageError, match=r"kouji\[ja\]"):
            ja.phonemize("はい")
    finally:
        ja._open_jtalk.cache_clear()
