"""Splitting: nothing lost, order kept, limits respected, protected spans whole."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kouji.errors import UsageError
from kouji.text.split import SplitLimits, split, weigh


def pieces(text, limits=None):
    return [text[start:end] for start, end in split(text, limits)]


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=400), st.sampled_from([SplitLimits(), SplitLimits(6, 20, 2)]))
def test_any_text_is_covered_once_and_in_order(text, limits):
    spans = split(text, limits)
    assert "".join(text[start:end] for start, end in spans) == text
    assert all(start < end for start, end in spans)


WORDS = st.lists(
    st.sampled_from(
        ["你好", "我们去学校", "word", "unbelievable", "42", "3.14", "，", "。", ", ", ". "]
    ),
    max_size=120,
)


@settings(max_examples=100, deadline=None)
@given(WORDS)
def test_limits_are_respected(words):
    limits = SplitLimits(first_max=30, max=50, min=5)
    parts = pieces(" ".join(words), limits)
    assert all(weigh(part) <= limits.max for part in parts)
    assert weigh(parts[0]) <= limits.first_max if parts else True


def test_first_segment_is_short():
    text = "这是第一句话，后面还有很多很多的内容需要慢慢地说完，所以这一句非常长。" * 3
    parts = pieces(text)
    assert weigh(parts[0]) <= SplitLimits().first_max < weigh(text)


@pytest.mark.parametrize(
    "whole",
    [
        "3.14159",
        "1,234,567.89",
        "12:30",
        "2024-03-05",
        "“你好。再见！”",
        '"Wait. Stop!"',
        "（注：见下文。）",
        "[break 0.5s]",
        "[h][ào]",
        "[k l ɛ r]",
        "Mr. Smith",
        "25%",
    ],
)
@pytest.mark.parametrize("limits", [SplitLimits(), SplitLimits(40, 40, 1)])
def test_never_cuts_inside(whole, limits):
    text = (
        f"他说了很多话。他又说{whole}，然后就走了。They went home. {whole} is what they saw. " * 3
    )
    parts = pieces(text, limits)
    assert len(parts) > 3
    assert sum(part.count(whole) for part in parts) == 6


def test_long_sentence_is_cut_at_clauses():
    text = "我们今天早上去了公园，" * 12
    assert all(part.endswith("，") for part in pieces(text))


def test_long_run_without_punctuation_is_cut_between_words():
    text = "alpha beta gamma delta epsilon " * 40
    assert all(part.endswith(" ") for part in pieces(text))


def test_unbroken_letters_are_cut_anyway():
    parts = pieces("x" * 1000)
    assert max(map(weigh, parts)) <= SplitLimits().max


def test_short_sentences_are_joined():
    assert all(weigh(part) >= 12 for part in pieces("好。" * 40)[1:])


def test_impossible_limits_are_refused():
    with pytest.raises(UsageError, match="min=9, first_max=3"):
        SplitLimits(first_max=3, max=10, min=9)
