"""Text in pieces: nothing is lost, whatever is cut where; sentences come out when complete."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest

from kouji.text.sentences import MAX_CHARACTERS, SentenceBuffer

TEXT = (
    'Hello, Dr. Smith. I paid 3.14 dollars! "Really?" 你好。今天[hao4]好！<strong>Not here. No'
    "</strong> yes. 1. First item. Go\n😀 ok. e.g. this one. [break 0.5s] End? U.S. trade… fine"
)
SENTENCES = [
    "Hello, Dr. Smith. ", "I paid 3.14 dollars! ", '"Really?" ', "你好。", "今天[hao4]好！",
    "<strong>Not here. No</strong> yes. ", "1. First item. ", "Go\n", "😀 ok. e.g. this one. ",
    "[break 0.5s] End? ", "U.S. trade… ",
]  # fmt: skip


def halves(text: str) -> list[str]:
    """The text in units of UTF-16, as some clients send it."""
    data = text.encode("utf-16-le")
    units = (data[place : place + 2] for place in range(0, len(data), 2))
    return [unit.decode("utf-16-le", "surrogatepass") for unit in units]


@pytest.mark.parametrize("seed", range(40))
def test_the_cut_of_the_pieces_does_not_matter(seed: int) -> None:
    draw, buffer, units = random.Random(seed), SentenceBuffer(), halves(TEXT)
    found: list[str] = []
    while units:
        num_units = draw.randint(1, 9)
        found += buffer.add("".join(units[:num_units]))
        del units[:num_units]
    assert found == SENTENCES
    assert "".join(found) + buffer.flush() == TEXT


def test_a_sentence_comes_out_as_soon_as_it_is_complete() -> None:
    buffer = SentenceBuffer()
    assert buffer.add("你好。") == ["你好。"]
    assert buffer.add("Yes! ") == []  # a quote or another mark might follow
    assert buffer.add("A") == ["Yes! "]
    assert buffer.add("nd so.") == []
    assert buffer.flush() == "And so."
    assert buffer.flush() == ""


def test_ssml_and_open_marks_are_kept_whole() -> None:
    buffer = SentenceBuffer()
    assert buffer.add("<spe") == []
    assert buffer.add("ak>Hi. There! You.</speak>") == []
    assert buffer.flush() == "<speak>Hi. There! You.</speak>"
    assert buffer.add("<laughter>Ha! Ha! Yes") == []
    assert buffer.add("</laughter> so. No") == ["<laughter>Ha! Ha! Yes</laughter> so. "]


def test_a_sentence_without_end_is_cut_between_words() -> None:
    buffer = SentenceBuffer()
    found = buffer.add("word " * 200)
    assert all(len(each) <= MAX_CHARACTERS and each.endswith(" ") for each in found)
    assert "".join(found) + buffer.flush() == "word " * 200


@pytest.mark.parametrize(
    "text", ["a" * 2000 + " x. A" * 400, "。" * 4000, "a. " * 1300, "<a" + "-a" * 2000, "…" * 4000]
)
def test_a_hostile_text_costs_few_steps(text: str) -> None:
    """A socket's texts are cut on the event loop; the first took 19 s there."""
    script = (
        "import sys, resource\n"
        "from kouji.text.sentences import SentenceBuffer\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (10, 10))\n"
        f"text, buffer = {text!r}, SentenceBuffer()\n"
        "assert ''.join(buffer.add(text)) + buffer.flush() == text\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_half_a_character_alone_is_replaced() -> None:
    buffer = SentenceBuffer()
    assert buffer.add("a\ud83d") == []
    assert buffer.flush() == "a\ufffd"
    assert buffer.add("b\ude00。") == ["b\ufffd。"]


@pytest.mark.parametrize("seed", range(5))
def test_what_waits_belongs_to_one_sentence_where_cuts_are_made_behind(seed: int) -> None:
    """Whoever reads along, as text comes, has read nothing of the next sentence."""
    text = ("word, " * 120) + "The end. And " + "more  " * 150 + TEXT
    draw, buffer, place = random.Random(seed), SentenceBuffer(cuts_behind=True), 0
    found, read = [""], [""]
    while place < len(text):
        count = draw.randint(1, 9)
        for sentence in buffer.add(text[place : place + count]):
            assert sentence.startswith(read[-1])
            found[-1] = sentence
            found.append("")
            read.append("")
        read[-1] = buffer.rest
        place += count
    found[-1] = buffer.flush()
    assert "".join(found) == text
    whole = SentenceBuffer(cuts_behind=True)
    assert found[:-1] == whole.add(text), "wherever the pieces are cut"
    assert max(map(len, found)) < MAX_CHARACTERS + 20


@pytest.mark.parametrize("cuts_behind", [True, False])
def test_long_sentences_are_cut_alike_however_they_come(cuts_behind: bool) -> None:
    text = "some words, and " * 60 + "an end. " + "x" * 500 + " then more. " + TEXT
    whole = SentenceBuffer(cuts_behind=cuts_behind).add(text)
    for size in (1, 3, 50, 405):
        buffer, found = SentenceBuffer(cuts_behind=cuts_behind), []
        for place in range(0, len(text), size):
            found += buffer.add(text[place : place + size])
        assert found == whole
