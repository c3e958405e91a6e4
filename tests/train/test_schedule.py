"""The learning rate at chosen steps."""

from __future__ import annotations

import pytest

from kouji.train.schedule import learning_rate_factor
from kouji.train.settings import RunSettings


@pytest.mark.parametrize(
    ("decay", "step", "expected"),
    [
        ("cosine", 0, 1 / 11),
        ("cosine", 9, 10 / 11),
        ("cosine", 10, 1.0),
        ("cosine", 60, 0.1 + 0.9 / 2),  # half way
        ("cosine", 110, 0.1),
        ("cosine", 500, 0.1),  # beyond the end, when steps were lowered
        ("linear", 60, 0.55),
        ("linear", 110, 0.1),
        ("exponential", 60, 0.1**0.5),
        ("exponential", 110, 0.1),
        ("constant", 5, 6 / 11),
        ("constant", 110, 1.0),
    ],
)
def test_values(decay: str, step: int, expected: float) -> None:
    settings = RunSettings(
        batch_size=1,
        steps=111,
        warmup_steps=10,
        decay=decay,  # type: ignore[arg-type]
        final_ratio=0.1,
    )
    assert learning_rate_factor(step, settings) == pytest.approx(expected)


def test_without_warm_up_the_first_step_is_full() -> None:
    assert learning_rate_factor(0, RunSettings(batch_size=1)) == 1.0
    assert learning_rate_factor(0, RunSettings(batch_size=1, steps=1)) == 1.0
