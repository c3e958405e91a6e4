"""What the benchmarks of the engine share: the machine, medians, requests at once, tables."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from kouji.engine.engine import Engine
from kouji.engine.request import EngineRequest


@dataclass(frozen=True)
class FixedLength:
    """A decoder that makes exactly `num_tokens`, so that every side does the same work."""

    inner: Any
    num_tokens: int

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def prompt(self, segment: Any, voice: Any) -> Any:
        """The decoder's prompt with its length fixed."""
        prompt = self.inner.prompt(segment, voice)
        return replace(prompt, min_tokens=self.num_tokens, max_tokens=self.num_tokens)


def describe_machine() -> dict[str, Any]:
    """Bandwidth of reading, and peaks of matrix products."""
    block = torch.ones(1 << 27)
    seconds = median(5, lambda: block.sum())
    facts: dict[str, Any] = {"read_gb_s": round(block.numel() * 4 / seconds / 1e9, 1)}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        a, b = (torch.randn(2048, 2048).to(dtype) for _ in range(2))
        seconds = median(3, lambda a=a, b=b: a @ b)
        facts[f"{name}_gflops"] = round(2 * 2048**3 / seconds / 1e9)
    return facts


def run_together(engine: Engine, requests: Sequence[EngineRequest]) -> list[float]:
    """Run requests at once; seconds each waited for its first sound."""

    async def first_sound(request: EngineRequest) -> float:
        began, first = time.perf_counter(), None
        async for chunk in engine.generate(replace(request, id=f"{request.id}-{began}")):
            if first is None and len(chunk.samples):
                first = time.perf_counter() - began
        assert first is not None
        return first

    async def together() -> list[float]:
        return list(await asyncio.gather(*(first_sound(request) for request in requests)))

    return asyncio.run(together())


def median(runs: int, work: Callable[[], object]) -> float:
    """Median seconds of `work` after one run to warm up."""
    work()
    spent = []
    for _ in range(runs):
        began = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def print_facts(facts: dict[str, Any]) -> None:
    """The machine in one line."""
    print("  ".join(f"{name} {value}" for name, value in facts.items()))


def print_rows(title: str, rows: list[dict[str, Any]]) -> None:
    """A table; columns are what any row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = [columns, *[[str(row.get(name, "")) for name in columns] for row in rows]]
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    print(f"\n{title}")
    for line in table:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)))


def describe_run(options: argparse.Namespace, precision: str) -> dict[str, Any]:
    """What the figures hang on."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    return {
        "commit": commit,
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "device": options.device,
        "dtype": precision,
        "threads": options.threads,
        "runs": options.runs,
        "version": options.version,
        "isa_limit": os.environ.get("ONEDNN_MAX_CPU_ISA", ""),
    }
