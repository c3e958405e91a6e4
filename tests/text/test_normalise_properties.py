"""Properties of normalisation that hold for any Unicode text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kouji.text.normalise import Normalised, normalise

ANY = st.text(st.characters(), max_size=60)
MARKS = st.text(
    st.sampled_from(
        [
            *"0123456789.,:/-~%$€£¥+−×÷=²½℃°#@&'’\"()（）年月日点分秒个第万元kmghGBVIX aStAMpm\n ",
            *"\ufe0f\u200d\u0301👨👩🏽🇨１Ａﬁ،Ⅳ①é",
        ]
    ),
    max_size=40,
)


def check_accounting(text: str, result: Normalised) -> None:
    covered = [char.isspace() for char in text]
    for part in (*result.items, *result.dropped):
        assert 0 <= part.start < part.end <= len(text)
        covered[part.start : part.end] = [True] * (part.end - part.start)
    assert all(covered), [(i, text[i]) for i, seen in enumerate(covered) if not seen]
    for drop in result.dropped:
        assert drop.reason
        assert drop.text == text[drop.start : drop.end]
    starts = [item.start for item in result.items]
    assert starts == sorted(starts)


def check_spoken(result: Normalised) -> None:
    for item in result.items:
        if item.kind == "pause":
            assert item.text in {",", ".", "?", "!"}
        elif item.kind == "letters":
            assert re.fullmatch("[A-Z]+", item.text)
            assert item.language == "en"
        elif item.language == "en":
            assert re.fullmatch("[A-Za-z]+(?:'[A-Za-z]+)*'?", item.text), item
        else:
            assert re.fullmatch("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]+", item.text)


@settings(max_examples=500, deadline=None)
@given(st.one_of(ANY, MARKS, st.text(max_size=40)))
def test_every_character_is_accounted_for_and_speech_is_plain(text: str) -> None:
    result = normalise(text)
    check_accounting(text, result)
    check_spoken(result)


def flatten(result: Normalised) -> list[str]:
    """The spoken words, letters and hanzi one by one, without pauses."""
    words: list[str] = []
    for item in result.items:
        if item.kind != "pause":
            is_split = item.kind == "letters" or item.language == "zh"
            words += list(item.text.lower()) if is_split else [item.text.lower()]
    return words


GOLDEN = [
    (line.split("\t")[0], language)
    for language in ("zh", "en")
    for line in (Path(__file__).parent / "data" / f"normalise_{language}.tsv")
    .read_text(encoding="utf-8")
    .splitlines()
]


def test_spoken_form_is_read_as_it_is() -> None:
    for text, language in GOLDEN:
        first = normalise(text, language=language)
        again = normalise(first.spoken_form, language=language)
        assert flatten(again) == flatten(first), text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from([text for text, _ in GOLDEN]), min_size=2, max_size=4))
def test_sentences_put_together_stay_accounted_for(texts: list[str]) -> None:
    text = "".join(texts)
    result = normalise(text)
    check_accounting(text, result)
    check_spoken(result)


@pytest.mark.parametrize(
    "text",
    [
        "\ud800 lone", "👨‍👩‍👧‍👦 👍🏽 🏳️‍🌈 1️⃣ 🇨🇳", "‏שלום‎ مرحبا", "e\u0301 x\u0301\u0302 \u0301",
        "ﷺ ﬁ ㎏ Ⅷ ㈱ ㊙", "\x00\x07\x1b\ufeff\u200b", "1" * 5000, "(" * 3000, "a.b" * 1000,
        "1+" * 1500, "-" * 3000, "/a" * 1500, "1-" * 1500, "1:" * 1500, "٣٫٥ १२३", "",
    ],
    ids=lambda text: ascii(text[:12]),
)  # fmt: skip
def test_odd_texts(text: str) -> None:
    result = normalise(text)
    check_accounting(text, result)
    check_spoken(result)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("привет", "unsupported script: Cyrillic"),
        ("ひらがな", "unsupported script: Hiragana"),
        ("한국", "unsupported script: Hangul"),
        ("😶", "emoji"),
        ("\u200b", "invisible character"),
        ("“", "silent"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_reasons(text: str, reason: str) -> None:
    assert [drop.reason for drop in normalise(text).dropped] == [reason]


def test_hanzi_keep_one_offset_per_character() -> None:
    text = "a 你好，123世界"
    result = normalise(text)
    for item in result.items:
        if item.language == "zh" and item.kind == "word" and not item.text.startswith("一"):
            assert text[item.start : item.end] == item.text
    number = next(item for item in result.items if item.text == "一百二十三")
    assert text[number.start : number.end] == "123"
