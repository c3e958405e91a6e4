"""The sentences that people read aloud: a fixed statement, then random words.

The statement says what is agreed to; the words make each sentence one that nobody has on
tape. They are common, long enough to be told apart by the recogniser, and far from each
other in sound (no pair differs in one phone): docs/consent.md has the figures.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from functools import cache

from kouji.errors import UsageError
from kouji.text.front import phones_of
from kouji.text.phones import SYMBOL_IDS
from kouji.text.units import Word

NUM_WORDS = 6
LANGUAGES = ("zh", "en")
STATEMENTS = {
    "zh": "我同意用我的声音合成语音。今天的口令是：",
    "en": "I agree that speech is made with my voice. The words of today are: ",
}
_SEPARATORS = {"zh": "、", "en": ", "}
_ENDS = {"zh": "。", "en": "."}
_WORDS = {
    "zh": (
        "苹果 火车 月亮 黄金 电话 学校 老虎 飞机 牛奶 书包 眼睛 太阳 钢琴 "
        "地图 蝴蝶 咖啡 天空 手表 花园 草莓 警察 白菜 生日 银行 鸡蛋 熊猫 "
        "北京 西瓜 香蕉 面包 米饭 大象 骆驼 狐狸 螃蟹 孔雀 毛巾 窗户 沙发 "
        "楼梯 报纸 铅笔 黑板 操场 超市 公园 码头 桥梁 沙漠 瀑布 彩虹 闪电 "
        "台风 春天 博士 护照 足球 剪刀 玫瑰 雪花 蜡烛 肥皂 律师 猴子"
    ),
    "en": (
        "elephant umbrella hospital computer potato chocolate dinosaur butterfly strawberry "
        "television newspaper basketball restaurant calendar furniture crocodile octopus "
        "pineapple avocado spaghetti sandwich cucumber photograph microscope helicopter "
        "motorcycle ambulance submarine university kindergarten playground supermarket "
        "Saturday September November Christmas adventure orchestra violin saxophone "
        "president musician scientist carpenter grandmother volcano waterfall lightning "
        "hurricane universe satellite astronaut paragraph alphabet dictionary envelope "
        "marmalade cinnamon porcupine laboratory calculator mathematics passenger vegetable"
    ),
}


@dataclass(frozen=True)
class Sentence:
    """A sentence to read: a statement, then words of the language's list."""

    language: str
    words: tuple[str, ...]

    @property
    def text(self) -> str:
        """As it is shown."""
        words = _SEPARATORS[self.language].join(self.words)
        return STATEMENTS[self.language] + words + _ENDS[self.language]


def words_of(language: str) -> tuple[str, ...]:
    """All words that may come up; UsageError for another language."""
    if language not in LANGUAGES:
        raise UsageError(
            "no sentences to read in this language", seen=language, allowed=", ".join(LANGUAGES)
        )
    return tuple(_WORDS[language].split())


def random_sentence(language: str) -> Sentence:
    """A sentence with words that nobody can foresee, each at most once."""
    return Sentence(language, tuple(secrets.SystemRandom().sample(words_of(language), NUM_WORDS)))


@cache
def symbols_of(text: str, language: str) -> tuple[int, ...]:
    """The phones of a text as ids of `text.phones`, without tones, stress and pauses."""
    return tuple(
        SYMBOL_IDS[phone.symbol]
        for unit in phones_of(text, language)
        if isinstance(unit, Word)
        for phone in unit.phones
    )
