"""Batches: every clip once, within the limit, the same from any position and for any split."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kouji.errors import TrainingError
from kouji.train.sampler import BatchSampler, Position
from kouji.train.settings import RunSettings

LENGTHS = np.random.default_rng(0).gamma(1.5, 2.0, 500).clip(0.2, 15.0)


@given(
    lengths=st.lists(st.floats(0.1, 30.0), min_size=1, max_size=60),
    limit=st.floats(1.0, 60.0),
    epoch=st.integers(0, 3),
)
def test_every_clip_is_in_exactly_one_batch_within_the_limit(
    lengths: list[float], limit: float, epoch: int
) -> None:
    sampler = BatchSampler(lengths, RunSettings(batch_seconds=limit))
    batches = sampler.epoch(epoch)
    assert sorted(int(i) for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        padded = max(lengths[i] for i in batch) * len(batch)
        assert padded <= limit + 1e-6 or len(batch) == 1


def test_buckets_waste_little_padding() -> None:
    batches = BatchSampler(LENGTHS, RunSettings(batch_seconds=60.0)).epoch(0)
    padded = sum(LENGTHS[b].max() * len(b) for b in batches)
    assert LENGTHS.sum() / padded > 0.85


def test_fixed_number_of_clips() -> None:
    batches = BatchSampler(LENGTHS, RunSettings(batch_size=32)).epoch(0)
    assert sorted(len(b) for b in batches) == [500 % 32] + [32] * (500 // 32)


def indices(settings: RunSettings, count: int) -> list[tuple[int, ...]]:
    batches = BatchSampler(LENGTHS, settings).batches(Position())
    return [planned.indices for planned in itertools.islice(batches, count)]


@pytest.mark.parametrize("num_clips", [5, 8, 10, 12, 1250])
def test_a_rest_that_joins_the_last_batch_is_counted_with_it(num_clips: int) -> None:
    sampler = BatchSampler([1.0] * num_clips, RunSettings(batch_size=4), is_joint=True)
    sizes = [len(batch) for batch in sampler.epoch(0)]
    assert sum(sizes) == num_clips
    assert min(sizes) >= 2
    assert sampler.num_batches(0) == len(sizes)
    assert sampler.is_last(Position(0, len(sizes) - 1))


def test_order_depends_on_seed_and_epoch_only() -> None:
    settings = RunSettings(batch_seconds=60.0, seed=3)
    first, again = indices(settings, 90), indices(settings, 90)
    assert first == again
    assert first[:5] != indices(RunSettings(batch_seconds=60.0, seed=4), 5)
    in_epoch = len(BatchSampler(LENGTHS, settings).epoch(0))
    assert set(first[:in_epoch]) != set(first[in_epoch : 2 * in_epoch])


def test_going_on_from_a_position_gives_the_rest() -> None:
    sampler = BatchSampler(LENGTHS, RunSettings(batch_seconds=60.0))
    whole = list(itertools.islice(sampler.batches(Position()), 60))
    after = whole[40].position
    rest = itertools.islice(sampler.batches(Position(after.epoch, after.batch + 1)), 19)
    assert list(rest) == whole[41:]


def test_shares_of_a_batch_are_the_batch() -> None:
    sampler = BatchSampler(LENGTHS, RunSettings(batch_seconds=60.0))
    for planned in itertools.islice(sampler.batches(Position()), 20):
        shares = [planned.shard(part, 3) for part in range(3)]
        assert sorted(i for share in shares for i in share) == sorted(planned.indices)
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_power_draws_clips_by_duration() -> None:
    lengths = [0.5] * 300 + [5.0] * 100
    drawn = np.concatenate(
        BatchSampler(lengths, RunSettings(batch_seconds=60.0, sample_power=1.0)).epoch(0)
    )
    counts = np.bincount(drawn, minlength=400)
    total = 300 * 0.5 + 100 * 5.0
    assert len(drawn) == pytest.approx(400, abs=1)
    assert counts[:300].sum() == pytest.approx(400 * 150 / total, abs=2)
    # The expected counts are 0.3 and 3.1; each clip's own is within one of it.
    assert set(counts[:300]) == {0, 1}
    assert set(counts[300:]) == {3, 4}


def test_duration_limits() -> None:
    sampler = BatchSampler(LENGTHS, RunSettings(batch_seconds=60, min_seconds=1, max_seconds=8))
    used = np.concatenate(sampler.epoch(0))
    assert LENGTHS[used].min() >= 1
    assert LENGTHS[used].max() <= 8
    assert sampler.num_usable == len(used)
    with pytest.raises(TrainingError, match="no clip has a permitted duration"):
        BatchSampler([1.0, 2.0], RunSettings(batch_size=1, min_seconds=3.0))
    with pytest.raises(TrainingError, match="0 clips"):
        BatchSampler([], RunSettings(batch_size=1))


def test_fingerprint_changes_with_what_changes_batches() -> None:
    def fingerprint(lengths: Any = LENGTHS, **changes: Any) -> str:
        settings = RunSettings(**{"batch_seconds": 60.0, **changes})
        return BatchSampler(lengths, settings).fingerprint()

    assert fingerprint() == fingerprint(learning_rate=0.5)
    others = {fingerprint(batch_seconds=61.0), fingerprint(seed=1), fingerprint(LENGTHS[:-1])}
    assert len(others | {fingerprint()}) == 4
