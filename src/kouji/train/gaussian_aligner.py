"""The aligner: hidden Markov models with Gaussian mixtures, from a flat start.

The classic monophone recipe (Young et al., HTK): cepstra with differences, mean taken
out per clip; models begin from equal parts of the sounding frames and are re-estimated
by expectation maximisation. Tried first was a small network trained on full-sum
posteriors; its silences swallowed three frames in four (docs/experiments.md): a density
has to explain every frame, a posterior does not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kouji.train.alignment import NUM_STATES, StateGraph

NUM_CEPSTRA = 16
NUM_FEATURES = 2 * NUM_CEPSTRA
_VARIANCE_FLOOR = 0.05  # of the overall variance, which is one
_MIN_FRAMES = 20.0  # a component with less is left as it was
_SCALE = 0.5  # frames 20 ms apart are not independent: their likelihoods are tempered

Floats = NDArray[np.float64]


def cepstra(mel: NDArray[np.floating], *, slope_frames: int = 2) -> NDArray[np.float32]:
    """Features of one clip, before scaling to unit variance.

    mel:          (frames, mels) natural-log mel, at the level that windows of 80 ms give
    slope_frames: a slope is the regression over so many frames on either side
    returns:      (frames, NUM_FEATURES) cepstra without their mean, and their slopes
    """
    bands = mel[:, :64].astype(np.float64)  # below 7 kHz, where every source has content
    number = np.arange(bands.shape[1]) + 0.5
    basis = np.cos(np.pi / bands.shape[1] * np.outer(number, np.arange(NUM_CEPSTRA)))
    static = np.maximum(bands, -9.0) @ basis / bands.shape[1]
    static -= static.mean(axis=0)
    padded = np.pad(static, ((slope_frames, slope_frames), (0, 0)), mode="edge")
    here = slope_frames + np.arange(len(static))
    steps = range(1, slope_frames + 1)
    rise = sum(step * (padded[here + step] - padded[here - step]) for step in steps)
    slope = rise / (2 * sum(step * step for step in steps))
    return np.concatenate([static, slope], axis=1).astype(np.float32)


@dataclass
class Mixtures:
    """Diagonal Gaussian mixtures, one per state class.

    weights:   (classes, components) sum to one
    means:     (classes, components, features)
    variances: (classes, components, features)
    """

    weights: Floats
    means: Floats
    variances: Floats

    @classmethod
    def flat(cls) -> Mixtures:
        """One standard normal for everything."""
        shape = (NUM_STATES, 1, NUM_FEATURES)
        return cls(np.ones(shape[:2]), np.zeros(shape), np.ones(shape))

    def component_scores(self, features: NDArray[np.float32], classes: NDArray[np.int64]) -> Floats:
        """Log-likelihoods with log-weights: (frames, classes, components)."""
        precision = 1.0 / self.variances[classes]  # (classes, components, features)
        means = self.means[classes]
        constant = np.log(self.weights[classes]) - 0.5 * (
            np.log(2 * np.pi * self.variances[classes]) + means**2 * precision
        ).sum(axis=2)
        x = features.astype(np.float64)
        flat = (len(classes) * precision.shape[1], -1)
        linear = x @ (means * precision).reshape(flat).T
        square = (x * x) @ precision.reshape(flat).T
        scores: Floats = (linear - 0.5 * square).reshape(len(x), *constant.shape) + constant
        return scores

    def split(self) -> Mixtures:
        """Twice as many components, each pair pushed apart by a fifth of a deviation."""
        push = 0.2 * np.sqrt(self.variances)
        return Mixtures(
            np.repeat(self.weights, 2, axis=1) / 2,
            np.concatenate([self.means - push, self.means + push], axis=1),
            np.concatenate([self.variances, self.variances], axis=1),
        )


def log_sum(scores: Floats, axis: int) -> Floats:
    """Logarithm of the sum of exponentials."""
    top = scores.max(axis=axis, keepdims=True)
    total: Floats = np.log(np.exp(scores - top).sum(axis=axis)) + top.squeeze(axis)
    return total


class Accumulator:
    """Gathers what one pass over the data says of every component."""

    def __init__(self, num_components: int) -> None:
        shape = (NUM_STATES, num_components, NUM_FEATURES)
        self.count = np.zeros(shape[:2])
        self.first = np.zeros(shape)
        self.second = np.zeros(shape)

    def add(
        self,
        features: NDArray[np.float32],
        classes: NDArray[np.int64],
        shares: Floats,
    ) -> None:
        """Count frames in.

        features: (frames, features)
        classes:  (used,) distinct state classes
        shares:   (frames, used, components) how much of a frame belongs to a component
        """
        x = features.astype(np.float64)
        flat = shares.reshape(len(x), -1)
        form = (len(classes), shares.shape[2], -1)
        self.count[classes] += flat.sum(axis=0).reshape(form[:2])
        self.first[classes] += (flat.T @ x).reshape(form)
        self.second[classes] += (flat.T @ (x * x)).reshape(form)

    def estimate(self, old: Mixtures) -> Mixtures:
        """The most likely mixtures, components with too few frames kept."""
        enough = (self.count >= _MIN_FRAMES)[..., None]
        count = np.maximum(self.count, 1e-9)[..., None]
        means = np.where(enough, self.first / count, old.means)
        variances = np.where(enough, self.second / count - means**2, old.variances)
        weights = self.count + 1e-3
        return Mixtures(
            weights / weights.sum(axis=1, keepdims=True),
            means,
            np.maximum(variances, _VARIANCE_FLOOR),
        )


def used_classes(graph: StateGraph) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Distinct classes of a graph, and for each state which of them it is."""
    classes, inverse = np.unique(graph.classes, return_inverse=True)
    return classes, inverse


def state_scores(
    mixtures: Mixtures, features: NDArray[np.float32], graph: StateGraph
) -> tuple[Floats, Floats]:
    """Tempered log-likelihoods by class, and those of components.

    returns: (frames, NUM_STATES) zero for unused classes, (frames, used, components)
    """
    classes, _ = used_classes(graph)
    parts = mixtures.component_scores(features, classes)
    full = np.zeros((len(features), NUM_STATES))
    full[:, classes] = _SCALE * log_sum(parts, axis=2)
    return full, parts
