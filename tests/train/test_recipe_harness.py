"""The harness accepts a sound recipe and finds what is wrong with others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from recipe_harness import check_build, check_loss, check_recipe, check_resume
from toy_recipe import ToyNet, ToyRecipe


def test_sound_recipe_passes(tmp_path: Path) -> None:
    check_recipe(ToyRecipe(count=6, dropout=0.1), tmp_path)


def test_padding_with_influence_is_found() -> None:
    class Padded(ToyRecipe):
        def loss(self, *args: Any) -> Any:
            loss, metrics = super().loss(*args)
            return loss * args[1]["mask"].mean(), metrics

    with pytest.raises(AssertionError):
        check_loss(Padded(count=6))


def test_hidden_randomness_is_found(tmp_path: Path) -> None:
    class Random(ToyRecipe):
        def __init__(self) -> None:
            super().__init__(count=6)
            self.own = torch.Generator()

        def build(self) -> Any:
            model = ToyNet(8, 0.0)
            torch.nn.init.normal_(model.outer.weight, generator=self.own)
            return model

        def loss(self, *args: Any) -> Any:
            loss, metrics = super().loss(*args)
            return loss * torch.rand((), generator=self.own), metrics

    with pytest.raises(AssertionError):
        check_build(Random())
    with pytest.raises(AssertionError):
        check_resume(Random(), tmp_path)
