"""The block `mini` is made of: reach, masks, independence of rows."""

from __future__ import annotations

import torch

from kouji.models.layers.shift_block import ShiftBlock, ShiftStack, gather_taps


def test_gather_taps_puts_past_present_future_side_by_side() -> None:
    x = torch.arange(1.0, 5.0).view(1, 4, 1)
    assert gather_taps(x, 1)[0].tolist() == [[0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 0]]
    assert gather_taps(x, 3)[0].tolist() == [[0, 1, 4], [0, 2, 0], [0, 3, 0], [1, 4, 0]]


def test_gather_taps_wider_than_the_sequence_sees_zeros() -> None:
    x = torch.ones(1, 2, 1)
    assert gather_taps(x, 5)[0].tolist() == [[0, 1, 0], [0, 1, 0]]


def test_a_frame_sees_exactly_the_reach_of_the_stack() -> None:
    torch.manual_seed(0)
    stack = ShiftStack(8, 16, (1, 2, 4)).double()
    x = torch.randn(1, 40, 8, dtype=torch.float64)
    mask = torch.ones(1, 40, 1, dtype=torch.float64)
    moved = x.clone()
    moved[0, 20, :4] += 1.0  # not all channels alike: LayerNorm would take that out
    changed = (stack(moved, mask) - stack(x, mask)).abs().amax(dim=-1)[0] > 1e-12
    assert stack.reach == 7
    assert changed.nonzero().flatten().tolist() == list(range(13, 28))


def test_padding_does_not_change_a_row() -> None:
    torch.manual_seed(0)
    block = ShiftBlock(8, 16, condition=4)
    x, condition = torch.randn(1, 10, 8), torch.randn(1, 1, 4)
    alone = block(x, torch.ones(1, 10, 1), condition)
    padded = torch.cat([x, torch.zeros(1, 5, 8)], dim=1)
    mask = torch.cat([torch.ones(1, 10, 1), torch.zeros(1, 5, 1)], dim=1)
    together = block(padded, mask, condition)
    torch.testing.assert_close(together[:, :10], alone)
    assert together[:, 10:].abs().max() == 0
