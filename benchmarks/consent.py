"""Measure the checks behind a verified consent: are these the words, is this the speaker?

    python benchmarks/consent.py [--shared FOLDER] [--plot docs/images/consent-det.png]

Real recordings of the corpus stand in for people who read a challenge: a transcript is the
sentence, six of its words are the random words, and the words of the shipped lists are what
might have been said instead. Speakers are those the speaker encoder never heard. Prints tables
for people and one JSON line; --plot draws the error rates (DET).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kouji.audio.encode import encode_bytes
from kouji.audio.load import load_audio
from kouji.errors import TextError
from kouji.text.front import phones_of
from kouji.text.phones import SYMBOL_IDS
from kouji.text.units import Word
from kouji.train.held_out import choose_speakers
from kouji.train.layouts import SourceClip, read_clips
from kouji.types import Audio
from kouji.verification.consent import LIMITS
from kouji.verification.sentences import NUM_WORDS, symbols_of, words_of
from kouji.verification.speakers import embed
from kouji.verification.words import Piece, WordScores, hear, weigh

Symbols = tuple[int, ...]
RATE = 24_000
PAUSE = np.zeros(RATE * 3 // 10, np.float32)  # between utterances that are joined
REFERENCE_SECONDS = 6.0
MAX_CLIPS = 6  # of one speaker: those with many would decide the figures alone


@dataclass(frozen=True)
class Reading:
    """Some utterances of one speaker as one reading; `slots` are places of the random words."""

    paths: tuple[Path, ...]
    words: tuple[Symbols, ...]
    slots: tuple[int, ...]

    def audio(self) -> Audio:
        parts = [load_audio(path, sample_rate=RATE).samples for path in self.paths]
        return Audio(np.concatenate([each for part in parts for each in (part, PAUSE)]), RATE)

    def pieces(self, language: str, chosen: Sequence[Symbols] | None = None) -> list[Piece]:
        """The sentence; `chosen` stand in its slots instead of what was said."""
        listed = [symbols_of(word, language) for word in words_of(language)]
        words = list(self.words)
        for slot, other in zip(self.slots, chosen or (), strict=False):
            words[slot] = other
        return [
            Piece(word, tuple(x for x in listed if x != word) if place in self.slots else ())
            for place, word in enumerate(words)
        ]


@dataclass
class Scores:
    """Scores of readings: of the true sentence, of other words in it, of another sentence."""

    true: list[WordScores] = field(default_factory=list)
    other_words: list[WordScores] = field(default_factory=list)
    other_sentence: list[WordScores] = field(default_factory=list)


def words_in(clip: SourceClip) -> list[Symbols]:
    """The words of a transcript in phones; in Chinese, two syllables each."""
    is_chinese = clip.language == "zh"
    try:
        units = phones_of(clip.pinyin or clip.text, "zh-pinyin" if clip.pinyin else clip.language)
    except TextError:
        return []
    words = [
        tuple(SYMBOL_IDS[phone.symbol] for phone in unit.phones)
        for unit in units
        if isinstance(unit, Word)
    ]
    if is_chinese:
        pairs = [words[place : place + 2] for place in range(0, len(words), 2)]
        words = [tuple(symbol for word in pair for symbol in word) for pair in pairs]
    return words


def readings(
    clips: Sequence[SourceClip], per_reading: int, min_phones: int, count: int, skip: int = 0
) -> Iterator[Reading]:
    """Readings with six long words each, of utterances in a fixed random order.

    skip: the first so many are left out: the limits were chosen on them
    """
    rng = random.Random(4)
    by_speaker: dict[str, list[SourceClip]] = defaultdict(list)
    for clip in rng.sample(clips, len(clips)):
        by_speaker[clip.speaker].append(clip)
    groups = [
        own[first : first + per_reading]
        for own in by_speaker.values()
        for first in range(0, len(own) - per_reading + 1, per_reading)
    ]
    rng.shuffle(groups)
    for group in groups:
        words = [word for clip in group for word in words_in(clip)]
        places = [place for place, word in enumerate(words) if len(word) >= min_phones]
        if len(places) >= NUM_WORDS and count:
            slots = tuple(sorted(rng.sample(places, NUM_WORDS)))
            if skip:
                skip -= 1
                continue
            count -= 1
            yield Reading(tuple(clip.path for clip in group), tuple(words), slots)


def score_words(every: Sequence[Reading], language: str) -> Scores:
    """Weigh each reading against its own sentence, against other words, and against another's."""
    rng, scores = random.Random(5), Scores()
    listed = [symbols_of(word, language) for word in words_of(language)]
    for reading in every:
        heard = hear(reading.audio())
        size = sum(map(len, reading.words))
        like = sorted(
            (each for each in every if each is not reading),
            key=lambda each: abs(sum(map(len, each.words)) - size),
        )
        scores.true.append(weigh(heard, reading.pieces(language)))
        chosen = rng.sample(listed, NUM_WORDS)
        scores.other_words.append(weigh(heard, reading.pieces(language, chosen)))
        other = rng.choice(like[:5])
        scores.other_sentence.append(weigh(heard, other.pieces(language)))
    print(language, rates(scores, language), file=sys.stderr, flush=True)
    return scores


def spliced(clips: Sequence[SourceClip], count: int) -> Iterator[tuple[list[str], Audio]]:
    """Six words of our Chinese list, spoken one by one by the one speaker who has them."""
    rng = random.Random(6)
    known = {clip.text: clip.path for clip in clips if clip.text in words_of("zh")}
    for _ in range(count if len(known) >= NUM_WORDS else 0):
        words = rng.sample(sorted(known), NUM_WORDS)
        parts = [load_audio(known[word], sample_rate=RATE).samples for word in words]
        yield words, Audio(np.concatenate([x for part in parts for x in (part, PAUSE)]), RATE)


def score_spliced(clips: Sequence[SourceClip], count: int) -> Scores:
    """Spliced lists against their words and against six other words of the list."""
    listed = {word: symbols_of(word, "zh") for word in words_of("zh")}
    rng, scores = random.Random(7), Scores()

    def pieces(words: Sequence[str]) -> list[Piece]:
        others = {word: tuple(listed[x] for x in listed if x != word) for word in words}
        return [Piece(listed[word], others[word]) for word in words]

    for words, audio in spliced(clips, count):
        heard = hear(audio)
        scores.true.append(weigh(heard, pieces(words)))
        others = rng.sample([word for word in listed if word not in words], NUM_WORDS)
        scores.other_words.append(weigh(heard, pieces(others)))
    return scores


def rates(scores: Scores, language: str) -> dict[str, float]:
    """Error rates at the shipped limits."""
    limits = LIMITS[language]

    def passed(many: Sequence[WordScores]) -> float:
        hits = [each.mean >= limits.words and each.fit >= limits.fit for each in many]
        return float(np.mean(hits)) if hits else float("nan")

    return {
        "readings": len(scores.true),
        "false_reject": 1.0 - passed(scores.true),
        "false_accept_other_words": passed(scores.other_words),
        "false_accept_other_sentence": passed(scores.other_sentence),
        "lowest_words_true": min(each.mean for each in scores.true),
        "highest_words_other": max(each.mean for each in scores.other_words),
        "lowest_fit_true": min(each.fit for each in scores.true),
        "highest_fit_other_sentence": max((x.fit for x in scores.other_sentence), default=-99.0),
    }


# How a reading may differ from the reference: another room, another telephone.
CONDITIONS: dict[str, Callable[[Audio], Audio]] = {
    "same conditions": lambda audio: audio,
    "opus 24k": lambda audio: load_audio(encode_bytes(audio, "opus", bit_rate=24_000)),
    "white noise at 30 dB": lambda audio: noisy(audio, 30.0),
    "white noise at 20 dB": lambda audio: noisy(audio, 20.0),
}


def noisy(audio: Audio, level_db: float) -> Audio:
    """White noise at `level_db` below the speech."""
    rng = np.random.default_rng(len(audio.samples))
    scale = float(np.sqrt((audio.samples**2).mean())) * 10 ** (-level_db / 20)
    noise = scale * rng.standard_normal(len(audio.samples))
    return Audio((audio.samples + noise).astype(np.float32), audio.sample_rate)


def balanced(clips: Sequence[SourceClip]) -> list[SourceClip]:
    """At most `MAX_CLIPS` of each speaker."""
    counts: Counter[str] = Counter()
    kept = []
    for clip in clips:
        counts[clip.speaker] += 1
        if counts[clip.speaker] <= MAX_CLIPS:
            kept.append(clip)
    return kept


Trials = tuple[NDArray[np.float64], NDArray[np.float64]]  # same speaker, others of the same sex


def score_speakers(
    clips: Sequence[SourceClip],
) -> tuple[dict[str, Trials], dict[str, dict[str, float]]]:
    """Likeness of short references and readings, under each condition; and halves crossed."""
    whole = [load_audio(clip.path, sample_rate=RATE) for clip in clips]
    cut = [Audio(audio.samples[: round(REFERENCE_SECONDS * RATE)], RATE) for audio in whole]
    references = np.stack([embed(audio) for audio in cut])
    found: dict[str, Trials] = {}
    halves: dict[str, dict[str, float]] = {}  # in the same conditions, which come first
    for name, change in CONDITIONS.items():
        table = references @ np.stack([embed(change(audio)) for audio in whole]).T
        found[name] = trials_of(table, clips, {clip.speaker for clip in clips})
        halves = halves or crossed(table, clips)
        figures = speaker_rates(found[name], LIMITS["en"].speaker)
        print(name, figures, file=sys.stderr, flush=True)
    return found, halves


def trials_of(
    table: NDArray[np.floating[Any]], clips: Sequence[SourceClip], among: Collection[str]
) -> Trials:
    """Likeness of (reference, reading) pairs of these speakers: own ones, and others' alike."""
    same, other = [], []
    for i, one in enumerate(clips):
        for j, two in enumerate(clips):
            if i == j or not {one.speaker, two.speaker} <= set(among):
                continue
            if one.speaker == two.speaker:
                same.append(table[i, j])
            elif (one.gender, one.corpus) == (two.gender, two.corpus):
                other.append(table[i, j])
    return np.array(same, np.float64), np.array(other, np.float64)


def crossed(
    table: NDArray[np.floating[Any]], clips: Sequence[SourceClip]
) -> dict[str, dict[str, float]]:
    """The limit of equal error of one half of the speakers, judged on the other; both ways."""
    order = sorted({(clip.corpus, clip.gender, clip.speaker) for clip in clips})
    halves = [{speaker for *_, speaker in order[first::2]} for first in (0, 1)]
    trials = [trials_of(table, clips, half) for half in halves]
    found = {}
    for name, chosen, judged in (("first", 0, 1), ("second", 1, 0)):
        limit = speaker_rates(trials[chosen], 0.0)["equal_error_limit"]
        found[f"limit of the {name} half"] = {"limit": limit} | {
            key: value
            for key, value in speaker_rates(trials[judged], limit).items()
            if key in ("pairs_same", "pairs_other", "false_reject", "false_accept")
        }
    return found


def speaker_rates(trials: Trials, limit: float) -> dict[str, float]:
    """Error rates at a limit, and where both are equal."""
    same, other = (np.sort(each) for each in trials)
    limits = np.unique(np.concatenate([same, other]))
    reject, accept = det(same, other, limits)
    equal = int(np.argmin(np.abs(reject - accept)))
    return {
        "pairs_same": len(same),
        "pairs_other": len(other),
        "equal_error": float((reject[equal] + accept[equal]) / 2),
        "equal_error_limit": float(limits[equal]),
        "limit_at_1_percent_accept": float(limits[np.argmax(accept <= 0.01)]),
        "false_reject": float((same < limit).mean()),
        "false_accept": float((other >= limit).mean()),
    }


def det(
    same: NDArray[np.float64], other: NDArray[np.float64], limits: NDArray[np.float64]
) -> Trials:
    """False rejects and false accepts at each limit."""
    reject = np.searchsorted(np.sort(same), limits) / len(same)
    return reject, 1.0 - np.searchsorted(np.sort(other), limits) / len(other)


def plot(path: Path, words: dict[str, Scores], speakers: dict[str, Trials]) -> None:
    """Draw both curves, on the scales of a normal distribution as is usual for DET."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from scipy.stats import norm

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 4.2), layout="constrained")
    for name, scores in words.items():
        same = np.array([each.mean for each in scores.true])
        other = np.array([each.mean for each in (*scores.other_words, *scores.other_sentence)])
        curve(left, norm, name, (same, other))
    for name, trials in speakers.items():
        curve(right, norm, name, trials)
    ticks = [0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4]
    for axes, title in ((left, "words alone"), (right, "speaker")):
        axes.set_title(title)
        axes.set_xlabel("false accepts")
        axes.set_ylabel("false rejects")
        axes.set_xticks(norm.ppf(ticks), [f"{tick:.1%}" for tick in ticks], fontsize=7)
        axes.set_yticks(norm.ppf(ticks), [f"{tick:.1%}" for tick in ticks], fontsize=7)
        axes.set_xlim(norm.ppf(0.0007), norm.ppf(0.5))
        axes.set_ylim(norm.ppf(0.0007), norm.ppf(0.5))
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


def curve(axes: Any, norm: Any, name: str, trials: Trials) -> None:
    """One DET curve; rates of zero are drawn at the edge."""
    limits = np.unique(np.concatenate(trials))
    reject, accept = (np.clip(each, 8e-4, 0.6) for each in det(*trials, limits))
    axes.plot(norm.ppf(accept), norm.ppf(reject), label=name, linewidth=1.2)


def main() -> None:
    default = os.environ.get("KOUJI_SHARED", Path(__file__).resolve().parents[2] / "shared")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shared", type=Path, default=Path(default))
    parser.add_argument("--readings", type=int, default=120, help="of each kind")
    parser.add_argument("--skip", type=int, default=0, help="readings the limits were chosen on")
    parser.add_argument("--plot", type=Path, default=None)
    options = parser.parse_args()
    clips = read_clips(options.shared / "corpus" / "speech")[1]
    unseen = choose_speakers(clips, None)
    held_out = [clip for clip in clips if clip.speaker in unseen]

    def of(*corpora: str, among: Sequence[SourceClip] = clips) -> list[SourceClip]:
        return [clip for clip in among if clip.corpus in corpora]

    sets = {
        "Chinese, sentences": (
            "zh",
            readings(of("aishell1", "aishell3"), 2, 4, options.readings, options.skip),
        ),
        "English, native": (
            "en",
            readings(of("librispeech", among=held_out), 1, 6, options.readings, options.skip),
        ),
        "English, Chinese accent": ("en", readings(of("speechocean762"), 3, 5, options.readings)),
    }
    speakers, halves = score_speakers(balanced(held_out))
    words = {name: score_words(list(found), lang) for name, (lang, found) in sets.items()}
    words["Chinese, word by word"] = score_spliced(of("audio-cmn"), options.readings)
    facts: dict[str, Any] = {
        "benchmark": "consent",
        "unseen_speakers": len(unseen),
        "words": {
            name: rates(scores, "zh" if name.startswith("Chinese") else "en")
            for name, scores in words.items()
        },
        "speakers": {
            name: speaker_rates(trials, LIMITS["en"].speaker) for name, trials in speakers.items()
        },
        "crossed": halves,
    }
    for title in ("words", "speakers", "crossed"):
        for name, row in facts[title].items():
            print(f"{name:26}", *(f"{key} {value:.4g}" for key, value in row.items()), sep="  ")
    if options.plot:
        plot(options.plot, words, speakers)
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
