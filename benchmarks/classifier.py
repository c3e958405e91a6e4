"""Forward passes of the classifiers: plain PyTorch against the ways to make it faster.

    python benchmarks/classifier.py [--device cuda] [--batches 1,4] [--threads 1] [--quick]

The table of introductory articles: batches of 64 x 64 log-mels through the two-convolution
baseline, here beside ResNet-18 and the small ConvNeXt; random weights, which cost what trained
ones cost. All ways take turns, so that a noisy machine is noisy to all of them. Plain is float32,
eager, under no_grad. A difference is the largest of any probability from plain. Where there is no
compiler or a library is missing, a way is left out and the table says why. Prints a table for
people and one JSON line.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kouji.graphs import onnx_file
from kouji.graphs.stage import Port, Stage
from kouji.models.classifier.config import ARCHITECTURES, ClassifierConfig
from kouji.models.classifier.model import make_network

LABELS = tuple(f"class {number}" for number in range(10))
NUM_MELS = NUM_FRAMES = 64
Way = Callable[[], Tensor]  # logits of the batch it was made for


def make_ways(
    network: nn.Module, mels: Tensor, options: argparse.Namespace
) -> dict[str, Way | str]:
    """Every way to compute the network on `mels`; text says why one is missing."""
    ways: dict[str, Way | str] = {
        "plain": no_grad(network, mels),
        "inference mode": inference(network, mels),
        "channels last": inference(channels_last(network), to_channels_last(mels)),
        "frozen": trying(lambda: frozen(network, mels)),
    }
    halves = (torch.bfloat16,) if mels.device.type == "cpu" else (torch.bfloat16, torch.float16)
    for half in halves:
        name = str(half).removeprefix("torch.")
        cast, given = copy.deepcopy(network).to(half), mels.to(half)
        ways[name] = inference(cast, given)
        ways[f"{name}, channels last"] = inference(channels_last(cast), to_channels_last(given))
    if not (options.quick or options.no_compile):
        cast = copy.deepcopy(network).to(torch.bfloat16)
        ways["compiled"] = trying(lambda: compiled(network, mels))
        ways["bfloat16, compiled"] = trying(lambda: compiled(cast, mels.to(torch.bfloat16)))
    if mels.device.type == "cpu" and not options.quick:
        ways["onnxruntime"] = trying(lambda: onnxruntime_way(network, mels))
    return ways


def trying(make: Callable[[], Way]) -> Way | str:
    """A way that has run once, or why it cannot."""
    try:
        way = make()
        way()
    except Exception as error:  # compilers and runtimes have errors of their own
        return " ".join(f"{type(error).__name__}: {error}".split())[:100]
    return way


def no_grad(network: nn.Module, mels: Tensor) -> Way:
    """Eager, as scripts do it."""

    def run() -> Tensor:
        with torch.no_grad():
            return network(mels)  # type: ignore[no-any-return]

    return run


def inference(network: Any, mels: Tensor) -> Way:
    """Eager or not, without any bookkeeping for gradients."""

    def run() -> Tensor:
        with torch.inference_mode():
            return network(mels)  # type: ignore[no-any-return]

    return run


def channels_last(network: nn.Module) -> nn.Module:
    """A copy whose convolutions keep channels together."""
    return copy.deepcopy(network).to(memory_format=torch.channels_last)


def to_channels_last(mels: Tensor) -> Tensor:
    """The same batch in that layout."""
    return mels.contiguous(memory_format=torch.channels_last)


def frozen(network: nn.Module, mels: Tensor) -> Way:
    """Traced, weights folded in as constants."""
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trace: Any = torch.jit.trace
        graph = torch.jit.freeze(trace(network, mels, check_trace=False))
        for _ in range(3):  # it optimises itself on its first calls
            graph(mels)
    return inference(graph, mels)


def compiled(network: nn.Module, mels: Tensor) -> Way:
    """By torch.compile, for this shape alone."""
    torch._dynamo.reset()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        way = inference(torch.compile(network, dynamic=False), mels)
        way()
    return way


def onnxruntime_way(network: nn.Module, mels: Tensor) -> Way:
    """An ONNX file, run by onnxruntime on as many threads as PyTorch has."""
    import onnxruntime

    ports = Port("mels", ("batch", 1, NUM_MELS, NUM_FRAMES)), Port("logits", ("batch", len(LABELS)))
    stage = Stage(
        "network", network, lambda x: (network(x),), ports[:1], ports[1:],
        lambda sizes: (torch.randn(sizes["batch"], 1, NUM_MELS, NUM_FRAMES),),
        {"batch": 2}, (), 0.0,
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "network.onnx"
        onnx_file.write(stage, path, {})
        session = onnxruntime.InferenceSession(str(path), options)
    given = {"mels": mels.numpy()}
    return lambda: torch.from_numpy(session.run(None, given)[0])


def measure(ways: dict[str, Way | str], *, rounds: int, device: str) -> list[dict[str, Any]]:
    """Median milliseconds of each way, all of them taking turns.

    cpu_ms is processor time of this process, all threads together: other programs on the machine
    stretch `ms`, hardly that.
    """
    running = {name: way for name, way in ways.items() if not isinstance(way, str)}
    wanted = running["plain"]().float().softmax(dim=-1)
    spent: dict[str, list[float]] = {name: [] for name in running}
    busy: dict[str, list[float]] = {name: [] for name in running}
    for number in range(rounds + 2):  # the first two only warm up
        for name, way in running.items():
            began, work = time.perf_counter(), time.process_time()
            way()
            if device != "cpu":
                torch.cuda.synchronize()
            if number >= 2:
                spent[name].append(1000 * (time.perf_counter() - began))
                busy[name].append(1000 * (time.process_time() - work))
    plain, plain_busy = statistics.median(spent["plain"]), statistics.median(busy["plain"])
    rows: list[dict[str, Any]] = []
    for name, way in ways.items():
        if isinstance(way, str):
            rows.append({"way": name, "missing": way})
            continue
        difference = (way().float().softmax(dim=-1) - wanted).abs().max()
        middle, cpu = statistics.median(spent[name]), statistics.median(busy[name])
        rows.append(
            {
                "way": name,
                "ms": round(middle, 3),
                "times_plain": round(plain / middle, 2),
                "cpu_ms": round(cpu, 3),
                "cpu_times_plain": round(plain_busy / max(cpu, 1e-6), 2),
                "difference": float(f"{float(difference):.1e}"),
            }
        )
    return rows


def describe(options: argparse.Namespace) -> dict[str, Any]:
    """What the figures hang on."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    is_gpu = options.device != "cpu"
    return {
        "commit": commit,
        "processor": torch.cuda.get_device_name() if is_gpu else platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": options.device,
        "rounds": options.rounds,
    }


def main() -> None:
    """Measure every network at every batch size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cpu", help="cpu, or cuda where there is one")
    parser.add_argument("--batches", default="4,1", help="rows at once, with commas")
    parser.add_argument("--networks", default=",".join(ARCHITECTURES), help="with commas")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=0, help="0: as PyTorch chooses")
    parser.add_argument("--quick", action="store_true", help="nothing compiled, few rounds")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    options = parser.parse_args()
    if options.device != "cpu" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here; leave --device out")
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.quick:
        options.rounds = min(options.rounds, 3)
    results = []
    for architecture in options.networks.split(","):
        torch.manual_seed(0)
        config = ClassifierConfig(labels=LABELS, architecture=architecture)
        network = make_network(config).eval().to(options.device)
        for batch in map(int, options.batches.split(",")):
            mels = torch.randn(batch, 1, NUM_MELS, NUM_FRAMES).to(options.device)
            ways = make_ways(network, mels, options)
            rows = measure(ways, rounds=options.rounds, device=options.device)
            print(f"\n{architecture}, batch {batch} of {NUM_MELS} x {NUM_FRAMES}")
            print(f"{'way':26} {'ms':>8} {'x':>6} {'cpu ms':>8} {'x':>6} {'difference':>11}")
            for row in rows:
                if "missing" in row:
                    print(f"{row['way']:26} {row['missing']}")
                    continue
                wall = f"{row['ms']:8.3f} {row['times_plain']:6.2f}"
                work = f"{row['cpu_ms']:8.3f} {row['cpu_times_plain']:6.2f}"
                print(f"{row['way']:26} {wall} {work} {row['difference']:11.1e}", flush=True)
            results.append({"network": architecture, "batch": batch, "ways": rows})
    print(json.dumps({"benchmark": "classifier", **describe(options), "results": results}))


if __name__ == "__main__":
    main()
