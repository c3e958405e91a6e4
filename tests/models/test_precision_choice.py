"""Number formats: the rule, what overrides it, and the decode stage's own measurement."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from kouji.errors import ConfigError
from kouji.models.decode_precision import Measure, choose_decode_precision, measure_products
from kouji.models.layers.packed_linear import LinearPrecision
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


def measured(**times: float) -> Measure:
    """A machine on which products take so many microseconds."""

    def measure(precisions: Sequence[LinearPrecision]) -> dict[LinearPrecision, float]:
        return {precision: times[precision] for precision in precisions}

    return measure


@pytest.mark.parametrize(
    ("facts", "times", "precision"),
    [
        (BF16_CPU, {"float32": 165, "bfloat16": 93, "int8": 96}, "bfloat16"),
        # What the processor claims is switched off.
        (BF16_CPU, {"float32": 185, "bfloat16": 347, "int8": 102}, "int8"),
        (PLAIN_CPU, {"float32": 268, "int8": 167}, "int8"),
        (PLAIN_CPU, {"float32": 238, "int8": 3616}, "float32"),
        (PLAIN_CPU, {"float32": 100, "int8": 90}, "float32"),
    ],
)
def test_decode_weights_take_what_is_measured_fastest(
    facts: DeviceFacts, times: dict[str, float], precision: str
) -> None:
    choice = choose_decode_precision(facts, measure=measured(**times))
    assert choice.precision == precision
    assert "measured here" in choice.reason


def test_decode_weights_of_gpus_and_wishes_are_not_measured() -> None:
    def never(precisions: Sequence[LinearPrecision]) -> dict[LinearPrecision, float]:
        raise AssertionError("nothing is to be measured")

    assert choose_decode_precision(CARD, measure=never).precision == "bfloat16"
    for precision in PRECISIONS:
        choice = choose_decode_precision(PLAIN_CPU, precision, measure=never)
        assert choice.precision == precision


def test_this_machine_can_be_measured() -> None:
    times = measure_products(("float32", "int8"))
    assert set(times) == {"float32", "int8"}
    assert all(microseconds > 0 for microseconds in times.values())
