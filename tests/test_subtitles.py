"""Subtitles: every word once, in readable cues, in three formats."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kouji.errors import UsageError
from kouji.subtitles import (
    group_words,
    join_words,
    punctuate,
    save_subtitles,
    to_json,
    to_srt,
    to_vtt,
)
from kouji.types import Timing


def timed(text: str, step: float = 0.3) -> list[Timing]:
    """Words spoken one after the other without pauses."""
    return [
        Timing(word, index * step, (index + 1) * step) for index, word in enumerate(text.split())
    ]


def test_words_join_as_each_script_wants() -> None:
    assert (
        join_words(timed("这 是 Kouji speaking in 你 的 声音")) == "这是Kouji speaking in你的声音"
    )
    assert join_words(timed("well , yes")) == "well, yes"


def test_a_pause_starts_a_cue() -> None:
    words = [Timing("one", 0.0, 0.4), Timing("two", 0.5, 0.9), Timing("three", 2.0, 2.5)]
    assert [cue.text for cue in group_words(words)] == ["one two", "three"]


def test_short_cues_stay_until_the_next() -> None:
    words = [Timing("a", 0.0, 0.1), Timing("b", 0.6, 0.7), Timing("c", 3.0, 3.1)]
    assert [(cue.start, round(cue.end, 3)) for cue in group_words(words)] == [
        (0.0, 0.6),
        (0.6, 1.4),
        (3.0, 3.8),
    ]


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1),
            st.floats(0, 1),
            st.floats(0.01, 1),
        )
    )
)
def test_no_word_is_lost_and_cues_never_overlap(parts: list[tuple[str, float, float]]) -> None:
    words, now = [], 0.0
    for text, gap, seconds in parts:
        start = now + gap
        now = start + seconds
        words.append(Timing(text, start, now))
    cues = group_words(words)
    spoken = "".join(char for cue in cues for char in cue.text if not char.isspace())
    assert spoken == "".join(word.text for word in words)
    for cue, following in pairwise(cues):
        assert cue.start <= cue.end <= following.start
    for cue in cues:
        assert cue.end - cue.start <= 6.0 + 1e-9


def test_cues_carry_the_punctuation_of_the_text() -> None:
    text = '你好，这是 Kouji。"Yes," she[h][ào] said (twice). [break 1s] End'
    words = timed("你好 这是 Kouji Yes she said twice beyond End")
    told = [word.text for word in punctuate(words, text)]
    assert told == [
        "你好，",
        "这是",
        "Kouji。",
        '"Yes,"',
        "she",
        "said",
        "(twice).",
        "beyond",
        "End",
    ]
    assert [cue.text for cue in group_words(punctuate(words, text))] == [
        "你好，这是Kouji。",  # a sentence ends a cue
        '"Yes," she said (twice).',
        "beyond End",
    ]
    assert json.loads(to_json(words, text=text))["words"][0]["text"] == "你好"


def test_long_text_is_cut_to_lines() -> None:
    cues = group_words(timed("words " * 100))
    assert len(cues) > 5
    assert max(len(cue.text) for cue in cues) <= 42


def test_srt() -> None:
    text = to_srt([Timing("你好", 0.0, 1.0), Timing("world", 3661.5, 3662.75)])
    assert text == (
        "1\n00:00:00,000 --> 00:00:01,000\n你好\n\n2\n01:01:01,500 --> 01:01:02,750\nworld\n"
    )


def test_vtt_escapes() -> None:
    text = to_vtt([Timing("<a&b>", 0.0, 1.0)])
    assert text == "WEBVTT\n\n00:00:00.000 --> 00:00:01.000\n&lt;a&amp;b&gt;\n"
    assert to_vtt([]) == "WEBVTT\n"


def test_json_holds_everything() -> None:
    content = json.loads(to_json(timed("one two"), [Timing("W", 0.0, 0.1)]))
    assert content["words"][1] == {"text": "two", "start": 0.3, "end": 0.6}
    assert content["phones"] == [{"text": "W", "start": 0.0, "end": 0.1}]
    assert content["cues"][0]["text"] == "one two"


def test_files_are_whole_and_named_by_format(tmp_path: Path) -> None:
    for suffix in ("srt", "VTT", "json"):
        save_subtitles(tmp_path / f"out.{suffix}", timed("你好 world"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.VTT", "out.json", "out.srt"]
    with pytest.raises(UsageError, match=r"\.srt, \.vtt, \.json"):
        save_subtitles(tmp_path / "out.ass", [])
    with pytest.raises(UsageError, match="cannot write"):
        save_subtitles(tmp_path / "missing" / "out.srt", [])
