"""Counted random numbers: known vectors, and the statistics a draw relies on."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from kouji.engine.counter_random import derive_seed, exponential, random_bits, row_keys, uniform

# SplitMix64 from state 1234567: the vectors its other implementations are checked against.
SPLITMIX = (
    6457827717110365317,
    3203168211198807973,
    9817491932198370423,
    4593380528125082431,
    16408922859458223821,
)
NUM_TOKENS = 1025


def keys_of(seeds: list[int], steps: list[int]) -> Tensor:
    return torch.tensor(row_keys(seeds, steps)).unsqueeze(1)


def numbers(num_seeds: int, num_steps: int) -> Tensor:
    """(seeds, steps, tokens) uniform numbers for neighbouring seeds, steps and tokens."""
    seeds = [seed for seed in range(num_seeds) for _ in range(num_steps)]
    steps = list(range(num_steps)) * num_seeds
    flat = uniform(keys_of(seeds, steps), torch.arange(NUM_TOKENS))
    return flat.view(num_seeds, num_steps, NUM_TOKENS)


def assert_even(counts: Tensor) -> None:
    """Chi-square against equal frequencies, five deviations wide (fails once in a million)."""
    expected = counts.sum() / counts.numel()
    statistic = float(((counts - expected) ** 2 / expected).sum())
    degrees = counts.numel() - 1
    assert abs(statistic - degrees) < 5 * math.sqrt(2 * degrees)


def assert_independent(first: Tensor, second: Tensor) -> None:
    """Pairs fill a 16 x 16 board evenly, and do not correlate."""
    cells = (first * 16).long() * 16 + (second * 16).long()
    assert_even(torch.bincount(cells.flatten(), minlength=256).double())
    correlation = torch.corrcoef(torch.stack((first.flatten(), second.flatten())))[0, 1]
    assert abs(float(correlation)) < 5 / math.sqrt(first.numel())


def test_bits_are_those_of_splitmix() -> None:
    bits = random_bits(torch.tensor([[1234567]]), torch.arange(len(SPLITMIX)))
    assert [value % 2**64 for value in bits[0].tolist()] == list(SPLITMIX)


def test_numbers_are_uniform() -> None:
    values = numbers(16, 40)
    assert_even(torch.bincount((values * 1000).long().flatten(), minlength=1000).double())
    assert float(values.min()) > 0
    assert float(values.max()) < 1


@pytest.mark.parametrize("lag", [1, 2, 7])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours_are_independent(axis: int, lag: int) -> None:
    """Seeds, steps and tokens that follow each other give unrelated numbers."""
    values = numbers(16, 24)
    length = values.shape[axis] - lag
    assert_independent(values.narrow(axis, 0, length), values.narrow(axis, lag, length))


def test_every_bit_is_a_fair_coin() -> None:
    bits = random_bits(keys_of([5] * 64, list(range(64))), torch.arange(NUM_TOKENS)).flatten()
    for place in range(64):
        share = float(((bits >> place) & 1).double().mean())
        assert abs(share - 0.5) < 5 * 0.5 / math.sqrt(bits.numel())


def test_exponentials_have_the_moments_and_the_tail_of_exp_1() -> None:
    values = exponential(keys_of([9] * 400, list(range(400))), torch.arange(NUM_TOKENS)).double()
    error = 1 / math.sqrt(values.numel())
    assert values.dtype == torch.float64
    assert float(values.min()) > 0
    assert abs(float(values.mean()) - 1) < 5 * error
    assert abs(float(values.var()) - 1) < 5 * math.sqrt(8) * error
    for threshold in (0.1, 1.0, 4.0, 8.0):
        share, expected = float((values > threshold).double().mean()), math.exp(-threshold)
        assert abs(share - expected) < 5 * math.sqrt(expected * (1 - expected)) * error


def test_a_number_does_not_depend_on_what_is_asked_beside_it() -> None:
    seeds, steps = [3, 2**61 + 5, 3, -4], [0, 7, 1, 900]
    whole = exponential(keys_of(seeds, steps), torch.arange(NUM_TOKENS))
    for row, (seed, step) in enumerate(zip(seeds, steps, strict=True)):
        some = torch.tensor([[1000, 3, 512]])
        alone = exponential(keys_of([seed], [step]), some)
        assert torch.equal(alone[0], whole[row, some[0]])


def test_derived_seeds_are_new_and_fit_a_request() -> None:
    seeds = {derive_seed(seed, *path) for seed in range(50) for path in ((), (0,), (1,), (0, 1))}
    assert len(seeds) == 200
    assert all(0 <= seed < 2**62 for seed in seeds)
    assert derive_seed(1, 2, 3) != derive_seed(1, 3, 2)
    assert derive_seed(-1) == derive_seed(2**64 - 1)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_bits_are_equal_on_the_gpu() -> None:
    keys, tokens = keys_of([1, 2, 2**60], [0, 5, 1499]), torch.arange(NUM_TOKENS)
    assert torch.equal(random_bits(keys.cuda(), tokens.cuda()).cpu(), random_bits(keys, tokens))
    assert torch.equal(uniform(keys.cuda(), tokens.cuda()).cpu(), uniform(keys, tokens))
    torch.testing.assert_close(
        exponential(keys.cuda(), tokens.cuda()).cpu(), exponential(keys, tokens), rtol=1e-7, atol=0
    )
