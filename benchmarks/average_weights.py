"""Average two folders of `mini` weights that were trained on from the same ones.

    python benchmarks/average_weights.py FIRST SECOND OUT [--share 0.5]

Every tensor of OUT is (1 - share) of FIRST's and share of SECOND's (Wortsman et al., "Model soups",
2022); what is the same in both stays bit for bit. The JSON is FIRST's.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

WEIGHTS, CONFIG = "mini.safetensors", "mini.json"


def main() -> None:
    """Write OUT."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the second")
    options = parser.parse_args()
    first, second = (load_file(folder / WEIGHTS) for folder in (options.first, options.second))
    if first.keys() != second.keys():
        raise SystemExit("the two folders hold other tensors")
    mixed = {
        name: value
        if value.equal(second[name])
        else value.float().lerp(second[name].float(), options.share).to(value.dtype)
        for name, value in first.items()
    }
    options.out.mkdir(parents=True, exist_ok=True)
    save_file(mixed, options.out / WEIGHTS)
    (options.out / WEIGHTS).chmod(0o644)
    shutil.copy(options.first / CONFIG, options.out / CONFIG)
    changed = sum(not value.equal(mixed[name]) for name, value in first.items())
    print(f"{changed} of {len(mixed)} tensors averaged into {options.out}")


if __name__ == "__main__":
    main()
