"""When validation falls behind, what is answered in which order, and the same after a resume."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kouji.errors import ConfigError
from kouji.train.overfitting import OverfittingRule, OverfittingWatch

RULE = OverfittingRule(gap=0.3, wait=2, smoothing=0.0)


def follow(watch: OverfittingWatch, losses: list[tuple[float, float]], first: int = 1) -> list[int]:
    """Steps at which something was answered."""
    lines = [(step, watch.observe(step, *pair)) for step, pair in enumerate(losses, first)]
    return [step for step, line in lines if line]


def test_validation_that_keeps_falling_is_left_alone() -> None:
    watch = OverfittingWatch(RULE)
    assert follow(watch, [(1.0 / step, 2.0 - 0.05 * step) for step in range(1, 20)]) == []
    assert watch.summary() == ["validation did not fall behind training"]


def test_a_small_gap_is_left_alone() -> None:
    assert follow(OverfittingWatch(RULE), [(0.8, 1.0)] * 10) == []


def test_answers_come_in_order_and_the_last_ends_the_run() -> None:
    watch = OverfittingWatch(RULE)
    seen = []
    for step in range(1, 9):
        line = watch.observe(step, 0.1, 1.0 + 0.1 * step)
        seen.append((watch.level, watch.strength, watch.label_smoothing, watch.dropout))
        assert (line is None) == (step not in (3, 5, 7))
        assert watch.is_done == (step >= 7)
    assert seen[1] == (0, 1.0, 0.0, 0.0)
    assert seen[3] == (1, 1.5, 0.0, 0.0)
    assert seen[5] == (2, 1.5, 0.1, 0.2)
    first = watch.answers[0]
    assert (first.step, first.since_step, first.best_valid_loss) == (3, 1, pytest.approx(1.1))
    assert first.gap == pytest.approx(1.2)
    assert "augmentation 1.5 times as strong" in watch.summary()[0]
    assert "the run ends" in watch.summary()[2]


def test_an_answer_that_helps_is_the_last_one() -> None:
    watch = OverfittingWatch(RULE)
    rising = [(0.1, 1.0), (0.1, 1.1), (0.1, 1.2)]
    falling = [(0.3, 0.9 - 0.02 * step) for step in range(10)]
    assert follow(watch, rising + falling) == [3]
    assert watch.report()["answers"][0]["gap"] == pytest.approx(1.1)


def test_smoothing_forgives_one_bad_evaluation() -> None:
    losses = [(0.1, 1.0), (0.1, 0.9), (0.1, 1.4), (0.1, 0.8), (0.1, 0.7), (0.1, 0.65)]
    assert follow(OverfittingWatch(OverfittingRule(wait=3, smoothing=0.5)), losses) == []
    assert follow(OverfittingWatch(RULE), [*losses[:3], (0.1, 1.4)]) == [4]


def test_losses_that_are_no_numbers_are_left_out() -> None:
    watch = OverfittingWatch(RULE)
    assert follow(watch, [(0.1, float("nan")), (float("inf"), 1.0)] * 5) == []


def test_a_resumed_watch_goes_on_alike() -> None:
    losses = [(0.1, 1.0 + 0.07 * step) for step in range(12)]
    whole, begun, resumed = (OverfittingWatch(OverfittingRule()) for _ in range(3))
    follow(whole, losses)
    follow(begun, losses[:5])
    resumed.restore(json.loads(json.dumps(begun.state())))
    follow(resumed, losses[5:], first=6)
    assert resumed.report() == whole.report()
    assert resumed.state() == whole.state()
    assert whole.level > 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patience": 1}, "unknown key 'patience'"),
        ({"gap": 0}, "gap is out of range"),
        ({"wait": 1.5}, "wait has a wrong type"),
        ({"strength": "much"}, "strength has a wrong type"),
        (3, "data.overfitting is wrong"),
    ],
)
def test_wrong_values_are_named(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        OverfittingRule.from_dict(values)


def test_can_be_switched_off() -> None:
    assert OverfittingRule.from_dict(False) is None
    assert OverfittingRule.from_dict(None) == OverfittingRule()
