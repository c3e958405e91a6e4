"""Marks, numbers and sounds in a text for CosyVoice, before anything is made of tokens."""

from __future__ import annotations

import unicodedata

import pytest

from kouji.errors import MarkError
from kouji.models.cosyvoice.text.sounds import homophone, read_syllable, with_mark
from kouji.models.cosyvoice.text.special_tokens import PINYIN, SPECIAL_TOKENS
from kouji.models.cosyvoice.text.spelling import spell
from kouji.models.cosyvoice.text.text_cut import LIMITS, cut_stretch
from kouji.models.cosyvoice.text.text_marks import Stretch, read_marks
from kouji.text.phonetic import read_syllable as read_phones

THIRD, SECOND = (frozenset(SPECIAL_TOKENS[v]) for v in ("cosyvoice3", "cosyvoice2"))


def shown(stretch: Stretch) -> str:
    return "".join(f"{{{s.text}}}" if s.is_token else s.text for s in stretch.signs)


def read(text: str, language: str = "zh", known: frozenset[str] = THIRD) -> str:
    marked = read_marks(text, language, known)
    return "|".join(shown(stretch) for stretch in marked.stretches)


# --- numbers as words, everything else as written


@pytest.mark.parametrize(("language", "text", "spelled"), [
    ("zh", "今天气温是23.5℃，湿度60%。", "今天气温是二十三点五摄氏度，湿度百分之六十。"),
    ("zh", "这是（括号里的内容）和《书》第3章", "这是，括号里的内容，和《书》第三章"),
    ("zh", "中文 和 English 混合 text", "中文和English混合text"),
    ("zh", "第一行\n第二行\n\n第三行", "第一行，第二行。第三行"),
    ("zh", "我喜欢の和한국어 안녕", "我喜欢の和한국어 안녕"),
    ("en", "I have 3 apples, don't I?", "I have three apples, don't I?"),
    ("en", 'The FBI said: "Fine." — café naïve', 'The FBI said: "Fine." café naïve'),
    ("en", "on 2024-03-05; $19.99", "on march fifth, twenty twenty four; nineteen dollars and ninety nine cents"),  # noqa: E501
    ("en", "state-of-the-art NASA, R&D", "state-of-the-art NASA, R and D"),
    ("de", "Das kostet 10 Euro, natürlich.", "Das kostet 10 Euro, natürlich."),
    ("fr", "À 5 heures !", "À 5 heures !"),
    ("ja", "レキシ  テキ セカイ", "レキシ テキ セカイ"),
])  # fmt: skip
def test_spelling(language: str, text: str, spelled: str) -> None:
    assert "".join(sign.text for sign in spell(text, language).signs) == spelled


def test_every_sign_knows_where_it_comes_from() -> None:
    text = "有23个 apples，好"
    signs = spell(text, "zh").signs
    assert [text[sign.start] for sign in signs if sign.text in "有个apples，好"] == list(
        "有个apples，好"
    )
    assert {sign.start for sign in signs if sign.text in "二十三"} == {1}


def test_what_is_not_speech_is_told() -> None:
    assert read_marks("好😶", "zh", THIRD).warnings == (
        "1 characters not spoken (emoji), the first '😶'",
    )
    assert read_marks("gut 😀!", "de", THIRD).warnings[0].startswith("1 characters not spoken")


# --- marks


@pytest.mark.parametrize(("text", "spelled"), [
    ("对报道[j][ǐ]予好评", "对报道{[j]}{[ǐ]}予好评"),
    ("她[hào]干净[breath]，[h][ao4]", "她{[h]}{[ào]}干净{[breath]}，{[h]}{[ào]}"),
    ("[chóng qìng]", "{[ch]}{[óng]}{[q]}{[ìng]}"),
    ("[yuan2][ju1][lv3]", "{[y]}{[uán]}{[j]}{[ū]}{[l]}{[ǚ]}"),
    ("[nve4][er2][wo3]", "{[n]}{[vè]}{[ér]}{[w]}{[ǒ]}"),
    ("[huar1]", "{[h]}{[uā]}儿"),
    ("[b][iáng]", "{[b]}{[iáng]}"),  # no syllable of ours, but tokens of the list
    ("<laughter>哈，<strong>真</strong>好</laughter>啊",
     "{<laughter>}哈，{<strong>}真{</strong>}好{</laughter>}啊"),
    ("一[break 0.5s]二", "一|二"),
    ("一[break 0.1s]二", "一，二"),
    (r"\[1\]好", "一，好"),
])  # fmt: skip
def test_marks(text: str, spelled: str) -> None:
    assert read(text) == spelled


def test_english_sounds() -> None:
    assert (
        read("I [K][AE1][T] 3 [k l ɛ r]", "en")
        == "I {[K]}{[AE1]}{[T]} three {[K]}{[L]}{[EH1]}{[R]}"
    )
    assert read("[AH0] 5 [AH]", "en") == "{[AH0]} five {[AH]}"


def test_decomposed_tone_marks() -> None:
    assert read(unicodedata.normalize("NFD", "真[h][ǎo]")) == "真{[h]}{[ǎo]}"


def test_ssml() -> None:
    text = (
        '<speak>你<phoneme alphabet="pinyin" ph="jie5">姐</phoneme>好<break time="300ms"/>'
        '<say-as interpret-as="characters">FBI</say-as></speak>'
    )
    assert read(text) == "你姐好|F B I"


@pytest.mark.parametrize(("text", "start", "words"), [
    ("好[j][ie]", 1, "[iē]"),
    ("[h][ǔng]好", 0, "[ǔn]"),
    ("她[hao9]", 1, "[hao3]"),
    ("她[h]干净", 1, "write its final behind it"),
    ("[K][AH9]", 3, "[AH0]"),
    ("[laugh]好", 0, "[laughter]"),
    ("[dance]好", 0, r"write \["),
])  # fmt: skip
def test_wrong_marks_name_what_is_near(text: str, start: int, words: str) -> None:
    with pytest.raises(MarkError) as raised:
        read(text)
    assert raised.value.start == start
    assert words in str(raised.value)


def test_model_tokens_are_left_out() -> None:
    marked = read_marks("你<|im_start|>好<|endofprompt|><|x|>", "zh", THIRD)
    assert shown(marked.stretches[0]) == "你好"
    assert "<|im_start|>, <|endofprompt|>, <|x|>" in marked.warnings[0]


def test_private_characters_are_no_tokens() -> None:
    assert "{" not in read("好\U000f0000\ud800的")


def test_version_2_writes_sounds_as_characters() -> None:
    marked = read_marks("对报道[j][ǐ]予[breath]", "zh", SECOND)
    assert shown(marked.stretches[0]) == "对报道己予{[breath]}"
    assert marked.warnings == ("[jǐ] has no token here and is written 己",)
    with pytest.raises(MarkError, match="write the word in letters"):
        read_marks("[K AE1 T]", "en", SECOND)


# --- pinyin


def test_every_syllable_of_the_dictionary() -> None:
    constants = pytest.importorskip("pypinyin.constants")
    syllables = {s for listed in constants.PINYIN_DICT.values() for s in listed.split(",")}
    exact = replaced = 0
    lost = []
    for syllable in syllables:
        phones = read_phones(syllable)
        assert phones is not None, syllable
        reading = read_syllable(phones, THIRD)
        if reading is None:
            lost.append(syllable)
            continue
        assert all(atom.text in THIRD or not atom.is_token for atom in reading.atoms)
        exact += reading.loss is None
        replaced += reading.loss is not None
    assert len(lost) <= 10, lost  # ê, m̀ and the like
    assert replaced <= 20 < 1500 < exact


def test_finals_carry_their_mark_as_the_list_does() -> None:
    finals = {name[1:-1] for name in PINYIN}
    spelled = {
        with_mark(final, tone)
        for final in "iang iong iao iu ui uai ue ou er ei ün ü ve".split()
        for tone in (1, 2, 3, 4)
    }
    assert {
        "iǎng",
        "iòng",
        "iáo",
        "iú",
        "uì",
        "uǎi",
        "ué",
        "òu",
        "ér",
        "ěi",
        "ǚ",
        "vè",
    } <= spelled & finals


@pytest.mark.parametrize("syllable", ["hao4", "hang2", "nin2", "de5", "ma5", "lv3"])
def test_homophones_sound_so(syllable: str) -> None:
    from kouji.text.g2p.readings import read_character

    character = homophone(syllable)
    assert character is not None
    read = read_character(character)
    assert read is not None
    tones = (5, 4, 1, 2, 3) if syllable.endswith("5") else (int(syllable[-1]),)
    assert read[0].replace("ü", "v") == syllable[:-1]
    assert read[1] in tones


# --- segments


def test_segments_are_cut_at_sentences_and_lose_nothing() -> None:
    text = "一二三四五六七八九十。" * 20
    stretch = read_marks(text, "zh", THIRD).stretches[0]
    segments = cut_stretch(stretch)
    assert [sign for segment in segments for sign in segment] == list(stretch.signs)
    sizes = [sum(sign.text.isalpha() for sign in segment) for segment in segments]
    assert sizes[0] <= LIMITS.first_max
    assert all(LIMITS.min <= size <= LIMITS.max for size in sizes[1:])
    assert all(segment[-1].text == "。" for segment in segments)


def test_a_scope_is_closed_and_opened_at_a_cut() -> None:
    text = f"<laughter>{'哈哈哈真的很好笑。' * 20}</laughter>"
    stretch = read_marks(text, "zh", THIRD).stretches[0]
    for segment in cut_stretch(stretch):
        names = [sign.text for sign in segment if sign.is_token]
        assert names == ["<laughter>", "</laughter>"]


def test_sounds_are_never_torn() -> None:
    text = "[zh][uāng]" * 100
    for segment in cut_stretch(read_marks(text, "zh", THIRD).stretches[0]):
        assert segment[0].text == "[zh]"
        assert segment[-1].text == "[uāng]"


def test_words_of_other_alphabets_stay_whole() -> None:
    text = "превосходительство " * 40
    for segment in cut_stretch(read_marks(text, "ru", THIRD).stretches[0]):
        words = "".join(sign.text for sign in segment).split()
        assert set(words) == {"превосходительство"}
