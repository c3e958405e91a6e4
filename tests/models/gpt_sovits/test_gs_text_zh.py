"""Chinese for GPT-SoVITS: what is read out, which words, which tones, which symbols."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kouji.errors import ModelError
from kouji.models.gpt_sovits.text import g2pw
from kouji.models.gpt_sovits.text.zh import Pinyin, phonemize, split_sentences
from kouji.models.gpt_sovits.text.zh_erhua import spoken_er
from kouji.models.gpt_sovits.text.zh_normalise import normalise
from kouji.models.gpt_sovits.text.zh_override import correct_word, load_readings
from kouji.models.gpt_sovits.text.zh_pinyin import finals_of, read_sentence, spell, split_pinyin
from kouji.models.gpt_sovits.text.zh_reader import official_pinyin, read_by_neighbours
from kouji.models.gpt_sovits.text.zh_sandhi import spoken_finals
from kouji.models.gpt_sovits.text.zh_words import Word, cut_words, merge_words

pytest.importorskip("opencc", reason="needs kouji[gpt-sovits]")

# Of the readings that hang on word lists we do not carry: docs/gpt-sovits-text.md.
SHARE = 0.95


@pytest.fixture(scope="module")
def goldens(text_goldens: Any) -> Any:
    return text_goldens["zh"]


def wrong_cases(goldens: Any, is_right: Callable[[Any], bool]) -> list[str]:
    return [case["text"] for case in goldens if not is_right(case)]


def test_every_golden_is_normalised_exactly(goldens: Any) -> None:
    assert not wrong_cases(goldens, lambda case: normalise(case["text"]) == case["norm_text"])


@pytest.mark.parametrize("stage", ["segments", "merged"])
def test_golden_words(goldens: Any, stage: str) -> None:
    def is_right(case: Any) -> bool:
        words = [cut_words(sentence) for sentence in split_sentences(case["norm_text"])]
        if stage == "merged":
            words = [merge_words(sentence) for sentence in words]
        return [[list(word) for word in sentence] for sentence in words] == case[stage]

    wrong = wrong_cases(goldens, is_right)
    assert len(wrong) <= (1 - SHARE) * len(goldens), wrong


@pytest.mark.parametrize("reader", ["pypinyin", "char_pinyin"])
def test_golden_phones(goldens: Any, reader: str) -> None:
    pinyin = Pinyin(read_sentence if reader == "char_pinyin" else None)

    def is_right(case: Any) -> bool:
        spoken = phonemize(case["text"], pinyin)
        is_same = list(spoken.phones) == case[reader]["phones"]
        return is_same and list(spoken.word2ph or ()) == case[reader]["word2ph"]

    wrong = wrong_cases(goldens, is_right)
    assert len(wrong) <= (1 - SHARE) * len(goldens), wrong


def test_golden_phones_of_v1(goldens: Any) -> None:
    wrong = wrong_cases(
        goldens, lambda case: list(phonemize(case["text"]).phones) == case["v1_phones"]
    )
    assert len(wrong) <= (1 - SHARE) * len(goldens), wrong


def test_traditional_forms_become_those_of_the_training() -> None:
    assert normalise("鍾愛、鐘聲，其餘的委託諮詢") == "锺爱,钟声,其馀的委讬谘询"
    assert normalise("什麼時候") == "什么时候"  # officially 什麽, which is then misread


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("8:30-17:45", "八点半至十七点半"),  # as the official reader says it
        ("8:05:09", "八点零五分零九秒"),
        ("2024-03-05", "二零二四年三月五日"),
        ("99年5月6号", "九九年五月六号"),
        ("电话13812345678，4001234567", "电话幺三八幺二三四五六七八,四零零幺二三四五六七"),
        ("3500元，200米，20000人，2万", "三千五百元,二百米,二万人,两万"),
        ("100多个，3+人", "一百多个,三多人"),
        ("1+2=3", "一加二等于三"),
        ("1.2.3.4版", "一点二点三点四版"),
        ("3~5个，5kg~6kg", "三到五个,五千克至六千克"),
        ("-1/2，-20%，-5", "负二分之一,负百分之二十,负五"),
        ("第2024届", "第二零二四届"),
        ("10010个，1005个，12个", "一万零一十个,一千零五个,十二个"),
        ("2.50，.5，007", "二点五零,零点五,零零七"),
        ("10²，①α", "十的二次方,一阿尔法"),
        ("皇后與國王，後天乾隆", "皇后与国王,后天乾隆"),
        ("５０个ＡＢ", "五十个"),
        ("嗯……好~吧——", "恩…好…吧"),
        ("5mm", "五米米"),  # `m` is replaced first
    ],
)
def test_what_is_read_out(written: str, spoken: str) -> None:
    assert normalise(written) == spoken


@pytest.mark.parametrize(
    ("text", "tag", "tones"),
    [
        ("不要", "d", "24"),
        ("看不懂", "v", "453"),
        ("看一看", "v", "454"),
        ("第一", "m", "41"),
        ("一样", "r", "24"),
        ("一天", "m", "41"),
        ("一二三", "m", "141"),
        ("看看", "v", "45"),
        ("人人", "n", "22"),
        ("孩子", "n", "25"),
        ("桌上", "s", "15"),
        ("过来", "v", "45"),
        ("三个", "m", "15"),
        ("好的", "a", "35"),
        ("老虎", "n", "23"),
        ("蒙古包", "nz", "231"),
        ("展览馆", "n", "223"),
        ("小老虎", "n", "323"),
        ("事情", "n", "45"),
    ],
)
def test_tones_of_a_word(text: str, tag: str, tones: str) -> None:
    spoken = spoken_finals(Word(text, tag), finals_of(text))
    assert "".join(final[-1] for final in spoken) == tones


def test_zi_of_learned_words_keeps_its_tone() -> None:
    assert spoken_finals(Word("男子", "n"), ["an2", "i3"]) == ["an2", "i3"]
    assert spoken_finals(Word("盘子", "n"), ["an2", "i3"]) == ["an2", "i5"]


def test_words_are_joined_for_sandhi() -> None:
    words = [Word("他", "r"), Word("不", "d"), Word("去", "v"), Word("儿", "n"), Word("不", "d")]
    assert merge_words(words) == [Word("他", "r"), Word("不去儿", "v"), Word("不", "d")]
    words = [Word("听", "v"), Word("一", "m"), Word("听", "v"), Word("一", "m"), Word(",", "x")]
    assert merge_words(words) == [Word("听一听", "v"), Word("一,", "m")]
    assert merge_words([Word("你", "r"), Word("好", "a")]) == [Word("你好", "r")]


def test_er_takes_the_tone_before_it_or_is_said_in_full() -> None:
    assert spoken_er(Word("花园儿", "n"), ["a1", "van2", "er2"])[-1] == "er2"
    assert spoken_er(Word("玩儿", "v"), ["uan4", "er2"])[-1] == "er4"
    assert spoken_er(Word("女儿", "n"), ["v3", "er2"])[-1] == "er2"
    assert spoken_er(Word("混血儿", "n"), ["uen4", "ve4", "er1"])[-1] == "er2"


def test_a_dictionary_beside_the_model_is_used(tmp_path: Path) -> None:
    assert load_readings(tmp_path) is None
    (tmp_path / "polyphonic.rep").write_text("长: ['chang2']\n大长: ['da4', 'chang2']\n", "utf-8")
    (tmp_path / "polyphonic-fix.rep").write_text("大长: ['da4', 'zhang3']\n", "utf-8")
    known = load_readings(tmp_path)
    assert known is not None
    assert correct_word("大长", ["x1", "x1"], known) == ["da4", "zhang3"]
    assert correct_word("长歌", ["zhang3", "ge1"], known) == ["chang2", "ge1"]
    assert correct_word("子弹", ["zi5", "dan4"], None) == ["zi3", "dan4"]
    (tmp_path / "polyphonic.rep").write_text("长 chang2\n", "utf-8")
    with pytest.raises(ModelError, match="line 1 of polyphonic"):
        load_readings(tmp_path)


@pytest.mark.parametrize(
    ("text", "readings"),
    [
        ("安静地听,", "an1 jing4 de5 ting1 ,"),
        ("设为二十", "she4 wei2 er4 shi2"),
        ("他获得了", "ta1 huo4 de2 le5"),
        ("男子知道", "nan2 zi3 zhi1 dao4"),  # 道 keeps the tone the networks know it by
        ("", ""),
    ],
)
def test_polyphones_are_read_by_their_neighbours(text: str, readings: str) -> None:
    assert read_by_neighbours(text) == readings.split()


def test_the_official_reader_joins_network_and_dictionary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fake(folder: Path, *, vocabulary: Any, num_threads: int) -> Any:
        return read_sentence

    monkeypatch.setattr(g2pw, "G2PW", fake)
    (tmp_path / "polyphonic.rep").write_text("很好: ['hen3', 'hao4']\n", "utf-8")
    pinyin = official_pinyin(tmp_path / "G2PWModel")
    assert phonemize("很好", pinyin).phones == ("h", "en3", "h", "ao4")


def test_pinyin_is_split_and_spelled() -> None:
    assert split_pinyin("zhuang1") == ("zh", "uang1")
    assert split_pinyin(",") == (",", ",")
    assert spell("", "iang3") == ("y", "ang3")
    assert spell("", "uen2") == ("w", "en2")
    assert spell("", "van2") == ("y", "van2")
    assert spell("d", "uei4") == ("d", "ui4")
    assert spell(",", ",") == (",",)


def test_characters_without_a_reading_are_left_out() -> None:
    spoken = phonemize("好\u9fa5好")
    assert spoken.word2ph is not None
    assert len(spoken.norm_text) == len(spoken.word2ph)
    assert sum(spoken.word2ph) == len(spoken.phones)


@pytest.mark.parametrize("text", ["", "Hello", "呣", "兙", "嗯呒", "ｏ", "。。", "儿", "一", "不"])
def test_odd_texts_do_not_break_it(text: str) -> None:
    spoken = phonemize(text)
    assert len(spoken.norm_text) == len(spoken.word2ph or ())
    assert phonemize(text, Pinyin(read_sentence)).norm_text is not None
