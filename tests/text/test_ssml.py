"""SSML: the subset, its offsets, and what is refused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kouji.errors import MarkError
from kouji.text.front import analyse
from kouji.text.markup import Break, Phonetic, Plain, parse
from kouji.text.units import Pause, Word


def words(text: str) -> list[Word]:
    return [
        unit
        for segment in analyse(text).segments
        for unit in segment.units
        if isinstance(unit, Word)
    ]


def spoken(text: str) -> str:
    return " ".join(word.spoken for word in words(f"<speak>{text}</speak>"))


def test_text_keeps_its_offsets():
    text = "  <speak>你好 &amp; <lang xml:lang='en'>hello</lang></speak>"
    found = {word.spoken: text[word.start : word.end] for word in words(text)}
    assert found["你好"] == "你好"
    assert found["hello"] == "hello"
    assert "&amp;" in found.values()


@pytest.mark.parametrize(
    ("attribute", "field", "value"),
    [
        ("rate='slow'", "rate", 0.75),
        ("rate='120%'", "rate", 1.2),
        ("rate='+20%'", "rate", 1.2),
        ("rate='1.5'", "rate", 1.5),
        ("pitch='+2st'", "pitch_semitones", 2.0),
        ("pitch='low'", "pitch_semitones", -3.0),
        ("pitch='+100%'", "pitch_semitones", 12.0),
        ("volume='loud'", "energy_db", 6.0),
        ("volume='-3dB'", "energy_db", -3.0),
    ],
)
def test_prosody(attribute, field, value):
    word = words(f"<speak>a <prosody {attribute}>dog</prosody></speak>")[1]
    assert getattr(word.prosody, field) == pytest.approx(value)


def test_nested_prosody_multiplies_and_ends():
    text = "<speak><prosody rate='0.5'>a<prosody rate='50%'> dog</prosody></prosody> ran</speak>"
    assert [word.prosody.rate for word in words(text)] == [0.5, 0.25, 1.0]


@pytest.mark.parametrize(
    ("ssml", "seconds"),
    [
        ("<break time='500ms'/>", 0.5),
        ("<break time='2s'/>", 2.0),
        ("<break strength='strong'/>", 0.75),
    ],
)
def test_break(ssml, seconds):
    breaks = [piece for piece in parse(f"<speak>a{ssml}b</speak>") if isinstance(piece, Break)]
    assert breaks == [Break(seconds, 8, 8 + len(ssml))]


@pytest.mark.parametrize(
    ("ssml", "phones"),
    [
        ("<phoneme alphabet='ipa' ph='təˈmeɪtoʊ'>tomato</phoneme>", "T AH0 M EY1 T OW0"),
        ("<phoneme alphabet='x-arpabet' ph='K L EH1 R'>Clair</phoneme>", "K L EH1 R"),
        ("<phoneme alphabet='pinyin' ph='hao4'>好</phoneme>", "h ao4"),
        ("<phoneme alphabet='pinyin' ph='chóng qìng'/>", "ch ong2 q ing4"),
    ],
)
def test_phoneme(ssml, phones):
    (piece,) = [p for p in parse(f"<speak>{ssml}</speak>") if isinstance(p, Phonetic)]
    assert " ".join(str(phone) for syllable in piece.syllables for phone in syllable) == phones


def test_sub_says_the_alias_for_the_span_of_the_text():
    text = "<speak>the <sub alias='World Wide Web'>WWW</sub></speak>"
    word = words(text)[1]
    assert (word.spoken, word.text) == ("World Wide Web", "WWW")


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("characters", "AB1", "A B one"),
        ("digits", "205", "two zero five"),
        ("cardinal", "21", "twenty one"),
        ("ordinal", "3", "third"),
        ("ordinal", "12", "twelfth"),
    ],
)
def test_say_as(kind, content, said):
    assert spoken(f"<say-as interpret-as='{kind}'>{content}</say-as>").replace("-", " ") == said


def test_say_as_in_chinese():
    said = spoken("我<say-as interpret-as='telephone'>110</say-as>").replace(" ", "")
    assert said in ("我110", "我幺幺零", "我one one zero".replace(" ", ""))
    chinese = "<lang xml:lang='zh-CN'><say-as interpret-as='telephone'>110</say-as></lang>"
    assert spoken(chinese).replace(" ", "") == "幺幺零"


def test_emphasis_is_strong_and_paragraphs_end_sentences():
    text = "<speak><p>one</p><s>two <emphasis>three</emphasis></s></speak>"
    units = [unit for segment in analyse(text).segments for unit in segment.units]
    assert [unit.mark for unit in units if isinstance(unit, Pause)] == [".", "."]
    assert [word.prosody.strong for word in words(text)] == [False, False, True]


def test_bracket_marks_work_inside():
    pieces = parse("<speak>她[h][ào] &lt;b&gt;</speak>")
    assert [type(piece) for piece in pieces] == [Plain, Phonetic, Plain]
    assert pieces[2].text == " <b>"


@pytest.mark.parametrize(
    ("text", "start", "message"),
    [
        ("<speak>a<voice/></speak>", 8, "unknown SSML element.*<prosody>"),
        ("<speak>你<prosody speed='1'>b</prosody></speak>", 8, "unknown attribute.*rate, pitch"),
        ("<speak><prosody rate='soon'>b</prosody></speak>", 7, "wrong rate.*x-slow"),
        ("<speak><prosody rate='900%'>b</prosody></speak>", 7, "wrong rate"),
        ("<speak><prosody pitch='200Hz'>b</prosody></speak>", 7, r"wrong pitch.*\+2st"),
        ("<speak><prosody volume='11'>b</prosody></speak>", 7, "wrong volume"),
        ("<speak>a<break time='1h'/></speak>", 8, "wrong time.*500ms"),
        ("<speak><lang xml:lang='fr'>b</lang></speak>", 7, "zh-CN or en-US"),
        ("<speak><phoneme alphabet='ipa' ph='qqq1'>b</phoneme></speak>", 7, "wrong ph"),
        ("<speak><phoneme alphabet='sampa' ph='a'>b</phoneme></speak>", 7, "wrong alphabet"),
        ("<speak><sub>b</sub></speak>", 7, "wrong alias"),
        ("<speak><say-as interpret-as='magic'>b</say-as></speak>", 7, "interpret-as.*cardinal"),
        ("<speak><say-as interpret-as='cardinal'>b</say-as></speak>", 7, "interpret-as"),
        ("<speak>a<b></speak>", 8, "unknown SSML element"),
        ("<speak>你好<s></speak>", 14, "not well-formed"),
        ("<speak>a & b</speak>", 10, "not well-formed"),
        ("<speak>a", 8, "not well-formed"),
        ("<speak><!DOCTYPE x []>a</speak>", 7, "document type"),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><speak>&a;</speak>", 0, "document type"),
        ("<speak><?php ?>a</speak>", 7, "instruction"),
        ("<speak><speak>a</speak></speak>", 7, "misplaced"),
        ("<speak><sub alias='x'><s>a</s></sub></speak>", 22, "text only"),
        ("<speak>a [1]</speak>", 9, "unknown mark"),
        ("<speak>" + "<s>" * 40 + "a" + "</s>" * 40 + "</speak>", 100, "too deep"),
    ],
)
def test_wrong_documents_show_where(text, start, message):
    with pytest.raises(MarkError, match=message) as caught:
        parse(text)
    assert caught.value.start == start


TAGS = [
    "<s>",
    "</s>",
    "<break time='1s'/>",
    "<prosody rate='fast'>",
    "</prosody>",
    "你",
    "a ",
    "&lt;",
    "&",
    "<",
    "[h][ào]",
]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(TAGS), max_size=12))
def test_any_document_is_pieces_or_a_mark_error(parts):
    text = f"<speak>{''.join(parts)}</speak>"
    try:
        pieces = parse(text)
    except MarkError as error:
        place = error
    else:
        assert all(isinstance(p, Plain) or 0 <= p.start <= p.end <= len(text) for p in pieces)
        return
    assert 0 <= place.start <= len(text)
