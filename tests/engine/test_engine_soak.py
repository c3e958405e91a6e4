"""Everything at once: random arrivals, cancels, bad inputs, failures, slow readers, deadlines.

Ends with zero leaked slots and every request ended once. KOUJI_SOAK_SECONDS sets the length of
the long run; the default run has a short one.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Sequence

import pytest
from engine_harness import assert_empty, assert_equal, make_request, small_engine, streamed
from fake_model import FakeDevice, FakeOutOfMemory, FakeSegment, Mishap, fake_model

from kouji.engine.engine import Engine, Ticket
from kouji.engine.request import EngineRequest, EngineResult
from kouji.errors import (
    Cancelled,
    DeadlineExceeded,
    EngineBusy,
    EngineFailed,
    TextError,
)
from kouji.models.stages import SpeechModel

HABITS = ["", "", "", "", "", "flaky", "flaky", "loops", "mumbles", "nan", "noise", "bad"]


class Weather:
    """Breaks a stage now and then, for one moment, whoever is in it."""

    def __init__(self, seed: int) -> None:
        self._chance, self._lock = random.Random(seed), threading.Lock()
        self.is_calm = False

    def __call__(self, stage: str, segments: Sequence[FakeSegment]) -> None:
        with self._lock:
            luck = self._chance.random()
        if not self.is_calm and luck < 0.004:
            raise FakeOutOfMemory("injected")
        if not self.is_calm and luck < 0.008:
            raise RuntimeError("injected")


class Caller:
    """One client in its own thread: submits, reads, dawdles, leaves; counts how requests end."""

    def __init__(self, engine: Engine, models: list[SpeechModel], seed: int) -> None:
        self._engine, self._models, self._chance = engine, models, random.Random(seed)
        self.client = f"client {seed % 3}"
        self.ends: Counter[str] = Counter()
        self.finished: list[tuple[EngineRequest, EngineResult]] = []
        self.fault: BaseException | None = None

    def run(self, until: float) -> None:
        try:
            while time.monotonic() < until:
                self.ends[self.one()] += 1
        except BaseException as fault:
            self.fault = fault

    def one(self) -> str:
        try:
            request = self.request()
            ticket = self._engine.submit(request)
        except (TextError, EngineBusy) as error:
            time.sleep(0.001 if isinstance(error, EngineBusy) else 0)
            return "refused"
        try:
            return self.read(request, ticket)
        except Cancelled:
            return "cancelled"
        except (EngineFailed, DeadlineExceeded, TextError):
            return "failed"

    def request(self) -> EngineRequest:
        chance = self._chance
        segments = [
            FakeSegment(
                f"text {chance.randrange(20)}", chance.randint(1, 40), chance.choice(HABITS)
            )
            for _ in range(chance.choice([1, 1, 2, 3, 6]))
        ]
        request = make_request(
            chance.choice(self._models),
            *segments,
            voice=f"voice {chance.randrange(4)}",
            seed=chance.randrange(50),
            client=self.client,
            deadline_seconds=0.02 if chance.random() < 0.05 else None,
        )
        return streamed(request) if chance.random() < 0.5 else request

    def read(self, request: EngineRequest, ticket: Ticket) -> str:
        mood = self._chance.random()
        if mood < 0.1:
            ticket.cancel()
        elif mood < 0.2:
            for _ in ticket:
                return "left"
        elif mood < 0.3:
            time.sleep(0.01)
        result = ticket.result()
        assert [outcome.index for outcome in result.outcomes] == list(range(len(request.segments)))
        if len(self.finished) < 40:
            self.finished.append((request, result))
        return "finished"


def soak(seconds: float, num_callers: int = 6) -> Counter[str]:
    weather = Weather(1)
    mishap = Mishap(weather)
    models = [
        fake_model("one", mishap),
        fake_model("two", mishap),
        fake_model("other", mishap, cache_key="other"),
        fake_model("no tokens", mishap, has_decoder=False),
        fake_model("in calls", mishap, num_calls=5),
    ]
    with small_engine(FakeDevice(), buffer_seconds=0.3, max_queue=3) as engine:
        callers = [Caller(engine, models, seed) for seed in range(num_callers)]
        until = time.monotonic() + seconds
        threads = [
            threading.Thread(target=caller.run, args=(until,), daemon=True) for caller in callers
        ]
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            engine.check_integrity()
            mishap.batches.clear()
            time.sleep(min(0.5, seconds / 10))
        for thread in threads:
            thread.join()
        for caller in callers:
            if caller.fault is not None:
                raise caller.fault
        while engine.stats().num_requests:  # those whose reader left just now
            time.sleep(0.005)
        assert engine.is_healthy
        assert_empty(engine)
        ends = sum((caller.ends for caller in callers), Counter[str]())
        counted = engine.stats().ended
        # A reader who left mid-way may have left a request that was just finished.
        told = counted["finished"] + counted["cancelled"] + counted["failed"]
        assert told == sum(ends.values()) - ends["refused"], (counted, ends)
        weather.is_calm = True
        for caller in callers:
            for request, result in caller.finished[:3]:
                assert_equal(engine.submit(request).result(), result)
    return ends


def test_soak_briefly() -> None:
    assert soak(3.0)["finished"] > 0


@pytest.mark.slow
def test_soak() -> None:
    seconds = float(os.environ.get("KOUJI_SOAK_SECONDS", "300"))
    ends = soak(seconds, num_callers=16)
    assert all(ends[how] for how in ("finished", "cancelled", "failed", "refused", "left")), ends
