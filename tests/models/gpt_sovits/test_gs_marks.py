"""Kouji's marks in texts for GPT-SoVITS."""

from __future__ import annotations

import pytest

from kouji.errors import MarkError, TextError
from kouji.models.gpt_sovits.front import Front
from kouji.models.gpt_sovits.marks import MAX_SOUNDS, read_marks


def test_pauses_part_a_text_and_sounds_stand_in_it() -> None:
    marked = read_marks("一[break 0.5s]二[h][ǎo]三 [K][AE1][T]。")
    assert [s.pause_seconds for s in marked.stretches] == [0.5, 0.0]
    second = marked.stretches[1].text
    assert list(marked.parts(second)) == ["二", ("h", "ao3"), "三 ", ("K", "AE1", "T"), "。"]
    assert marked.shown(second).startswith("二")
    assert marked.plain == "一二三 。"


@pytest.mark.parametrize(
    ("mark", "symbols"),
    [
        ("[zhi1]", ("zh", "ir1")),
        ("[si4]", ("s", "i04")),
        ("[er2]", ("EE", "er2")),
        ("[yuan2]", ("y", "van2")),
        ("[lü4]", ("l", "v4")),
        ("[qiu1]", ("q", "iu1")),
        ("[hui4]", ("h", "ui4")),
        ("[wen2]", ("w", "en2")),
        ("[a1]", ("AA", "a1")),
    ],
)
def test_given_syllables_are_the_symbols_of_written_ones(
    mark: str, symbols: tuple[str, ...]
) -> None:
    assert list(read_marks(f"好{mark}好").parts(read_marks(f"好{mark}好").stretches[0].text)) == [
        "好",
        symbols,
        "好",
    ]


def test_given_sounds_survive_the_cutting() -> None:
    marked = read_marks("今天天气真[h][ao3]，我们去公园[w][an2]吧。[hao3]")
    front = Front("v2")
    cut = front.segments(marked.stretches[0].text, "zh", "cut5")
    found = [part for piece in cut for part in marked.parts(piece) if isinstance(part, tuple)]
    assert found == [("h", "ao3"), ("w", "an2"), ("h", "ao3")]


def test_what_the_family_cannot_do_is_named() -> None:
    marked = read_marks("Well [laughter] <strong>yes</strong>.")
    assert len(marked.warnings) == 2
    assert "laughter" in marked.warnings[0]


def test_wrong_marks_and_floods_are_refused() -> None:
    with pytest.raises(MarkError):
        read_marks("a [qqq] b")
    with pytest.raises(TextError, match="too many sounds"):
        read_marks("好[a1]" * (MAX_SOUNDS + 1))
