"""The guard: every known fault is named when it shows, natural speech is left alone."""

from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kouji.engine.guard import (
    GuardOptions,
    GuardThresholds,
    Verdict,
    Watch,
    judge,
    least_bad,
    retry_seed,
)
from kouji.models.stages import Prompt

RATE = 25.0
SILENT = frozenset({3, 4})
LIMITS = GuardThresholds()


def make_prompt(shortest: int = 0, longest: int = 10_000) -> Prompt:
    history = torch.zeros(0, dtype=torch.int64)
    return Prompt(10, 10, history, "key", 12, 0, 10_000, (shortest, longest))


def verdict_of(
    tokens: list[int],
    prompt: Prompt | None = None,
    *,
    eos_reached: bool = True,
    rate: float = RATE,
    silent: frozenset[int] = SILENT,
    is_on: bool = True,
) -> Verdict:
    return judge(
        tokens,
        prompt or make_prompt(),
        eos_reached=eos_reached,
        silent_tokens=silent,
        token_rate_hz=rate,
        options=GuardOptions(is_on=is_on),
    )


def speech(num_tokens: int, seed: int = 0, rate: float = RATE) -> list[int]:
    """Tokens with the habits of speech: sounds of 40-300 ms, drawn-out vowels, pauses of 1.5 s."""
    draw = random.Random(seed)
    tokens: list[int] = []

    def last(low: float, high: float, sounds: list[int]) -> None:
        length = max(1, round(draw.uniform(low, high) * rate))
        tokens.extend(draw.choice(sounds) for _ in range(length))

    while len(tokens) < num_tokens:
        for sound in draw.sample(range(5, 1024), draw.randint(4, 20)):
            last(0.04, 0.3, [sound])
        kind = draw.randrange(3)
        if kind == 0:  # a pause, flickering between the silent tokens
            last(0.1, 1.5, sorted(SILENT))
        else:  # a vowel drawn out for over a second, steady or flickering
            last(0.5, 1.4, draw.sample(range(5, 1024), kind))
    return tokens[:num_tokens]


@given(st.integers(0, 2**32), st.integers(0, 1500), st.sampled_from([12.5, 25.0, 50.0]))
@settings(max_examples=60, deadline=None)
def test_natural_speech_is_left_alone(seed: int, num_tokens: int, rate: float) -> None:
    tokens = speech(num_tokens + 1, seed, rate)
    assert verdict_of(tokens, rate=rate) == Verdict()


@given(
    st.integers(0, 2**32),
    st.integers(0, 60),
    st.lists(st.integers(5, 1023), min_size=3, max_size=20, unique=True),
)
@settings(max_examples=60, deadline=None)
def test_a_loop_is_noticed_within_its_time(seed: int, before: int, cycle: list[int]) -> None:
    limit = max(LIMITS.loop_seconds * RATE, len(cycle) * LIMITS.loop_repeats)
    opening = [*speech(before, seed), 2000]
    tokens = opening + cycle * 40
    watch = Watch(make_prompt(), silent_tokens=SILENT, token_rate_hz=RATE, options=GuardOptions())
    seen = next(count for count, token in enumerate(tokens, 1) if watch.push(token))
    assert seen == len(opening) + limit
    assert watch.verdict.fault == "loop"
    # The first cycle is speech; it began after the opening.
    assert watch.verdict.num_good == len(opening) + len(cycle)


@pytest.mark.parametrize("silent", [SILENT, frozenset()])
def test_a_cycle_of_one_or_two_tokens_is_a_held_sound(silent: frozenset[int]) -> None:
    limit = round(LIMITS.held_seconds * RATE)
    opening = speech(100, 5)
    for cycle in ([7], [7, 8], [7, 7, 7, 8]):
        held = (cycle * limit)[:limit]
        assert not verdict_of(opening + held[:-1], silent=silent).is_fault
        verdict = verdict_of(opening + held, silent=silent)
        assert verdict.fault == "held"
        assert verdict.num_good == len(opening) + len(cycle)
        assert "held one sound for 2.0 s" in str(verdict.reason)


def test_endless_silence_is_noticed_and_a_long_pause_is_not() -> None:
    limit = round(LIMITS.silence_seconds * RATE)
    opening = speech(80, 1)
    opening[-1] = 9
    silence = [3, 4, 4] * limit
    assert not verdict_of(opening + silence[: limit - 1] + [11, 12]).is_fault
    verdict = verdict_of(opening + silence)
    assert (verdict.fault, verdict.num_good) == ("silent", 80)


def test_a_long_pause_of_equal_silent_tokens_is_not_a_held_sound() -> None:
    limit = round(LIMITS.silence_seconds * RATE)
    assert not verdict_of([9, 10] + [3] * (limit - 1)).is_fault


def test_flickering_between_few_sounds_is_noticed_where_silence_is_unknown() -> None:
    draw = random.Random(0)
    babble = [draw.choice(range(30, 36)) for _ in range(300)]
    verdict = verdict_of(speech(50, 2) + babble, silent=frozenset())
    assert verdict.fault == "monotonous"
    assert 45 <= verdict.num_good <= 50


def test_a_loop_that_is_not_exact_is_no_exact_loop_but_lacks_variety() -> None:
    draw = random.Random(1)
    tokens: list[int] = []
    for _ in range(40):
        cycle = [40, 41, 42, 43, 44]
        cycle[draw.randrange(5)] = draw.choice((45, 46))
        tokens += cycle
    assert verdict_of(tokens).fault == "monotonous"


@pytest.mark.parametrize(
    ("count", "eos_reached", "fault"),
    [
        (0, True, "empty"),
        (19, True, "early"),
        (20, True, None),
        (100, True, None),
        (101, True, "late"),
        (60, False, "late"),
    ],
)
def test_length_has_bounds(count: int, eos_reached: bool, fault: str | None) -> None:
    verdict = verdict_of(speech(count, 3), make_prompt(20, 100), eos_reached=eos_reached)
    assert verdict.fault == fault
    assert verdict.is_fault == (fault is not None)


def test_overlength_is_told_while_it_happens() -> None:
    watch = Watch(
        make_prompt(5, 30), silent_tokens=SILENT, token_rate_hz=RATE, options=GuardOptions()
    )
    reasons = [watch.push(token) for token in speech(31, 4)]
    assert reasons[:30] == [None] * 30
    assert "1.2 s" in str(reasons[30])


def test_switched_off_it_sees_nothing() -> None:
    assert not verdict_of([7] * 1000, make_prompt(2000, 3000), is_on=False).is_fault


@given(st.lists(st.integers(0, 6), max_size=400), st.booleans())
@settings(max_examples=60, deadline=None)
def test_watching_and_judging_agree(tokens: list[int], eos_reached: bool) -> None:
    prompt = make_prompt(10, 300)
    watch = Watch(prompt, silent_tokens=SILENT, token_rate_hz=RATE, options=GuardOptions())
    for token in tokens:
        watch.push(token)
    assert watch.finish(eos_reached=eos_reached) == verdict_of(
        tokens, prompt, eos_reached=eos_reached
    )


@given(st.lists(st.integers(5, 7), min_size=1, max_size=120), st.integers(2, 6))
@settings(max_examples=80, deadline=None)
def test_cycles_are_those_a_plain_search_finds(tokens: list[int], longest: int) -> None:
    """The counters against the definition: the newest tokens equal those one cycle before."""
    limits = GuardThresholds(
        loop_seconds=10, loop_repeats=2, cycle_seconds=longest, held_seconds=12,
        silence_seconds=1e6, variety_seconds=1e6,
    )  # fmt: skip
    watch = Watch(
        make_prompt(),
        silent_tokens=(),
        token_rate_hz=1.0,
        options=GuardOptions(thresholds=limits),
    )
    for token in tokens:
        watch.push(token)
    assert watch.verdict.is_fault == any(
        is_cycle(tokens[:end], length)
        for end in range(1, len(tokens) + 1)
        for length in range(1, longest + 1)
    )


def is_cycle(tokens: list[int], length: int) -> bool:
    limit = 12 if len(set(tokens[-length:])) <= 2 else max(10, 2 * length)
    tail = tokens[-limit:]
    return len(tail) == limit and all(
        tail[index] == tail[index - length] for index in range(length, limit)
    )


def test_retries_have_seeds_of_their_own() -> None:
    seeds = {retry_seed(seed, attempt) for seed in range(200) for attempt in range(3)}
    assert len(seeds) == 600
    assert retry_seed(17, 0) == 17
    assert all(0 <= retry_seed(2**62 - 1, attempt) < 2**62 for attempt in range(9))


def test_the_least_bad_attempt_is_kept() -> None:
    prompt = make_prompt(100, 400)
    fine = verdict_of(speech(150, 1), prompt)
    early = verdict_of(speech(10, 1), prompt)
    looped_late = verdict_of(speech(200, 1) + [9, 10, 11, 12] * 30, prompt)
    looped_early = verdict_of([9, 10, 11, 12] * 30, prompt)
    too_long = verdict_of(speech(401, 1), prompt)
    assert least_bad([early, fine, too_long]) == 1
    assert least_bad([early, looped_late]) == 1, "nearly all was said before the loop"
    assert least_bad([looped_early, early, looped_early]) == 1
    assert least_bad([too_long, looped_late]) == 0
    assert least_bad([fine, fine]) == 0
