"""Styles as instructions: the official sentences, our words, free words, unknown dialects."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kouji.errors import StyleError
from kouji.models.cosyvoice.text import instruction_words as words
from kouji.models.cosyvoice.text.instructions import check_style, instruction_of
from kouji.text.style import Style, figures_only, parse_style
from kouji.text.style_words import DIALECTS, MANNERS, MOODS


def told(text: str, version: str = "cosyvoice3") -> str | None:
    return instruction_of(parse_style(text), version)  # type: ignore[arg-type]


@pytest.mark.parametrize(("style", "instruction"), [
    ("用四川话，兴奋一点", "请用四川话，兴奋地表达。"),
    ("speak in Cantonese, excited", "请用广东话，兴奋地表达。"),
    ("粤语", "请用广东话表达。"),
    ("Hokkien", "请用闽南话表达。"),
    ("湖北话", "请用湖北话表达。"),
    ("happy", "请非常开心地说一句话。"),
    ("非常伤心", "请非常伤心地说一句话。"),
    ("angry", "请非常生气地说一句话。"),
    ("as fast as possible", words.FASTEST),
    ("非常慢", words.SLOWEST),
    ("very loud", words.LOUDEST),
    ("very softly", words.SOFTEST),
    ("快一点", "请用稍快的语速表达。"),
    ("大声", "请用较大的声音表达。"),
    ("robot", words.ROBOT),
    ("像小猪佩奇", words.PEPPA),
    ("Peppa Pig", words.PEPPA),
    ("very sad newsreader in Hokkien, slowly",
     "请用闽南话，非常伤心地，用新闻播报的语气，用较慢的语速表达。"),
    ("台湾腔", "请用台湾腔表达。"),
    ("普通话", "请用普通话表达。"),
    ("You are a helpful assistant. 请用广东话表达。<|endofprompt|>", "请用广东话表达。"),
    ("not sad", None),
    ("", None),
])  # fmt: skip
def test_known_words(style: str, instruction: str | None) -> None:
    assert told(style) == instruction


@pytest.mark.parametrize("official", words.OFFICIAL)
def test_official_sentences_stay_as_they_are(official: str) -> None:
    assert told(official) == official
    assert told(official.rstrip(".。？")) == official


@pytest.mark.parametrize("style", [
    "说话像个老师", "say it like a pirate", "with a French accent", "像电话客服一样说",
    "想象你在讲笑话", "用心里话的感觉", "happy like a zebra",
])  # fmt: skip
def test_free_words_pass_as_they_are(style: str) -> None:
    assert told(style) == style
    assert told(style, "cosyvoice2") == style


def test_version_2_is_asked_in_its_own_way() -> None:
    assert told("四川话", "cosyvoice2") == "用四川话说这句话"
    assert told("四川话，兴奋", "cosyvoice2") == "用四川话，用兴奋的语气说这句话"


@pytest.mark.parametrize("style", [
    "用火星话", "火星话", "用火星话，开心一点", "in Martian dialect", "用藏语说", "说英语",
])  # fmt: skip
def test_unknown_dialects(style: str) -> None:
    with pytest.raises(StyleError, match="does not know this dialect") as raised:
        told(style)
    assert all(name in str(raised.value) for name in words.DIALECTS.values())


def test_a_dialect_given_as_a_key() -> None:
    assert instruction_of(Style(dialect="sichuan", emotion="sad"), "cosyvoice3") == (
        "请用四川话，伤心地表达。"
    )
    with pytest.raises(StyleError):
        instruction_of(Style(dialect="klingon"), "cosyvoice3")


def test_every_word_of_ours_has_one_of_the_models() -> None:
    assert set(words.DIALECTS) == set(DIALECTS)
    assert set(words.MOODS) == set(MOODS)
    assert set(words.MANNERS) == set(MANNERS)


def test_model_tokens_in_a_style() -> None:
    assert told("like a pirate<|im_end|>") == "like a pirate"


def test_too_long_a_style() -> None:
    with pytest.raises(StyleError, match="too long"):
        told("like a very old pirate " * 30)


# --- figures


@pytest.mark.parametrize(("style", "instruction", "rate"), [
    ("speed 1.2", None, 1.2),
    ("慢一点 1.2x", None, 1.2),
    ("慢一点", "请用稍慢的语速表达。", 1.0),
    ("say it like a pirate, 1.2x", "say it like a pirate", 1.2),
    ("兴奋", "请兴奋地表达。", 1.0),
])  # fmt: skip
def test_a_rate_is_followed_once(style: str, instruction: str | None, rate: float) -> None:
    wish = parse_style(style)
    assert instruction_of(figures_only(wish), "cosyvoice3") == instruction
    assert figures_only(wish).rate == rate


def test_a_rate_on_top_of_words() -> None:
    wish = parse_style("慢一点")
    assert figures_only(replace(wish, rate=wish.rate * 1.2)).rate == pytest.approx(1.2, abs=1e-4)
    assert figures_only(Style(rate=1.3)) == Style(rate=1.3)


def test_warnings() -> None:
    assert check_style(parse_style("四川话，开心，大声"), "cosyvoice3") == ()
    assert "semitones" in check_style(parse_style("+2 semitones"), "cosyvoice3")[0]
    assert "decibels" in check_style(Style(energy_db=3.0), "cosyvoice3")[0]
    assert "台湾腔" in check_style(parse_style("台湾腔"), "cosyvoice3")[0]
