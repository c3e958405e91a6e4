"""Arabic numbers and Latin letters in Korean text, spelled in hangul.

A number right before a counter is read as a whole, with native numerals before the counters that
want them; a number without a counter is read digit by digit, as the official front end does.
"""

from __future__ import annotations

import re

_LETTER_NAMES = (
    "에이 비 시 디 이 에프 지 에이치 아이 제이 케이 엘 엠 엔 오 피 큐 아르 에스 티 유 브이 "
    "더블유 엑스 와이 제트"
).split()
_LETTERS = dict(zip("abcdefghijklmnopqrstuvwxyz", _LETTER_NAMES, strict=True))
_NATIVE_COUNTERS = (
    "군데 권 개 그루 닢 대 두 마리 모 모금 뭇 발 발짝 방 번 벌 보루 살 수 술 시 쌈 움큼 정 짝 채 "
    "척 첩 축 켤레 톨 통"
).split()
_SINO_COUNTERS = (
    "개국 개월 개소 시간 년 년대 년도 월 일 주 주일 주년 분 초 명 인 인분 원 달러 엔 유로 위안 "
    "센트 세 세기 층 호 호선 회 회차 차 차례 도 등 등급 점 위 배 킬로 킬로그램 킬로미터 미터 "
    "센티 센티미터 밀리 밀리미터 그램 톤 리터 밀리리터 퍼센트 프로 페이지 쪽 장 장면 절 조각 병 "
    "잔 그릇 곳 가지 단계 단 학년 학기 반 부 건 편 곡 평 줄 칸 판 팀 표 대째 만 억 조 천 백"
).split()
# Native counters that begin a longer Sino one (시간, 개월, 대째) yield to it: the longest wins.
_COUNTERS = sorted({*_NATIVE_COUNTERS, *_SINO_COUNTERS}, key=len, reverse=True)
_COUNTED = re.compile(rf"(\d[\d,]*)({'|'.join(_COUNTERS)})")
_IDIOMS = (
    ("%", "퍼센트"),
    (r"6·25", "유기오"),
    (r"3·1절", "삼일절"),
    (r"(?<!\d)1번째", "첫번째"),
    (r"(?<!\d)10월", "시월"),
)

_SINO = ["", *"일이삼사오육칠팔구"]
_NATIVE = ["", "한", "두", "세", "네", "다섯", "여섯", "일곱", "여덟", "아홉"]
_NATIVE_TENS = ["", "열", "스물", "서른", "마흔", "쉰", "예순", "일흔", "여든", "아흔"]
_PLACES = ["", "십", "백", "천"]
_MYRIADS = ["", "만", "억", "조", "경"]
_DIGITS = dict(zip("0123456789", "영일이삼사오육칠팔구", strict=True))


def spell_foreign(text: str) -> str:
    """Korean text with letters by name, counted numbers as words, other digits one by one."""
    text = "".join(_LETTERS.get(sign.lower(), sign) for sign in text)
    for pattern, spoken in _IDIOMS:
        text = re.sub(pattern, spoken, text)
    text = _COUNTED.sub(_spell_counted, text)
    return "".join(_DIGITS.get(sign, sign) for sign in text)


def _spell_counted(found: re.Match[str]) -> str:
    number, counter = found[1].replace(",", ""), found[2]
    if len(number) > 4 * len(_MYRIADS):
        return found[0]
    return spell_number(number, is_native=counter in _NATIVE_COUNTERS) + counter


def spell_number(digits: str, *, is_native: bool = False) -> str:
    """A whole number of up to 20 digits in words.

    is_native: the last two digits in native numerals, in the form they take before a counter
    """
    if not int(digits):
        return "영"
    if is_native and int(digits) == 20:
        return "스무"
    digits = digits.lstrip("0")
    if not is_native:
        return _sino(digits)
    tens, ones = int(digits[-2:-1] or 0), int(digits[-1])
    return _sino(digits[:-2] + "00") + _NATIVE_TENS[tens] + _NATIVE[ones]


def _sino(digits: str) -> str:
    """Groups of four digits, each with its myriad; a lone 1 before 십, 백, 천, 만 is not said."""
    groups = re.findall(r"\d{1,4}", digits[::-1])
    spoken = ""
    for myriad, group in reversed(list(zip(_MYRIADS, groups, strict=False))):
        words = "".join(
            ("" if digit == "1" and place else _SINO[int(digit)]) + place
            for place, digit in reversed(list(zip(_PLACES, group, strict=False)))
            if digit != "0"
        )
        if words:
            spoken += "만" if (words, myriad, spoken) == ("일", "만", "") else words + myriad
    return spoken
