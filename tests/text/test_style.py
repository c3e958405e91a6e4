"""Styles in plain words: what is moved, in which direction, by how much."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kouji.errors import StyleError
from kouji.text.style import Style, parse_style
from kouji.text.style_words import DIALECTS, MOODS

# (text, direction of rate, pitch and energy, emotion, dialect)
TABLE = [
    ("用兴奋的语气，慢一点", "-++", "excited", None),
    ("sad and slow", "---", "sad", None),
    ("四川话", "000", None, "sichuan"),
    ("excited, a bit faster", "+++", "excited", None),
    ("whisper", "---", "whisper", None),
    ("very loud, low pitch", "0-+", None, None),
    ("像老人一样", "---", "elderly", None),
    ("not too fast", "-00", None, None),
    ("别太快", "-00", None, None),
    ("不要太慢", "+00", None, None),
    ("not so loud", "00-", None, None),
    ("稍微快一点", "+00", None, None),
    ("非常悲伤地说", "---", "sad", None),
    ("用粤语说，开心一点", "+++", "happy", "cantonese"),
    ("in a cheerful voice, slightly slower", "-++", "happy", None),
    ("speak in Cantonese", "000", None, "cantonese"),
    ("extremely angry", "+++", "angry", None),
    ("quite calm but loud", "--+", "calm", None),
    ("音量小一点", "00-", None, None),
    ("音调高一些，语速加快", "++0", None, None),
    ("raise the pitch a little", "0+0", None, None),
    ("lower the volume", "00-", None, None),
    ("不要那么激动", "000", None, None),
    ("not sad", "000", None, None),
    ("不高兴", "000", None, None),
    ("deep voice, slowly", "--0", None, None),
    ("温柔地，慢慢地说", "-+-", "gentle", None),
    ("use a Northeastern accent", "000", None, "dongbei"),
    ("普通话", "000", None, None),
    ("用东北话，非常激动，快一点", "+++", "excited", "dongbei"),
    ("speak like a news anchor", "+0+", "newsreader", None),
    ("语速慢", "-00", None, None),
    ("声音大一点", "00+", None, None),
    ("小声点", "00-", None, None),
    ("a little sad and a little quiet", "---", "sad", None),
    ("much slower", "-00", None, None),
    ("as fast as possible", "+00", None, None),
    ("slow down", "-00", None, None),
    ("Speed up!", "+00", None, None),
    ("speak up", "00+", None, None),
    ("talk softly and gently", "-+-", "gentle", None),
    ("语气平静，语速稍慢", "---", "calm", None),
    ("声音低沉，速度放慢", "--0", None, None),
    ("more energetic", "+++", "excited", None),
    ("less excited", "000", None, None),
    ("pitch up, speed down", "-+0", None, None),
    ("请用上海话，大声地说", "00+", None, "shanghai"),
    ("以紧张的口吻快速地说", "++0", "nervous", None),
    ("悄悄地说", "---", "whisper", None),
    ("in a Sichuan dialect, happily", "+++", "happy", "sichuan"),
    ("calm, then angry", "+++", "angry", None),
    ("快，慢", "-00", None, None),
    ("slightly faster than normal", "+00", None, None),
    ("带点忧伤", "---", "sad", None),
    ("语速快一点，音调低一点", "+-0", None, None),
    ("in a monotone", "000", "robot", None),
    ("a little less loud", "00-", None, None),
    ("语速适中，情绪饱满", "000", None, None),
]


def direction(value: float) -> str:
    return "0" if abs(value) < 1e-6 else "+" if value > 0 else "-"


@pytest.mark.parametrize(("text", "moves", "emotion", "dialect"), TABLE)
def test_words_move_the_right_way(text, moves, emotion, dialect):
    style = parse_style(text)
    found = "".join(map(direction, (style.rate - 1, style.pitch_semitones, style.energy_db)))
    assert (found, style.emotion, style.dialect) == (moves, emotion, dialect)
    assert style.unknown == ()
    assert style.text == text


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("1.2x", "rate", 1.2),
        ("rate 0.8", "rate", 0.8),
        ("speed: 1.5", "rate", 1.5),
        ("语速1.5倍", "rate", 1.5),
        ("1.25倍速", "rate", 1.25),
        ("两倍速", "rate", 2.0),
        ("一点五倍速", "rate", 1.5),
        ("语速 80%", "rate", 0.8),
        ("20% faster", "rate", 1.2),
        ("slower by 25%", "rate", 0.75),
        ("half speed", "rate", 0.5),
        ("速度快一倍", "rate", 2.0),
        ("+2 semitones", "pitch_semitones", 2.0),
        ("3 semitones lower", "pitch_semitones", -3.0),
        ("低2个半音", "pitch_semitones", -2.0),
        ("高两个半音", "pitch_semitones", 2.0),
        ("-6 dB", "energy_db", -6.0),
        ("pitch +3", "pitch_semitones", 3.0),
        ("音调-2", "pitch_semitones", -2.0),
        ("rate=1.3, pitch=+2st", "rate", 1.3),
        ("speed 120%", "rate", 1.2),
        ("happy, 0.9x", "rate", 0.9),
    ],
)
def test_numbers_are_taken_as_given(text, field, value):
    style = parse_style(text)
    assert getattr(style, field) == pytest.approx(value)
    assert style.unknown == ()


@pytest.mark.parametrize(
    ("weak", "plain", "strong"),
    [
        ("a bit faster", "faster", "much faster"),
        ("稍微快一点", "快", "非常快"),
        ("slightly louder", "louder", "extremely loud"),
        ("有点兴奋", "兴奋", "特别兴奋"),
        ("fairly happy", "happy", "very happy"),
    ],
)
def test_degrees_order_the_effect(weak, plain, strong):
    sizes = [
        (style.rate - 1) + style.energy_db + style.pitch_semitones
        for style in map(parse_style, (weak, plain, strong))
    ]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3


def test_negated_speed_is_milder_than_its_opposite():
    assert parse_style("slow").rate < parse_style("not too fast").rate < 1


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_every_dialect_is_known_by_each_of_its_names(name):
    for word in DIALECTS[name].split():
        assert parse_style(f"用{word}说").dialect == name if not word.isascii() else True
        assert parse_style(word).dialect == name
        if word.isascii():
            assert parse_style(f"speak in {word.title()} dialect").dialect == name


def test_there_are_enough_dialects():
    assert len(DIALECTS) >= 18


@pytest.mark.parametrize("name", sorted(MOODS))
def test_every_mood_is_known_by_each_of_its_words(name):
    for word in MOODS[name][1].split():
        assert parse_style(word.replace("_", " ")).emotion == name


def test_what_is_not_understood_is_listed():
    assert parse_style("blorp fnord").unknown == ("blorp fnord",)
    assert parse_style("happy like a zebra").unknown == ("zebra",)
    assert parse_style("像机器猫一样").unknown == ("机器猫",)


def test_no_words_no_style():
    assert parse_style("") == Style()


@pytest.mark.parametrize("text", ["9x", "rate 0.1", "+40 semitones", "语速10倍", "+50 dB"])
def test_numbers_out_of_range_are_refused(text):
    with pytest.raises(StyleError, match="out of range"):
        parse_style(text)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text):
    try:
        style = parse_style(text)
    except StyleError:
        return
    assert 0.5 <= style.rate <= 2.0
