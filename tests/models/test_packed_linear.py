"""Packed linear layers: right in every precision, blind to the rows beside, honest in size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from kouji.errors import ConfigError
from kouji.models.layers import packed_linear
from kouji.models.layers.packed_linear import (
    INT8_ROWS,
    LINEAR_PRECISIONS,
    LinearPrecision,
    PackedLinear,
    can_pack,
    quantise,
    wide_dtype,
)

TOLERANCES = {"float32": 1e-5, "float16": 2e-2, "bfloat16": 6e-2, "int8": 1e-1}


def numbers(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


def layer(precision: LinearPrecision, **options: bool) -> PackedLinear:
    return PackedLinear(numbers(96, 64) / 8, numbers(96), precision, **options)


@pytest.fixture(params=[True, False], ids=["packed", "plain"])
def _packing(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(packed_linear, "can_pack", lambda dtype: False)
        monkeypatch.setattr(packed_linear, "can_pack_half", lambda: False)


@pytest.mark.usefixtures("_packing")
@pytest.mark.parametrize("precision", LINEAR_PRECISIONS)
@pytest.mark.parametrize("is_relu", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 70])
@torch.inference_mode()
def test_equals_linear(precision: LinearPrecision, is_relu: bool, rows: int) -> None:
    x = numbers(rows, 64)
    wanted = F.linear(x, numbers(96, 64) / 8, numbers(96))
    wanted = wanted.relu() if is_relu else wanted
    y = layer(precision, is_relu=is_relu)(x)
    assert y.shape == (rows, 96)
    assert torch.allclose(y.float(), wanted, rtol=0, atol=TOLERANCES[precision])


@pytest.mark.usefixtures("_packing")
@pytest.mark.parametrize("wide", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("has_product", [True, False])
@pytest.mark.parametrize("rows", [1, INT8_ROWS + 1])
@torch.inference_mode()
def test_int8_on_other_machines(
    monkeypatch: pytest.MonkeyPatch, rows: int, has_product: bool, wide: torch.dtype
) -> None:
    monkeypatch.setattr(packed_linear, "wide_dtype", lambda: wide)
    monkeypatch.setattr(packed_linear, "_has_int8_product", lambda: has_product)
    y = layer("int8")(numbers(rows, 64))
    wanted = F.linear(numbers(rows, 64), numbers(96, 64) / 8, numbers(96))
    assert torch.allclose(y.float(), wanted, rtol=0, atol=TOLERANCES["int8"])


def test_wide_rows_are_never_multiplied_in_int8() -> None:
    assert wide_dtype() in (torch.float32, torch.bfloat16)


@pytest.mark.parametrize("precision", LINEAR_PRECISIONS)
@torch.inference_mode()
def test_a_row_does_not_see_its_neighbours(precision: LinearPrecision) -> None:
    x, linear = numbers(20, 64), layer(precision)
    together = linear(x)
    for rows in (1, 2, 7):
        assert torch.allclose(linear(x[:rows]), together[:rows], rtol=0, atol=1e-6)


def test_input_is_left_as_it_is() -> None:
    x = numbers(1, 64)
    before = x.clone()
    with torch.inference_mode():
        layer("float32", is_relu=True)(x)
    assert torch.equal(x, before)


def test_size_is_one_copy() -> None:
    weights, outputs = 96 * 64, 96
    assert layer("float32").num_bytes == 4 * (weights + outputs)
    assert layer("bfloat16").num_bytes == 2 * (weights + outputs)
    assert layer("int8").num_bytes == weights + 2 * 2 * outputs
    assert layer("int8").weight.dtype == torch.int8
    assert 0 <= layer("float16").num_bytes - 2 * (weights + outputs) <= 2 * outputs


def test_without_bias() -> None:
    with torch.inference_mode():
        for precision in LINEAR_PRECISIONS:
            linear = PackedLinear(torch.eye(16), None, precision)
            assert torch.allclose(linear(torch.ones(3, 16)).float(), torch.ones(3, 16), atol=0.02)


def test_quantised_weights_are_near() -> None:
    weight = numbers(8, 200)
    weight[3] = 0
    steps, scale = quantise(weight)
    error = (steps.float() * scale.float()[:, None] - weight).abs().amax(dim=1)
    assert bool((error <= 0.51 * scale.float() + weight.abs().amax(dim=1) / 250).all())
    assert int(steps.abs().max()) == 127


def test_int8_is_for_cpus() -> None:
    with pytest.raises(ConfigError, match="int8"):
        PackedLinear(torch.eye(4), None, "int8", device="cuda")


def test_types_that_cannot_be_packed() -> None:
    assert not can_pack(torch.float16)
