"""Reading of numbers and what they measure: percent, degrees, units, fractions, ratios, ranges.

A sign before a number is a minus only where nothing stands that it could join or subtract.
"""

from __future__ import annotations

import re
import unicodedata

from kouji.text.language import HANZI
from kouji.text.normalise import chinese, codes, english, units
from kouji.text.normalise.reading import Read, Reader, View, reader

# A lone 2 before these is 两; 二 is right before all others (2月, 2号, 2楼, 2路, 2班).
_MEASURES = re.compile(
    r"\s?(?:[多几]?[个只条位次天名种件本张台辆家间层届遍趟回场瓶杯碗盘袋包盒箱双对套座片粒颗滴勺句段"
    r"首部项款道把根支枝株棵头匹群队组排门份周秒刻夜晚季代岁元块斤克吨米升里倍人厅卫步针锅桶圈口"
    r"餐顿身手脚拳桌笔批封幅副股起桩串壶罐听管盏扇顶艘架节堂拨轮局盘篇页章行列类样件卷集万亿千]"
    r"|年(?![级代])|小时|分钟|星期(?![一二三四五六日天])|公[里斤尺升顷分]|英[里尺寸磅镑]|毫[米升克]|厘米|平方|立方"
    r"|茶匙|汤匙|美元|欧元|日元|港[元币]|半|碟|朵|支|点(?!\d)|摄氏度|兆|世纪|[美欧]分|到[^\d]|成)"
)
_ORDINAL_BEFORE = re.compile(r"[第初]\s?$|(?:周|星期|礼拜|农历.{0,2}月|高|初|大|小|老|[A-Za-z])$")
VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_DASH = "[-–—~至到]"
_SPORT = re.compile(
    r"比分|战胜|击败|战平|领先|落后|打平|[^运]输|赢|险胜|大胜|完胜|(?:以|比分|总分)\s?$|"
    r"\b(?:won|wins?|beat|beats|lost|loses|leads?|led|defeat(?:ed|s)?|draw|drew|score|victory|thrash"
    r"(?:ed)?|edged|goal)\b"
)

_SCORE_BEFORE = re.compile(r"(?:以|比分[为是]?|赢|胜|won|lost|beat \w+|score (?:is|was))\s?$")


def takes_liang(match: re.Match[str], view: View) -> bool:
    """True where a lone 2 that ends at the match's end is said 两."""
    if _ORDINAL_BEFORE.search(view.before(match, 6)):
        return False
    after = view.after(match, 8)
    after = re.sub(r"^\s?[-–—~至到]\s?\d+", "", after)
    return _MEASURES.match(after) is not None


def _signed(read: Read) -> Read:
    """Refuse a sign that follows a word, a number or a bracket: there it joins or subtracts."""

    def read_signed(match: re.Match[str], view: View) -> str | None:
        joins = rf"[A-Za-z0-9)%°℃℉²³\]]$|\d[{HANZI}]{{1,2}}$"
        if match["sign"] and re.search(joins, view.before(match, 3)):
            return None
        return read(match, view)

    return read_signed


def _number(match: re.Match[str], view: View) -> str:
    number = match.group()
    if view.language(match) == "zh":
        return _chinese_number(number, match, view)
    digits = number.lstrip("+-−±")
    if _is_code(digits):
        return ("minus " if number[0] in "-−" else "") + english.digits(digits)
    return english.number(number)


def _chinese_number(number: str, match: re.Match[str], view: View) -> str:
    digits = number.lstrip("+-−")
    if _is_code(digits):
        return ("负" if number[0] in "-−" else "") + chinese.digits(digits)
    return chinese.number(number, liang=takes_liang(match, view))


def _is_code(digits: str) -> bool:
    """Leading zeros, or more digits than anybody counts with: read one by one."""
    if "." in digits or "," in digits:
        return False
    has_zeros = digits.endswith("0000")
    return (digits[0] == "0" and len(digits) > 1) or (len(digits) >= 9 and not has_zeros)


def _percent(match: re.Match[str], view: View) -> str:
    low, sign, number = match["low"], match["sign"], match["amount"]
    per_mille = match["mark"] == "‰"
    if view.language(match) == "zh":
        of = "千分之" if per_mille else "百分之"
        minus = {"": "", "+": "正"}.get(sign, "负")
        said = minus + of + ("百" if number == "100" else chinese.number(number))
        return f"{of}{chinese.number(low)}到{said}" if low else said
    said = english.number(sign + number)
    if low:
        said = f"{english.number(low)} to {said}"
    return said + (" per mille" if per_mille else " percent")


def _degrees(match: re.Match[str], view: View) -> str:
    scale = (match["scale"] or "").strip()[-1:]
    scale = {"℃": "C", "℉": "F"}.get(scale, scale)
    low = match["low"]
    if view.language(match) == "zh":
        name = {"C": "摄氏度", "F": "华氏度"}.get(scale, "度")
        first = _chinese_degrees(match["low_sign"], low) + "到" if low else ""
        return first + _chinese_degrees(match["sign"], match["amount"]) + name
    said = english.number(match["sign"] + match["amount"])
    if low:
        said = f"{english.number((match['low_sign'] or '') + low)} to {said}"
    degree = "degree" if match["amount"] == "1" and not low else "degrees"
    return f"{said} {degree} " + {"C": "celsius", "F": "fahrenheit"}.get(scale, "")


def _chinese_degrees(sign: str | None, number: str) -> str:
    return {"": "", "+": "零上"}.get(sign or "", "零下") + chinese.number(number)


def _angle(match: re.Match[str], view: View) -> str:
    is_chinese = view.language(match) == "zh"
    names = ("度", "分", "秒") if is_chinese else (" degrees ", " minutes ", " seconds ")
    say = chinese.number if is_chinese else english.number
    return "".join(
        say(number) + (name.replace("s ", " ") if number == "1" else name)
        for number, name in zip(match.groups(), names, strict=False)
        if number
    )


def _unit(match: re.Match[str], view: View) -> str | None:
    number, sign, gap = match["amount"], match["unit"], match["gap"]
    if gap and sign in ("t", "W", "h", "min", "V") and gap == "-":
        return None
    if view.language(match) == "zh":
        name = units.chinese_unit(sign)
        return chinese.number(match["sign"] + number, liang=name[0] > "z") + name
    article = re.search(
        r"\b(?:[aA]n?|[tT]he)\s(?:[a-z]+\s)?(?:\d+\s?[×x]\s?)*$", view.before(match)
    )
    noun = re.match(r"\s(?!an?\b|per|for|to|in|is|was|and|or|from|on|by|at|of)[a-z]",
                    view.after(match))  # fmt: skip
    singular = number == "1" or gap == "-" or bool(article and noun)
    return f"{english.number(match['sign'] + number)} {units.english_unit(sign, singular=singular)}"


def _hours_minutes(match: re.Match[str], view: View) -> str:
    hours, minutes = match["hours"], match["minutes"]
    if view.language(match) == "zh":
        return f"{chinese.cardinal(hours, liang=True)}小时{chinese.cardinal(minutes)}分钟"
    return (
        f"{english.cardinal(hours)} hour{'' if hours == '1' else 's'} "
        f"{english.cardinal(minutes)} minute{'' if minutes == '1' else 's'}"
    )


def _feet_inches(match: re.Match[str], view: View) -> str:
    feet, inches = match["feet"], match["inches"]
    if float(inches) >= 12:  # 9'58" on a stop-watch
        if view.language(match) == "zh":
            return f"{chinese.cardinal(feet, liang=True)}分{chinese.number(inches)}秒"
        return f"{english.cardinal(feet)} minutes {english.number(inches)} seconds"
    if view.language(match) == "zh":
        return f"{chinese.cardinal(feet, liang=True)}英尺{chinese.number(inches)}英寸"
    return f"{english.cardinal(feet)} foot {english.number(inches)}"


def _inches(match: re.Match[str], view: View) -> str | None:
    if view.text.count('"', 0, match.start()) % 2:
        return None  # it closes a quotation
    if view.language(match) == "zh":
        return chinese.number(match["amount"], liang=True) + "英寸"
    singular = match["amount"] == "1" or re.match(r"\s[a-z]", view.after(match))
    return english.number(match["amount"]) + (" inch" if singular else " inches")


def _vulgar(match: re.Match[str], view: View) -> str:
    numerator, _, denominator = unicodedata.normalize("NFKC", match["part"]).partition("⁄")
    return _mixed(match["whole"] or "", numerator, denominator, view.language(match) == "zh")


def _mixed(whole: str, numerator: str, denominator: str, is_chinese: bool) -> str:
    if is_chinese:
        return (f"{chinese.number(whole)}又" if whole else "") + chinese.fraction(
            numerator, denominator
        )
    part = english.fraction(numerator, denominator)
    if whole:
        part = "a " + part[4:] if part.startswith("one ") else part
        return f"{english.cardinal(whole)} and {part}"
    return part


def _fraction(match: re.Match[str], view: View) -> str | None:
    top, bottom = match["top"], match["bottom"]
    is_chinese = view.language(match) == "zh"
    if (top, bottom) == ("24", "7") and is_chinese:
        is_named = re.match(r"\s?小时", view.after(match))
        return "七乘二十四" + ("" if is_named else "小时")
    if (top, bottom) in (("24", "7"), ("9", "11")) and not is_chinese:
        return f"{english.cardinal(top)} {english.cardinal(bottom)}"
    if top == bottom and not is_chinese and len(top) > 1:
        return f"{english.cardinal(top)} {english.cardinal(bottom)}"
    if int(bottom) == 0 or top[0] == "0" or bottom[0] == "0":
        return None
    if int(top) > int(bottom) >= 40 and not match["whole"]:  # blood pressure
        if is_chinese:
            return f"{chinese.number(top)}比{chinese.number(bottom)}"
        return f"{_short_hundreds(top)} over {_short_hundreds(bottom)}"
    return _mixed(match["whole"] or "", top, bottom, is_chinese)


def _short_hundreds(number: str) -> str:
    if len(number) == 3 and number[1:] != "00":
        tail = number[1:]
        return f"{english.cardinal(number[0])} " + (
            f"oh {english.cardinal(tail)}" if tail[0] == "0" else english.cardinal(tail)
        )
    return english.cardinal(number)


def _ratio(match: re.Match[str], view: View) -> str:
    parts = re.split(r"\s?:\s?", match.group())
    if view.language(match) == "zh":
        return "比".join(chinese.number(part) for part in parts)
    return " to ".join(english.number(part) for part in parts)


def _score(match: re.Match[str], view: View) -> str | None:
    """3-2 is a score only among words of sport."""
    before = view.before(match, 80)
    is_next = re.search(r"\d[-–]\d{1,3}(?:\s?\(\d+-\d+\))?\s?[、,，]\s?$", before)
    named = _SCORE_BEFORE.search(before) or (is_next and _SPORT.search(before))
    counted = re.match(r"\s?(?:[岁天年个月]|[a-z])", view.after(match))
    if not named and (counted or not _SPORT.search(view.clause(match))):
        return None
    first, second = match["first"], match["second"]
    if view.language(match) == "zh":
        return f"{chinese.number(first)}比{chinese.number(second)}"
    return f"{english.cardinal(first)} to {english.cardinal(second)}"


def _ordinal(match: re.Match[str], view: View) -> str:
    number = match["amount"].replace(",", "")
    if view.language(match) == "zh":
        return "第" + chinese.number(number)
    return english.ordinal(number)


def _round_plural(match: re.Match[str], view: View) -> str | None:
    """1,000s of people."""
    names = {2: "tens", 3: "hundreds", 4: "thousands", 5: "tens of thousands",
             6: "hundreds of thousands", 7: "millions"}  # fmt: skip
    is_english = view.language(match) == "en"
    return names[len(match["amount"].replace(",", ""))] if is_english else None


def _range(match: re.Match[str], view: View) -> str | None:
    """A dash between two numbers, either of which may carry a unit."""
    before = view.before(match, 8).rstrip(" ")
    if not re.search(
        rf"\d(?:\s?(?:[%°℃℉‰]|°[CF]|[a-zA-Z]{{1,2}}[²³]?|[{HANZI}]{{1,2}}))?$", before
    ):
        return None
    return "到" if view.language(match) == "zh" else "to"


def _times_sign(match: re.Match[str], view: View) -> str | None:
    """10×20 cm, 1920x1080."""
    if not re.search(r"\d\s?(?:[cm]?m|in|ft)?\s?$", view.before(match, 5)):
        return None
    return "乘" if view.language(match) == "zh" else "by"


def _multiple(match: re.Match[str], view: View) -> str:
    number = match["amount"]
    if view.language(match) == "zh":
        return chinese.number(number, liang=True) + "倍"
    return english.number(number) + " times"


def _european(match: re.Match[str], view: View) -> str | None:
    """3,5 % and 2,5 kg: a comma that is a decimal point, believed only before a unit."""
    number, unit = match["whole"] + "." + match["decimals"], match["unit"]
    if view.language(match) == "zh":
        said = chinese.number(number)
        return said + units.chinese_unit(unit) if unit else "百分之" + said
    return f"{english.number(number)} " + (
        units.english_unit(unit, singular=False) if unit else "percent"
    )


def _later_unit(match: re.Match[str], view: View) -> str | None:
    """The unit of a number already read: 120/80 mmHg, ½ kg."""
    if not re.search(rf"(?:\d/\d+|[{VULGAR}])\s?$", view.before(match, 8)):
        return None
    if view.language(match) == "zh":
        return units.chinese_unit(match["unit"])
    whole = re.search(rf"\d\s?[{VULGAR}]\s?$|\d \d+/\d+\s?$", view.before(match, 8))
    return units.english_unit(match["unit"], singular=whole is None)


def _factor(match: re.Match[str], view: View) -> str:
    """The 4x of 4x100m."""
    if view.language(match) == "zh":
        return chinese.number(match["amount"]) + "乘"
    return english.number(match["amount"]) + " by"


def _height(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    """1米65 -> 一米六五."""
    return chinese.digits(match.group())


def _dimensions(match: re.Match[str], view: View) -> str | None:
    """1920x1080; with a unit behind, or a sum, it is for others."""
    if re.match(rf"\s?(?:=|{units.SIGN}(?![A-Za-z]))", view.after(match)):
        return None
    numbers = re.findall(r"\d+", match.group())
    is_screen = all(len(number) >= 3 for number in numbers)
    if view.language(match) == "zh":
        say = chinese.digits if is_screen else chinese.number
        return "乘".join(say(number) for number in numbers)
    return " by ".join((codes.paired if is_screen else english.number)(n) for n in numbers)


def _bare_unit(match: re.Match[str], view: View) -> str:
    sign = match["unit"]
    if view.language(match) == "zh":
        return units.chinese_unit(sign)
    return units.english_unit(sign, singular="/" not in sign)


def _leading_point(match: re.Match[str], view: View) -> str:
    """.5 -> point five, 零点五."""
    if view.language(match) == "zh":
        return chinese.number("0" + match.group())
    return "point " + english.digits(match["decimals"])


_SIGN = r"(?P<sign>[-−+]?)"
_AMOUNT = r"(?P<amount>{N})"
_ANY: tuple[Reader, ...] = (
    reader("degrees",
           rf"(?:(?P<low_sign>[-−+]?)(?P<low>{{N}})\s?(?:°\s?[CF]?|℃|℉)?\s?{_DASH}\s?)?{_SIGN}{_AMOUNT}"
           r"\s?(?P<scale>°\s?[CF](?![A-Za-z])|℃|℉|°(?!\s?\d))",
           lambda match, view: _signed(_degrees)(match, view)),
    reader("percent", rf"(?:(?P<low>{{N}})\s?%?\s?{_DASH}\s?)?{_SIGN}{_AMOUNT}\s?(?P<mark>[%‰])",
           _signed(_percent)),
    reader("unit", rf"{_SIGN}{_AMOUNT}(?P<gap>[ -]?){units.PATTERN}", _signed(_unit)),
    reader("number", rf"{_SIGN}{_AMOUNT}", _signed(_number)),
)  # fmt: skip
DIGIT_READERS: tuple[Reader, ...] = (
    reader("European decimal",
           rf"(?<![\d,.])(?P<whole>\d{{1,3}}),(?P<decimals>\d{{1,2}})\s?(?:%|{units.PATTERN})",
           _european),
    reader(
        "dimensions",
        r"\d{3,4}\s?[xX×*]\s?\d{3,4}(?:[xX×*]\d{3,4})?(?![\d.])|\d{1,4}x\d{1,4}(?![\d.])",
        _dimensions,
    ),
    reader("factor", rf"(?P<amount>\d{{1,3}})\s?x(?=\d+\s?{units.SIGN}(?![A-Za-z]))", _factor),
    reader("height", r"(?<=\d米)\d{2}(?![\d.])", _height),
    reader("ratio", r"\d+(?:\.\d+)?(?:\s?:\s?\d+(?:\.\d+)?)+", _ratio),
    reader("score", r"(?P<first>\d{1,3})\s?[-–]\s?(?P<second>\d{1,3})(?![-–\d./])", _score),
    reader("angle", r"(\d{1,3})°\s?(\d{1,2})'\s?(?:(\d{1,2}(?:\.\d+)?)(?:\"|''))?", _angle),
    reader("hours and minutes", r"(?P<hours>\d+)\s?h\s?(?P<minutes>\d{1,2})\s?m(?:in)?(?![A-Za-z])",
           _hours_minutes),
    reader("feet and inches",
           r"(?P<feet>\d{1,2})\s?ft\.?\s(?P<inches>\d{1,2})\s?in(?![A-Za-z])\.?",
           _feet_inches),
    reader("feet and inches", r"(?P<feet>\d{1,2})'\s?(?P<inches>\d{1,2}(?:\.\d)?)(?:\"|'')",
           _feet_inches),
    reader("inches", r'(?P<amount>{N})"', _inches),
    reader("vulgar fraction", rf"(?P<whole>\d+)?\s?(?P<part>[{VULGAR}])", _vulgar),
    reader("fraction",
           r"(?:(?P<whole>\d+)\s)?(?P<top>\d{1,4})\s?/\s?(?P<bottom>\d{1,4})(?![\d/]|\.\d)",
           _fraction),
    reader("round plural", r"(?P<amount>10{1,2}|10{0,2},?000|1,000,000)s(?=\sof\s)", _round_plural),
    reader("ordinal", r"(?P<amount>{N})\s?(?:st|nd|rd|th|ST|ND|RD|TH)(?![A-Za-z])", _ordinal),
    *_ANY[:-1],
    reader("multiple", r"(?P<amount>{N})[x×](?![A-Za-z\d])(?!\s?\d)", _multiple),
)  # fmt: skip
NUMBER_READER = reader("number", r"{N}", _number)
SYMBOL_READERS: tuple[Reader, ...] = (
    *_ANY,
    reader("vulgar fraction", rf"(?P<whole>)(?P<part>[{VULGAR}])", _vulgar),
    reader(
        "about",
        r"(?<![\w)%°℃℉'\".])~\s?(?=\d)",
        lambda match, view: "约" if view.language(match) == "zh" else "about",
    ),
    reader(
        "range of labels",
        r"(?<=[A-Z]\d)–(?=[A-Z]\d)",
        lambda match, view: "到" if view.language(match) == "zh" else "to",
    ),
    reader("range", r"\s?[-–—~](?=\s?(?:[-−+]?[$€£¥]?\d))", _range),
    reader("leading point", r"(?<![\w.])\.(?P<decimals>\d+)(?!\.?\d)", _leading_point),
    reader("times sign", r"[×*](?=\s?\d)", _times_sign),
)
LETTER_READERS: tuple[Reader, ...] = (
    reader("times sign", r"x(?=\s?\d)", _times_sign),
    reader("later unit", units.PATTERN, _later_unit),
    reader(
        "bare unit",
        rf"(?P<unit>[kcdm]?m[²³]|(?:{units.SIGN}(?<=[A-Za-z]{{2}})|m)/{units.SIGN})(?![A-Za-z\d²³])",
        _bare_unit,
    ),
)
