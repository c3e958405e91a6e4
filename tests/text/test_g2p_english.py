"""English g2p: dictionary, heteronyms, derived words, unknown words, letters."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kouji.text.g2p import english
from kouji.text.phones import SYMBOL_IDS


def say(word: str, pos: str | None = None) -> str:
    return " ".join(map(str, english.word_to_phones(word, pos)))


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("bird", "B ER1 D"),
        ("Bird", "B ER1 D"),
        ("CHURCH", "CH ER1 CH"),
        ("measure", "M EH1 ZH ER0"),
        ("kouji", "K OW1 JH IY0"),
        ("don't", "D OW1 N T"),
        ("don’t", "D OW1 N T"),
        ("café", "K AE0 F EY1"),
    ],
)
def test_known_words(word, phones):
    assert say(word) == phones


@pytest.mark.parametrize(
    ("word", "pos", "phones"),
    [
        ("record", "NN", "R EH1 K ER0 D"),
        ("record", "VB", "R IH0 K AO1 R D"),
        ("read", "VB", "R IY1 D"),
        ("read", "VBD", "R EH1 D"),
        ("read", "VBN", "R EH1 D"),
        ("live", "JJ", "L AY1 V"),
        ("live", "VBP", "L IH1 V"),
    ],
)
def test_heteronyms_follow_the_part_of_speech(word, pos, phones):
    assert say(word, pos) == phones


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("smartphone's", "S M AA1 R T F OW2 N Z"),
        ("kouji's", "K OW1 JH IY0 Z"),
        ("fbi's", ""),
    ],
)
def test_derived_words_keep_the_sound_of_their_base(word, phones):
    assert say(word).startswith(phones)


def test_letters_are_named():
    assert " ".join(map(str, english.spell("FBI"))) == "EH1 F B IY1 AY1"
    assert english.spell("?") == ()


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz'", max_size=30))
def test_any_string_of_letters_has_phones(word):
    phones = english.word_to_phones(word)
    assert all(phone.symbol in SYMBOL_IDS for phone in phones)
    assert bool(phones) == any("a" <= letter <= "z" for letter in word)
