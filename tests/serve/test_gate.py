"""The gate: seats, a bounded queue, turns between clients, and nobody's seat lost."""

from __future__ import annotations

import asyncio

import pytest

from kouji.errors import DeadlineExceeded, Overloaded
from kouji.serve.gate import Gate, Seat


async def settle() -> None:
    """Let every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_one_more_than_seats_and_queue_is_refused() -> None:
    async def scene() -> None:
        gate = Gate(2, 3)
        seats = [await gate.enter("a") for _ in range(2)]
        waiting = [asyncio.ensure_future(gate.enter("a")) for _ in range(3)]
        await settle()
        assert (gate.num_inside, gate.num_waiting, gate.is_full) == (2, 3, True)
        with pytest.raises(Overloaded) as refused:
            await gate.enter("a")
        assert refused.value.retry_after >= 1
        seats[0].leave()
        seats[0].leave()  # again is harmless
        await settle()
        assert (gate.num_inside, gate.num_waiting, gate.is_full) == (2, 2, False)
        for seat in [seats[1], *[await waiting[0]]]:
            seat.leave()
        for task in waiting[1:]:
            (await task).leave()
        assert (gate.num_inside, gate.num_waiting) == (0, 0)
        await gate.empty()

    asyncio.run(scene())


def test_a_full_queue_makes_room_for_who_waits_least() -> None:
    async def scene() -> None:
        gate = Gate(1, 4)
        seat = await gate.enter("greedy")
        greedy = [asyncio.ensure_future(gate.enter("greedy")) for _ in range(4)]
        await settle()
        gate.check("modest")  # the door lets it come
        modest = [asyncio.ensure_future(gate.enter("modest")) for _ in range(2)]
        await settle()
        assert gate.num_waiting == 4
        for late in (greedy[3], greedy[2]):
            with pytest.raises(Overloaded):
                await late
        for client in ("greedy", "modest"):  # neither may push the other out now
            with pytest.raises(Overloaded):
                gate.check(client)
            with pytest.raises(Overloaded):
                await gate.enter(client)
        seat.leave()
        for task in (greedy[0], modest[0], greedy[1], modest[1]):
            (await task).leave()
        assert (gate.num_inside, gate.num_waiting) == (0, 0)

    asyncio.run(scene())


def test_who_leaves_in_the_moment_it_is_pushed_out_frees_no_seat() -> None:
    async def scene() -> None:
        gate = Gate(1, 2)
        seat = await gate.enter("greedy")
        greedy = [asyncio.ensure_future(gate.enter("greedy")) for _ in range(2)]
        await settle()
        modest = asyncio.ensure_future(gate.enter("modest"))
        await asyncio.sleep(0)
        greedy[1].cancel()
        await settle()
        assert (gate.num_inside, gate.num_waiting) == (1, 2)
        seat.leave()
        (await greedy[0]).leave()
        (await modest).leave()
        assert (gate.num_inside, gate.num_waiting) == (0, 0)

    asyncio.run(scene())


def test_the_queue_is_four_for_each_seat_unless_said() -> None:
    assert (Gate(3).queue, Gate(3, 5).queue) == (12, 5)


def test_clients_take_turns_whoever_sent_more() -> None:
    async def scene() -> list[str]:
        gate, order = Gate(1), list[str]()
        first = await gate.enter("x")

        async def request(client: str) -> None:
            seat = await gate.enter(client)
            order.append(client)
            await asyncio.sleep(0)
            seat.leave()

        tasks = [asyncio.ensure_future(request("greedy")) for _ in range(3)]
        await settle()
        tasks.append(asyncio.ensure_future(request("modest")))
        await settle()
        first.leave()
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(scene()) == ["greedy", "modest", "greedy", "greedy"]


def test_who_gives_up_waiting_loses_nobodys_seat() -> None:
    """Also where the seat comes, or the turn is passed, in the very step of giving up."""

    async def scene() -> None:
        gate = Gate(1, 8)
        for is_before in (True, False):
            seat = await gate.enter("a")
            waiting = [asyncio.ensure_future(gate.enter("a")) for _ in range(3)]
            await settle()
            if is_before:
                waiting[0].cancel()
                seat.leave()
            else:
                seat.leave()
                waiting[0].cancel()
            await settle()
            assert waiting[0].cancelled()
            (await waiting[1]).leave()
            (await waiting[2]).leave()
            assert (gate.num_inside, gate.num_waiting) == (0, 0)

    asyncio.run(scene())


def test_waiting_ends_with_the_request() -> None:
    async def scene() -> None:
        gate = Gate(1)
        seat = await gate.enter("a")
        with pytest.raises(DeadlineExceeded):
            await gate.enter("b", 0.001)
        assert gate.num_waiting == 0
        seat.leave()
        assert isinstance(await gate.enter("b", 0.001), Seat)

    asyncio.run(scene())


def test_a_closed_gate_serves_who_waits_and_nobody_else() -> None:
    async def scene() -> None:
        gate = Gate(1)
        seat = await gate.enter("a")
        waiting = asyncio.ensure_future(gate.enter("a"))
        await settle()
        gate.close()
        with pytest.raises(Overloaded):
            await gate.enter("b")
        seat.leave()
        (await waiting).leave()

    asyncio.run(scene())


def test_a_newcomer_is_told_to_wait_longer_where_requests_last_longer() -> None:
    async def wait_after(seconds: float) -> float:
        now = [0.0]
        gate = Gate(1, clock=lambda: now[0])
        for _ in range(50):
            seat = await gate.enter("a")
            now[0] += seconds
            seat.leave()
        return gate.retry_after()

    assert asyncio.run(wait_after(0.1)) == 1
    assert asyncio.run(wait_after(20.0)) >= 15
    assert asyncio.run(wait_after(2000.0)) == 60
