"""Choosing the default evaluation sets from a prepared store.

English: sentences and voices of speakers held out of training altogether (split "test").
Chinese: the corpus has too few sentence speakers to hold one out, so utterances held out
of training (split "valid") in known voices. Texts that training heard are avoided.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np

from kouji.errors import DataError
from kouji.evaluate.items import EvaluationItem, save_set
from kouji.train.store import Clip, Store
from kouji.types import Language

ENGLISH_CORPORA = ("librispeech",)
CHINESE_CORPORA = ("aishell1", "aishell3")
SENTENCE_SECONDS = (1.2, 17.0)
REFERENCE_SECONDS = (3.0, 17.0)
_LATIN = re.compile("[A-Za-z]")
BORROWED_SHARE = 0.25  # of the items may pair a voice with another speaker's sentence


def build_set(
    corpus: Path, out: Path, *, prepared: Path, language: Language, count: int = 40, seed: int = 1
) -> list[EvaluationItem]:
    """Choose `count` items of a language and write them to `out`.

    corpus:   the folder the store was prepared from; the set's paths are relative to it
    prepared: the store, which says what was held out of training
    raises:   DataError if fewer than half of `count` can be found
    """
    clips = Store(prepared).clips
    trained = {clip.text for clip in clips if clip.split == "train"}
    held_out = [clip for clip in clips if _is_candidate(clip, language)]
    # Unheard sentences first; a stable shuffle within both kinds.
    order = np.random.default_rng(seed).permutation(len(held_out))
    mixed = sorted((held_out[i] for i in order), key=lambda clip: clip.text in trained)
    pairs = _pair_english(mixed, count) if language == "en" else _pair_chinese(mixed, clips)
    items = [_item(text, voice, clips, index) for index, (text, voice) in enumerate(pairs[:count])]
    if len(items) < count / 2:
        raise DataError(
            "too few held-out sentences for an evaluation set",
            seen=len(items),
            allowed=f"at least {count // 2}",
            cure="prepare the data with speakers held out",
        )
    items = [_relative(item, corpus) for item in items]
    save_set(items, out)
    return items


def _is_candidate(clip: Clip, language: Language) -> bool:
    corpora = ENGLISH_CORPORA if language == "en" else CHINESE_CORPORA
    split = "test" if language == "en" else "valid"
    is_sentence = SENTENCE_SECONDS[0] <= clip.seconds <= SENTENCE_SECONDS[1]
    # A Chinese text with Latin letters holds English phones, which its measure does not hear.
    is_pure = language == "en" or not _LATIN.search(clip.text)
    is_wanted = clip.language == language and clip.split == split and _in(clip, corpora)
    return is_wanted and is_sentence and is_pure


def _in(clip: Clip, corpora: tuple[str, ...]) -> bool:
    return any(corpus in (clip.corpus, *Path(clip.path).parts) for corpus in corpora)


def _pair_english(sentences: list[Clip], count: int) -> list[tuple[Clip, Clip]]:
    """(sentence, voice) pairs over as many held-out speakers as there are.

    Speakers with several clips speak their own sentences, in turn; a speaker with one clip
    lends the voice only, for a sentence of somebody else that is not used yet.
    """
    by_speaker: dict[str, list[Clip]] = defaultdict(list)
    for clip in sentences:
        by_speaker[clip.speaker].append(clip)
    single = [clips[0] for clips in by_speaker.values() if len(clips) == 1]
    several = [clips for clips in by_speaker.values() if len(clips) > 1]
    turns = [
        (clips[turn], clips[turn - 1])  # the voice comes from another clip of the speaker
        for turn in range(max(map(len, several), default=0))
        for clips in several
        if turn < len(clips)
    ]
    num_borrowed = min(len(single), int(count * BORROWED_SHARE))
    own, spare = turns[: count - num_borrowed], turns[count - num_borrowed :]
    borrowed = [(pair[0], voice) for pair, voice in zip(spare, single, strict=False)]
    return own + borrowed[:num_borrowed]


def _pair_chinese(sentences: list[Clip], clips: list[Clip]) -> list[tuple[Clip, Clip]]:
    """(sentence, voice) pairs; the voice is another utterance, not trained on if possible."""
    pairs = []
    for sentence in sentences:
        others = [
            clip
            for clip in clips
            if clip.speaker == sentence.speaker
            and clip.id != sentence.id
            and REFERENCE_SECONDS[0] <= clip.seconds <= REFERENCE_SECONDS[1]
        ]
        if others:
            pairs.append((sentence, min(others, key=lambda c: (c.split == "train", -c.seconds))))
    return pairs


def _item(sentence: Clip, voice: Clip, clips: list[Clip], index: int) -> EvaluationItem:
    language: Language = "en" if sentence.language == "en" else "zh"
    is_own = sentence.speaker == voice.speaker
    return EvaluationItem(
        id=f"{language}-{index:03d}-{sentence.id.rpartition('/')[2]}",
        text=sentence.text,
        language=language,
        reference=voice.path,
        speaker=voice.speaker,
        gender=voice.gender,
        recording=sentence.path,
        recording_speaker=None if is_own else sentence.speaker,
        other_reference=_other_speaker(voice, clips, index),
    )


def _other_speaker(voice: Clip, clips: list[Clip], index: int) -> str | None:
    """A clip of somebody else of the same sex: same language and held out if there is one."""
    others = [
        clip
        for clip in clips
        if clip.speaker != voice.speaker
        and clip.gender == voice.gender != ""
        and REFERENCE_SECONDS[0] <= clip.seconds <= REFERENCE_SECONDS[1]
    ]
    if not others:
        return None

    def rank(clip: Clip) -> tuple[bool, bool]:
        return clip.language != voice.language, clip.split == "train"

    best = min(rank(clip) for clip in others)
    equal = sorted((clip for clip in others if rank(clip) == best), key=lambda clip: clip.path)
    return equal[(index * 7919) % len(equal)].path  # a large prime walks through all of them


def _relative(item: EvaluationItem, corpus: Path) -> EvaluationItem:
    """Store paths may be absolute: a set must not name a folder of this machine."""
    root = corpus.resolve()

    def cut(path: str | None) -> str | None:
        if path is None or not Path(path).is_absolute():
            return path
        return Path(path).resolve().relative_to(root).as_posix()

    return replace(
        item,
        reference=cut(item.reference) or "",
        recording=cut(item.recording),
        other_reference=cut(item.other_reference),
    )
