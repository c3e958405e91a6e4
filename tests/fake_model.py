"""A speech model without networks, for tests of the engine: quick, exact, and easily broken.

Every token and sample is a hash of its own past (text, voice, weights, seed), kept where real
networks keep theirs: in the slots of a cache and in render rows. A mixed-up slot, position,
seed or set of weights changes the sound. `Mishap` breaks a stage where a test wants it broken.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.errors import TextError
from kouji.models.stages import Decoder, KVCache, Prompt, RenderOptions, SpeechModel

SAMPLE_RATE = 1000
TOKEN_SAMPLES = 8
VOCABULARY = 64
EOS = VOCABULARY - 1
PIECE_TOKENS = 4  # a streamed row renders as many at a time
_PRIME, _MASK = 1_000_003, (1 << 40) - 1


class FakeOutOfMemory(Exception):
    """What a device without memory raises."""


class FakeFatal(Exception):
    """What a lost device raises."""


@dataclass(frozen=True)
class FakeSegment:
    """A piece of text.

    num_tokens: of its speech
    habit: "" speaks; "flaky" loops with about half of all seeds, "loops" with every seed,
           "mumbles" never ends, "nan" has no logits at the third token, "noise" has no finite
           samples, "bad" is refused by the family
    """

    text: str
    num_tokens: int = 12
    habit: str = ""


@dataclass
class Mishap:
    """Breaks stages: `check` sees every batch before it is computed, and may raise."""

    check: Callable[[str, Sequence[FakeSegment]], None] = lambda stage, segments: None
    batches: list[tuple[str, int]] = field(default_factory=list)

    def __call__(self, stage: str, segments: Sequence[FakeSegment]) -> None:
        self.batches.append((stage, len(segments)))
        self.check(stage, segments)


def mix(state: int, value: int) -> int:
    """Hash two numbers into 40 bits."""
    return ((state ^ (value + 0x9E37)) * _PRIME + (state >> 7)) & _MASK


def mix_text(text: str) -> int:
    """Hash text into 40 bits, alike in every process."""
    state = 17
    for letter in text:
        state = mix(state, ord(letter))
    return state


class FakeCache:
    """The hash of each position's past, for every slot, and what the slot is about to say."""

    def __init__(self, num_slots: int, num_positions: int) -> None:
        self.num_slots, self.num_positions = num_slots, num_positions
        self.states = torch.zeros(num_slots, num_positions, dtype=torch.int64)
        self.prompts: list[tuple[Prompt, FakeSegment] | None] = [None] * num_slots

    @property
    def num_bytes(self) -> int:
        return self.states.numel() * 8

    def copy_out(self, slot: int, num_positions: int) -> Any:
        return self.states[slot, :num_positions].clone(), self.prompts[slot]

    def copy_in(self, slot: int, prefix: Any) -> None:
        states, self.prompts[slot] = prefix
        self.states[slot, : len(states)] = states


class FakeDecoder:
    """Draws from hashes; ends after `FakeSegment.num_tokens`."""

    vocabulary = VOCABULARY
    eos = EOS
    stops_on_argmax = True
    token_rate_hz = 25.0
    silent_tokens: frozenset[int] = frozenset()
    num_bytes = 1000
    vocode_rows = 32

    def __init__(self, name: str, mishap: Mishap, cache_key: str = "fake") -> None:
        self.identity, self.cache_key, self._mishap = f"fake-decoder@{name}", cache_key, mishap
        self.num_prefills = 0

    def new_cache(self, num_slots: int, num_positions: int) -> FakeCache:
        self._mishap("open", [])
        return FakeCache(num_slots, num_positions)

    def slot_bytes(self, num_positions: int) -> int:
        return 8 * num_positions

    def prompt(self, segment: FakeSegment, voice: str) -> Prompt:
        if segment.habit == "bad":
            raise TextError("nothing here can be spoken", seen=segment.text)
        count = segment.num_tokens
        return Prompt(
            num_positions=4 + len(segment.text),
            next_position=3,
            history=torch.tensor([1, 2]),
            prefix_key=f"{voice}/{segment.text}/{segment.habit}/{count}",
            num_phones=count,
            min_tokens=1,
            max_tokens=4 * count + 80,
            expected_tokens=(count // 2, 2 * count),
            payload=(segment, voice),
        )

    def prefill(self, prompts: Sequence[Prompt], cache: FakeCache, slots: Sequence[int]) -> Tensor:
        self._mishap("prefill", [prompt.payload[0] for prompt in prompts])
        self.num_prefills += len(prompts)
        for prompt, slot in zip(prompts, slots, strict=True):
            segment, voice = prompt.payload
            state = mix_text(f"{self.identity}|{voice}|{segment.text}")
            cache.states[slot, : prompt.num_positions] = torch.arange(prompt.num_positions)
            cache.states[slot, prompt.num_positions - 1] = state
            cache.prompts[slot] = replace(prompt, payload=None), segment
        return torch.cat([self._logits(cache, slot, 0) for slot in slots])

    def step(
        self, tokens: Tensor, positions: Tensor, lengths: Tensor, slots: Tensor, cache: FakeCache
    ) -> Tensor:
        rows = [int(slot) for slot in slots]
        found = [cache.prompts[slot] for slot in rows]
        self._mishap("step", [entry[1] for entry in found if entry is not None])
        parts = []
        for slot, token, position, length in zip(
            rows, tokens.tolist(), positions.tolist(), lengths.tolist(), strict=True
        ):
            entry = cache.prompts[slot]
            assert entry is not None
            made = length - entry[0].num_positions
            assert position == entry[0].next_position + made, "wrong position id"
            before = int(cache.states[slot, length - 1])
            cache.states[slot, length] = mix(before, token)
            parts.append(self._logits(cache, slot, made + 1))
        return torch.cat(parts)

    def _logits(self, cache: FakeCache, slot: int, made: int) -> Tensor:
        """(1, vocabulary) after `made` tokens."""
        entry = cache.prompts[slot]
        assert entry is not None
        prompt, segment = entry
        state = int(cache.states[slot, prompt.num_positions - 1 + made])
        ids = torch.arange(self.vocabulary)
        logits = (((ids + 1) * (state | 1)) % 997).float().div(100)[None]
        logits[0, self.eos :] = 90.0 if made >= segment.num_tokens else -90.0
        first = int(cache.states[slot, prompt.num_positions]) if made else 0
        if segment.habit == "loops" or (segment.habit == "flaky" and made and first % 2):
            logits[0, 7], logits[0, self.eos :] = 80.0, -90.0
        if segment.habit == "mumbles":
            logits[0, self.eos :] = -90.0
        if segment.habit == "nan" and made == 2:
            logits[:] = float("nan")
        return logits


class FakeRow:
    """A row on its way to samples: acoustic turns tokens into values, vocode values to samples."""

    def __init__(
        self, segment: FakeSegment, state: int, is_streamed: bool, num_calls: int = 1
    ) -> None:
        """num_calls: of `acoustic` that each piece takes"""
        self.segment, self._state, self._is_streamed = segment, state, is_streamed
        self._num_calls, self._calls, self._piece = num_calls, 0, 0
        self.tokens: list[int] = []
        self.values: list[float] = []
        self.num_vocoded, self.is_final = 0, False

    @property
    def info(self) -> str:
        return self.segment.text

    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        assert not self.is_final, "fed after the end"
        assert list(tokens[: len(self.tokens)]) == self.tokens, "a token that was fed has changed"
        self.tokens, self.is_final = list(tokens), is_final

    @property
    def is_midway(self) -> bool:
        return self._calls > 0

    @property
    def acoustic_cost(self) -> int:
        return self._piece if self._calls else self._next_piece

    @property
    def _next_piece(self) -> int:
        waiting = len(self.tokens) - len(self.values)
        if self._is_streamed and waiting >= PIECE_TOKENS:
            return PIECE_TOKENS
        return waiting if self.is_final else 0

    @property
    def vocode_cost(self) -> int:
        return len(self.values) - self.num_vocoded

    @property
    def is_done(self) -> bool:
        return self.is_final and self.num_vocoded == len(self.tokens)

    def advance(self) -> None:
        """One call further; the last one makes the values of the piece."""
        self._piece = self.acoustic_cost
        self._calls += 1
        if self._calls == self._num_calls:
            self.values += self.compute_acoustic()
            self._calls = 0

    def compute_acoustic(self) -> list[float]:
        """The values of the next piece; nothing is changed yet."""
        values, state = list(self.values), mix(self._state, self._calls)
        for token in self.tokens[: len(values) + self.acoustic_cost]:
            state = mix(state, token)
            values.append(state % 1999 / 1000 - 1)
        return values[len(self.values) :][-self.acoustic_cost :]


class FakeRenderer:
    """Samples are hashes of all tokens so far, the voice and the seed."""

    sample_rate = SAMPLE_RATE
    num_bytes = 1000
    vocode_rows = 32

    def __init__(self, name: str, mishap: Mishap, *, needs_tokens: bool, num_calls: int) -> None:
        self.identity, self._mishap = f"fake-renderer@{name}", mishap
        self._needs_tokens, self._num_calls = needs_tokens, num_calls
        self.packs_rows = num_calls > 1

    def open(
        self, segment: FakeSegment, voice: str, options: RenderOptions, seed: int, *, is_last: bool
    ) -> FakeRow:
        if segment.habit == "bad":
            raise TextError("nothing here can be spoken", seen=segment.text)
        self._mishap("open_row", [segment])
        state = mix_text(f"{self.identity}|{voice}|{seed}|{options.speed}|{is_last}")
        row = FakeRow(segment, state, options.is_streamed, self._num_calls)
        if not self._needs_tokens:
            row.feed(
                [ord(c) % VOCABULARY for c in segment.text][: segment.num_tokens], is_final=True
            )
        return row

    def acoustic(self, rows: Sequence[FakeRow]) -> None:
        self._mishap("acoustic", [row.segment for row in rows])
        assert all(row.acoustic_cost for row in rows)
        for row in rows:
            row.advance()

    def vocode(self, rows: Sequence[FakeRow]) -> list[NDArray[np.float32]]:
        self._mishap("vocode", [row.segment for row in rows])
        assert all(row.vocode_cost for row in rows)
        made = []
        for row in rows:
            samples = np.repeat(np.float32(row.values[row.num_vocoded :]), TOKEN_SAMPLES)
            row.num_vocoded = len(row.values)
            made.append(samples * np.float32("nan") if row.segment.habit == "noise" else samples)
        return made


def fake_model(
    name: str = "one",
    mishap: Mishap | None = None,
    *,
    has_decoder: bool = True,
    cache_key: str = "fake",
    num_calls: int = 1,
) -> SpeechModel:
    """A model; other names are other weights, `cache_key` tells caches of other shapes apart.

    num_calls: of `acoustic` for each piece; with more than one, rows of any length share them
    """
    mishap = mishap or Mishap()
    renderer = FakeRenderer(name, mishap, needs_tokens=has_decoder, num_calls=num_calls)
    return SpeechModel(renderer, FakeDecoder(name, mishap, cache_key) if has_decoder else None)


class FakeDevice:
    """Calls decoders directly; knows the two errors above."""

    torch_device = torch.device("cpu")
    total_memory = free_memory = 8 << 30

    def __init__(self) -> None:
        self.num_releases = 0
        self.gate = threading.Event()  # closed: steps wait
        self.gate.set()

    def run_step(
        self,
        decoder: Decoder,
        tokens: Tensor,
        positions: Tensor,
        lengths: Tensor,
        slots: Tensor,
        cache: KVCache,
    ) -> Tensor:
        self.gate.wait()
        return decoder.step(tokens, positions, lengths, slots, cache)

    def is_out_of_memory(self, error: BaseException) -> bool:
        return isinstance(error, FakeOutOfMemory)

    def is_fatal(self, error: BaseException) -> bool:
        return isinstance(error, FakeFatal)

    def release_memory(self) -> None:
        self.num_releases += 1
