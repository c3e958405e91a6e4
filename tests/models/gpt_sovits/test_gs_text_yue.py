"""Cantonese for GPT-SoVITS: how a syllable is cut, and the golden sentences."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import Any

import pytest

from kouji.errors import UsageError
from kouji.models.gpt_sovits.symbols import encode, symbol_ids
from kouji.models.gpt_sovits.text import yue

needs_jyutping = pytest.mark.skipif(find_spec("ToJyutping") is None, reason="needs kouji[yue]")


@needs_jyutping
def test_golden_sentences_sound_alike(text_goldens: Any) -> None:
    cases = text_goldens["yue"]
    wrong = []
    for case in cases:
        spoken = yue.phonemize(case["text"])
        assert sum(spoken.word2ph or ()) == len(spoken.phones)
        assert spoken.norm_text == case["norm_text"]
        found = (list(spoken.phones), list(spoken.word2ph or ()))
        if found != (case["phones"], case["word2ph"]):
            wrong.append(case["text"])
        else:
            assert encode(spoken.phones, "v2").tolist() == case["ids"]
    assert len(wrong) <= len(cases) // 10, wrong


@pytest.mark.parametrize(
    ("syllable", "symbols"),
    [
        ("jam1", ("Yj", "Yam1")),
        ("m4", ("Ym", "Ym4")),
        ("ng5", ("Yng", "Yg5")),
        ("ngaa4", ("Yng", "Yaa4")),
        ("aa3", ("Yaa", "Ya3")),
        ("aai3", ("Yaa", "Yi3")),
        ("gwong2", ("Ygw", "Yong2")),
        ("uk1", ("Yuk", "Yk1")),
    ],
)
def test_a_syllable_is_onset_and_toned_rest(syllable: str, symbols: tuple[str, str]) -> None:
    assert yue.split_syllable(syllable[:-1], syllable[-1]) == symbols


@needs_jyutping
def test_marks_stay_quotes_fall_and_numbers_are_read() -> None:
    spoken = yue.phonemize("「好」，3個！！")
    assert spoken.norm_text == "好,三个!!"
    assert spoken.phones[-2:] == ("!", "!")
    assert spoken.word2ph == (2, 1, 2, 2, 1, 1)
    assert set(spoken.phones) <= set(symbol_ids("v2"))


@needs_jyutping
def test_a_character_of_two_syllables_has_four_symbols() -> None:
    spoken = yue.phonemize("卅")
    assert spoken.word2ph == (4,)


def test_a_missing_library_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ToJyutping", None)
    yue._to_jyutping.cache_clear()
    try:
        with pytest.raises(UsageError, match=r"kouji\[yue\]"):
            yue.phonemize("好")
    finally:
        yue._to_jyutping.cache_clear()
