"""儿 at the end of a Chinese word: a coda of the syllable before it, or a syllable of its own.

After the official front end the coda stays a syllable `er`, with the tone of the one before it.
"""

from __future__ import annotations

from collections.abc import Sequence

from kouji.models.gpt_sovits.text.zh_words import Word

_FULL_TAGS = ("a", "j", "nr")  # in abbreviations and names 儿 is a syllable

# Words whose 儿 colours the syllable before it although their tag says otherwise.
_COLOURED = frozenset("媳妇儿 老汉儿 小院儿 胡同儿 范儿 撒欢儿 妥妥儿 没事儿 老头儿".split())

# A child, a person or an animal: 儿 means somebody and is said in full.
_FULL_PAIRS = frozenset(
    [f"{sign}儿" for sign in "女男婴幼孤患少孙侄妻乞聋虐瘫弱血浪体"]
    + [f"{sign}儿" for sign in "花鸟虫猫狗猪马"]  # written language and children's names
    + [f"{sign}儿" for sign in "我俺为护替有救瞒拐一可祖美"]
)


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
