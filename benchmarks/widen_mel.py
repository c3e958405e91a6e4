"""Start weights for the fine mel out of weights of `mini` that knew the coarse one.

    python benchmarks/widen_mel.py OLD OUT

OLD is a folder of weights whose frames carried one mel of 80 ms windows; OUT gets
`acoustic.safetensors` and `vocoder.safetensors` for `init_from` of the recipes. Each of the two
fine mels of a frame begins as the old one was; what reads both begins by reading their mean.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kouji.models.mini.config import FINE_PER_FRAME, NUM_MELS


def widened(name: str, value: Tensor) -> Tensor:
    """A tensor of the old weights for networks of the fine mel."""
    if name in ("acoustic.leave.weight", "acoustic.leave.bias"):
        return value.repeat(FINE_PER_FRAME, *[1] * (value.ndim - 1))
    if name in ("vocoder.enter.weight", "vocoder.pitch_head.enter.weight"):
        mel, other = value[:, :NUM_MELS], value[:, NUM_MELS:]
        return torch.cat([mel / FINE_PER_FRAME] * FINE_PER_FRAME + [other], dim=1)
    return value


def main() -> None:
    """Write OUT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old", type=Path)
    parser.add_argument("out", type=Path)
    options = parser.parse_args()
    found = load_file(options.old / "mini.safetensors")
    tensors = {name: widened(name, value.float()).contiguous() for name, value in found.items()}
    options.out.mkdir(parents=True, exist_ok=True)
    acoustic = {name: value for name, value in tensors.items() if name.startswith("acoustic.")}
    vocoder = {
        name.removeprefix("vocoder."): value
        for name, value in tensors.items()
        if name.startswith("vocoder.")
    }
    save_file(acoustic, options.out / "acoustic.safetensors")
    save_file(vocoder, options.out / "vocoder.safetensors")
    print(f"{len(acoustic)} and {len(vocoder)} tensors in {options.out}")


if __name__ == "__main__":
    main()
