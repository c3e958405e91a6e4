"""Aligns a prepared store: trains the Gaussian aligner on it and adds durations.

One command, minutes on one core, no settings to get wrong: `kouji align PREPARED`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kouji.audio.features import MINI_FINE_MEL, MINI_MEL, mel_spectrogram
from kouji.errors import DataError
from kouji.models.mini.config import FINE_MEAN, MEL_MEAN
from kouji.train.alignment import (
    AlignedUnits,
    StateGraph,
    best_path,
    build_graph,
    diagonal_weights,
    emissions,
    occupancies,
    silence_doubt,
    units_from_path,
)
from kouji.train.gaussian_aligner import (
    Accumulator,
    Mixtures,
    cepstra,
    log_sum,
    state_scores,
    used_classes,
)
from kouji.train.store import Store, add_array

# Components per state in each pass over the data; the first pass starts from equal parts.
PASSES = (1, 1, 1, 1, 1, 1, 2, 2, 2, 4, 4, 4, 8, 8)
_FLAT_SPREAD = 1.0  # phones
# What is heard: windows of 40 ms on the frames of the stored mel, whose windows of 80 ms span two
# short phones and blur the boundary between them. On speech with known boundaries, and with slopes
# as short, ours lie 10.0 ms off instead of 12.7 (docs/experiments.md). A window half as long gives
# 1.1 less; the shift makes up for it, as `cepstra` cuts off what is below a fixed level.
_MEL = replace(MINI_FINE_MEL, hop_length=MINI_MEL.hop_length, shift=MEL_MEAN - FINE_MEAN)
_SLOPE_FRAMES = 1


@dataclass(frozen=True)
class Prepared:
    """One clip ready for alignment."""

    features: NDArray[np.float32]
    doubt: NDArray[np.float32]
    graph: StateGraph


@dataclass(frozen=True)
class AlignmentReport:
    """What came of it: clips without a path, mean frames a phone, share of 1-frame phones."""

    clips: int
    failed: int
    mean_frames: float
    at_minimum: float
    seconds: float


def align_store(store_path: str | Path, *, say: Callable[[str], object] = len) -> AlignmentReport:
    """Train on the store's clips and add aligned_{symbols,tones,words,durations} to it.

    say:    takes a line of progress per pass; by default nothing is shown
    raises: DataError for an empty store
    """
    started = time.monotonic()
    store = Store(store_path)
    if not len(store):
        raise DataError("nothing to align", seen=store_path, cure="run kouji prepare first")
    clips = [_prepare(store, index) for index in range(len(store))]
    scale = np.sqrt(np.mean([(clip.features**2).mean(axis=0) for clip in clips], axis=0))
    mixtures = Mixtures.flat()
    for number, components in enumerate(PASSES):
        if components > mixtures.weights.shape[1]:
            mixtures = mixtures.split()
        mixtures, score = _improve(mixtures, clips, scale, is_first=number == 0)
        say(f"pass {number + 1}/{len(PASSES)}: {components} components, score {score:.3f}")
    empty = np.zeros(0, dtype=np.int16)
    nothing = AlignedUnits(empty, empty.astype(np.int8), empty, empty)
    units = [
        _align(mixtures, clip, scale, store, index) or nothing for index, clip in enumerate(clips)
    ]
    for name in ("symbols", "tones", "words", "durations"):
        add_array(store_path, f"aligned_{name}", [getattr(unit, name) for unit in units])
    spoken = np.concatenate([unit.durations[unit.words >= 0] for unit in units])
    return AlignmentReport(
        clips=len(store),
        failed=sum(not len(unit.symbols) for unit in units),
        mean_frames=float(spoken.mean()),
        at_minimum=float((spoken <= 1).mean()),
        seconds=time.monotonic() - started,
    )


def _prepare(store: Store, index: int) -> Prepared:
    wave = torch.from_numpy(store.samples(index))
    mel = mel_spectrogram(wave[None], _MEL)[0].T.numpy()
    graph = build_graph(store.phones(index), store.words(index))
    features = cepstra(mel, slope_frames=_SLOPE_FRAMES)
    return Prepared(features, silence_doubt(mel), graph)


def _improve(
    mixtures: Mixtures, clips: list[Prepared], scale: NDArray[np.floating], *, is_first: bool
) -> tuple[Mixtures, float]:
    """One pass of expectation maximisation; the score is the mean log-likelihood a frame."""
    gathered = Accumulator(mixtures.weights.shape[1])
    total = frames = 0.0
    for clip in clips:
        features = (clip.features / scale).astype(np.float32)
        scores, parts = state_scores(mixtures, features, clip.graph)
        if is_first:
            emission = diagonal_weights(clip.graph, clip.doubt, _FLAT_SPREAD)
        else:
            emission = emissions(scores, clip.graph, clip.doubt)
        gamma = occupancies(emission, clip.graph)
        if gamma is None:
            continue
        classes, inverse = used_classes(clip.graph)
        by_class = np.zeros((len(features), len(classes)))
        np.add.at(by_class.T, inverse, gamma.T)
        joint = log_sum(parts, axis=2)
        gathered.add(features, classes, by_class[..., None] * np.exp(parts - joint[..., None]))
        total += float((by_class * joint).sum())
        frames += len(features)
    return gathered.estimate(mixtures), total / max(frames, 1.0)


def _align(
    mixtures: Mixtures,
    clip: Prepared,
    scale: NDArray[np.floating],
    store: Store,
    index: int,
) -> AlignedUnits | None:
    features = (clip.features / scale).astype(np.float32)
    scores, _ = state_scores(mixtures, features, clip.graph)
    path = best_path(emissions(scores, clip.graph, clip.doubt), clip.graph)
    if path is None:
        return None
    symbols, tones = store.phones(index), store.tones(index)
    return units_from_path(path, clip.graph, symbols, tones, store.words(index))
