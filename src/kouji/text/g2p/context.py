"""Polyphonic characters that stand alone as a word: the reading their neighbours decide.

Rules look at the words before and after and at their part of speech, nothing further. What no
rule decides keeps the usual reading of the character.
"""

# ruff: noqa: ARG001 - the rules share one signature
from __future__ import annotations

from collections.abc import Callable, Sequence

from kouji.text.g2p.polyphones import SURNAMES, TITLES
from kouji.text.g2p.segment import Token

_MANNER = ("a", "d", "z", "i", "l", "o", "m", "nr")
_DEGREE = frozenset(
    "很 太 真 更 最 好 多 挺 非常 特别 比较 这么 那么 越 不 十分 极 有点 还".split()
)
_ADJECTIVES = frozenset(
    "高兴 难过 开心 快乐 漂亮 清楚 明白 干净 安静 热闹".split()
)  # tagged otherwise
_CHIEFLY_NAMES = frozenset("翟覃朴葛冼佘缪瞿褚臧庞尹娄逄郗")
_NAMES = frozenset("曾单解仇任区华燕曲")
_REACH = 6  # words a construction such as 以…为 may span
_WHO = frozenset("我你您他她它谁又还刚已都也就")
_GROW = frozenset("出 得 着 满 成 高 大 在 胖 了 起 出来".split())
_RETURNED = frozenset(
    "钱 书 债 款 账 贷 贷款 给 清 车 我 你 他 她 了 掉 回 东西 房贷 本 人情 愿".split()
)
_PLANTED = frozenset(
    "树 花 菜 地 田 草 瓜 豆 下 上 了 着 水稻 小麦 玉米 粮食 果树 满 过 庄稼".split()
)
_MAKES = frozenset(
    "变 以 选 选举 推选 称 视 尊 封 拜 任命 评 改 化 译 定 命名 当选 提升 聘 奉".split()
)
_LABELS = frozenset(
    "选 评 改 分 变 定 命名 视 译 设 列 升 化 被 最 更 极 较 尤 颇 封 尊 誉 取名 化名 名 均 即 "
    "长 高 宽 约 温度 面积 速度 总数".split()
)


def read_in_context(tokens: Sequence[Token], index: int) -> str | None:
    """Reading with tone number of the one-character word at `index`, None for the usual one."""
    character = tokens[index].text
    before = tokens[index - 1] if index else _NOTHING
    after = tokens[index + 1] if index + 1 < len(tokens) else _NOTHING
    if character in SURNAMES and _is_surname(character, before, after):
        return SURNAMES[character]
    rule = _RULES.get(character)
    if rule is None:
        return None
    earlier = [token.text for token in tokens[max(0, index - _REACH) : index]]
    return rule(before, after, earlier)


Rule = Callable[[Token, Token, list[str]], "str | None"]
_NOTHING = Token("", 0, 0, "")


def _is(token: Token, *tags: str) -> bool:
    return token.tag.startswith(tags) and bool(token.text)


def _is_surname(character: str, before: Token, after: Token) -> bool:
    """姓曾, 曾先生, 老解, 小任; a given name may follow those that are rarely other words."""
    if character == "区" and after.text in ("主任", "书记", "局长", "部长", "科长", "医生"):
        return before.text == "姓"  # of a district
    if before.text == "姓" or after.text in TITLES:
        return not (_is(before, "m", "q") or before.text in ("这", "那", "每", "各"))
    if before.text in ("老", "阿") and not after.text:
        return True
    is_given = _is(after, "nr") and len(after.text) <= 2
    return character in _CHIEFLY_NAMES or (is_given and character in _NAMES)


def _de_potential(before: Token, after: Token, earlier: list[str]) -> str | None:
    """得: after a pronoun or adverb `must`, after a verb or adjective a particle, else `to get`."""
    if after.text in ("多", "很", "慌", "要命", "厉害", "要死", "不行") and before.text:
        return "de5"
    if after.text == "了" and not (_is(before, "v") and len(before.text) == 1):
        return "de2"
    is_thing = _is(after, "m") or after.text in ("奖", "病", "分", "冠军", "第一", "势", "名")
    if _is(before, "r", "nr", "d") and before.text not in _ADJECTIVES:
        return "de2" if is_thing or not after.text else "dei3"
    if _is(before, "v", "a", "z", "i", "l") or before.text in _ADJECTIVES:
        return "de2" if before.text in ("能", "会", "要", "想", "可") else "de5"
    if _is(after, "v", "d", "p", "a", "t", "r", "s", "b") and not is_thing:
        return "dei3"
    return "de2" if after.text and (is_thing or not before.text) else "de5"


def _de_adverbial(before: Token, after: Token, earlier: list[str]) -> str | None:
    """地: between a manner and a verb a particle, else the ground."""
    if before.text[-1:] in ("块", "片", "亩", "处", "此", "各", "该", "本", "这", "那", "每", "哪"):
        return "di4"
    is_manner = before.text and (_is(before, *_MANNER) or len(before.text) > 1)
    if is_manner and _is(after, "v", "a", "d", "p", "i", "l", "z", "r"):
        return "de5"
    return "de5" if len(before.text) > 1 and _is(before, "a", "d", "z") and after.text else None


def _le(before: Token, after: Token, earlier: list[str]) -> str | None:
    """了: after 不 or 得 a full `liao`, as in 走不了."""
    if before.text == "得" and (len(earlier) < 2 or len(earlier[-2]) > 1 or earlier[-2] in _WHO):
        return "le5"  # 他得了第一
    if len(before.text) > 1 and before.text[-1] == "得" and before.text != "来得":
        return "le5"  # a verb of its own, as in 记得了 and 舍不得了
    return "liao3" if before.text[-1:] in ("不", "得") and before.start > 0 else None


def _hai(before: Token, after: Token, earlier: list[str]) -> str | None:
    if not after.text and before.text not in ("", "都", "也", "却"):
        return "huan2"  # 按时还
    return "huan2" if after.text in _RETURNED else None


def _hang(before: Token, after: Token, earlier: list[str]) -> str | None:
    is_counted = _is(before, "m") or before.text in ("这", "那", "每", "哪", "一", "两", "几")
    return "hang2" if is_counted and after.text not in ("人", "动") else None


def _chang(before: Token, after: Token, earlier: list[str]) -> str | None:
    if after.text in _GROW and before.text not in _DEGREE:
        return "zhang3"
    return "zhang3" if _is(before, "nt", "nis") and not _is(after, "m") else None


def _chong(before: Token, after: Token, earlier: list[str]) -> str | None:
    if _is(before, "m") or before.text == "一":
        return "chong2"
    return "chong2" if _is(after, "v") and before.text not in _DEGREE else None


def _wei(before: Token, after: Token, earlier: list[str]) -> str | None:
    is_label = before.text in _LABELS or _is(after, "m")
    return "wei2" if is_label or any(word in _MAKES for word in earlier) else None


def _zhong_plant(before: Token, after: Token, earlier: list[str]) -> str | None:
    return "zhong4" if after.text in _PLANTED and not _is(before, "m", "r") else None


def _zhi(before: Token, after: Token, earlier: list[str]) -> str | None:
    is_counted = _is(before, "m") or before.text in ("这", "那", "每", "几", "两", "半", "哪", "一")
    return "zhi1" if is_counted and not _is(after, "v", "p", "d") else None


def _gan(before: Token, after: Token, earlier: list[str]) -> str | None:
    is_dry = before.text in ("很", "太", "更", "最", "晾", "擦", "吹", "烘", "晒", "口", "变", "哭")
    has_dried = _is(before, "n") and not _is(before, "nr") and after.text == "了"
    return "gan1" if is_dry or has_dried else None


def _shu(before: Token, after: Token, earlier: list[str]) -> str | None:
    is_verb = _is(after, "m") or after.text in (
        "了",
        "着",
        "钱",
        "到",
        "一",
        "星星",
        "数",
        "完",
        "羊",
    )
    return "shu3" if is_verb and not _is(before, "m", "n", "a") else None


def _diao(before: Token, after: Token, earlier: list[str]) -> str | None:
    return "tiao2" if after.text in tuple("高低大小整慢快到成好亮暗") else None


def _dao(before: Token, after: Token, earlier: list[str]) -> str | None:
    if after.text in ("塌", "闭", "在", "了") or before.text in tuple("摔跌晕推打病卧绊吹累放撞"):
        return "dao3"
    return None


def _tan(before: Token, after: Token, earlier: list[str]) -> str | None:
    return (
        "tan2" if after.text in ("琴", "钢琴", "吉他", "奏", "着", "起", "一", "了", "得") else None
    )


def _ji_tie(before: Token, after: Token, earlier: list[str]) -> str | None:
    return (
        "ji4" if after.text in ("领带", "鞋带", "上", "好", "着", "安全带", "围巾", "紧") else None
    )


def _jiao_sleep(before: Token, after: Token, earlier: list[str]) -> str | None:
    return (
        "jiao4"
        if before.text in ("一", "了", "个", "好", "大", "懒", "睡", "着", "午", "一个")
        else None
    )


def _zhuan(before: Token, after: Token, earlier: list[str]) -> str | None:
    if not after.text and any(word[:1] in ("绕", "围") for word in earlier):
        return "zhuan4"
    return "zhuan4" if after.text in ("圈", "圈圈", "动", "得", "个", "悠", "着") else None


def _bei(before: Token, after: Token, earlier: list[str]) -> str | None:
    return "bei1" if after.text in ("着", "起", "包", "书包", "了", "上", "不动") else None


def _sheng(before: Token, after: Token, earlier: list[str]) -> str | None:
    """盛: to ladle before what is ladled."""
    return "cheng2" if _is(after, "m") or after.text in tuple("了满着饭汤出好起碗点在上") else None


def _tu(before: Token, after: Token, earlier: list[str]) -> str | None:
    return (
        "tu4"
        if after.text in ("了", "过", "得") or before.text in ("想", "恶心", "要", "又")
        else None
    )


def _za(before: Token, after: Token, earlier: list[str]) -> str | None:
    return (
        "za1"
        if after.text in ("辫子", "头发", "马尾", "起", "成", "腰带", "蝴蝶结", "紧")
        else None
    )


def _liang(before: Token, after: Token, earlier: list[str]) -> str | None:
    is_measured = after.text in (
        "一下",
        "体温",
        "血压",
        "身高",
        "尺寸",
        "了",
        "着",
        "体重",
        "腰围",
        "过",
    )
    return "liang2" if is_measured and not _is(before, "n", "a", "m") else None


def _chu(before: Token, after: Token, earlier: list[str]) -> str | None:
    return "chu3" if after.text in ("得", "不", "着", "了", "于", "在", "久") else None


def _kong(before: Token, after: Token, earlier: list[str]) -> str | None:
    is_leisure = before.text in ("有", "没", "没有", "抽", "抽个", "得", "趁", "有个", "个")
    return "kong4" if is_leisure and not _is(after, "n") else None


def _zhao(before: Token, after: Token, earlier: list[str]) -> str | None:
    """着: a result after 睡 and 找 with 不 or 得 between, else the particle."""
    return "zhao2" if before.text[-1:] in ("不", "得") else None


_RULES: dict[str, Rule] = {
    "得": _de_potential, "地": _de_adverbial, "了": _le, "还": _hai, "行": _hang, "长": _chang,
    "重": _chong, "为": _wei, "种": _zhong_plant, "只": _zhi, "干": _gan, "数": _shu, "调": _diao,
    "盛": _sheng, "吐": _tu, "扎": _za, "量": _liang, "处": _chu, "空": _kong,
    "倒": _dao, "弹": _tan, "系": _ji_tie, "觉": _jiao_sleep, "转": _zhuan, "背": _bei, "着": _zhao,
}  # fmt: skip
