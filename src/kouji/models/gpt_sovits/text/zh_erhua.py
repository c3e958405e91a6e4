"""儿 at the end of a Chinese word: a coda of the syllable before it, or a syllable of its own.

After the official front end the coda stays a syllable `er`, with the tone of the one before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from kouji.models.gpt_sovits.text.zh_words import Word

_FULL_TAGS = ("a", "j", "nr")  # in abbreviations and names 儿 is a syllable

# Words whose 儿 colours the syllable before it although jieba takes them for names or adjectives.
_COLOURED = frozenset(
    "范儿 小院儿 撒欢儿 小曲儿 小名儿 老伴儿 门脸儿 老本儿 来劲儿 费劲儿 加塞儿 麻花儿".split()
)

# By the sign before it: 儿 means a child, a person or an animal and is said in full. Further such
# words (胎儿, 健儿) the official front end reads as coloured, and so models learned them.
_PERSONS = "女男婴幼孤患少孙侄妻乞聋瘫弱血浪体可"  # the last ones of 脑瘫, 体弱, 混血, 流浪, 连体
_ANIMALS_AND_PETS = "鸟虫猫狗猪马花"
_WHOSE_CHILD = "我俺一有为替护救瞒拐虐"
_FULL_PAIRS = frozenset(f"{sign}儿" for sign in _PERSONS + _ANIMALS_AND_PETS + _WHOSE_CHILD)


def spoken_er(word: Word, finals: Sequence[str]) -> list[str]:
    """The finals of a word with the tone its last 儿 is spoken with.

    finals: one per character, after tone sandhi
    """
    spoken = list(finals)
    if not word.text.endswith("儿") or len(spoken) != len(word.text):
        return spoken
    if spoken[-1] == "er1":
        spoken[-1] = "er2"
    is_full = word.text in _FULL_PAIRS or word.tag in _FULL_TAGS
    if word.text not in _COLOURED and is_full:
        return spoken
    is_coda = len(spoken) > 1 and word.text[-2:] not in _FULL_PAIRS
    if is_coda and spoken[-1] in ("er2", "er5"):
        spoken[-1] = "er" + spoken[-2][-1]
    return spoken
