"""Weights in memory: one load for all who ask, a budget, and no value lost under its holders."""

from __future__ import annotations

import gc
import logging
import random
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kouji.errors import EngineBusy, ModelError
from kouji.models.residents import Residents


class Weights:
    def __init__(self, key: str, num_bytes: int = 10) -> None:
        self.key, self.num_bytes = key, num_bytes


class Loader:
    """Loads by name; counts, can be slow, can fail."""

    def __init__(self, sizes: dict[str, int] | None = None) -> None:
        self.sizes = sizes or {}
        self.loaded: list[str] = []
        self.broken: set[str] = set()
        self.gate: threading.Event | None = None
        self.started = threading.Semaphore(0)
        self.num_running = self.most_running = 0
        self._lock = threading.Lock()

    def __call__(self, key: str) -> Weights:
        with self._lock:
            self.num_running += 1
            self.most_running = max(self.most_running, self.num_running)
        self.started.release()
        try:
            if self.gate is not None:
                assert self.gate.wait(10)
            if key in self.broken:
                raise ModelError(f"no weights {key}")
            with self._lock:
                self.loaded.append(key)
            return Weights(key, self.sizes.get(key, 10))
        finally:
            with self._lock:
                self.num_running -= 1


def wait_for(claim: Callable[[], bool]) -> None:
    """Until a claim about another thread holds; it can only be watched."""
    deadline = time.monotonic() + 10
    while not claim():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.001)


def num_waiting(residents: Residents[str, Weights], key: str) -> int:
    return residents._entries[key].num_waiting


def test_the_longest_unused_goes_first() -> None:
    loader = Loader()
    residents = Residents(30, loader)
    for key in "abcab":
        with residents.hold(key) as value:
            assert value.key == key
    for key in "dc":  # d takes the place of c, c that of a
        residents.acquire(key)
        residents.release(key)
    assert "".join(loader.loaded) == "abcdc"
    assert sorted(residents._entries) == ["b", "c", "d"]
    stats = residents.stats()
    assert (stats.num_hits, stats.num_evictions, stats.num_bytes) == (2, 2, 30)
    residents.check_integrity()


def test_what_is_held_stays() -> None:
    residents = Residents(20, Loader())
    with residents.hold("a") as first:
        for key in "bcde":
            with residents.hold(key):
                residents.check_integrity()
        with residents.hold("a") as again:
            assert again is first
    assert residents.stats().num_loads == 5


def test_dropped_weights_are_freed() -> None:
    residents = Residents(10, Loader())
    with residents.hold("a") as value:
        alive = weakref.ref(value)
        del value
    assert alive() is not None
    with residents.hold("b"):
        gc.collect()
        assert alive() is None


def test_one_load_serves_all_who_ask_meanwhile() -> None:
    loader = Loader()
    loader.gate = threading.Event()
    residents = Residents(10, loader)
    with ThreadPoolExecutor(16) as pool:
        waiting = [pool.submit(residents.acquire, "a") for _ in range(16)]
        wait_for(lambda: "a" in residents._entries and num_waiting(residents, "a") == 15)
        loader.gate.set()
        values = {id(future.result(10)) for future in waiting}
    assert len(values) == 1
    assert loader.loaded == ["a"]
    for _ in range(15):
        residents.release("a")
    assert residents.stats().num_held == 1, "one of sixteen still holds it"
    residents.release("a")
    residents.acquire("b")
    assert residents.stats().num_resident == 1
    residents.check_integrity()


def test_different_weights_load_side_by_side() -> None:
    loader = Loader()
    loader.gate = threading.Event()
    residents = Residents(40, loader)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(residents.acquire, key) for key in "abcd"]
        for _ in range(4):
            assert loader.started.acquire(timeout=10)
        loader.gate.set()
        assert [future.result(10).key for future in futures] == list("abcd")
    assert loader.most_running == 4


def test_a_failed_load_reaches_all_and_is_forgotten() -> None:
    loader = Loader()
    loader.gate, loader.broken = threading.Event(), {"a"}
    residents = Residents(10, loader)
    with ThreadPoolExecutor(5) as pool:
        futures = [pool.submit(residents.acquire, "a") for _ in range(5)]
        wait_for(lambda: "a" in residents._entries and num_waiting(residents, "a") == 4)
        loader.gate.set()
        assert all(isinstance(future.exception(10), ModelError) for future in futures)
    residents.check_integrity()
    loader.broken.clear()
    with residents.hold("a") as value:
        assert value.key == "a"
    assert residents.stats().num_failures == 1


def test_an_interrupted_loader_hands_over_to_one_who_waits() -> None:
    gate, calls = threading.Event(), []

    def load(key: str) -> Weights:
        calls.append(key)
        if len(calls) == 1:
            assert gate.wait(10)
            raise KeyboardInterrupt
        return Weights(key)

    residents = Residents(10, load)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(residents.acquire, "a")
        wait_for(lambda: bool(calls))
        others = [pool.submit(residents.acquire, "a") for _ in range(2)]
        wait_for(lambda: num_waiting(residents, "a") == 2)
        gate.set()
        assert isinstance(first.exception(10), KeyboardInterrupt)
        assert [future.result(10).key for future in others] == ["a", "a"]
    assert len(calls) == 2
    residents.check_integrity()


def test_a_load_waits_for_a_release() -> None:
    loader = Loader()
    residents = Residents(10, loader)
    residents.acquire("a")
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(residents.acquire, "b")
        wait_for(lambda: "b" in residents._entries)
        assert loader.loaded == ["a"]
        residents.release("a")
        assert future.result(10).key == "b"
    assert residents.stats().num_bytes == 10


def test_a_budget_that_stays_held_is_told() -> None:
    residents = Residents(10 << 20, Loader({"a": 10 << 20, "b": 4 << 20}), wait_seconds=0.01)
    with residents.hold("a"):
        with pytest.raises(EngineBusy, match="10 MiB in use") as caught:
            residents.acquire("b")
        residents.check_integrity()
    assert "try again later" in str(caught.value)
    with residents.hold("b"):
        residents.check_integrity()


def test_weights_larger_than_the_budget_are_loaded_alone(caplog: pytest.LogCaptureFixture) -> None:
    residents = Residents(10 << 20, Loader({"big": 25 << 20}), wait_seconds=0.01)
    with residents.hold("small"):
        pass
    with caplog.at_level(logging.WARNING), residents.hold("big") as big:
        assert big.key == "big"
        assert "exceed their budget of 10 MiB by 15 MiB" in caplog.text
        residents.check_integrity()
        assert residents.stats().num_resident == 1
    assert residents.stats().num_resident == 0, "nobody holds them, and they do not fit"


def test_estimates_make_room_before_a_load() -> None:
    sizes = {"a": 4, "b": 4, "c": 8}
    at_load: list[int] = []

    def load(key: str) -> Weights:
        at_load.append(residents.stats().num_bytes)
        return Weights(key, sizes[key])

    residents = Residents(10, load, estimate=sizes.__getitem__)
    for key in "abc":
        with residents.hold(key):
            pass
    assert at_load == [0, 4, 0]


def test_shedding_frees_what_nobody_holds() -> None:
    residents = Residents(100, Loader())
    with residents.hold("a"):
        for key in "bcd":
            with residents.hold(key):
                pass
        assert residents.shed() == 30
        assert residents.stats().num_resident == 1
        residents.check_integrity()
    assert residents.stats().num_resident == 1


def test_releasing_too_often_is_our_own_mistake() -> None:
    residents = Residents(100, Loader())
    with residents.hold("a"):
        pass
    with pytest.raises(AssertionError, match="more often"):
        residents.release("a")
    with pytest.raises(AssertionError, match="without being held"):
        residents.release("b")


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_order_of_holds_keeps_books(orders: list[tuple[str, bool]]) -> None:
    sizes = dict(zip("abcdef", (5, 10, 15, 20, 25, 60), strict=True))
    residents = Residents(50, Loader(sizes), estimate=sizes.__getitem__, wait_seconds=0)
    held: list[str] = []
    for key, is_release in orders:
        if is_release and held:
            residents.release(held.pop(0))
        else:
            try:
                residents.acquire(key)
                held.append(key)
            except EngineBusy:
                assert sum(sizes[name] for name in {*held}) + sizes[key] > 50
        residents.check_integrity()
        stats = residents.stats()
        assert stats.num_held == len(set(held))
        assert stats.num_bytes <= max(50, sizes["f"] if "f" in held else 0)
    for key in held:
        residents.release(key)
    residents.check_integrity()
    assert residents.stats().num_bytes <= 50


def test_many_threads_and_failures_leave_the_books_right() -> None:
    """Eight threads, ten keys, room for four: values stay theirs while held."""
    loader = Loader(dict.fromkeys("abcdefghij", 10))
    loader.broken = {"j"}
    residents = Residents(40, loader, wait_seconds=10)
    faults: list[str] = []

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(150):
            key = draw.choice("abcdefghij")
            try:
                with residents.hold(key) as value:
                    if value.key != key or residents._entries[key].value is not value:
                        faults.append(key)
                    if draw.random() < 0.2:
                        time.sleep(0.0005)
            except ModelError:
                if key != "j":
                    faults.append(key)
            residents.check_integrity()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "a thread hangs"
    assert not faults
    residents.check_integrity()
    stats = residents.stats()
    assert (stats.num_held, stats.num_bytes) == (0, 10 * stats.num_resident)
    assert stats.num_loads == len(loader.loaded)


def test_a_load_that_runs_out_of_memory_is_tried_without_the_idle() -> None:
    tried: list[str] = []

    def load(key: str) -> Weights:
        tried.append(key)
        if tried == ["a", "b"]:
            raise MemoryError
        return Weights(key)

    residents = Residents(100, load)
    with residents.hold("a"):
        pass
    with residents.hold("b"):
        assert residents.stats().num_resident == 1
    assert tried == ["a", "b", "b"]


def test_a_load_with_nothing_to_drop_fails_at_once() -> None:
    def load(key: str) -> Weights:
        raise RuntimeError("not enough memory: you tried to allocate 1 byte")

    residents: Residents[str, Weights] = Residents(100, load)
    with pytest.raises(RuntimeError, match="not enough memory"), residents.hold("a"):
        pass
    residents.check_integrity()
