"""A run whose processes are killed where its arguments say; started by test_restarts.

usage: killed_run.py FOLDER [--devices N] [--strategy S] [--die ATTEMPT:RANK:STEP[:writing]] ...
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from toy_recipe import ToyRecipe, toy_settings

from kouji.train.distributed import leave
from kouji.train.loop import run


class MortalRecipe(ToyRecipe):
    """Ends its own process by kill -9, in a step or while a checkpoint is written."""

    def __init__(self, folder: Path, deaths: list[str]) -> None:
        super().__init__(count=33)
        self.folder = folder
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        split = [death.split(":") for death in deaths]
        self.deaths = [death[1:] for death in split if death[0] == attempt]

    def _dies(self, *where: str) -> bool:
        return [os.environ.get("RANK", "0"), *where] in self.deaths

    def _die(self) -> None:
        (self.folder / "died").write_text(str(time.time()))
        os.kill(os.getpid(), signal.SIGKILL)

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int, generator: Any) -> Any:
        if self._dies(str(step)):
            self._die()
        if self._dies(str(step), "writing"):
            self._die_while_writing()
        return super().loss(model, batch, step, generator)

    def _die_while_writing(self) -> None:
        def half(_content: Any, path: Path) -> None:
            Path(path).write_bytes(b"half of it")
            self._die()

        torch.save = half


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--die", action="append", default=[])
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    settings = toy_settings(
        options.folder / "run", steps=16, batch_seconds=9.0, save_every_seconds=0.0,
        devices=options.devices, strategy=options.strategy,
    )  # fmt: skip
    run(MortalRecipe(options.folder, options.die), settings)
    leave(0)


if __name__ == "__main__":
    main()
