"""Which language a piece of text is spoken in: the official procedure, and our splitter."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kouji.errors import UsageError
from kouji.models.gpt_sovits.text.languages import MODES, check_mode, decide, segment
from kouji.models.gpt_sovits.text.spans import Piece, split_by_script


@pytest.fixture(scope="module")
def goldens(text_goldens: Any) -> Any:
    return text_goldens["lang_segments"]


def test_every_golden_from_the_recorded_split(goldens: Any) -> None:
    for case in goldens:
        pieces = [Piece(*each) for each in case["split_lang_output"]]
        decided = decide(pieces, case["default_lang"] or None)
        assert [list(piece) for piece in decided] == case["result"], (case["text"], decided)


def test_the_recorded_split_makes_up_the_text(goldens: Any) -> None:
    for case in goldens:
        pieces = split_by_script(case["text"], compat=True)
        assert "".join(piece.text for piece in pieces) == case["text"]


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("今天是2024年，Hello!", [("zh", "今天是2024年，"), ("en", "Hello!")]),
        ("私は学生です。東京。", [("ja", "私は学生です。東京。")]),
        ("你也喜欢まいご吗？", [("zh", "你也喜欢"), ("ja", "まいご"), ("zh", "吗？")]),
        ("東京駅", [("ja", "東京駅")]),
        ("안녕하세요 12 번", [("ko", "안녕하세요 12 번")]),
        ("气温-3°C，重25kg。", [("zh", "气温-3°C，重25kg。")]),
        ("用5G手机", [("zh", "用5"), ("en", "G"), ("zh", "手机")]),
        ("α粒子", [("zh", "α粒子")]),
        ("（5）个", [("zh", "（5）个")]),
        ("123", [("zh", "123")]),
        ("...", [("zh", "...")]),
        ("", []),
    ],
)
def test_auto_follows_the_scripts(text: str, pieces: list[tuple[str, str]]) -> None:
    assert segment(text, "auto") == [Piece(*piece) for piece in pieces]


def test_modes_decide_how_much() -> None:
    text = "你有15 apples和りんご。"
    assert segment(text, "en") == [Piece("en", text)]
    assert segment(text, "all_zh") == [
        Piece("zh", "你有15 "),
        Piece("en", "apples"),
        Piece("zh", "和りんご。"),
    ]
    assert {piece.language for piece in segment(text, "ja")} == {"en", "ja"}
    assert {piece.language for piece in segment(text, "auto_yue")} == {"yue", "en", "ja"}
    assert {piece.language for piece in segment(text, "all_yue")} == {"yue", "en"}


def test_digits_follow_the_marks_and_the_longer_neighbour() -> None:
    digits = Piece("digit", "5")
    assert decide([Piece("en", "so, "), digits, Piece("zh", "个")], None)[0].text == "so, 5"
    assert decide([Piece("en", "so,"), digits, Piece("zh", "个")], None)[1].text == "5个"
    assert decide([Piece("en", "a"), digits, Piece("zh", "，个")], None)[0].text == "a5"
    assert decide([Piece("en", "a"), digits, Piece("zh", "个人")], None)[1].text == "5个人"


def test_unknown_writing_keeps_its_hanzi_or_follows() -> None:
    assert decide([Piece("x", "да好")], None) == [Piece("zh", "好")]
    assert decide([Piece("en", "a"), Piece("x", "да")], None) == [Piece("en", "aда")]
    assert decide([Piece("x", "да"), Piece("ja", "か")], None) == [Piece("ja", "даか")]


def test_modes_of_v2_are_refused_for_v1() -> None:
    check_mode("all_ja", "v1")
    with pytest.raises(UsageError, match="all_zh"):
        check_mode("ko", "v1")
    assert set(MODES["v1"]) < set(MODES["v2"])


@given(st.text(max_size=40))
def test_our_splitter_loses_nothing(text: str) -> None:
    for compat in (True, False):
        assert "".join(piece.text for piece in split_by_script(text, compat=compat)) == text
