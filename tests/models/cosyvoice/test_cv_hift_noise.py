"""The noise of the vocoder's source: the official table without holding it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from kouji.models.cosyvoice.vocoder.hift_noise import (
    BLOCK_ROWS,
    KEPT_BLOCKS,
    GaussianNoise,
    UniformTable,
)

FIRST_ROW = [0.92282599, 0.47744751, 0.82705182, 0.28345716, 0.79348159]


@pytest.fixture(scope="module")
def official() -> Tensor:
    """The first rows as the official constructors leave torch's stream to them."""
    state = torch.get_rng_state()
    torch.manual_seed(0)
    torch.randn(1, 80, 15_000)
    torch.nn.Embedding(6561, 80), torch.nn.Linear(192, 80), torch.nn.Conv1d(80, 512, 4)
    for _ in range(4):
        torch.nn.Conv1d(512, 512, 3)
    torch.nn.Linear(512, 1), torch.rand(1, 9)
    rows = torch.rand(1, 12 * BLOCK_ROWS, 9)[0]
    torch.set_rng_state(state)
    return rows


def test_begins_as_the_reference_says() -> None:
    row = UniformTable().rows(0, 0, 1)[0, :5]
    torch.testing.assert_close(row, torch.tensor(FIRST_ROW), rtol=0, atol=1e-8)


def test_any_rows_in_any_order_are_the_official_ones(official: Tensor) -> None:
    table = UniformTable()
    last = len(official)
    spans = [(last - 5, last), (0, 7), (BLOCK_ROWS - 3, 2 * BLOCK_ROWS + 9), (4, 4), (0, last)]
    for start, end in spans:
        assert torch.equal(table.rows(start, start, end), official[start:end])


def test_leaves_torch_alone_and_holds_little(official: Tensor) -> None:
    before = torch.get_rng_state()
    table = UniformTable()
    for start in range(0, len(official), BLOCK_ROWS):
        table.rows(0, start, start + BLOCK_ROWS)
    assert torch.equal(torch.get_rng_state(), before)
    assert table.num_bytes < (KEPT_BLOCKS + 1) * BLOCK_ROWS * 36 < 10e6


def test_threads_share_it(official: Tensor) -> None:
    table = UniformTable()
    starts = [(7919 * number) % (len(official) - 1000) for number in range(60)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda start: table.rows(0, start, start + 1000), starts))
    for start, rows in zip(starts, found, strict=True):
        assert torch.equal(rows, official[start : start + 1000])


def test_gaussian_rows_depend_on_seed_and_number_alone() -> None:
    noise = GaussianNoise()
    rows = noise.rows(5, 0, 20_000)
    assert torch.equal(noise.rows(5, 4000, 11_000), rows[4000:11_000])
    assert not torch.equal(noise.rows(6, 0, 20_000), rows)
    assert noise.rows(-1, 3, 3).shape == (0, 9)
    assert abs(float(rows.mean())) < 0.01
    assert abs(float(rows.std()) - 1) < 0.01
