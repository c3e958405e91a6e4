"""The loop on a GPU, where nothing may wait for the device between two looks at the loss."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from toy_recipe import ToyRecipe, logged, toy_settings

from kouji.errors import TrainingError
from kouji.train.checkpoint import export_weights
from kouji.train.loop import run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_learns_evaluates_and_resumes(tmp_path: Path, precision: Any) -> None:
    usual = {"device": "cuda", "precision": precision, "ema_decay": 0.9, "evaluate_every": 20}
    run(ToyRecipe(width=64), toy_settings(tmp_path, steps=40, log_every=10, **usual))
    result = run(ToyRecipe(width=64), toy_settings(tmp_path, steps=120, log_every=10, **usual))
    losses = logged(tmp_path)
    assert len(losses) == 12
    assert losses[-1] < 0.5 * losses[0]
    assert {v.device.type for v in export_weights(result.checkpoint).values()} == {"cpu"}


def test_first_steps_equal_those_of_the_cpu(tmp_path: Path) -> None:
    for device in ("cpu", "cuda"):
        run(ToyRecipe(), toy_settings(tmp_path / device, device=device, accumulate=2))
    assert logged(tmp_path / "cpu") == pytest.approx(logged(tmp_path / "cuda"), abs=1e-4)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_steps_do_not_wait_for_the_device(tmp_path: Path, precision: Any) -> None:
    class Strict(ToyRecipe):
        def loss(self, model: Any, batch: Any, step: int, generator: Any) -> Any:
            # From here to the next look at the losses a synchronisation is an error.
            torch.cuda.set_sync_debug_mode("error" if 3 <= step < 35 else "default")
            return super().loss(model, batch, step, generator)

    settings = toy_settings(tmp_path, steps=40, log_every=40, device="cuda", precision=precision)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert run(Strict(), settings).status == "finished"
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_nan_is_skipped_on_the_device_and_stops_at_the_limit(tmp_path: Path) -> None:
    settings = toy_settings(tmp_path, steps=60, device="cuda", log_every=20, nonfinite_limit=3)
    with pytest.raises(TrainingError, match="not finite at step 33") as caught:
        run(ToyRecipe(nan_steps=tuple(range(30, 60))), settings)
    path = Path(str(caught.value).rsplit("last good checkpoint: ", 1)[1])
    assert all(v.isfinite().all() for v in export_weights(path).values())
