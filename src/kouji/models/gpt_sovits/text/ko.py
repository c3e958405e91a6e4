"""Korean text to GPT-SoVITS symbols: spelling, pronunciation rules, single jamo.

Stands in for the official g2pk2 with MeCab by rules of its own and needs no library. A blank is
`空`, what the table lacks `停`.
"""

from __future__ import annotations

import re

from kouji.models.gpt_sovits.symbols import KO_SPACE, KO_UNKNOWN, symbol_ids
from kouji.models.gpt_sovits.text.ko_grammar import mark_grammar
from kouji.models.gpt_sovits.text.ko_numbers import spell_foreign
from kouji.models.gpt_sovits.text.ko_sounds import Syllable, apply_rules, take_apart
from kouji.models.gpt_sovits.text.phonemes import Phonemes

_MARKS = {
    "：": ",", "；": ",", "，": ",", "、": ",", "·": ",", "。": ".", "\n": ".",
    "！": "!", "？": "?",
    " ": KO_SPACE,
}  # fmt: skip
# [Q] An object in -을 before any ㄹ gets a ㄴ, the cure of a fault of g2pk2 that is not asked for.
_OBJECT_BEFORE_LIQUID = re.compile("([ㅇㄹ]ㅡㄹ) ㄹ")
_ENDS_IN_JAMO = re.compile("[ㄱ-ㅣ]$")


def phonemize(text: str) -> Phonemes:
    """Symbols of a piece of Korean text, a full stop added where it ends in a letter."""
    known = symbol_ids("v2")
    phones = (_MARKS.get(sign, sign) for sign in pronounce(text))
    return Phonemes(tuple(p if p in known else KO_UNKNOWN for p in phones), None, text)


def pronounce(text: str) -> str:
    """Korean text as it is heard, in single compatibility jamo."""
    spelled = spell_foreign(text)
    units = take_apart(spelled)
    mark_grammar(spelled, units)
    apply_rules(units)
    jamo = "".join(unit.jamo() if isinstance(unit, Syllable) else unit for unit in units)
    jamo = _OBJECT_BEFORE_LIQUID.sub(r"\1 ㄴ", jamo)
    return _ENDS_IN_JAMO.sub(r"\g<0>.", jamo)
