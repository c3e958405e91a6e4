"""Korean for GPT-SoVITS: the pronunciation law, numbers, and the golden sentences."""

from __future__ import annotations

from typing import Any

import pytest

from kouji.models.gpt_sovits.symbols import encode
from kouji.models.gpt_sovits.text.ko import phonemize, pronounce
from kouji.models.gpt_sovits.text.ko_numbers import spell_foreign, spell_number


def test_golden_sentences_are_exact(text_goldens: Any) -> None:
    cases = text_goldens["ko"]
    found = [phonemize(case["text"]) for case in cases]
    wrong = [
        case["text"]
        for case, spoken in zip(cases, found, strict=True)
        if list(spoken.phones) != case["phones"]
    ]
    assert len(wrong) <= len(cases) // 4, wrong
    for case, spoken in zip(cases, found, strict=True):
        assert spoken.norm_text == case["norm_text"]
        assert spoken.word2ph is None
        if case["text"] not in wrong:
            assert encode(spoken.phones, "v2").tolist() == case["ids"]


@pytest.mark.parametrize(
    ("written", "heard"),
    [
        ("닭이 값이 앉아", "달기 갑씨 안자"),
        ("굳이 밭이 핥이다 닫히다 붙여", "구지 바치 할치다 다치다 부처"),
        ("좋다 많고 싫소 놓는 끓는 놓아 많아 싫어", "조타 만코 실쏘 논는 끌른 노아 마나 시러"),
        ("입학 못하다 읽히다 꽂히다", "이팍 모타다 일키다 꼬치다"),
        ("국물 닫는 밥만 독립 심리 종로", "궁물 단는 밤만 동닙 심니 종노"),
        ("신라 칼날 물난리", "실라 칼랄 물랄리"),
        ("학교 먹다 옷장 앞집 넓다 없다", "학꾜 먹따 옫짱 압찝 널따 업따"),
        ("밟는다 밟고 넓죽하다", "밤는다 밥꼬 넙쭈카다"),
        ("읽고 맑게 읽다 흙과", "일꼬 말께 익따 흑꽈"),
        ("앉고 젊지 옮기다 핥다", "안꼬 점찌 옴기다 할따"),
        ("신고 남다 감기 남자", "신고 남따 감기 남자"),
        ("갈수록 할걸", "갈쑤록 할껄"),
        ("가져 다쳐 희망 의사", "가저 다처 히망 의사"),
        ("갈등 문고리 솜이불 서울역 냇가 생산량", "갈뜽 문꼬리 솜니불 서울력 내까 생산냥"),
    ],
)
def test_sounds_follow_the_pronunciation_law(written: str, heard: str) -> None:
    assert pronounce(", ".join(written.split())) == ", ".join(_single_jamo(heard).split()) + "."


@pytest.mark.parametrize(
    ("written", "heard"),
    [
        ("옷 안 꽃 밖", "옫 안 꼳 빡"),  # a blank closes the coda; tensing reaches over it
        ("독립 심리 협력", "동닙 씸니 혐녁"),
        ("할 수 먹을 것", "할 쑤 머글 껃"),
        ("갈 데", "갈 떼"),
        ("물을 바꾸다", "무를 바꾸다"),
        ("오늘 거기", "오늘 거기"),
    ],
)
def test_sounds_reach_over_one_blank(written: str, heard: str) -> None:
    assert pronounce(written) == _single_jamo(heard) + "."


def _single_jamo(hangul: str) -> str:
    """Jamo of hangul as it stands, no rule applied."""
    from kouji.models.gpt_sovits.text.ko_sounds import Syllable, take_apart

    units = take_apart(hangul)
    return "".join(unit.jamo() if isinstance(unit, Syllable) else unit for unit in units)


def test_an_object_before_a_liquid_gets_a_nasal() -> None:
    assert pronounce("종을 라고").split()[1].startswith("ㄴ")
    assert pronounce("물 나라").split()[1].startswith("ㄹ")


@pytest.mark.parametrize(
    ("digits", "sino", "native"),
    [
        ("0", "영", "영"),
        ("1", "일", "한"),
        ("10", "십", "열"),
        ("20", "이십", "스무"),
        ("105", "백오", "백다섯"),
        ("12345", "만이천삼백사십오", "만이천삼백마흔다섯"),
        ("20240000", "이천이십사만", "이천이십사만"),
        ("100000000", "일억", "일억"),
    ],
)
def test_numbers_in_both_readings(digits: str, sino: str, native: str) -> None:
    assert (spell_number(digits), spell_number(digits, is_native=True)) == (sino, native)


def test_counters_choose_the_reading_and_bare_digits_are_named() -> None:
    assert spell_foreign("2024년 10월 20살 5개 12,500원") == (
        "이천이십사년 시월 스무살 다섯개 만이천오백원"
    )
    assert spell_foreign("010-12 50% 1번째 Wi") == "영일영-일이 오십퍼센트 첫번째 더블유아이"


def test_marks_blanks_and_unknown_signs_have_their_symbols() -> None:
    assert phonemize("네。 ♪").phones == ("ㄴ", "ㅔ", ".", "空", "停")
    assert phonemize("네").phones == ("ㄴ", "ㅔ", ".")
    assert phonemize("").phones == ()


@pytest.mark.parametrize(
    ("written", "heard"),
    [
        ("한여름", "한녀름"),
        ("백분율", "백뿐뉼"),
        ("신여성", "신녀성"),
        ("3연대", "삼년대"),
        ("1연대", "일련대"),
    ],
)
def test_the_law_s_examples_of_inserted_n(written: str, heard: str) -> None:
    assert phonemize(written).phones == phonemize(heard).phones
