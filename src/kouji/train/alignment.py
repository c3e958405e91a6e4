"""Monotonic alignment of phone states to frames: occupancies and the best path.

A graph has two states per phone (onset and body, so a long phone cannot swallow its
neighbour's onset); silences between words are optional. Occupancies come from the
forward-backward algorithm (Baum et al. 1970), the best path from Viterbi's. Numba
compiles the loops; nothing here knows how frames are scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kouji.text.phones import EDGE, SYMBOL_IDS, SYMBOLS, is_silence

STATES_PER_PHONE = 2
NUM_STATES = STATES_PER_PHONE * len(SYMBOLS)
_EMISSION_FLOOR = 1e-200  # keeps a surprising frame from closing every path
_STAY, _STAY_SILENT = 0.6, 0.9  # self-loop probabilities: 50 ms a state, 200 ms of silence
_SILENCE_IDS = frozenset(i for i, symbol in enumerate(SYMBOLS) if is_silence(symbol))


@dataclass(frozen=True)
class StateGraph:
    """The states an utterance may pass through, in order.

    classes: (states,) class of each state: 2 * symbol id + (0 onset, 1 body)
    units:   (states,) index into the utterance's units, where -1 is an optional silence
    jumps:   (states, 4) predecessors besides the state itself, -1 for none
    stay:    (states,) probability of staying another frame
    starts:  (states,) True where a path may begin
    ends:    (states,) True where a path may finish
    """

    classes: NDArray[np.int64]
    units: NDArray[np.int64]
    jumps: NDArray[np.int64]
    stay: NDArray[np.float64]
    starts: NDArray[np.bool_]
    ends: NDArray[np.bool_]


def build_graph(symbols: NDArray[np.integer], words: NDArray[np.integer]) -> StateGraph:
    """Lay out the states of one utterance.

    symbols: (units,) symbol ids, pauses included where the text has them
    words:   (units,) word index of each unit; a change allows a silence between
    """
    silence = SYMBOL_IDS[EDGE]
    plan: list[tuple[int, int]] = [(silence, -1)]  # (symbol, unit), an optional edge first
    for index, symbol in enumerate(symbols):
        if int(symbol) in _SILENCE_IDS:
            if plan[-1][0] == silence:  # one optional silence is enough between two words
                plan[-1] = (silence, index)
            else:
                plan.append((silence, index))
            continue
        if index and words[index] != words[index - 1] and plan[-1][0] != silence:
            plan.append((silence, -1))
        plan.append((int(symbol), index))
    if plan[-1][0] != silence:
        plan.append((silence, -1))

    classes: list[int] = []
    units: list[int] = []
    jumps: list[list[int]] = []
    starts: list[bool] = []
    ends: list[bool] = []
    last_exits: list[int] = []  # states a path may leave the phones so far from
    previous_was_silence = False
    before_silence: list[int] = []
    for position, (symbol, unit) in enumerate(plan):
        onset, body = len(classes), len(classes) + 1
        entries = list(last_exits)
        optional = symbol == silence
        classes += [STATES_PER_PHONE * symbol, STATES_PER_PHONE * symbol + 1]
        units += [unit, unit]
        if previous_was_silence:
            entries += before_silence
        jumps += [(entries + [-1] * 4)[:4], [onset, -1, -1, -1]]
        starts += [position == 0 or (position == 1 and previous_was_silence), False]
        ends += [False, False]
        before_silence = last_exits if optional else []
        last_exits = [onset, body]  # a body may be skipped: 20 ms phones exist
        previous_was_silence = optional
    for state in last_exits + (before_silence if previous_was_silence else []):
        ends[state] = True
    return StateGraph(
        np.array(classes),
        np.array(units),
        np.array(jumps),
        np.where(np.isin(np.array(classes) // STATES_PER_PHONE, [silence]), _STAY_SILENT, _STAY),
        np.array(starts, dtype=np.bool_),
        np.array(ends, dtype=np.bool_),
    )


def diagonal_weights(
    graph: StateGraph, doubt: NDArray[np.float32], spread: float
) -> NDArray[np.float64]:
    """Where each state would be if all phones took equal parts of what is not silent.

    doubt:   (frames,) as `silence_doubt` gives it
    spread:  standard deviation in phones
    returns: (frames, states) likelihoods; optional silences only where no doubt is
    """
    is_silent = np.isin(graph.classes // STATES_PER_PHONE, list(_SILENCE_IDS))
    spoken = np.where(is_silent, 0.0, 1.0 / STATES_PER_PHONE)
    centres = np.cumsum(spoken) - spoken / 2
    sounding = (doubt > 0) + 0.05
    passed = (np.cumsum(sounding) - sounding / 2) / sounding.sum() * spoken.sum()
    weights = np.exp(-0.5 * ((passed[:, None] - centres[None]) / spread) ** 2)
    weights[:, is_silent] *= np.where(doubt > 0, 1e-6, 1.0)[:, None]
    floored: NDArray[np.float64] = np.maximum(weights, _EMISSION_FLOOR)
    return floored


def silence_doubt(mel: NDArray[np.float32]) -> NDArray[np.float32]:
    """How unlikely each frame is to be silence, judged by its level alone: (frames,) nats.

    0 in the lower third between the clip's quietest and loudest frames, rising above.
    Without it an optional silence learns to swallow whatever the phones do not claim, as
    the blank of a CTC model does.
    """
    level = mel.mean(axis=1)
    low, high = np.percentile(level, [3, 95])
    share = (level - low) / max(high - low, 0.5)
    doubt: NDArray[np.float32] = (25.0 * np.maximum(share - 0.33, 0.0)).astype(np.float32)
    return doubt


def emissions(
    scores: NDArray[np.floating], graph: StateGraph, doubt: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Likelihoods of the graph's states, (frames, states), up to a factor per frame.

    scores: (frames, classes) log-scores; doubt: (frames,) as `silence_doubt` gives it
    """
    picked = scores[:, graph.classes].astype(np.float64)
    silent = np.isin(graph.classes // STATES_PER_PHONE, list(_SILENCE_IDS))
    picked[:, silent] -= doubt[:, None]
    picked -= picked.max(axis=1, keepdims=True)
    return np.maximum(np.exp(picked), _EMISSION_FLOOR)


@njit(cache=True)
def _occupancies(e, jumps, stay, starts, ends):  # type: ignore[no-untyped-def]
    num_frames, num_states = e.shape
    alpha = np.zeros((num_frames, num_states))
    beta = np.zeros((num_frames, num_states))
    for s in range(num_states):
        if starts[s]:
            alpha[0, s] = e[0, s]
    total = alpha[0].sum()
    if total <= 0:
        return alpha, False
    alpha[0] /= total
    for t in range(1, num_frames):
        total = 0.0
        for s in range(num_states):
            value = stay[s] * alpha[t - 1, s]
            for k in range(jumps.shape[1]):
                p = jumps[s, k]
                if p >= 0:
                    value += (1 - stay[p]) * alpha[t - 1, p]
            value *= e[t, s]
            alpha[t, s] = value
            total += value
        if total <= 0:
            return alpha, False
        for s in range(num_states):
            alpha[t, s] /= total
    for s in range(num_states):
        if ends[s]:
            beta[num_frames - 1, s] = 1.0
    for t in range(num_frames - 2, -1, -1):
        total = 0.0
        for s in range(num_states):
            weight = beta[t + 1, s] * e[t + 1, s]
            if weight == 0.0:
                continue
            beta[t, s] += stay[s] * weight
            total += stay[s] * weight
            for k in range(jumps.shape[1]):
                p = jumps[s, k]
                if p >= 0:
                    beta[t, p] += (1 - stay[p]) * weight
                    total += (1 - stay[p]) * weight
        if total <= 0:
            return alpha, False
        for s in range(num_states):
            beta[t, s] /= total
    for t in range(num_frames):
        total = 0.0
        for s in range(num_states):
            alpha[t, s] *= beta[t, s]
            total += alpha[t, s]
        if total <= 0:
            return alpha, False
        for s in range(num_states):
            alpha[t, s] /= total
    return alpha, True


def occupancies(emission: NDArray[np.float64], graph: StateGraph) -> NDArray[np.float64] | None:
    """Probability of each state at each frame over all paths.

    emission: (frames, states) likelihoods up to a factor per frame
    returns:  (frames, states), rows summing to one, or None if no path fits the frames
    """
    gamma, is_possible = _occupancies(emission, graph.jumps, graph.stay, graph.starts, graph.ends)
    return gamma if is_possible else None


@njit(cache=True)
def _best_path(log_e, jumps, stay, starts, ends):  # type: ignore[no-untyped-def]
    num_frames, num_states = log_e.shape
    score = np.full((num_frames, num_states), -1e30)
    back = np.zeros((num_frames, num_states), dtype=np.int32)
    for s in range(num_states):
        if starts[s]:
            score[0, s] = log_e[0, s]
    for t in range(1, num_frames):
        for s in range(num_states):
            best, origin = score[t - 1, s] + np.log(stay[s]), s
            for k in range(jumps.shape[1]):
                p = jumps[s, k]
                if p >= 0 and score[t - 1, p] + np.log(1 - stay[p]) > best:
                    best, origin = score[t - 1, p] + np.log(1 - stay[p]), p
            score[t, s] = best + log_e[t, s]
            back[t, s] = origin
    path = np.zeros(num_frames, dtype=np.int64)
    best, state = -1e30, -1
    for s in range(num_states):
        if ends[s] and score[num_frames - 1, s] > best:
            best, state = score[num_frames - 1, s], s
    if state < 0 or best < -1e29:
        return path, False
    for t in range(num_frames - 1, -1, -1):
        path[t] = state
        state = back[t, state]
    return path, True


def best_path(emission: NDArray[np.float64], graph: StateGraph) -> NDArray[np.int64] | None:
    """The most probable state of each frame (Viterbi), (frames,), or None if none fits."""
    path, is_possible = _best_path(
        np.log(emission), graph.jumps, graph.stay, graph.starts, graph.ends
    )
    return path if is_possible else None


@dataclass(frozen=True)
class AlignedUnits:
    """Units with silences where they were heard: each (units,), durations in frames."""

    symbols: NDArray[np.int16]
    tones: NDArray[np.int8]
    words: NDArray[np.int16]
    durations: NDArray[np.int16]


def units_from_path(
    path: NDArray[np.int64],
    graph: StateGraph,
    symbols: NDArray[np.integer],
    tones: NDArray[np.integer],
    words: NDArray[np.integer],
    *,
    min_pause_frames: int = 3,
) -> AlignedUnits:
    """Turn a path into units with durations.

    A silence of at least `min_pause_frames` inside becomes the text's own pause there,
    or a comma where the text has none; a shorter one is given to the phone before it.
    The first unit is always the edge silence and the last a final pause (the text's own
    or a full stop), with as many frames as were heard, possibly zero.
    """
    edge, comma, stop = SYMBOL_IDS[EDGE], SYMBOL_IDS[","], SYMBOL_IDS["."]
    runs: list[tuple[int, int, int]] = []  # (symbol, unit, frames) in path order
    borders = np.flatnonzero(np.diff(path // STATES_PER_PHONE)) + 1
    for run in np.split(path, borders):
        symbol = int(graph.classes[run[0]]) // STATES_PER_PHONE
        runs.append((symbol, int(graph.units[run[0]]), len(run)))
    out: list[list[int]] = [[edge, 0, -1, 0]]  # symbol, tone, word, frames
    if runs and runs[0][0] == edge:
        out[0][3] = runs.pop(0)[2]
    tail = [stop, 0, -1, 0]
    if len(symbols) and int(symbols[-1]) in _SILENCE_IDS and int(symbols[-1]) != edge:
        tail[0] = int(symbols[-1])
    if runs and runs[-1][0] == edge:
        tail[3] = runs.pop()[2]
    for symbol, unit, frames in runs:
        if symbol != edge:
            out.append([symbol, int(tones[unit]), int(words[unit]), frames])
        elif frames < min_pause_frames and len(out) > 1:
            out[-1][3] += frames
        else:
            own = int(symbols[unit]) if unit >= 0 else comma
            out.append([own if own != edge else comma, 0, -1, frames])
    table = np.array([*out, tail])
    return AlignedUnits(
        table[:, 0].astype(np.int16),
        table[:, 1].astype(np.int8),
        table[:, 2].astype(np.int16),
        table[:, 3].astype(np.int16),
    )
