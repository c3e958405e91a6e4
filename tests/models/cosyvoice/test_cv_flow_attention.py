"""Attention over blocks and spans against one masked call over everything."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from kouji.models.cosyvoice.acoustic import flow_attention
from kouji.models.cosyvoice.acoustic.dit import chunk_mask
from kouji.models.cosyvoice.acoustic.flow_attention import Span, attend, chunk_spans

HEADS, FRAMES, WIDTH, CHUNK = 6, 34, 8, 10


@pytest.fixture
def asked() -> Tensor:
    """Queries, keys and values of all frames."""
    return torch.randn(3, HEADS, FRAMES, WIDTH, generator=torch.Generator().manual_seed(0))


def masked(asked: Tensor, begin: int) -> Tensor:
    q, k, v = asked
    mask = chunk_mask(FRAMES, CHUNK)[begin:]
    return F.scaled_dot_product_attention(q[:, begin:], k, v, mask, scale=1.0)


@pytest.mark.parametrize("begin", [0, 10, 30])
@pytest.mark.parametrize("cuts", [(), (20,), (3, 17, 30)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("score_bytes", [1, 3000, 10**6])
def test_spans_over_blocks_equal_the_mask(
    asked: Tensor,
    monkeypatch: pytest.MonkeyPatch,
    begin: int,
    cuts: tuple[int, ...],
    dtype: torch.dtype,
    score_bytes: int,
) -> None:
    monkeypatch.setattr(flow_attention, "SCORE_BYTES", score_bytes)
    edges = [0, *cuts, FRAMES]
    blocks = [asked[1:, :, a:b].to(dtype) for a, b in pairwise(edges)]
    heard = attend(asked[0, :, begin:].to(dtype), blocks, chunk_spans(begin, FRAMES, CHUNK))
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    torch.testing.assert_close(heard.float(), masked(asked, begin), rtol=0, atol=tolerance)


def test_kept_frames_of_another_type_are_read(asked: Tensor) -> None:
    heard = attend(asked[0], [asked[1:].half()], chunk_spans(0, FRAMES, CHUNK))
    assert heard.dtype == torch.float32
    torch.testing.assert_close(heard, masked(asked, 0), rtol=0, atol=0.01)


def test_spans_end_with_chunks() -> None:
    assert chunk_spans(0, 25, 10) == [Span(0, 10, 10), Span(10, 20, 20), Span(20, 25, 25)]
    assert chunk_spans(20, 40, 10) == [Span(0, 10, 30), Span(10, 20, 40)]
    assert chunk_spans(20, 20, 10) == []
