"""Properties of normalisation that hold for any Unicode text."""

from __future__ import annotations

import re

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
