"""Cutting a text into segments: as the official methods do, and without their losses."""

from __future__ import annotations

from typing import Any

import pytest

from kouji.errors import TextError, UsageError
from kouji.models.gpt_sovits.cut import (
    MAX_CHARACTERS,
    METHODS,
    close,
    collapse_punctuation,
    cut,
    merge_short,
    pre_segment,
    split_long,
)


@pytest.fixture(scope="module")
def goldens(text_goldens: Any) -> Any:
    return text_goldens


def test_every_golden_cut(goldens: Any) -> None:
    for case in goldens["cut"]:
        seen = (case["method"], case["text"])
        assert cut(case["text"], case["method"]) == case.get("cut", ""), seen
        if "replace_consecutive_punctuation" in case:
            collapsed = collapse_punctuation(case["text"])
            assert collapsed == case["replace_consecutive_punctuation"], seen


@pytest.mark.parametrize("language", ["zh", "en"])
def test_every_golden_segmentation(goldens: Any, language: str) -> None:
    for case in goldens["cut"]:
        if f"pre_seg_{language}_error" in case:
            with pytest.raises(TextError):
                pre_segment(case["text"], language, case["method"])
        elif f"pre_seg_{language}" in case:
            segments = pre_segment(case["text"], language, case["method"])
            assert segments == case[f"pre_seg_{language}"], (case["method"], case["text"])


def test_every_golden_merge(goldens: Any) -> None:
    for case in goldens["merge_short"]:
        assert merge_short(case["texts"], case["threshold"]) == case["result"]


LONG = "很久很久以前有一座山。山上有一座庙，庙里有个老和尚！他在讲什么？他在讲故事。完。"


@pytest.mark.parametrize("method", METHODS)
def test_without_compat_no_character_is_lost(method: str) -> None:
    pieces = cut(LONG, method, compat=False).replace("\n", "")
    assert pieces == LONG


def test_without_compat_every_group_has_four_clauses() -> None:
    text = "一，二，三，四，五，六，七，八，九。"
    assert cut(text, "cut1", compat=False) == "一，二，三，四，\n五，六，七，八，\n九。"


def test_full_stops_in_numbers_do_not_cut() -> None:
    assert cut("It is 3.14. Good.", "cut4", compat=False) == "It is 3.14. Good."
    assert cut("So. It is. Good.", "cut4", compat=False) == "So.\n It is.\n Good."
    assert cut("It is 3.14, good.", "cut5") == "It is 3.14,\n good."


def test_a_stretch_without_marks_is_cut_at_the_limit_unless_compat() -> None:
    text = "长" * 1200 + "。"
    pieces = pre_segment(text, "zh", "cut5", compat=False)
    assert [len(piece) for piece in pieces] == [MAX_CHARACTERS, MAX_CHARACTERS, 181]
    assert "".join(pre_segment(text, "zh", "cut5")) == text


def test_long_pieces_are_cut_at_marks() -> None:
    text = "一二三，四五六。七八九！"
    assert split_long(text, hard=False, limit=8) == ["一二三，四五六。", "七八九！"]


def test_nothing_and_marks_only() -> None:
    assert pre_segment("\n\n", "zh", "cut5") == []
    assert pre_segment("，。！？", "zh", "cut3") == []
    with pytest.raises(TextError, match="nothing to speak"):
        pre_segment("……", "zh", "cut5")


def test_a_reference_gets_a_stop() -> None:
    assert close("\n你好\n", "zh") == "你好。"
    assert close("Hello", "en") == "Hello."
    assert close("Hello!", "en") == "Hello!"


def test_unknown_methods_are_refused() -> None:
    with pytest.raises(UsageError, match="cut0"):
        cut("你好", "cut9")
