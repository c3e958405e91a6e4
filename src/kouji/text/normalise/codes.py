"""Reading of numbers that name rather than count: telephones, IDs, flights, models, versions.

Such digits are said one by one; Chinese says 幺 for 1 where people dictate numbers.
"""

from __future__ import annotations

import re

from kouji.text.normalise import chinese, english
from kouji.text.normalise.capitals import read_letters
from kouji.text.normalise.reading import Reader, View, reader

_DIAL = re.compile(
    r"(?:拨打|电话|热线|致电|拨|手机号?码?|打|报警|传真|客服|短信至|急救|火警|匪警|查号|求助|呼叫|救护车|\b(?:call|dial|phone|tel|text|fax|hotline)\b"
    r"(?:\s(?:us|me|at|number|him|her|is))*)[是为：:.]?\s?$",
    re.IGNORECASE | re.ASCII,
)
_CODE = re.compile(
    r"(?:验证码|密码|尾号|卡号|账号|帐号|编号|学号|工号|单号|订单号?|QQ群?号?|邮编|邮政编码|号码|房间号?|房号|身份证号?|代码|口令"
    r"|代号|编码|邀请码|取件码|车牌号?|航班号?|股票|微信号?|会议号|端口号?|门牌号?|分机号?|\d转|(?<![A-Z])(?:ISO|IEEE|RFC|IEC|GB(?:/T)?|DIN|ANSI)|骁龙|麒麟|"
    r"\b(?:code|port|PIN|OTP|password|zip|order|account|room|flight|extension|ext|ID|ISBN|SKU|passcode"
    r"|suite|apt|apartment|route|highway|bus|boeing|airbus|interstate|RTX|GTX|RX"
    r"|number ending in|ending in|serial number)\b\.?)"
    r"(?:后四位)?\s?(?:是|为|is|:|：|#|number|No\.)?\s*(?:#\s?)?$",
    re.IGNORECASE | re.ASCII,
)
_PAIRED = re.compile(
    r"\b(?:room|flight|route|highway|bus|suite|apt|apartment|boeing|airbus|interstate|RTX|GTX|RX)\b",
    re.IGNORECASE | re.ASCII,
)
_SOFTWARE = re.compile(
    r"(?:\b(?:Python|Ubuntu|Debian|iOS|Android|Java|Node|Chrome|Django|PyTorch|CUDA|macOS|Windows|Swift"
    r"|Go|Rust|Ruby|PHP|Kubernetes|TensorFlow|[vV]ersion|[rR]elease)|版本号?)\s?[:：是为]?\s?$",
    re.ASCII,
)


def _phone(match: re.Match[str], view: View) -> str:
    """Groups as written, parted by pauses; a leading + is said."""
    text = match.group()
    groups = re.findall(r"\d+", text)
    if view.language(match) == "zh":
        said = " , ".join(chinese.digits(group, phone=True) for group in groups)
        return ("加" if text[0] == "+" else "") + said
    spoken = [
        f"{english.ONES[int(group[0])]} hundred"
        if group in ("800", "900") and index < 2
        else english.digits(group, zero="oh")
        for index, group in enumerate(groups)
    ]
    return ("plus " if text[0] == "+" else "") + " , ".join(spoken)


def _dialled(match: re.Match[str], view: View) -> str | None:
    """Short numbers after a word like 拨打 or call."""
    if not _DIAL.search(view.before(match)):
        return None
    return _say_digits(match.group(), view.language(match) == "zh")


def _emergency(match: re.Match[str], view: View) -> str | None:
    return None if view.language(match) == "zh" else english.digits(match.group())


def _coded(match: re.Match[str], view: View) -> str | None:
    before = view.before(match)
    if not _CODE.search(before):
        return None
    digits = match.group()
    if re.match(r"\s?[多个条份元块年月日天次]|\s(?:of|items|units)\b", view.after(match)):
        return None
    is_chinese = view.language(match) == "zh"
    if not is_chinese and _PAIRED.search(before) and digits.isdecimal() and len(digits) <= 4:
        return paired(digits)
    return _say_digits(digits, is_chinese)


def _say_digits(text: str, is_chinese: bool) -> str:
    parts: list[str] = []
    for group in re.findall(r"\d+|[A-Za-z]+", text):
        if group.isdecimal():
            parts.append(chinese.digits(group, phone=True) if is_chinese else english.digits(group))
        else:
            parts.append(group.upper())
    return " ".join(parts)


def paired(digits: str) -> str:
    """Room and route numbers: 101 -> one oh one, 1204 -> twelve oh four, 66 -> sixty six."""
    if len(digits) < 3 or digits[0] == "0":
        return english.cardinal(digits) if digits[0] != "0" else english.digits(digits, zero="oh")
    if len(digits) > 4:
        return english.digits(digits, zero="oh")
    head, tail = digits[:-2], digits[-2:]
    if tail == "00":
        return english.cardinal(digits) if head[-1] == "0" else f"{english.cardinal(head)} hundred"
    tail_said = english.digits(tail, zero="oh") if tail[0] == "0" else english.cardinal(tail)
    return f"{english.cardinal(head)} {tail_said}"


def _room(match: re.Match[str], view: View) -> str:  # noqa: ARG001
    return chinese.digits(match["number"], phone=True)


def _flat(match: re.Match[str], view: View) -> str | None:
    """3-2-501: building, entrance and flat."""
    if view.language(match) != "zh" or not re.search(
        r"[住在到址园区院苑城村]\s?$", view.before(match)
    ):
        return None
    *front, room = match.group().split("-")
    said = [chinese.cardinal(part) for part in front]
    return "杠".join([*said, chinese.digits(room, phone=True)])


def _formation(match: re.Match[str], view: View) -> str | None:
    """The 4-3-3 of football."""
    if not re.match(r"\s?(?:formation|system|阵|打法|站位)", view.after(match)):
        return None
    digits = match.group()
    return chinese.digits(digits) if view.language(match) == "zh" else english.digits(digits)


def _byword(match: re.Match[str], view: View) -> str | None:
    """666, 2333, 996, 985/211: said by their digits in Chinese unless they count something."""
    counted = re.match(
        r"[\d.,:：%-]|\s?[个元块人年月日米次分天岁万亿多℃度页号条千克张]", view.after(match)
    )
    if counted or view.language(match) != "zh" or re.search(r"[\d.,¥$-]$", view.before(match)):
        return None
    return " , ".join(chinese.digits(part) for part in re.findall(r"\d+", match.group()))


def _hotline(match: re.Match[str], view: View) -> str | None:
    """The numbers everybody in China knows by their digits: 120急救, 12306."""
    is_chinese = view.language(match) == "zh"
    return chinese.digits(match.group(), phone=True) if is_chinese else None


def _free_call(match: re.Match[str], view: View) -> str:
    """The digits of 1-800-FLOWERS."""
    parts = match["number"].split("-")
    if view.language(match) == "zh":
        return " , ".join(chinese.digits(part, phone=True) for part in parts)
    return " , ".join("one" if p == "1" else f"{english.ONES[int(p[0])]} hundred" for p in parts)


def _long_id(match: re.Match[str], view: View) -> str:
    return _say_digits(match.group(), view.language(match) == "zh")


def _version(match: re.Match[str], view: View) -> str | None:
    parts = match["number"].split(".")
    if len(parts) == 2 and not match["v"] and not _SOFTWARE.search(view.before(match)):
        return None
    is_chinese = view.language(match) == "zh"
    stage = _say_stage(match, is_chinese)
    named = re.search(r"(?:版本号?|[vV]ersion|版)\s?[:：]?\s?$", view.before(match))
    if is_chinese:
        said = "点".join(_chinese_part(part) for part in parts)
        return ("V " if match["v"] and not named else "") + said + stage
    said = " point ".join(english.number(part) for part in parts)
    return ("version " if match["v"] and not named else "") + said + stage


def _say_stage(match: re.Match[str], is_chinese: bool) -> str:
    """-beta.3 -> beta three, rc1 -> R C one."""
    if not match["stage"]:
        return ""
    name = match["stage"] if len(match["stage"]) > 2 else match["stage"].upper()
    say = chinese.number if is_chinese else english.number
    return f" {name} " + (say(match["step"]) if match["step"] else "")


def _chinese_part(part: str) -> str:
    return chinese.digits(part) if part[0] == "0" or len(part) > 2 else chinese.cardinal(part)


def _model(match: re.Match[str], view: View) -> str:
    """Letters and digits mixed: CA1234, iPhone15, GPT-4, 5G, PM2.5, H2O."""
    is_chinese = view.language(match) == "zh"
    said: list[str] = []
    text = match.group()
    for part in re.finditer(r"\d+(?:\.\d+)?|[A-Za-z]+", text):
        group = part.group()
        if group[0].isdecimal():
            said.append(_model_digits(group, is_chinese, text))
        else:
            is_word = group in ("of", "in", "to", "by", "on", "or", "up") and f"-{group}-" in text
            said.append(group if is_word else read_letters(group, in_code=True))
    return " ".join(said)


def _model_digits(group: str, is_chinese: bool, text: str) -> str:
    if "." in group:
        return chinese.number(group) if is_chinese else english.number(group)
    if is_chinese:
        is_count = len(group) <= 2 and group[0] != "0"
        return chinese.cardinal(group) if is_count else chinese.digits(group, phone=True)
    if re.fullmatch(r"\d+p", text) or (
        len(group) == 4 and group.endswith("00") and group[0] != "0"
    ):
        return paired(group)
    is_count = len(group) <= 2 and group[0] != "0"
    return english.cardinal(group) if is_count else english.digits(group)


_STAGE = r"(?:-?(?P<stage>alpha|beta|rc|dev|pre|post|a|b)\.?(?P<step>\d+)?)?"
NUMBER_READERS: tuple[Reader, ...] = (
    reader("identity card", r"\d{17}[\dXx](?![\dA-Za-z])", _long_id),
    reader("phone",
           r"(?:1[3-9]\d[- ]?\d{4}[- ]?\d{4}|0\d{2,3}-\d{3,4}[- ]?\d{4}(?:-\d{1,4})?"
           r"|\d{3}-\d{3}-\d{3}|[48]00-\d{3,4}-\d{3,4}"
           r"|(?:1[-. ])?\d{3}[-. ]\d{3}[-. ]\d{4}|1-\d{3}-\d{3}-\d{4}|\d{3}-\d{4}"
           r"|0\d{2,4} \d{3,4} \d{3,4}|\d{3}-\d{2}-\d{4})(?![\d-])", _phone),
    reader("phone with a word", r"(?P<number>(?:1-)?[89]00)-(?P<name>[A-Z]{4,})(?![A-Za-z\d])",
           lambda match, view: f"{_free_call(match, view)} , {match['name'].lower()}"),
    reader("hotline", r"(?:(?:110|119|120|122)"
           r"(?=\s?(?:报警|急救|救护|消防|火警|出警|民警|指挥|接警|热线|电话))"
           r"|123\d{2}(?=\s?(?:热线|网|投诉|平台|官网|电话|市民|购票|订票|客服))"
           r"|12306|12315)(?!\d)", _hotline),
    reader("emergency", r"(?:911|999)(?!\s[a-z]+s\b|[\d,.:%/-]\d)", _emergency),
    reader("dialled", r"\d[\d-]{2,14}(?![\d.:])", _dialled),
    reader("coded", r"[\dA-Za-z]*\d[\dA-Za-z-]*(?![\d.:%]|-\d)", _coded),
    reader("zip code", r"(?:(?<=, [A-Z]{2} )|(?<=D\.C\. ))\d{5}(?:-\d{4})?(?!\d)", _long_id),
    reader("room", r"(?P<number>\d{3,4})(?=\s?(?:室|号?房(?!子)|号病房|教室|号楼|包厢|国道))",
           _room),
    reader("room", r"(?:(?<=[座栋幢])|(?<=单元))(?P<number>\d{3,4})(?![\d.]|年)", _room),
    reader("address", r"\d{1,3}-\d{1,2}-\d{3,4}(?![\d-])", _flat),
    reader("formation", r"\d(?:-\d){2,3}(?![\d.-])", _formation),
    reader("byword", r"6{3,}|8{3,}|2{2,}3{2,}"
           r"|(?:996|985|211|618)(?:[/、](?:996|985|211))?", _byword),
    reader("bus", r"(?P<number>\d{3})(?=路)", _room),
)  # fmt: skip
DIGIT_READERS: tuple[Reader, ...] = (
    reader("version", rf"(?P<v>)(?P<number>\d+(?:\.\d+)+){_STAGE}(?![\d%])", _version),
    reader("model", r"\d+(?:\.\d+)?(?:-?[A-Za-z]+(?!'))(?:-?\d+)*(?:[A-Za-z\d]*)", _model),
)  # fmt: skip
LETTER_READERS: tuple[Reader, ...] = (
    reader("version", rf"(?P<v>[vV]|[Vv]er\.?\s?)(?P<number>\d+(?:\.\d+)*){_STAGE}(?![\dA-Za-z])",
           _version),
    reader("model",
           r"(?![a-z]{3,}-\d)[A-Za-z]+(?:-[A-Za-z]+)?-?\d+(?:\.\d+)?(?:[A-Za-z\d]+|-\d+(?!\d*[年月日])|-[A-Z]+\d*)*",
           _model),
    reader("model", r"[A-Za-z]·[A-Z\d]{5,6}", _model),
)  # fmt: skip
SYMBOL_READERS: tuple[Reader, ...] = (
    reader("phone",
           r"\+\d{1,3}[- ]?(?:\(\d{1,4}\)[- ]?)?\d{2,4}(?:[- ]?\d{3,4}){1,3}(?![\d-])", _phone),
    reader("phone", r"\(\d{3,4}\)[- ]?(?:\d{3}[-. ]\d{4}|\d{7,8})(?![\d-])", _phone),
    reader("phone", r"\(\+?\d{2,3}\)[- ]?0?\d{2,3}[- ]?\d{3,4}[- ]?\d{4}(?![\d-])", _phone),
)  # fmt: skip
