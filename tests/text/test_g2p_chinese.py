"""Mandarin g2p: spelling of syllables, readings in context, tone sandhi."""

import pytest

from kouji.errors import TextError
from kouji.text.g2p.chinese import hanzi_to_phones, pinyin_to_phones


def spell(syllable: str) -> str:
    return " ".join(map(str, pinyin_to_phones(syllable)))


@pytest.mark.parametrize(
    ("syllable", "phones"),
    [
        ("zi4", "z ii4"),
        ("zhi1", "zh iii1"),
        ("ri4", "r iii4"),
        ("ji3", "j i3"),
        ("yang2", "iang2"),
        ("wo3", "uo3"),
        ("yu2", "v2"),
        ("yuan2", "van2"),
        ("yi1", "i1"),
        ("wu3", "u3"),
        ("you3", "iou3"),
        ("wen2", "uen2"),
        ("weng1", "ueng1"),
        ("jue2", "j ve2"),
        ("jv2", "j v2"),
        ("lü4", "l v4"),
        ("lve4", "l ve4"),
        ("lue4", "l ve4"),
        ("liu4", "l iou4"),
        ("gui4", "g uei4"),
        ("lun2", "l uen2"),
        ("jun1", "j vn1"),
        ("er2", "er2"),
        ("wanr2", "uan2 rr2"),
        ("hua1", "h ua1"),
        ("a0", "a5"),
        ("lo5", "l o5"),
        ("yo1", "i1 o1"),
        ("ê4", "ee4"),
        ("m2", "m2"),
        ("ng4", "eng4"),
        ("hm5", "h m5"),
        ("zhuang4", "zh uang4"),
    ],
)
def test_syllables_are_spelled_as_they_sound(syllable, phones):
    assert spell(syllable) == phones


@pytest.mark.parametrize(
    "wrong", ["", "zi", "zi6", "zi44", "4", "vang2", "ZI4", "hello1", "jo3", "zhi 4"]
)
def test_wrong_syllables_are_refused(wrong):
    with pytest.raises(TextError, match="pinyin"):
        pinyin_to_phones(wrong)


def read(text: str) -> str:
    return " ".join("".join(map(str, phones)) for _, phones in hanzi_to_phones(text))


def test_foreign_signs_are_left_out():
    assert [sign for sign, _ in hanzi_to_phones("我hello，你！")] == ["我", "你"]


def test_readings_follow_the_phrase():
    assert read("银行") == "in2 hang2"
    assert read("长大") == "zhang3 da4"
