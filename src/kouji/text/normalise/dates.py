"""Reading of dates, years, decades and times of day in both languages.

Knows the calendar's limits (month 13 is not a date) and leaves what does not fit to others.
"""

from __future__ import annotations

import re

from kouji.text.normalise import chinese, english
from kouji.text.normalise.reading import Reader, View, reader

MONTHS = (
    "january february march april may june july august september october november december"
).split()
_MONTH = (
    "(?P<month>January|February|March|April|May|June|July|August|September|October|November"
    "|December|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept|Sep|Oct|Nov|Dec)"
)
_WEEKDAYS = {
    "Mon": "monday", "Tue": "tuesday", "Tues": "tuesday", "Wed": "wednesday", "Thu": "thursday",
    "Thur": "thursday", "Thurs": "thursday", "Fri": "friday", "Sat": "saturday", "Sun": "sunday",
}  # fmt: skip
_SUFFIX = "(?:st|nd|rd|th)"
_HALF = (
    r"(?P<half>[aApP](?:\.[mM]\.(?=\s+(?:[a-z0-9(]|[A-Z]{2,4}\b)|\s?[,;:)?!])|\.[mM](?=\.)"
    r"|[mM](?![A-Za-z])))"
)
_SCORE_CUES = re.compile(
    r"比分|比例|比率|战胜|击败|战平|领先|落后|逆转|打平|赢|输|胜|负|大胜|险胜|配比|"
    r"\b(?:scores?|ratio|won|wins?|beat|lost|lead|leads|led|defeat(?:ed)?|tie|tied|drew)\b"
)
_YEAR_CUES = re.compile(
    r"(?:\b(?:in|since|by|of|from|during|until|till|before|after|year|circa|early|late|mid|and|to"
    r"|class|spring|summer|autumn|fall|winter|back|around|january|february|march|april|may|june"
    r"|july|august|september|october|november|december)[ ,-]+|\b(?:ca|c)\. |[-–(©'] ?"
    r"|\b(?:jan|feb|mar|apr|may|june?|july?|aug|sept?|oct|nov|dec)[a-z]*\.?"
    r" \d{1,2}(?:st|nd|rd|th)?, )$",
    re.IGNORECASE,
)
_COUNTED = re.compile(
    r"\s+(?:[a-z]+(?<!s)s|people|men|women|children|sheep|feet|percent|million|billion|or more)\b"
)
_NOT_COUNTED = re.compile(r"\s+(?:was|is|has|does|this|his|its|as|us|always|perhaps|across|vs)\b")


def _is_date(month: str, day: str) -> bool:
    return 1 <= int(month) <= 12 and 1 <= int(day) <= 31


def _say_date(view: View, match: re.Match[str], year: str, month: str, day: str) -> str | None:
    if not _is_date(month, day):
        return None
    if view.language(match) == "zh":
        said = chinese.cardinal(month) + "月" + chinese.cardinal(day) + "日"
        return (chinese.year(year) + "年" if year else "") + said
    said = f"{MONTHS[int(month) - 1]} {english.ordinal(day)}"
    return f"{said} , {english.year(year)}" if year else said


def _year_first(match: re.Match[str], view: View) -> str | None:
    said = _say_date(view, match, match["year"], match["month"], match["day"])
    return said + " ," if said and match.group().endswith("T") else said


def _year_last(match: re.Match[str], view: View) -> str | None:
    month, day, year = match["first"], match["second"], match["year"]
    if int(month) > 12:
        month, day = day, month
    if len(year) == 2:
        year = ("19" if int(year) > 50 else "20") + year
    return _say_date(view, match, year, month, day)


def _memory_day(match: re.Match[str], view: View) -> str | None:
    """6·18, 9·11事件, 3.15晚会: the digits of the date; 11·11 is 双十一."""
    first, second = match["first"], match["second"] or match["third"]
    if view.language(match) != "zh" or not _is_date(first, second):
        return None
    if first == second and int(first) >= 10:
        return "双" + chinese.cardinal(first)
    return chinese.digits(first) + chinese.digits(second)


def _day_and_month(match: re.Match[str], view: View) -> str | None:
    """3/5 is a date only where a word asks for one."""
    if not re.search(r"(?:\b(?:on|by|due|dated)|日期[:：]?)\s?$",
                     view.before(match)):  # fmt: skip
        return None
    return _say_date(view, match, "", match["first"], match["second"])


def _month_day(match: re.Match[str], view: View) -> str | None:  # noqa: ARG001
    if int(match["day"]) > 31:
        return None
    return f"{_month_name(match)} {english.ordinal(match['day'])}"


def _day_month(match: re.Match[str], view: View) -> str | None:
    if not 1 <= int(match["day"]) <= 31:
        return None
    has_word = re.search(
        r"\b(?:[tT]he|[hH]appy|[tT]his|[eE]very|[lL]ast|[nN]ext)\s$", view.before(match)
    )
    article = "" if has_word else "the "
    said = f"{article}{english.ordinal(match['day'])} of {_month_name(match)}"
    return f"{said} {english.year(match['year'])}" if match["year"] else said


def _month_name(match: re.Match[str]) -> str:
    return next(name for name in MONTHS if name.startswith(match["month"].lower()[:3]))


def _month_year(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    return _month_name(match)


def _weekday(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    return _WEEKDAYS[match["day"]]


def _chinese_year(match: re.Match[str], view: View) -> str | None:
    """2024年 digit by digit; 3000年历史 and 20年 are counts."""
    number, after = match["year"], view.after(match)
    counted = re.match("前|后|来|历史|的历史|以前|以来|之久|文明", after) is not None
    if len(number) == 4:
        is_count = (int(number) % 100 == 0 and counted) or int(number) > 2200
    else:
        is_count = number[0] != "0" and (int(number) < 50 or number[1] == "0" or counted)
    if is_count or re.match("[多余几]|级|制", after):
        return None
    return chinese.year(number) + "年"


def _year_span(match: re.Match[str], view: View) -> str | None:
    if view.language(match) != "zh":
        return None
    return f"{chinese.year(match['first'])}到{chinese.year(match['second'])}"


def _season(match: re.Match[str], view: View) -> str | None:
    """2024/25: two years that follow each other."""
    first, second = match["first"], match["second"]
    if (int(first) + 1) % 100 != int(second):
        return None
    if view.language(match) == "zh":
        return f"{chinese.year(first)}到{chinese.year(second)}"
    tail = f"oh {english.ONES[int(second)]}" if second[0] == "0" else english.cardinal(second)
    return f"{english.year(first)} {tail}"


def _chinese_edition(match: re.Match[str], view: View) -> str | None:
    return chinese.year(match["year"]) if view.language(match) == "zh" else None


def _generation(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    return chinese.digits(match.group())


def _month_or_day(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    return chinese.cardinal(match["number"])


def _decade(match: re.Match[str], view: View) -> str | None:
    number = match["year"]
    named = re.search(
        r"(?:\b(?:[tT]he|[eE]arly|[lL]ate|[mM]id|his|her|my|their|in|[mM]id)[ -]|')$",
        view.before(match),
    )
    if len(number) == 2 and not named and match.group()[0] != "'" and "'" not in match.group():
        return None
    if view.language(match) == "zh":
        century = chinese.digits(number[:-2])
        return century + "年代" if not number[:-2] else chinese.digits(number) + "年代"
    return english.plural(english.year(number) if len(number) == 4 else english.cardinal(number))


def _short_year(match: re.Match[str], view: View) -> str | None:
    if view.language(match) == "zh":
        return None
    number = match["year"]
    return f"oh {english.ONES[int(number)]}" if number[0] == "0" else english.cardinal(number)


def _english_year(match: re.Match[str], view: View) -> str | None:
    """A bare 1100 to 2099 that is not a count of something."""
    if view.language(match) == "zh":
        return None
    value = int(match["year"])
    after = view.after(match)
    if _YEAR_CUES.search(view.before(match)) and 1000 < value < 2200:
        counted = _COUNTED.match(after) and not _NOT_COUNTED.match(after)
        return None if counted else english.year(match["year"])
    if not 1900 <= value <= 2099 or (_COUNTED.match(after) and not _NOT_COUNTED.match(after)):
        return None
    return english.year(match["year"])


def _time(match: re.Match[str], view: View) -> str | None:
    hour, minute, second = int(match["hour"]), int(match["minute"]), match["second"]
    half = (match["half"] or "")[:1].lower()
    if hour > 24 and minute < 60 and not half and not second:
        return _minutes(match, view, hour, minute)
    if hour > 24 or minute > 59 or (second and int(second) > 59):
        return None
    if not half and not second and _SCORE_CUES.search(view.clause(match)):
        return None
    if view.language(match) == "zh":
        return _chinese_time(hour, minute, second, half)
    return _english_time(hour, minute, second, half)


def _minutes(match: re.Match[str], view: View, minutes: int, seconds: int) -> str | None:
    """38:12 on a stop-watch, unless it is a score."""
    if _SCORE_CUES.search(view.clause(match)):
        return None
    if view.language(match) == "zh":
        if not re.search("用时|时间|成绩|耗时|时长|[第在至到]", view.before(match)):
            return None
        return f"{chinese.cardinal(str(minutes))}分{chinese.cardinal(str(seconds))}秒"
    tail = f"oh {english.ONES[seconds]}" if seconds < 10 else english.cardinal(str(seconds))
    return f"{english.cardinal(str(minutes))} {tail}"


def _chinese_time(hour: int, minute: int, second: str | None, half: str) -> str:
    said = _half_of_day(hour, half) + chinese.cardinal(str(hour), liang=True) + "点"
    if minute or second:
        said += ("零" if minute < 10 and minute else "") + chinese.cardinal(str(minute)) + "分"
    if second:
        said += ("零" if 0 < int(second) < 10 else "") + chinese.cardinal(second) + "秒"
    return said


def _half_of_day(hour: int, half: str) -> str:
    if not half:
        return ""
    if hour == 12:
        return "中午" if half == "p" else "凌晨"
    if half == "a":
        return "凌晨" if hour < 6 else "上午"
    return "晚上" if hour >= 6 else "下午"


def _english_time(hour: int, minute: int, second: str | None, half: str) -> str:
    said = english.cardinal(str(hour))
    if minute:
        said += (" oh " if minute < 10 else " ") + english.cardinal(str(minute))
    elif hour > 12 or hour == 0:
        said += " hundred"
    elif not half and not second:
        said += " o'clock"
    if second and int(second):
        said += f" and {english.cardinal(second)} second" + ("" if int(second) == 1 else "s")
    return said + (f" {half.upper()}M" if half else "")


def _hour(match: re.Match[str], view: View) -> str | None:
    hour = int(match["hour"])
    if not 0 <= hour <= 12:
        return None
    half = match["half"][:1].lower()
    if view.language(match) == "zh":
        return _chinese_time(hour, 0, None, half)
    return f"{english.cardinal(match['hour'])} {half.upper()}M"


def _chinese_clock(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    minute = match["minute"]
    said = chinese.cardinal(match["hour"], liang=True) + match["point"]
    if minute:
        said += ("零" if minute[0] == "0" else "") + chinese.cardinal(minute)
    return said


_TIME = (
    rf"(?P<hour>\d{{1,2}}):(?P<minute>\d{{2}})(?::(?P<second>\d{{2}}))?(?![:\d])(?:\s?{_HALF}|Z)?"
)
DIGIT_READERS: tuple[Reader, ...] = (
    reader("date, year first",
           r"(?P<year>[12]\d{3})(?P<mark>[-/.])(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})"
           r"(?![\d./]*\d)(?:T(?=\d{2}:))?", _year_first),
    reader("date, year last",
           r"(?P<first>\d{1,2})(?P<mark>[-/.])(?P<second>\d{1,2})(?P=mark)"
           r"(?P<year>(?:1[5-9]|20)\d{2}|(?<=/)\d{2})(?!\.?\d|/)", _year_last),
    reader("date, day and month", r"(?P<first>\d{1,2})/(?P<second>\d{1,2})(?![/\d])",
           _day_and_month),
    reader("date, day first",
           rf"(?P<day>\d{{1,2}}){_SUFFIX}?(?: of)?[ -]{_MONTH}(?![A-Za-z])\.?"
           r"(?:[, -]+(?P<year>[12]\d{3})(?![\d,]))?", _day_month),
    reader("day of memory",
           r"(?P<first>\d{1,2})(?:·(?P<second>\d{1,2})|\.(?P<third>\d{1,2})(?=\s?(?:晚会|事件|大促|活动|"
           r"地震|运动|事变|购物节|惨案|恐袭|消费者|全球)))(?![\d.])", _memory_day),
    reader("time", _TIME, _time),
    reader("hour", rf"(?P<hour>\d{{1,2}})\s?{_HALF}", _hour),
    reader("year span",
           r"(?P<first>[12]\d{3})年?[-–—~](?P<second>[12]\d{3})(?=\s?(?:[年学]|赛季|期间|[)）]))",
           _year_span),
    reader("season", r"(?P<first>(?:19|20)\d{2})[/-](?P<second>\d{2})(?![\d/.-])", _season),
    reader("Chinese year", r"(?P<year>\d{4}|\d{2})\s?年(?!代)", _chinese_year),
    reader("Chinese decade", r"(?P<year>(?:1[5-9]|20)\d0)(?=\s?年代)", _chinese_edition),
    reader("Chinese edition",
           r"(?P<year>(?:19|20)\d{2})(?=\s?(?:款|届|版|春|夏|秋|冬|赛季|财年|学年|年度|奥运|世界杯"
           r"|欧洲杯|亚运|巴黎|东京|北京|上海|全国|中国|国际|世界|高考))", _chinese_edition),
    reader("generation", r"\d{2}(?=后(?![来面天]))", _generation),
    reader("month or day", r"(?P<number>0?[1-9]|[12]\d|3[01])(?=\s?(?:月(?!球)|[日号](?!本)))",
           _month_or_day),
    reader("Chinese clock",
           r"(?P<hour>\d{1,2})(?P<point>\s?[点时])(?P<minute>[0-5]\d)(?=\D|$)", _chinese_clock),
    reader("decade", r"(?P<year>\d{0,2}\d0)'?s(?![A-Za-z])", _decade),
    reader("English year", r"(?P<year>[12]\d{3})(?![\d,]*\d|\.\d|[A-Za-z%°])", _english_year),
)  # fmt: skip
LETTER_READERS: tuple[Reader, ...] = (
    reader("date, month first", rf"{_MONTH}\.?\s(?P<day>\d{{1,2}}){_SUFFIX}?(?![\d:A-Za-z]|\.\d)",
           _month_day),
    reader("month and year", rf"{_MONTH}\.?(?=\s(?:of\s)?[12]\d{{3}}(?!\d))", _month_year),
    reader("days of the week",
           rf"(?P<day>{'|'.join(_WEEKDAYS)})\.?\s?[-–—]\s?(?P<last>{'|'.join(_WEEKDAYS)})(?![A-Za-z])",
           lambda match, view: (  # noqa: ARG005
               f"{_WEEKDAYS[match['day']]} to {_WEEKDAYS[match['last']]}")),
    reader("months of the year",
           rf"{_MONTH}\.?\s?[-–—]\s?(?={_MONTH.replace('?P<month>', '?:')}(?![a-z]))",
           lambda match, view: _month_name(match) + " to"),  # noqa: ARG005
    reader("month alone", rf"(?<=[-–—]){_MONTH}(?![a-z])", _month_year),
    reader("weekday", rf"(?P<day>{'|'.join(_WEEKDAYS)})\.?(?=,?\s(?:{_MONTH}|\d))", _weekday),
)  # fmt: skip
SYMBOL_READERS: tuple[Reader, ...] = (
    reader("decade", r"'(?P<year>\d0)s(?![A-Za-z])", _decade),
    reader("short year", r"'(?P<year>\d{2})(?![\dA-Za-z'])", _short_year),
)
