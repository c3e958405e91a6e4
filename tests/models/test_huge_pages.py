"""Large pages: content stays, and what cannot be done does no harm."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

from kouji.models.layers import packed_linear
from kouji.models.layers.huge_pages import PAGE_BYTES, use_huge_pages
from kouji.models.layers.packed_linear import LINEAR_PRECISIONS, LinearPrecision, PackedLinear


def test_content_stays() -> None:
    numbers = torch.arange(3 * PAGE_BYTES, dtype=torch.int32)
    before = numbers.data_ptr()
    use_huge_pages(numbers.data_ptr(), numbers.nbytes)
    assert numbers.data_ptr() == before
    assert torch.equal(numbers, torch.arange(3 * PAGE_BYTES, dtype=torch.int32))


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux tells")
def test_where_it_says_so_pages_are_large() -> None:
    before = large_bytes()
    numbers = torch.ones(8 * PAGE_BYTES, dtype=torch.int32)
    if use_huge_pages(numbers.data_ptr(), numbers.nbytes):
        assert large_bytes() - before >= numbers.nbytes - 2 * PAGE_BYTES


def large_bytes() -> int:
    said = Path("/proc/self/smaps_rollup").read_text()
    return int(said.split("AnonHugePages:")[1].split()[0]) << 10


def test_less_than_a_page_is_left_alone() -> None:
    numbers = torch.ones(1000)
    assert not use_huge_pages(numbers.data_ptr(), numbers.nbytes)


def test_memory_that_is_not_there_is_refused() -> None:
    assert not use_huge_pages(PAGE_BYTES, 2 * PAGE_BYTES)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="nothing is asked for elsewhere")
@pytest.mark.parametrize("precision", LINEAR_PRECISIONS)
def test_weights_ask_for_all_they_hold(
    precision: LinearPrecision, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(
        packed_linear, "use_huge_pages", lambda _, num_bytes: asked.append(num_bytes)
    )
    linear = PackedLinear(torch.ones(512, 64), None, precision)
    if linear.half is None:
        [num_bytes] = asked
        assert 0 < linear.num_bytes <= num_bytes + 2 * 512  # but for the scales
    else:
        assert not asked  # an object nobody looks into
