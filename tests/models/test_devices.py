"""Devices asked for: the ones of this machine are examined, others are wrong use."""

from __future__ import annotations

import pytest
import torch

from kouji.errors import ConfigError
from kouji.models.precision import read_device_facts


@pytest.mark.parametrize("device", ["tpu", "meta", "cuda:x", ""])
def test_an_unknown_device_is_wrong_use(device: str) -> None:
    with pytest.raises(ConfigError, match="unknown device") as caught:
        read_device_facts(device)
    assert caught.value.exit_code == 2


def test_a_device_this_machine_lacks_is_named() -> None:
    missing = f"cuda:{torch.cuda.device_count()}"
    with pytest.raises(ConfigError, match=missing):
        read_device_facts(missing)


def test_the_processor_is_always_there() -> None:
    assert read_device_facts("cpu").device == "cpu"
