"""Number formats: the rule, what overrides it, and the decode stage's own measurement."""

from __future__ import annotations

import pytest

from kouji.errors import ConfigError
from kouji.models.precision import PRECISIONS, DeviceFacts, choose_precision

PLAIN_CPU = DeviceFacts("cpu")
BF16_CPU = DeviceFacts("cpu", has_avx512_bf16=True)
CARD = DeviceFacts("cuda", compute_capability=(9, 0))


@pytest.mark.parametrize(
    ("facts", "precision"),
    [
        (PLAIN_CPU, "float32"),
        (BF16_CPU, "bfloat16"),
        (DeviceFacts("cpu", has_amx=True), "bfloat16"),
        (DeviceFacts("cuda", compute_capability=(6, 1)), "float32"),
        (DeviceFacts("cuda", compute_capability=(7, 5)), "float16"),
        (CARD, "bfloat16"),
        (DeviceFacts("mps"), "float32"),
    ],
)
def test_the_rule(facts: DeviceFacts, precision: str) -> None:
    for wish in (None, "auto"):
        assert choose_precision(facts, wish).precision == precision


def test_every_format_can_be_asked_for_on_a_cpu() -> None:
    for precision in PRECISIONS:
        choice = choose_precision(BF16_CPU, precision)
        assert choice.precision == precision
        assert choice.reason.startswith("asked for")


@pytest.mark.parametrize("facts", [CARD, DeviceFacts("mps")])
def test_int8_is_for_cpus(facts: DeviceFacts) -> None:
    with pytest.raises(ConfigError, match="int8 weights are for CPUs"):
        choose_precision(facts, "int8")


def test_an_unknown_format_is_refused_with_all_that_are_known() -> None:
    with pytest.raises(ConfigError, match="auto, float32, float16, bfloat16, int8"):
        choose_precision(PLAIN_CPU, "int4")
