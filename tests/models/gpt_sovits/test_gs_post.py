"""Batches, joins, pauses and 16 bit against the official pipeline, and what is our own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kouji.errors import UsageError
from kouji.models.gpt_sovits import post


@pytest.fixture(scope="module")
def facts(goldens_dir: Path) -> dict[str, Any]:
    return json.loads((goldens_dir / "pipeline.json").read_text())


@pytest.fixture(scope="module")
def golden(goldens_dir: Path) -> dict[str, Any]:
    with np.load(goldens_dir / "pipeline.npz") as arrays:
        return {name: arrays[name] for name in arrays}


def test_batches(facts: dict[str, Any]) -> None:
    for case in facts["to_batch"]:
        ours = post.plan_batches(
            case["lens"],
            case["batch_size"],
            threshold=case["threshold"],
            by_length=case["split_bucket"],
        )
        assert ours == case["batches"]


def test_batches_hold_every_sentence_once() -> None:
    draws = np.random.default_rng(3)
    for _ in range(50):
        lengths = draws.integers(1, 60, draws.integers(0, 20)).tolist()
        size, threshold = int(draws.integers(1, 7)), float(draws.uniform(0, 1.2))
        batches = post.plan_batches(lengths, size, threshold=threshold)
        planned = sorted(index for batch in batches for index in batch)
        assert planned == list(range(len(lengths)))
        assert all(1 <= len(batch) <= size for batch in batches)
    with pytest.raises(UsageError, match="batch_size"):
        post.plan_batches([1], 0)


def test_joined_by_sola(golden: dict[str, Any]) -> None:
    chunks = [golden[f"frag{index}"] for index in range(sum("frag" in name for name in golden))]
    joined = post.join_by_sola(chunks, int(golden["overlap"]))
    assert joined.shape == golden["merged"].shape
    assert np.abs(joined - golden["merged"]).max() < 1e-5


def test_finished_and_put_in_order(facts: dict[str, Any], golden: dict[str, Any]) -> None:
    case = facts["audio_postprocess"]
    order = case["batch_index_list"]
    fragments = iter([golden[f"pp{index}"] for index in range(sum(map(len, order)))])
    batches = [[next(fragments) for _ in batch] for batch in order]
    whole = post.assemble(post.restore_order(batches, order), case["fragment_interval"])
    assert np.array_equal(post.to_int16(whole, compat=True), golden["pp_out"])


def test_only_full_scale_differs_from_the_official_16_bit() -> None:
    samples = np.array([1.0, 0.99999, 0.5, -0.5, -0.99999, -1.0, 0.0], np.float32)
    official, ours = post.to_int16(samples, compat=True), post.to_int16(samples)
    assert official.tolist() == [-32768, 32767, 16384, -16384, -32767, -32768, 0]
    assert ours.tolist() == [32767, *official[1:].tolist()]
    beyond = post.to_int16(np.array([2.0, -2.0], np.float32))
    assert beyond.tolist() == [32767, -32768]


def test_a_loud_fragment_is_brought_to_full_scale() -> None:
    loud = np.array([0.5, -2.0], np.float32)
    assert post.finish_fragment(loud, 0.0).tolist() == [0.25, -1.0]
    assert loud.tolist() == [0.5, -2.0]  # the caller's stay
    soft = np.array([0.5, -1.0], np.float32)
    assert post.finish_fragment(soft, 0.0).tolist() == soft.tolist()
    assert len(post.finish_fragment(np.zeros(0, np.float32), 0.3)) == 9600
    assert post.assemble([]).shape == (0,)


def wave(num_samples: int, start: int = 0) -> np.ndarray:
    """A tone that glides, so that only one alignment is right."""
    times = (np.arange(num_samples) + start) / 32000
    return np.sin(2 * np.pi * (150 + 40 * times) * times).astype(np.float32)


@pytest.mark.parametrize("late", [0, 37, 200])
def test_chunks_that_overlap_join_into_the_whole(late: int) -> None:
    """A chunk that begins `late` samples too early slides to where it fits."""
    overlap, whole = 1280, wave(12000)
    first, second = whole[: 6000 + overlap], whole[6000 - late :]
    joined = post.join_by_sola([first, second], overlap)
    assert joined.shape == whole.shape
    assert np.abs(joined - whole).max() < 1e-5


def test_streamed_equals_whole() -> None:
    noise = np.random.default_rng(0)
    chunks = [noise.normal(0, 0.1, size).astype(np.float32) for size in (5000, 4000, 900, 3000)]
    joiner = post.SolaJoiner(640)
    streamed = [joiner.push(chunk) for chunk in chunks]
    streamed.append(joiner.push(np.zeros(0, np.float32), is_final=True))
    assert np.array_equal(np.concatenate(streamed), post.join_by_sola(chunks, 640))
    assert len(post.join_by_sola([], 640)) == 0


def test_chunks_shorter_than_the_overlap() -> None:
    long, short = wave(3000), wave(100)
    joined = post.join_by_sola([long, short], 640)
    assert len(joined) == 3000 - 640 + 100
    assert np.isfinite(joined).all()
    joined = post.join_by_sola([short, long], 640)
    assert np.isfinite(joined).all()
    assert len(joined) <= 3100
    silent = np.zeros(2000, np.float32)
    assert not post.join_by_sola([silent, silent, silent], 640).any()


def test_lengths_that_make_no_sense() -> None:
    with pytest.raises(UsageError, match="SOLA"):
        post.SolaJoiner(0)
    with pytest.raises(UsageError, match="SOLA"):
        post.SolaJoiner(10, search=-1)
