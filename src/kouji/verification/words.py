"""Were these words read? A sentence is weighed against what else might have been said.

The phone recogniser of `kouji evaluate` gives each moment of a recording a score for each
phone; the sum over all ways to lay a sentence over it (CTC) says how well that sentence fits.
Each random word is weighed against all other words of its list in the same place, and the
whole sentence against the best sequence of phones at all. Nothing is written down in words:
the recogniser has no vocabulary, so both languages work offline with the shipped weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kouji.types import Audio
from kouji.verification.sentences import Sentence, symbols_of, words_of

if TYPE_CHECKING:
    from torch import Tensor

    from kouji.models.recogniser import Recogniser

WORST = -8.0  # nats: one word that was not understood cannot outweigh all others
_PER_BATCH = 64  # sentences weighed at once


@dataclass(frozen=True)
class WordScores:
    """How well a sentence fits a recording.

    words: of each word, the log of its probability among all words of its list, from WORST to 0
    fit:   log-likelihood a phone below that of the best sequence of phones, at most 0
    """

    words: tuple[float, ...]
    fit: float

    @property
    def mean(self) -> float:
        """The mean of `words`."""
        return float(np.mean(self.words))


@dataclass(frozen=True)
class Piece:
    """A part of a sentence in phones; `alternatives` are what might stand in its place."""

    symbols: tuple[int, ...]
    alternatives: tuple[tuple[int, ...], ...] = ()


def pieces_of(sentence: Sentence) -> list[Piece]:
    """The statement and the words of a sentence; each word may be any other of its list."""
    language = sentence.language
    statement = sentence.text[: sentence.text.index(sentence.words[0])]
    every = {word: symbols_of(word, language) for word in words_of(language)}
    return [
        Piece(symbols_of(statement, language)),
        *(
            Piece(every[word], tuple(every[other] for other in every if other != word))
            for word in sentence.words
        ),
    ]


def hear(audio: Audio) -> Tensor:
    """(outputs, symbols) log-probabilities of phones, 25 a second; symbol 0 is none."""
    import torch

    from kouji.audio.features import MINI_MEL, mel_spectrogram
    from kouji.audio.loudness import normalise_loudness
    from kouji.audio.resample import resample

    levelled = normalise_loudness(resample(audio, MINI_MEL.sample_rate))
    network = _recogniser()
    with torch.inference_mode():
        mel = mel_spectrogram(torch.from_numpy(levelled.samples)[None], MINI_MEL).transpose(1, 2)
        logits, _ = network(mel, torch.tensor([mel.shape[1]]))
        scores: Tensor = network.symbol_scores(logits)[0]
    return scores


def weigh(scores: Tensor, pieces: Sequence[Piece]) -> WordScores:
    """Weigh a sentence against its alternatives.

    scores: (outputs, symbols) of `hear`
    """
    true = [piece.symbols for piece in pieces]
    candidates = [tuple(symbol for part in true for symbol in part)]
    ranges: list[range] = []
    for place, piece in enumerate(pieces):
        if not piece.alternatives:
            continue
        start = len(candidates)
        for other in piece.alternatives:
            parts = [*true[:place], other, *true[place + 1 :]]
            candidates.append(tuple(symbol for part in parts for symbol in part))
        ranges.append(range(start, len(candidates)))
    fits = log_likelihoods(scores, candidates)
    words = tuple(_share(fits[0], fits[each.start : each.stop]) for each in ranges)
    best = float(scores.max(dim=1).values.sum())
    return WordScores(words, min(0.0, max(-99.0, (float(fits[0]) - best) / len(candidates[0]))))


def log_likelihoods(scores: Tensor, candidates: Sequence[Sequence[int]]) -> NDArray[np.float64]:
    """(candidates,) CTC log-likelihood of each sequence of symbols; -inf where none fits in."""
    import torch

    found = []
    num_outputs = scores.shape[0]
    for first in range(0, len(candidates), _PER_BATCH):
        batch = candidates[first : first + _PER_BATCH]
        lengths = torch.tensor([len(each) for each in batch])
        targets = torch.tensor([symbol for each in batch for symbol in each])
        losses = torch.nn.functional.ctc_loss(
            scores[:, None].expand(-1, len(batch), -1),
            targets,
            torch.full((len(batch),), num_outputs),
            lengths,
            reduction="none",
        )
        found.append(-losses.double().numpy())
    return np.concatenate(found)


def _share(true: float, others: NDArray[np.float64]) -> float:
    """Log of the probability of the true one among all, not below WORST."""
    if not np.isfinite(true):
        return WORST
    return float(max(WORST, -np.logaddexp.reduce(np.array([0.0, *(others - true)]))))


@lru_cache(maxsize=1)
def _recogniser() -> Recogniser:
    from kouji.models.recogniser import load_recogniser

    return load_recogniser(Path(str(files("kouji") / "evaluate" / "weights")))
