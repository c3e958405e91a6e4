"""English g2p: dictionary, heteronyms, derived words, unknown words, letters."""

import sqlite3

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kouji.text.g2p import english, pos
from kouji.text.g2p.arpabet import read_ipa
from kouji.text.g2p.lexicon import data_folder, english_lexicon
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
        ("couldn't've", "K UH1 D AH0 N T AH0 V"),
        ("tokenizers", "T OW1 K AH0 N AY2 Z ER0 Z"),
        ("googled", "G UW1 G AH0 L D"),
        ("retweeted", "R IY0"),
        ("chatbots", "CH AE1 T B"),
    ],
)
def test_derived_words_keep_the_sound_of_their_base(word, phones):
    assert say(word).startswith(phones)


def test_letters_are_named():
    assert " ".join(map(str, english.spell("FBI"))) == "EH1 F B IY1 AY1"
    assert english.spell("?") == ()


@settings(deadline=None)
@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz'", max_size=30))
def test_any_string_of_letters_has_phones(word):
    phones = english.word_to_phones(word)
    assert all(phone.symbol in SYMBOL_IDS for phone in phones)
    assert bool(phones) == any("a" <= letter <= "z" for letter in word)


def test_every_sound_of_the_dictionary_has_phones():
    database = sqlite3.connect(data_folder() / "lexicon.db")
    rows = database.execute("SELECT phonemes FROM word_phonemes").fetchall()
    database.close()
    sounds = {sound for (ipa,) in rows for sound in ipa.split()}
    assert len(rows) > 100_000
    assert [sound for sound in sounds if read_ipa(sound) is None] == []


def test_words_are_found_by_bisection():
    database = sqlite3.connect(data_folder() / "lexicon.db")
    rows = database.execute("SELECT word FROM word_phonemes WHERE id % 997 = 0").fetchall()
    database.close()
    missing = [word for (word,) in rows if not english_lexicon().entries(word)]
    assert missing == []


@pytest.mark.parametrize(
    ("sentence", "index", "found"),
    [
        ("I will record a song .", 2, "VB"),
        ("a new record was set", 2, "NN"),
        ("she read the book yesterday", 1, "VBD"),
        ("he has read the book", 2, "VBN"),
        ("to live is good", 1, "VB"),
    ],
)
def test_parts_of_speech(sentence, index, found):
    assert pos.tag(sentence.split())[index] == found
