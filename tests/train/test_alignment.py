"""Alignment: graphs, occupancies against brute force, paths, and a flat start that works."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from made_store import write_made_store

from kouji.models.mini.config import NUM_MELS
from kouji.text.phones import SYMBOL_IDS
from kouji.train.align import align_store
from kouji.train.alignment import (
    NUM_STATES,
    StateGraph,
    best_path,
    build_graph,
    emissions,
    occupancies,
    silence_doubt,
    units_from_path,
)
from kouji.train.gaussian_aligner import NUM_CEPSTRA, cepstra
from kouji.train.store import Store

CLOSED = SYMBOL_IDS["sil"]


def _ids(text: str) -> np.ndarray:
    return np.array([SYMBOL_IDS[name] for name in text.split()])


def _paths(graph: StateGraph, num_frames: int) -> dict[tuple[int, ...], float]:
    """Every legal path with the product of its transition probabilities."""
    found = {}
    for path in itertools.product(range(len(graph.classes)), repeat=num_frames):
        weight = float(graph.starts[path[0]] and graph.ends[path[-1]])
        for before, after in itertools.pairwise(path):
            if after == before:
                weight *= graph.stay[before]
            elif before in graph.jumps[after]:
                weight *= 1 - graph.stay[before]
            else:
                weight = 0.0
        if weight:
            found[path] = weight
    return found


def test_graph_allows_a_silence_between_words_only() -> None:
    graph = build_graph(_ids("b a p o"), np.array([0, 0, 1, 1]))
    symbols = (graph.classes[::2] // 2).tolist()
    assert symbols == [CLOSED, *_ids("b a"), CLOSED, *_ids("p o"), CLOSED]


def test_a_mark_of_the_text_takes_the_place_of_the_silence() -> None:
    graph = build_graph(_ids("a , o ."), np.array([0, -1, 1, -1]))
    assert (graph.classes[::2] // 2).tolist() == [CLOSED, *_ids("a"), CLOSED, *_ids("o"), CLOSED]
    assert graph.units[::2].tolist() == [-1, 0, 1, 2, 3]


def test_occupancies_and_best_path_equal_brute_force() -> None:
    rng = np.random.default_rng(0)
    graph = build_graph(_ids("a o"), np.array([0, 1]))
    emission = rng.random((5, len(graph.classes))) + 0.05
    scores = {
        path: weight * np.prod([emission[t, s] for t, s in enumerate(path)])
        for path, weight in _paths(graph, 5).items()
    }
    expected = np.zeros_like(emission)
    for path, score in scores.items():
        expected[np.arange(5), list(path)] += score
    gamma = occupancies(emission, graph)
    assert gamma is not None
    np.testing.assert_allclose(gamma, expected / sum(scores.values()), atol=1e-12)
    best = best_path(emission, graph)
    assert best is not None
    assert tuple(best) == max(scores, key=lambda path: scores[path])


def test_too_few_frames_have_no_path() -> None:
    graph = build_graph(_ids("b a p o"), np.array([0, 0, 0, 0]))
    assert occupancies(np.ones((3, len(graph.classes))), graph) is None
    assert best_path(np.ones((3, len(graph.classes))), graph) is None
    assert occupancies(np.ones((4, len(graph.classes))), graph) is not None


def test_units_keep_every_frame_and_name_pauses() -> None:
    symbols, words = _ids("b a , o"), np.array([0, 0, -1, 1])
    graph = build_graph(symbols, words)  # sil b a sil o sil, two states each
    path = np.repeat([0, 2, 4, 5, 6, 8, 9, 10], [2, 3, 1, 1, 4, 2, 1, 3])
    units = units_from_path(path, graph, symbols, np.array([0, 3, 0, 1]), words)
    assert units.symbols.tolist() == _ids("sil b a , o .").tolist()
    assert units.durations.tolist() == [2, 3, 2, 4, 3, 3]
    assert units.tones.tolist() == [0, 0, 3, 0, 1, 0]
    short = np.repeat([0, 2, 4, 6, 8, 10], [2, 3, 2, 2, 3, 3])
    merged = units_from_path(short, graph, symbols, np.zeros(4, int), words)
    assert merged.symbols.tolist() == _ids("sil b a o .").tolist()
    assert merged.durations.tolist() == [2, 3, 4, 3, 3]


def test_doubt_is_high_where_it_is_loud() -> None:
    mel = np.full((30, NUM_MELS), -10.0, np.float32)
    mel[10:20] = -3.0
    doubt = silence_doubt(mel)
    assert doubt[:10].max() == 0
    assert doubt[10:20].min() > 10
    graph = build_graph(_ids("a"), np.array([0]))
    emission = emissions(np.zeros((30, NUM_STATES)), graph, doubt)
    assert emission[15, 0] < 1e-4 * emission[15, 2]


@pytest.mark.parametrize("slope_frames", [1, 2])
def test_a_slope_is_what_a_frame_adds(slope_frames: int) -> None:
    rising = np.tile(np.arange(-8.0, 2.0)[:, None], (1, NUM_MELS))
    slope = cepstra(rising, slope_frames=slope_frames)[slope_frames:-slope_frames, NUM_CEPSTRA]
    np.testing.assert_allclose(slope, 1, rtol=1e-6)


def test_flat_start_finds_the_phones(tmp_path: Path) -> None:
    truth = write_made_store(tmp_path)
    lines: list[str] = []
    report = align_store(tmp_path, say=lines.append)
    assert (report.clips, report.failed) == (60, 0)
    assert len(lines) > 5
    store = Store(tmp_path)
    errors = []
    for index, durations in enumerate(truth):
        found = store.array("aligned_durations", index).astype(int)
        assert found.sum() == store.clip(index).num_frames
        borders = np.cumsum(found)[:-1]
        errors += list(np.abs(borders - 5 - np.concatenate([[0], np.cumsum(durations)])))
    assert np.mean(np.array(errors) <= 1) > 0.95
    assert report.mean_frames == pytest.approx(np.concatenate(truth).mean(), rel=0.03)
