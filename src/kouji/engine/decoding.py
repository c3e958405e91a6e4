"""The decode stage: rows of one decoder get their seats, are prefilled, and step together.

A row comes in with a segment and leaves with tokens, or with the error it fails with. A row whose
text is still being written asks its script before each step, and waits where that has to wait.
Which rows have their turn is the scheduler's business, draws are that of `attempts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor

from kouji.engine.attempts import Attempts, Failures
from kouji.engine.isolation import Faults, Isolation
from kouji.engine.jobs import Phase
from kouji.engine.pools import Pools
from kouji.engine.rows import SegmentRow
from kouji.engine.slots import Prefix
from kouji.errors import UsageError
from kouji.models.stages import Decoder, KVCache, Prompt, ScriptedDecoder, Turn

T = TypeVar("T")


class StepDevice(Faults, Protocol):
    """Where decoders run; see `device.Device`."""

    @property
    def torch_device(self) -> torch.device: ...
    @property
    def total_memory(self) -> int: ...
    @property
    def free_memory(self) -> int: ...
    def run_step(
        self,
        decoder: Decoder,
        tokens: Tensor,
        positions: Tensor,
        lengths: Tensor,
        slots: Tensor,
        cache: KVCache,
    ) -> Tensor: ...

    def release_memory(self) -> None: ...


class Decoding:
    """Runs rows of any decoder, one batch of one decoder at a time."""

    def __init__(
        self,
        device: StepDevice,
        isolation: Isolation,
        pools: Pools,
        attempts: Attempts,
        clock: Callable[[], float],
    ) -> None:
        self._device, self._isolation, self._clock = device, isolation, clock
        self._pools, self._attempts = pools, attempts

    def begin(self, rows: Sequence[SegmentRow]) -> Failures:
        """Seat and prefill rows of one decoder, and draw their first tokens."""
        decoder = rows[0].decoder
        [(_, error)] = self._isolation.compute([decoder], self._open)
        if error is not None:
            return [(row, error) for row in rows]
        failures: Failures = []
        for row, prompt in _part(self._isolation.compute(rows, self._prompts), failures):
            self._pools.seat(row, prompt)
        self._prefill([row for row in rows if row.seat is not None], failures)
        return failures

    def step(self, rows: Sequence[SegmentRow]) -> Failures:
        """One token further in every row that need not wait for text; rows share a decoder."""
        failures: Failures = []
        able = [row for row in rows if row.script is None or self._asks(row, failures)]
        reading = [row for row in able if _turn(row).piece is not None]
        fresh = [row for row in able if not row.attempt.history and row not in reading]
        feeding = [row for row in able if row not in reading and row not in fresh]
        made = _part(self._isolation.compute(feeding, self._step_logits), failures)
        made += _part(self._isolation.compute(reading, self._extend_logits), failures)
        for row, _ in made:
            row.seated.length += max(1, _turn(row).num_positions)
        made += [(row, logits) for row in fresh if (logits := row.seated.first_logits) is not None]
        return failures + self._attempts.draw([row for row, _ in made], [part for _, part in made])

    def _asks(self, row: SegmentRow, failures: Failures) -> bool:
        """Ask a script for its turn; True if there is something to compute."""
        [(_, result)] = self._isolation.compute([row], self._next_turns)
        if isinstance(result, Exception):
            failures.append((row, result))
            return False
        return result

    def _next_turns(self, rows: Sequence[SegmentRow]) -> list[bool]:
        [row] = rows
        while (script := row.script) is not None:
            # Parked before it is asked: text that comes from now on ends that again.
            row.is_parked, row.parked_since = True, self._clock()
            turn = script.next(row.attempt.history)
            if turn.is_waiting:
                return [False]
            row.is_parked, row.seated.turn = False, turn
            if turn.forced is not None:
                self._attempts.force(row, turn.forced)
            elif row.seated.length + max(1, turn.num_positions) > row.seated.num_positions:
                self._attempts.end(row, eos_reached=False)
            else:
                return [True]
        return [False]

    def _open(self, decoders: Sequence[Decoder]) -> list[None]:
        self._pools.open(decoders[0])
        return [None]

    def _prompts(self, rows: Sequence[SegmentRow]) -> list[Prompt]:
        prompts = []
        for row in rows:
            request = row.job.request
            prompt = row.decoder.prompt(request.segments[row.index], request.voice)
            self._pools.open(row.decoder)  # again, if memory ran short while prompts were made
            check_room(prompt, self._pools.cache(row.decoder).num_positions)
            prompts.append(prompt)
        return prompts

    def _prefill(self, rows: Sequence[SegmentRow], failures: Failures) -> None:
        """Fill the slots, from kept prompts where there are any, and draw."""
        kept = [row for row in rows if _prefix_key(row) in self._pools.prefixes]
        fresh = [row for row in rows if row not in kept]
        made = _part(self._isolation.compute(kept, self._recall_logits), failures)
        made += _part(self._isolation.compute(fresh, self._prefill_logits), failures)
        for row, logits in made:
            row.seated.first_logits = logits
            row.phase = Phase.DECODE
        begun = _part(self._isolation.compute([row for row, _ in made], self._begin), failures)
        # A script says itself when it draws first.
        ready = [row for row, _ in begun if row.script is None]
        failures += self._attempts.draw(ready, [logits for row, logits in made if row in ready])

    def _begin(self, rows: Sequence[SegmentRow]) -> list[None]:
        for row in rows:
            row.attempts.clear()  # of a batch that failed halfway
            self._attempts.begin(row)
        return [None] * len(rows)

    def _recall_logits(self, rows: Sequence[SegmentRow]) -> list[Tensor]:
        return [self._recall(row) for row in rows]

    def _recall(self, row: SegmentRow) -> Tensor:
        prefix = self._pools.prefixes.find(_prefix_key(row))
        if prefix is None:  # dropped meanwhile: memory ran short
            return self._prefill_logits([row])[0]
        self._pools.cache(row.decoder).copy_in(row.seated.slot, prefix.content)
        return prefix.logits

    def _prefill_logits(self, rows: Sequence[SegmentRow]) -> list[Tensor]:
        decoder, prefixes = rows[0].decoder, self._pools.prefixes
        cache = self._pools.cache(decoder)
        seats = [row.seated for row in rows]
        made = decoder.prefill(
            [seat.prompt for seat in seats], cache, [seat.slot for seat in seats]
        )
        logits = made[:, None].unbind()
        for row, seat, first in zip(rows, seats, logits, strict=True):
            num_positions = seat.prompt.num_positions
            num_bytes = decoder.slot_bytes(num_positions)
            if prefixes.wants(_prefix_key(row), num_bytes):
                content = cache.copy_out(seat.slot, num_positions)
                prefixes.keep(_prefix_key(row), Prefix(content, first.clone(), num_bytes))
        return list(logits)

    def _step_logits(self, rows: Sequence[SegmentRow]) -> list[Tensor]:
        decoder = rows[0].decoder
        seats = [row.seated for row in rows]
        tokens, positions, lengths, slots = torch.tensor(
            [
                [row.attempt.tokens[-1] for row in rows],
                [seat.next_position for seat in seats],
                [seat.length for seat in seats],
                [seat.slot for seat in seats],
            ]
        )
        cache = self._pools.cache(decoder)
        logits = self._device.run_step(decoder, tokens, positions, lengths, slots, cache)
        return list(logits[:, None].unbind())

    def _extend_logits(self, rows: Sequence[SegmentRow]) -> list[Tensor]:
        decoder = cast(ScriptedDecoder, rows[0].decoder)
        seats = [row.seated for row in rows]
        logits = decoder.extend(
            [_turn(row).piece for row in rows],
            self._pools.cache(decoder),
            [seat.slot for seat in seats],
            [seat.length for seat in seats],
        )
        return list(logits[:, None].unbind())


def check_room(prompt: Prompt, num_positions: int) -> None:
    """Refuse a prompt whose speech would not fit behind it.

    num_positions: of a slot
    raises:        UsageError
    """
    most = max(1, min(prompt.max_tokens, prompt.expected_tokens[1]))
    # How much comes is not known of a text that is still being written.
    needed = prompt.num_positions + (most if prompt.script is None else 1)
    if needed > num_positions:
        raise UsageError(
            "a segment is too long for the cache",
            seen=f"{needed} positions with its speech",
            allowed=f"at most {num_positions}",
            cure="cut the text into shorter segments, or use a shorter reference",
        )


_PLAIN = Turn()


def _turn(row: SegmentRow) -> Turn:
    """What the row's script wants; without one, to draw as ever."""
    return row.seated.turn or _PLAIN


def _prefix_key(row: SegmentRow) -> tuple[str, str]:
    return row.decoder.identity, row.seated.prompt.prefix_key


def _part(
    results: Iterable[tuple[SegmentRow, T | Exception]], failures: Failures
) -> list[tuple[SegmentRow, T]]:
    """The rows that have a result; the others go to `failures`."""
    made: list[tuple[SegmentRow, T]] = []
    for row, result in results:
        if isinstance(result, Exception):
            failures.append((row, result))
        else:
            made.append((row, result))
    return made
