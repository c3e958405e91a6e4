"""How callers read, leave, are slow, and come from event loops: promises 2 and 3 at the edge."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from engine_harness import assert_empty, assert_equal, make_request, small_engine, streamed
from fake_model import SAMPLE_RATE, FakeDevice, FakeSegment, Mishap, fake_model

from kouji.engine.engine import Engine
from kouji.engine.request import EngineChunk
from kouji.errors import Cancelled, DeadlineExceeded, EngineBusy, EngineFailed

LONG = FakeSegment("a long piece", 60)


def eventually(claim: Callable[[], bool]) -> None:
    """Wait for the engine's thread to come to something; tests may look again and again."""
    until = time.monotonic() + 20
    while not claim():
        assert time.monotonic() < until, "it never came"
        time.sleep(0.002)


def test_cancelling_frees_the_seat_at_the_next_step() -> None:
    device = FakeDevice()
    with small_engine(device, max_seats=1) as engine:
        device.gate.clear()
        running = engine.submit(make_request(fake_model(), LONG))
        waiting = engine.submit(make_request(fake_model(), "hello"))
        eventually(lambda: engine.stats().seats_used == 1)
        running.cancel()
        device.gate.set()
        with pytest.raises(Cancelled):
            running.result()
        assert len(waiting.result().samples) == 96
        assert engine.stats().ended == {"cancelled": 1, "finished": 1}
        assert engine.stats().num_tokens < 60, "it did not decode to the end"


def test_a_dropped_ticket_cancels() -> None:
    device = FakeDevice()
    with small_engine(device) as engine:
        device.gate.clear()
        engine.submit(make_request(fake_model(), LONG))  # nobody holds it
        gc.collect()
        device.gate.set()
        eventually(lambda: engine.stats().ended == {"cancelled": 1})


def test_leaving_a_stream_cancels() -> None:
    with small_engine(buffer_seconds=0.1) as engine:
        for chunk in engine.submit(streamed(make_request(fake_model(), *["long"] * 40))):
            assert len(chunk.samples)
            break
        gc.collect()
        eventually(lambda: engine.stats().ended == {"cancelled": 1})


def test_cancelling_what_is_done_is_harmless() -> None:
    with small_engine() as engine:
        ticket = engine.submit(make_request(fake_model()))
        eventually(lambda: ticket.is_done)
        ticket.cancel()
        assert len(ticket.result().samples) == 96
        assert engine.stats().ended == {"finished": 1}


def test_deadlines_end_running_and_waiting_requests() -> None:
    device = FakeDevice()
    with small_engine(device, max_seats=1) as engine:
        device.gate.clear()
        tickets = [
            engine.submit(make_request(fake_model(), LONG, deadline_seconds=0.05)) for _ in range(3)
        ]
        threading.Timer(0.1, device.gate.set).start()
        for ticket in tickets:
            with pytest.raises(DeadlineExceeded):
                ticket.result()
        assert engine.stats().ended == {"failed": 3}


def test_a_deadline_passes_while_nothing_happens() -> None:
    with small_engine(buffer_seconds=0.01, segments_ahead=2) as engine:
        ticket = engine.submit(make_request(fake_model(), *[LONG] * 9, deadline_seconds=0.1))
        eventually(lambda: ticket.is_done)  # nobody reads, so nothing moves but the clock
        with pytest.raises(DeadlineExceeded):
            ticket.result()


def test_a_slow_reader_is_rendered_no_further_and_holds_up_nobody() -> None:
    texts = [f"part {number}" for number in range(40)]
    with small_engine(buffer_seconds=0.2, segments_ahead=3) as engine:
        slow = engine.submit(make_request(fake_model(), *texts))
        quick = [engine.submit(make_request(fake_model(), *texts[:2])) for _ in range(6)]
        for ticket in quick:
            ticket.result()
        eventually(lambda: engine.stats().rows.get("decode", 0) == 0)
        held = slow._channel.unread_seconds
        # The buffer, and the segment that filled it; each is 96 samples.
        assert 0.2 <= held <= 0.2 + 2 * 96 / SAMPLE_RATE
        assert sum(engine.stats().rows.values()) <= 3
        result = slow.result()
        assert len(result.outcomes) == 40
    with small_engine() as engine:
        assert_equal(engine.submit(make_request(fake_model(), *texts)).result(), result)


def test_a_reader_that_pauses_gets_the_same_stream() -> None:
    request = streamed(make_request(fake_model(), *[FakeSegment(f"{n}", 21) for n in range(9)]))
    with small_engine(buffer_seconds=0.05) as engine:
        pieces = []
        for chunk in engine.submit(request):
            pieces.append(chunk.samples)
            time.sleep(0.001)
        np.testing.assert_array_equal(
            np.concatenate(pieces), engine.submit(request).result().samples
        )


def test_a_timeout_leaves_the_request_alone() -> None:
    device = FakeDevice()
    with small_engine(device) as engine:
        device.gate.clear()
        ticket = engine.submit(make_request(fake_model()))
        with pytest.raises(TimeoutError, match=r"0\.02 s"):
            ticket.result(timeout=0.02)
        device.gate.set()
        assert len(ticket.result().samples) == 96


def test_a_full_engine_refuses_and_goes_on() -> None:
    device = FakeDevice()
    with small_engine(device, max_seats=1, max_queue=2) as engine:
        device.gate.clear()
        running = engine.submit(make_request(fake_model()))
        eventually(lambda: engine.stats().seats_used == 1)
        tickets = [running, *(engine.submit(make_request(fake_model())) for _ in range(2))]
        with pytest.raises(EngineBusy, match="in a moment"):
            engine.submit(make_request(fake_model()))
        device.gate.set()
        for ticket in tickets:
            ticket.result()
        assert engine.stats().ended["refused"] == 1


class Voice(str):
    """A voice whose end can be watched."""


@pytest.mark.parametrize("end", ["finished", "cancelled", "failed"])
def test_what_a_request_owned_is_gone_when_it_ends(end: str) -> None:
    """At once: without the garbage collector, which may be a long time coming."""
    device = FakeDevice()
    gc.collect()
    gc.disable()
    try:
        with small_engine(device) as engine:
            device.gate.clear()
            voice = Voice("anna")
            gone = weakref.ref(voice)
            piece = FakeSegment("x", 30, "nan" if end == "failed" else "")
            ticket = engine.submit(make_request(fake_model(), piece, voice=voice))
            del voice
            eventually(lambda: engine.stats().seats_used == 1)
            assert gone() is not None
            if end == "cancelled":
                ticket.cancel()
            device.gate.set()
            eventually(lambda: engine.stats().ended == {end: 1})
            # The last batch leaves its names when the thread looks for the next.
            eventually(lambda: gone() is None)
    finally:
        gc.enable()


def test_an_error_that_was_told_holds_nothing() -> None:
    """Raised and caught, it leaves no circle behind that keeps the reader's frames alive."""

    def listen(engine: Engine, voice: Voice) -> None:
        ticket = engine.submit(make_request(fake_model(), FakeSegment("x", 30, "nan")))
        told = 0
        for _ in range(2):  # as often as it is asked
            try:
                ticket.result()
            except EngineFailed as error:
                told += "finite" in str(error)
        assert (told, len(voice)) == (2, 4)

    gc.collect()
    gc.disable()
    try:
        with small_engine() as engine:
            voice = Voice("anna")
            gone = weakref.ref(voice)
            listen(engine, voice)
            del voice
            eventually(lambda: gone() is None)
    finally:
        gc.enable()


@pytest.mark.parametrize("end", ["finished", "cancelled", "failed", "closed"])
def test_the_caller_is_told_once_that_nothing_more_is_computed(end: str) -> None:
    ends: list[str] = []
    device = FakeDevice()
    with small_engine(device) as engine:
        device.gate.clear()
        piece = FakeSegment("x", 30, "nan" if end == "failed" else "")
        ticket = engine.submit(make_request(fake_model(), piece), on_end=lambda: ends.append(end))
        eventually(lambda: engine.stats().seats_used == 1)
        assert not ends
        if end == "cancelled":
            ticket.cancel()
        device.gate.set()
        if end == "closed":
            engine.close()
        eventually(lambda: ticket.is_done)
        assert ends == [end]


def test_closing_cancels_what_is_under_way() -> None:
    device = FakeDevice()
    engine = Engine(device=device)
    device.gate.clear()
    ticket = engine.submit(make_request(fake_model(), LONG))
    threading.Timer(0.05, device.gate.set).start()
    engine.close()
    with pytest.raises(Cancelled, match="closed"):
        ticket.result()
    with pytest.raises(EngineFailed, match="closed"):
        engine.submit(make_request(fake_model()))
    engine.close()


def test_an_engine_nobody_holds_ends_its_thread() -> None:
    before = set(threading.enumerate())
    assert len(Engine(device=FakeDevice()).submit(make_request(fake_model())).result().samples)
    gc.collect()
    assert set(threading.enumerate()) <= before


def test_engines_that_are_never_used_start_nothing() -> None:
    before = set(threading.enumerate())
    with Engine() as engine:
        assert set(threading.enumerate()) <= before
        assert engine.stats().num_requests == 0


# --- asyncio


async def gather(engine: Engine, number: int) -> list[EngineChunk]:
    request = streamed(make_request(fake_model(), FakeSegment(f"text {number}", 30)))
    return [chunk async for chunk in engine.generate(request)]


def test_many_readers_in_one_event_loop() -> None:
    async def main(engine: Engine) -> list[list[EngineChunk]]:
        return await asyncio.gather(*(gather(engine, number % 4) for number in range(12)))

    with small_engine() as engine:
        results = asyncio.run(main(engine))
    heard = [np.concatenate([chunk.samples for chunk in chunks]) for chunks in results]
    for number, chunks in enumerate(results):
        assert len(chunks) > 2
        np.testing.assert_array_equal(heard[number], heard[number % 4])


@pytest.mark.parametrize("way", ["task", "aclose", "break"])
def test_an_async_reader_who_leaves_has_cancelled(way: str) -> None:
    async def main(engine: Engine) -> None:
        stream = engine.generate(streamed(make_request(fake_model(), *["words"] * 50)))
        if way == "task":

            async def read() -> None:
                async for _ in stream:
                    await asyncio.sleep(3600)

            task = asyncio.create_task(read())
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        async for _ in stream:
            break
        await stream.aclose()  # type: ignore[attr-defined]

    with small_engine(buffer_seconds=0.1) as engine:
        asyncio.run(main(engine))
        eventually(lambda: engine.stats().ended == {"cancelled": 1})


def test_errors_reach_async_readers() -> None:
    def fail(stage: str, segments: Sequence[FakeSegment]) -> None:
        if stage == "vocode":
            raise ValueError("broken")

    async def main(engine: Engine) -> None:
        with pytest.raises(EngineFailed, match="ValueError: broken"):
            await gather_broken(engine)

    async def gather_broken(engine: Engine) -> list[EngineChunk]:
        model = fake_model(mishap=Mishap(fail))
        return [chunk async for chunk in engine.generate(make_request(model))]

    with small_engine() as engine:
        asyncio.run(main(engine))


def test_a_loop_that_closes_under_its_reader_cancels() -> None:
    device = FakeDevice()
    with small_engine(device) as engine:
        device.gate.clear()
        loop = asyncio.new_event_loop()
        chunks = engine.submit(make_request(fake_model(), LONG)).chunks()

        async def start() -> None:
            waiting = asyncio.ensure_future(anext(chunks))  # type: ignore[arg-type]
            await asyncio.sleep(0)
            waiting.cancel()

        loop.run_until_complete(start())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        device.gate.set()
        eventually(lambda: engine.stats().num_requests == 0)
        assert_empty(engine)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # to fork beside threads is what we test
def test_a_forked_child_is_told_and_not_left_waiting() -> None:
    with small_engine() as engine:
        engine.submit(make_request(fake_model())).result()
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            code = 1
            try:
                engine.submit(make_request(fake_model()))
            except EngineFailed as error:
                engine.close()
                code = 0 if "after the fork" in str(error) else 2
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert len(engine.submit(make_request(fake_model())).result().samples) == 96


def test_without_a_thread_a_request_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with small_engine() as engine:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(EngineFailed, match="no thread"):
                engine.submit(make_request(fake_model()))
        assert len(engine.submit(make_request(fake_model())).result().samples) == 96
