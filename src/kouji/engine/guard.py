"""Notices when a decoder went astray, from its tokens alone, and says so in plain words.

Autoregressive speech models have known faults: they get stuck in a loop, hold one sound or fall
silent for ever, do not end, or end before the text is spoken. `Watch` sees the first ones while
they happen; `judge` looks at a finished row. Every threshold is a duration, so it means the same
at any token rate, and lies beyond what people do: a vowel held for over a second and a pause of
two are left alone. Pure Python; knows no tensors and no text, and decides nothing: what to do
about a fault (again with `retry_seed`, or the least bad attempt) is the engine's business.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Literal

from kouji.engine.counter_random import derive_seed
from kouji.models.stages import Prompt

Fault = Literal["empty", "early", "silent", "held", "loop", "monotonous", "late"]

_SOME_FAULT = 1.0  # seconds of damage any fault counts for, so that none ranks beside faultless
_RETRY = 0x7265747279  # "retry": keeps these seeds apart from others derived from a segment's


@dataclass(frozen=True)
class GuardThresholds:
    """From where on something counts as a fault.

    loop_seconds:   a cycle of 3 or more different tokens, repeated without change for this long
    loop_repeats:   and at least this often
    cycle_seconds:  longest cycle looked for; longer ones show as over-long speech
    held_seconds:   a cycle of 1 or 2 tokens is a held sound; this is longer than a drawn-out vowel
    silence_seconds: a run of silent tokens
    variety_seconds: a stretch of this length
    variety_tokens: with at most so many different tokens; speech has dozens in that time
    """

    loop_seconds: float = 1.2
    loop_repeats: int = 3
    cycle_seconds: float = 0.8
    held_seconds: float = 2.0
    silence_seconds: float = 2.5
    variety_seconds: float = 6.0
    variety_tokens: int = 8


@dataclass(frozen=True)
class GuardOptions:
    """One request's wishes.

    is_on:       look for faults at all
    max_retries: a faulty segment is decoded again with another seed this often at most
    """

    is_on: bool = True
    max_retries: int = 2
    thresholds: GuardThresholds = field(default_factory=GuardThresholds)


@dataclass(frozen=True)
class Verdict:
    """What is wrong with one attempt; the empty verdict means nothing is.

    reason:   plain words for a warning; None without a fault
    fault:    a stable short code for statistics
    num_good: tokens before the fault set in; the rest may be cut off
    damage:   estimated seconds of speech lost plus seconds of noise made
    """

    reason: str | None = None
    fault: Fault | None = None
    num_good: int = 0
    damage: float = 0.0

    @property
    def is_fault(self) -> bool:
        return self.reason is not None


class Watch:
    """Follows one row token by token; a step costs some 20 comparisons whatever the length."""

    def __init__(
        self,
        prompt: Prompt,
        *,
        silent_tokens: Collection[int],
        token_rate_hz: float,
        options: GuardOptions,
    ) -> None:
        limits = options.thresholds
        self._options, self._prompt, self._rate = options, prompt, token_rate_hz
        self._silent = frozenset(silent_tokens)
        self._loop, self._held, self._pause, window = (
            max(2, round(seconds * token_rate_hz))
            for seconds in (
                limits.loop_seconds,
                limits.held_seconds,
                limits.silence_seconds,
                limits.variety_seconds,
            )
        )
        longest = max(1, round(limits.cycle_seconds * token_rate_hz))
        self._matches = [0] * (longest + 1)  # [n]: newest tokens equal to the n-th before them
        self._window, self._counts = window, dict[int, int]()
        self._tokens: list[int] = []
        self._num_silent = 0  # at the end
        self.verdict = Verdict()

    def push(self, token: int) -> str | None:
        """Look at the next token; the end token is not one.

        returns: the reason of the first fault, from the token on at which it shows; else None
        """
        if not self._options.is_on or self.verdict.is_fault:
            return self.verdict.reason
        self._note(token)
        self.verdict = self._silence() or self._cycle() or self._monotony() or self._overlength()
        return self.verdict.reason

    def finish(self, *, eos_reached: bool) -> Verdict:
        """The whole row is known now.

        eos_reached: the row drew its end; False: it was stopped at `max_tokens`
        """
        if not self._options.is_on or self.verdict.is_fault:
            return self.verdict
        count, shortest = len(self._tokens), self._prompt.expected_tokens[0]
        if not eos_reached:
            words = f"did not come to an end within {self._seconds(count)}"
            return self._verdict("late", words, count)
        if count == 0:
            return self._verdict("empty", "ended before a sound was made", 0)
        if count < shortest:
            words = (
                f"ended after {self._seconds(count)} where at least {self._seconds(shortest)} "
                "were expected: words may be missing"
            )
            return self._verdict("early", words, count)
        return self.verdict

    def _note(self, token: int) -> None:
        """Bring the counters up to date."""
        tokens, matches = self._tokens, self._matches
        for back in range(1, min(len(matches) - 1, len(tokens)) + 1):
            matches[back] = matches[back] + 1 if tokens[-back] == token else 0
        tokens.append(token)
        self._counts[token] = self._counts.get(token, 0) + 1
        if len(tokens) > self._window:
            self._forget(tokens[-self._window - 1])
        self._num_silent = self._num_silent + 1 if token in self._silent else 0

    def _forget(self, token: int) -> None:
        """Let the oldest token leave the window in which variety is counted."""
        self._counts[token] -= 1
        if not self._counts[token]:
            del self._counts[token]

    def _silence(self) -> Verdict | None:
        if self._num_silent < self._pause:
            return None
        words = f"fell silent for {self._seconds(self._num_silent)}"
        return self._verdict("silent", words, len(self._tokens) - self._num_silent)

    def _cycle(self) -> Verdict | None:
        """A run of equal cycles; one that is all silence is for `_silence` to judge."""
        shortest = min(self._loop, self._held)
        for length, matched in enumerate(self._matches):
            span = matched + length
            if not matched or span < shortest or span <= self._num_silent:
                continue
            if len(set(self._tokens[-length:])) <= 2:
                fault: Fault = "held"
                words, limit = f"held one sound for {self._seconds(span)}", self._held
            else:
                fault = "loop"
                words = f"said the same {self._seconds(length)} {span // length} times in a row"
                limit = max(self._loop, length * self._options.thresholds.loop_repeats)
            if span >= limit:
                return self._verdict(fault, words, len(self._tokens) - matched)
        return None

    def _monotony(self) -> Verdict | None:
        num_kinds = len(self._counts)
        limit = self._options.thresholds.variety_tokens
        if len(self._tokens) < self._window or num_kinds > limit:
            return None
        words = f"made only {num_kinds} different sounds in {self._seconds(self._window)}"
        return self._verdict("monotonous", words, len(self._tokens) - self._window)

    def _overlength(self) -> Verdict:
        count, longest = len(self._tokens), self._prompt.expected_tokens[1]
        if count <= longest:
            return Verdict()
        words = f"went on after {self._seconds(longest)}, the longest this text should take"
        return self._verdict("late", words, longest)

    def _verdict(self, fault: Fault, words: str, num_good: int) -> Verdict:
        """Weigh a fault: the noise after the good tokens, and the speech that is likely missing."""
        low, high = self._prompt.expected_tokens
        missing = max(0.0, math.sqrt(low * high) - num_good)
        noise = len(self._tokens) - num_good
        return Verdict(words, fault, num_good, _SOME_FAULT + (missing + noise) / self._rate)

    def _seconds(self, num_tokens: int) -> str:
        return f"{num_tokens / self._rate:.1f} s"


def judge(
    tokens: Sequence[int],
    prompt: Prompt,
    *,
    eos_reached: bool,
    silent_tokens: Collection[int],
    token_rate_hz: float,
    options: GuardOptions,
) -> Verdict:
    """Look at a finished row; a `Watch` that saw every token comes to the same verdict.

    tokens:      all that were made, without the end token
    eos_reached: the row drew its end; False: it was stopped at `max_tokens`
    """
    watch = Watch(prompt, silent_tokens=silent_tokens, token_rate_hz=token_rate_hz, options=options)
    for token in tokens:
        if watch.push(token):
            break
    return watch.finish(eos_reached=eos_reached)


def retry_seed(seed: int, attempt: int) -> int:
    """The seed of an attempt at a segment: attempt 0 has the segment's own, later ones others."""
    return seed if attempt == 0 else derive_seed(seed, _RETRY, attempt)


def least_bad(verdicts: Sequence[Verdict]) -> int:
    """Which of several attempts to keep: one without a fault, else the least damaged.

    returns: its index; the earliest among equals
    """
    return min(range(len(verdicts)), key=lambda index: verdicts[index].damage)
