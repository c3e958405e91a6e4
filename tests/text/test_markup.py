"""Control marks: what they become, where they stand, and how wrong ones are refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kouji.errors import MarkError
from kouji.text.markup import EVENTS, Break, Event, Phonetic, Plain, parse


def phones(piece: Phonetic) -> str:
    return " ".join(str(phone) for syllable in piece.syllables for phone in syllable)


def only_phonetic(text: str) -> list[Phonetic]:
    pieces = parse(text)
    assert all(isinstance(piece, Phonetic) for piece in pieces)
    return [piece for piece in pieces if isinstance(piece, Phonetic)]


@pytest.mark.parametrize(
    ("mark", "sounds"),
    [
        ("[h][ào]", ["h ao4"]),
        ("[hào]", ["h ao4"]),
        ("[hao4]", ["h ao4"]),
        ("[hao]", ["h ao5"]),
        ("[h][ao]", ["h ao5"]),
        ("[zh][uàng]", ["zh uang4"]),
        ("[l][ǜ]", ["l v4"]),
        ("[l][vè]", ["l ve4"]),
        ("[j][ǔ]", ["j v3"]),
        ("[y][uán]", ["van2"]),
        ("[w][ǒ]", ["uo3"]),
        ("[ér]", ["er2"]),
        ("[huar1]", ["h ua1 rr1"]),
        ("[n][ǐ][h][ǎo]", ["n i3", "h ao3"]),
        ("[ni3][hao3]", ["n i3", "h ao3"]),
        ("[nǐ hǎo]", ["n i3 h ao3"]),
        ("[ha\u030co]", ["h ao3"]),
        ("[K][L][EH1][R]", ["K L EH1 R"]),
        ("[K L EH1 R]", ["K L EH1 R"]),
        ("[k l eh1 r]", ["K L EH1 R"]),
        ("[k l ɛ r]", ["K L EH1 R"]),
        ("[k][l][ɛ][r]", ["K L EH1 R"]),
        ("[klɛɹ]", ["K L EH1 R"]),
        ("[ˈwɔtɚ]", ["W AO1 T ER0"]),
        ("[ t ə ˈm eɪ t oʊ ]", ["T AH0 M EY1 T OW0"]),
        ("[tʃ ɝ tʃ]", ["CH ER1 CH"]),
        ("[AH0]", ["AH0"]),
    ],
)
def test_sounds_may_be_written_in_many_ways(mark, sounds):
    assert [phones(piece) for piece in only_phonetic(mark)] == sounds


def test_spans_cover_the_marks():
    pieces = parse("她[h][ào]干净")
    assert [(piece.text, *_span(piece)) for piece in pieces] == [
        ("她", 0, 1),
        ("hào", 1, 8),
        ("干净", 8, 10),
    ]


def _span(piece):
    return piece.span(0, len(piece.text)) if isinstance(piece, Plain) else (piece.start, piece.end)


@pytest.mark.parametrize(
    ("mark", "seconds"),
    [("[break 0.5s]", 0.5), ("[break 500ms]", 0.5), ("[break 2 s]", 2.0), ("[BREAK 1s]", 1.0)],
)
def test_breaks(mark, seconds):
    assert parse(f"a{mark}b")[1] == Break(seconds, 1, 1 + len(mark))


@pytest.mark.parametrize("name", EVENTS)
def test_events(name):
    assert parse(f"a [{name}] b")[1] == Event(name, 2, 4 + len(name))


def test_scopes_set_prosody_of_what_they_enclose():
    pieces = parse("a <strong>b <laughter>c</laughter></strong> d")
    assert [(p.text.strip(), p.prosody.strong, p.prosody.laughing) for p in pieces] == [
        ("a", False, False),
        ("b", True, False),
        ("c", True, True),
        ("d", False, False),
    ]


def test_escapes_are_plain_signs_with_the_span_of_both():
    (piece,) = parse(r"see \[1\] \<b\> \\")
    assert piece.text == "see [1] <b> \\"
    assert piece.span(4, 5) == (4, 6)


@pytest.mark.parametrize("text", ["a < b", "1<2>0", "x > y", "3 <5", "]", r"C:\dir", "mail <a@b.c"])
def test_lone_signs_are_no_marks(text):
    assert [piece.text for piece in parse(text)] == [text]


@pytest.mark.parametrize(
    ("text", "start", "message"),
    [
        ("ab[1]", 2, r"unknown mark.*\[1\].*allowed.*pinyin.*break.*\\\["),
        ("如[见图]", 1, r"unknown mark"),
        ("她[hao9]", 1, "no sound"),
        ("她[h]干净", 1, "no sound"),
        ("x [hello]", 2, "no sound"),
        ("x [K][QQ]", 5, "no sound"),
        ("x [eh9 r]", 2, "no sound"),
        ("x []", 2, "unknown mark"),
        ("a [break]", 2, r"break.*\[break 0.5s\]"),
        ("a [break 99s]", 2, "up to 10 s"),
        ("a [break soon]", 2, "break"),
        ("abc[hào", 3, "never closed"),
        ("a [x [y]", 2, "never closed"),
        ("a <strong>b", 2, "never closed"),
        ("a </strong>", 2, "closes nothing"),
        ("<strong><laughter>a</strong></laughter>", 19, "closes nothing"),
        ("a <b>c</b>", 2, "unknown tag.*<strong>"),
        ("a <strong x=1>", 2, "unknown tag"),
        ("<|endofprompt|>", 0, "model tokens"),
    ],
)
def test_wrong_marks_show_where_and_what_is_allowed(text, start, message):
    with pytest.raises(MarkError, match=message) as caught:
        parse(text)
    assert caught.value.start == start
    assert start < caught.value.end <= len(text)
    assert caught.value.allowed


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="[]<>\\/ab1 hǎoK好strong-break0.5s", max_size=40))
def test_any_text_is_pieces_or_a_mark_error(text):
    try:
        pieces = parse(text)
    except MarkError as error:
        spans = [(error.start, max(error.end, error.start + 1))]
    else:
        spans = [_span(piece) for piece in pieces]
    assert spans == sorted(spans)
    assert all(0 <= start < end <= len(text) for start, end in spans)
