"""Who reads Chinese sentences: the official g2pW, or Kouji's rules about a word's neighbours.

The rules are for checkpoints without g2pW beside them. They are those of `kouji.text.g2p`; only
the readings before tone sandhi are taken, since GPT-SoVITS has a sandhi of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

from kouji.models.gpt_sovits.bert import Vocabulary
from kouji.models.gpt_sovits.text.zh import Pinyin
from kouji.models.gpt_sovits.text.zh_override import find_readings
from kouji.models.gpt_sovits.text.zh_pinyin import read_sentence
from kouji.text.g2p import segment
from kouji.text.g2p.context import read_in_context
from kouji.text.g2p.readings import Syllable, read_name, read_word

_STRETCH = re.compile(r"[\u4e00-\u9fa5]+")


def official_pinyin(
    folder: Path, vocabulary: Vocabulary | None = None, *, num_threads: int = 2
) -> Pinyin:
    """How Chinese is read with a folder `G2PWModel`, and the dictionary of words beside it.

    vocabulary:  of the Chinese BERT the checkpoints use; None looks for it in the folder
    num_threads: of the network
    raises:      ModelError for a folder that is not whole, UsageError without its library
    """
    from kouji.models.gpt_sovits.text.g2pw import G2PW

    reader = G2PW(folder, vocabulary=vocabulary, num_threads=num_threads)
    return Pinyin(reader, find_readings(folder))


def read_by_neighbours(sentence: str) -> list[str]:
    """Pinyin with tone of each character; a `ReadSentence` of `zh_pinyin`."""
    readings = read_sentence(sentence)
    if len(readings) != len(sentence):
        return readings
    for stretch in _STRETCH.finditer(sentence):
        tokens = segment.cut(stretch.group())
        for index, token in enumerate(tokens):
            for offset, syllable in enumerate(_read(tokens, index)):
                place = stretch.start() + token.start + offset
                readings[place] = _choose(syllable, readings[place])
    return readings


def _read(tokens: list[segment.Token], index: int) -> tuple[Syllable | None, ...]:
    token, before = tokens[index], tokens[index - 1].text if index else ""
    if token.text == "了" and len(before) > 1 and before.endswith("得") and before != "不得":
        return (("le", 5),)  # 获得了, where 得 is part of the verb
    decided = read_in_context(tokens, index) if len(token.text) == 1 else None
    if decided is not None:
        return ((decided[:-1], int(decided[-1])),)
    name = read_name(token.text) if token.tag.startswith("nr") else None
    return name or read_word(token.text)


def _choose(ours: Syllable | None, theirs: str) -> str:
    """Ours, unless it only takes the stress off: which words lose it is known to `zh_neutral`."""
    if ours is None or (ours[1] == 5 and ours[0] == theirs[:-1]):
        return theirs
    return f"{ours[0]}{ours[1]}"


# No dictionary goes over these readings: they know the words already.
BY_NEIGHBOURS = Pinyin(read_by_neighbours, {})
