# ruff: noqa: ARG002 - recipes and datasets take what the loop gives them
"""What the switches of training cost and save: step time and memory, each variant by itself.

Two networks: the real acoustic recipe of `mini`, on random clips or on a prepared store, and a
transformer of 300 M weights on random data. Variants run in processes of their own, so that one's
memory is not another's peak. Beside it: how long a run waits for its data. GPU figures need
`--device cuda`, which is written but was not run where this was written.

usage: python benchmarks/training.py [--store runs/prepared] [--quick] [--only mini]
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import measuring
import numpy as np
import torch
from torch import Tensor, nn

from kouji.models.mini.config import FINE_CHANNELS, NUM_MELS, MiniConfig
from kouji.train.distributed import join, spawn
from kouji.train.ledger import Ledger
from kouji.train.loader import Loaded
from kouji.train.loop import run
from kouji.train.mini_acoustic import AcousticTrainer, MiniAcoustic
from kouji.train.mini_examples import Example
from kouji.train.orphans import end_with_parent
from kouji.train.recompute import SavedBytes
from kouji.train.sampler import BatchSampler, Position
from kouji.train.settings import RunSettings
from kouji.train.stepper import Stepper

MB = 1e6
CLAIMS = {"speed_bf16": 1.40, "memory_bf16": 0.65}  # mixed precision, as the article says it
AIMS = {
    "speed_bf16": 2.5,  # where there is AMX
    "activations_checkpointing": 0.5,
    "time_checkpointing": 1.35,
    "update_zero2_of_4": 0.30,  # optimiser and gradients of a process
}
VARIANTS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "bf16": {"precision": "bfloat16"},
    "bf16 + checkpointing": {"precision": "bfloat16", "checkpointing": True},
    "zero2 x 2": {"strategy": "zero2", "processes": 2},
    "zero2 x 4": {"strategy": "zero2", "processes": 4},
}


class RandomClips:
    """Clips of random features in the shapes of prepared ones: 7 s, 110 phones."""

    def __init__(self, count: int, num_phones: int) -> None:
        rng = np.random.default_rng(0)
        self.seconds = np.sort(rng.normal(7.0, 0.5, count).clip(5, 9))
        self.count, self.num_phones = count, num_phones

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Example:
        rng = np.random.default_rng(index)
        durations = rng.integers(2, 5, self.num_phones)
        frames = int(durations.sum())

        def normal(*shape: int) -> Any:
            return rng.standard_normal(shape).astype(np.float32)

        return Example(
            symbols=rng.integers(1, 40, self.num_phones), tones=rng.integers(0, 5, self.num_phones),
            durations=durations, prosody=normal(self.num_phones, 3).clip(0, 1),
            mel=normal(frames, FINE_CHANNELS), log_f0=normal(frames),
            voiced=(rng.random(frames) < 0.6).astype(np.float32), reference=normal(180, NUM_MELS),
            full_band=1.0, speaker=int(rng.integers(0, 8)),
            words=np.zeros(self.num_phones, dtype=np.int64),
        )  # fmt: skip

    def lengths(self) -> list[float]:
        return [float(value) for value in self.seconds]

    def path(self, index: int) -> str:
        return f"random {index}"


class RandomAcoustic(MiniAcoustic):
    """The acoustic recipe without a store."""

    def __init__(self, num_phones: int) -> None:
        super().__init__({"store": "none"}, {}, 0)
        self.name, self.num_phones = "random-acoustic", num_phones

    def build(self) -> nn.Module:
        return AcousticTrainer(MiniConfig(), 8)

    def dataset(self, split: str) -> Any:
        return RandomClips(256, self.num_phones)


class RandomText:
    """Sequences of random tokens."""

    def __init__(self, num_tokens: int, vocabulary: int) -> None:
        self.num_tokens, self.vocabulary = num_tokens, vocabulary

    def __len__(self) -> int:
        return 256

    def __getitem__(self, index: int) -> Any:
        return np.random.default_rng(index).integers(0, self.vocabulary, self.num_tokens + 1)

    def lengths(self) -> list[float]:
        return [1.0] * len(self)

    def path(self, index: int) -> str:
        return f"random {index}"


class Transformer(nn.Module):
    """A decoder of language: predicts each token from those before it."""

    def __init__(self, width: int, depth: int, vocabulary: int) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            width, max(width // 64, 1), 4 * width, dropout=0.1, activation="gelu",
            batch_first=True, norm_first=True,
        )  # fmt: skip
        self.embed = nn.Embedding(vocabulary, width)
        self.encoder = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
        self.leave = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, tokens) to (batch, tokens, vocabulary)."""
        mask = nn.Transformer.generate_square_subsequent_mask(
            tokens.shape[1], device=tokens.device, dtype=self.leave.weight.dtype
        )
        scores: Tensor = self.leave(self.encoder(self.embed(tokens), mask, is_causal=True))
        return scores


class RandomLanguage:
    """A recipe of random sentences."""

    name = "random-language"

    def __init__(self, width: int, depth: int, vocabulary: int, num_tokens: int) -> None:
        self.shape, self.num_tokens = (width, depth, vocabulary), num_tokens

    def build(self) -> nn.Module:
        return Transformer(*self.shape)

    def dataset(self, split: str) -> Any:
        return RandomText(self.num_tokens, self.shape[2])

    def collate(self, examples: list[Any]) -> dict[str, Tensor]:
        tokens = torch.from_numpy(np.stack(examples))
        return {"tokens": tokens[:, :-1], "next": tokens[:, 1:]}

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int, generator: Any) -> Any:
        scores = model(batch["tokens"]).float().flatten(0, 1)
        return nn.functional.cross_entropy(scores, batch["next"].flatten()), {}


class RandomSounds(RandomText):
    """Crops of five seconds out of a file on disk, as a classifier reads them."""

    def __init__(self, path: Path) -> None:
        self.samples = np.memmap(path, np.int16, "r")

    def example(self, index: int, rng: np.random.Generator) -> Any:
        start = int(rng.integers(0, len(self.samples) - 80_000))
        return self.samples[start : start + 80_000].astype(np.float32) / 32768

    def __getitem__(self, index: int) -> Any:
        return self.example(index, np.random.default_rng(index))


class SoundRecipe:
    """Spectra computed on the training device and a small convolutional network."""

    name = "random-sounds"

    def __init__(self, path: Path) -> None:
        self.path = path

    def build(self) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.Conv2d(32, 64, 3, 2, 1), nn.BatchNorm2d(64), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
        )  # fmt: skip

    def dataset(self, split: str) -> Any:
        return RandomSounds(self.path)

    def collate(self, examples: list[Any]) -> dict[str, Tensor]:
        return {"samples": torch.from_numpy(np.stack(examples))}

    def loss(self, model: nn.Module, batch: dict[str, Tensor], step: int, generator: Any) -> Any:
        samples = batch["samples"].float()
        window = torch.hann_window(1024, device=samples.device)
        spectra = torch.stft(samples, 1024, 320, window=window, return_complex=True).abs()
        scores = model(spectra.clamp_min(1e-3).log()[:, None]).float()
        wanted = torch.arange(len(samples), device=samples.device) % 10
        return nn.functional.cross_entropy(scores, wanted), {}


def make_recipe(case: dict[str, Any]) -> tuple[Any, RunSettings]:
    """Recipe and settings of one network."""
    quick = case["quick"]
    usual: dict[str, Any] = {"steps": 1_000_000, "tensorboard": False, "device": case["device"]}
    if case["network"] == "transformer":
        shape = (64, 16, 100, 32) if quick else (1024, 24, 4096, case["tokens"])
        return RandomLanguage(*shape), RunSettings(**usual, batch_size=4)
    batch = 4 if quick else 8  # 4 processes have a share each
    if case["store"]:
        return MiniAcoustic({"store": case["store"]}, {}, 0), RunSettings(
            **usual, batch_size=batch, min_seconds=6.0, max_seconds=8.0
        )
    return RandomAcoustic(12 if quick else 110), RunSettings(**usual, batch_size=batch)


def load(recipe: Any, settings: RunSettings, part: int, num_parts: int) -> Iterator[Loaded]:
    """A process's share of each batch."""
    dataset = recipe.dataset("train")
    read = getattr(dataset, "example", None)
    rng = np.random.default_rng(0)
    for planned in BatchSampler(dataset.lengths(), settings).batches(Position()):
        shard: Sequence[int] = planned.shard(part, num_parts)
        examples = [read(i, rng) if read else dataset[i] for i in shard]
        yield Loaded(planned, [(recipe.collate(examples), len(examples))])


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """Medians of one variant in this process, of the slowest and largest process if several."""
    torch.set_num_threads(case["threads"])
    recipe, settings = make_recipe(case)
    settings = dataclasses.replace(
        settings, **{k: v for k, v in case["variant"].items() if k != "processes"}
    )
    world = join(settings.device)
    torch.manual_seed(0)
    start = resident_bytes("VmRSS") if settings.device == "cpu" else 0
    stepper = Stepper(recipe, recipe.build(), settings, world)
    batches = load(recipe, settings, world.rank, world.size)
    ledger, spent = Ledger(), []

    def take(step: int, loaded: Loaded) -> None:
        stepper.take(loaded, step, ledger)
        list(ledger.settle(is_forced=True))  # waits for the device

    for step in range(case["warm_up"] + case["runs"]):
        loaded = next(batches)
        world.gather(None)  # all begin at once
        began = time.perf_counter()
        take(step, loaded)
        spent.append(time.perf_counter() - began)
    is_card = stepper.device.type == "cuda"
    peak = torch.cuda.max_memory_allocated() if is_card else resident_bytes("VmHWM")
    saved = SavedBytes(stepper.weights.working)
    with saved.counting():
        take(len(spent), next(batches))
    held = stepper.memory_bytes()
    own = {
        "step_s": statistics.median(spent[case["warm_up"] :]),
        "peak_mb": peak / MB,
        "above_start_mb": (peak - start) / MB,  # without what Python and torch hold anyway
        "activations_mb": saved.peak / MB,
        "update_mb": (held["gradients"] + held["moments"]) / MB,
        "parameters_m": sum(p.numel() for p in stepper.weights.working.parameters()) / 1e6,
    }
    all_of_them = world.gather(own)
    world.close()
    return {name: max(one[name] for one in all_of_them) for name in own}


def resident_bytes(name: str) -> int:
    """What this process holds of the host's memory: VmRSS now, VmHWM at most so far."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    return 0


def measure_apart(case: dict[str, Any]) -> dict[str, Any]:
    """One variant in a fresh interpreter; a row of the table."""
    command = [sys.executable, __file__, "--child", json.dumps(case)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    row = {"network": case["network"], "variant": case["name"]}
    if done.returncode:
        return {**row, "failed": done.stderr.strip().splitlines()[-1][:120]}
    figures = json.loads(done.stdout.strip().splitlines()[-1])
    return {**row, **{name: float(f"{value:.4g}") for name, value in figures.items()}}


def run_child(case: dict[str, Any]) -> None:
    end_with_parent(os.getppid())
    processes = case["variant"].get("processes", 1)
    figures = spawn(measure, (case,), processes) if processes > 1 else measure(case)
    print(json.dumps(figures))


def input_waits(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Share of a real run's time spent waiting for data, median over logged intervals."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sounds = Path(folder) / "sounds.int16"
        noise = np.random.default_rng(0).integers(-3000, 3000, 16_000 * 300, dtype=np.int16)
        noise.tofile(sounds)
        case = {**vars(options), "network": "mini"}
        recipe, settings = make_recipe(case)
        few = {"batch_size": 4 if options.quick else 8, "threads": options.threads}
        for name, one, base in (
            ("mini acoustic" + (" (store)" if options.store else ""), recipe, settings),
            ("sounds", SoundRecipe(sounds), RunSettings(batch_size=1, tensorboard=False)),
        ):
            steps = 4 if options.quick else 16
            out = Path(folder) / name
            changed = dataclasses.replace(
                base, out=str(out), steps=steps, log_every=max(steps // 8, 1),
                device=options.device, **few,
            )  # fmt: skip
            run(one, changed)
            lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
            waits = [line["input_wait"] for line in lines if line["kind"] == "train"]
            share = statistics.median(waits[1:])  # the first batch has nothing to hide behind
            rows.append({"run": name, "input_wait_percent": float(f"{100 * share:.3g}")})
    return rows


def ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each network's figures against the claims and aims."""
    found = []
    for network in dict.fromkeys(row["network"] for row in rows):
        own = {r["variant"]: r for r in rows if r["network"] == network and "failed" not in r}
        pairs = (
            ("speed_bf16", "step_s", "fp32", "bf16"),
            ("memory_bf16", "above_start_mb", "bf16", "fp32"),
            ("activations_checkpointing", "activations_mb", "bf16 + checkpointing", "bf16"),
            ("time_checkpointing", "step_s", "bf16 + checkpointing", "bf16"),
            ("update_zero2_of_2", "update_mb", "zero2 x 2", "fp32"),
            ("update_zero2_of_4", "update_mb", "zero2 x 4", "fp32"),
        )
        for name, figure, top, bottom in pairs:
            if top in own and bottom in own:
                ratio = float(f"{own[top][figure] / own[bottom][figure]:.3g}")
                row = {"network": network, "ratio": name, "found": ratio}
                found.append({**row, "article": CLAIMS.get(name, ""), "aim": AIMS.get(name, "")})
    return found


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", default="", help="a prepared store; else random clips")
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1, help="of each process")
    parser.add_argument("--runs", type=int, default=3, help="timed steps of each variant")
    parser.add_argument("--warm-up", type=int, default=1, help="steps before them")
    parser.add_argument("--tokens", type=int, default=64, help="of each of 4 sequences")
    parser.add_argument("--only", choices=["mini", "transformer"], help="one network")
    parser.add_argument("--quick", action="store_true", help="tiny shapes, to try the script")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure all variants and print tables, then one line of JSON."""
    options = parse()
    if options.child:
        run_child(json.loads(options.child))
        return
    networks = [options.only] if options.only else ["mini", "transformer"]
    common = {k: v for k, v in vars(options).items() if k not in ("child", "only")}
    cases = [
        {**common, "network": network, "name": name, "variant": variant}
        for network in networks
        for name, variant in VARIANTS.items()
    ]
    facts = {} if options.quick else measuring.describe_machine()
    measuring.print_facts(facts)
    rows = [measure_apart(case) for case in cases]
    measuring.print_rows("One optimiser step (several processes: the slowest, the largest)", rows)
    compared = ratios(rows)
    measuring.print_rows("Against the article and our aims", compared)
    waits = input_waits(options)
    measuring.print_rows("Waiting for data", waits)
    options.version = ""
    record = {
        **measuring.describe_run(options, "float32, bfloat16"), **facts,
        "batch": "4 x tokens; mini: 8 clips of 6 to 8 s", "tokens": options.tokens,
        "data": options.store or "random", "rows": rows, "ratios": compared, "waits": waits,
    }  # fmt: skip
    print("\n" + json.dumps(record))


if __name__ == "__main__":
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # gloo's greetings
    main()
