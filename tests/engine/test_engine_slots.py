"""Slots have one owner each, and kept prompts stay within their bytes."""

from __future__ import annotations

import pytest
import torch
from fake_model import FakeCache
from hypothesis import given
from hypothesis import strategies as st

from kouji.engine.slots import Prefix, PrefixStore, SlotPool


def prefix(num_bytes: int = 10) -> Prefix:
    return Prefix("content", torch.zeros(1, 4), num_bytes)


def test_a_slot_has_one_owner() -> None:
    pool = SlotPool(FakeCache(2, 8))
    anna, bert = object(), object()
    assert [pool.take(anna), pool.take(bert)] == [0, 1]
    assert (pool.num_free, pool.num_used) == (0, 2)
    with pytest.raises(AssertionError, match="seat"):
        pool.take(anna)
    with pytest.raises(AssertionError, match="another owner"):
        pool.give_back(0, bert)
    pool.give_back(0, anna)
    with pytest.raises(AssertionError, match="another owner"):
        pool.give_back(0, anna)
    assert pool.take(bert) == 0


def test_a_lost_slot_is_noticed() -> None:
    pool = SlotPool(FakeCache(3, 8))
    pool.take(pool)
    pool.check_integrity()
    pool._owners.clear()
    with pytest.raises(AssertionError, match="leaked"):
        pool.check_integrity()


@given(st.lists(st.integers(0, 9), max_size=60))
def test_any_order_of_taking_and_giving_back(script: list[int]) -> None:
    pool, owners = SlotPool(FakeCache(4, 8)), dict[int, object]()
    for number in script:
        if number < 5 and pool.num_free:
            owner = object()
            slot = pool.take(owner)
            assert slot not in owners
            owners[slot] = owner
        elif owners:
            slot = sorted(owners)[number % len(owners)]
            pool.give_back(slot, owners.pop(slot))
        pool.check_integrity()
        assert pool.num_used == len(owners)


def test_a_prompt_is_kept_when_it_comes_the_second_time() -> None:
    store = PrefixStore(100)
    key = ("weights", "prompt")
    assert store.find(key) is None
    assert not store.wants(key, 10)
    assert store.wants(key, 10)
    store.keep(key, prefix())
    assert key in store
    assert not store.wants(key, 10), "it is kept already"
    assert store.find(key) is not None
    assert store.find(("other weights", "prompt")) is None
    store.check_integrity()


def test_the_longest_unused_prompt_makes_room() -> None:
    store = PrefixStore(30)
    keys = [("w", str(number)) for number in range(4)]
    for key in keys[:3]:
        store.keep(key, prefix())
    store.find(keys[0])
    store.keep(keys[3], prefix(15))
    assert [key in store for key in keys] == [True, False, False, True]
    assert store.num_bytes == 25
    store.check_integrity()
    store.clear()
    assert store.num_bytes == 0


def test_what_does_not_fit_is_never_kept() -> None:
    store = PrefixStore(0)
    assert not any(store.wants(("w", "p"), 1) for _ in range(3))


def test_remembered_keys_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PrefixStore, "MAX_KEYS", 3)
    store = PrefixStore(100)
    for number in range(10):
        store.wants(("w", str(number)), 1)
    assert len(store._seen) == 3
    assert not store.wants(("w", "0"), 1), "forgotten meanwhile"
    assert store.wants(("w", "9"), 1)
