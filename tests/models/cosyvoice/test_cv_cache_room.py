"""The bound on what a flow's streams keep together, and what it is by device."""

from __future__ import annotations

import gc
from types import SimpleNamespace

import pytest
import torch

from kouji.models.cosyvoice.acoustic.cache_room import CPU_BYTES, CacheRoom, cache_bounds


class Stream:
    def __init__(self, bytes_due: int, *, is_exact: bool = False) -> None:
        self.bytes_due, self.is_exact = bytes_due, is_exact


def test_streams_share_the_room_and_give_it_back() -> None:
    room = CacheRoom(100)
    one, other = Stream(60), Stream(30)
    room.add(one)
    room.add(other)
    assert room.holds(other, 40)
    assert not room.holds(other, 41)
    assert room.holds(one, 70)
    careful = Stream(0, is_exact=True)
    assert room.holds(careful, 100)
    assert not room.holds(careful, 101)
    del one
    gc.collect()
    assert room.holds(other, 100)
    assert not room.holds(other, 101)


def test_bounds_are_shares_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    card = SimpleNamespace(total_memory=64 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _device: card)
    assert cache_bounds(torch.device("cuda")) == (16 << 30, 4 << 30)
    assert cache_bounds(torch.device("cpu")) == (CPU_BYTES // 4, CPU_BYTES // 16)
    assert cache_bounds(torch.device("cpu"), 8 << 30) == (2 << 30, 512 << 20)
