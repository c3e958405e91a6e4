"""The load of this server at one moment, as plain values for the page."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from kouji.errors import KoujiError
from kouji.serve.gpus import Gpus
from kouji.serve.service import Service


def load_now(service: Service) -> dict[str, Any]:
    """Gate, engine, memory and graphics cards; what is not known is left out."""
    gate = service.gate
    values: dict[str, Any] = {
        "state": service.state,
        "inside": gate.num_inside,
        "seats": gate.seats,
        "waiting": gate.num_waiting,
        "queue": gate.queue,
        "memory_mb": _resident_mb(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "cores": os.cpu_count(),
        "gpus": _gpus(),
    }
    try:
        pool = service.models
    except KoujiError:
        return values
    values["models"] = [
        {"name": name, "family": pool.get(name).family.name,
         "precision": str(pool.get(name).family.precision)}
        for name in pool.names
    ]  # fmt: skip
    stats = pool.get().engine.stats()
    first = sorted(stats.first_audio_seconds)
    values["engine"] = {
        "requests": stats.num_requests,
        "rows": stats.rows,
        "ended": stats.ended,
        "first_audio_ms": round(1000 * first[len(first) // 2]) if first else None,
    }
    return values


def _resident_mb() -> int | None:
    """Memory of this process, as Linux tells it."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) // 1024
    return None


def _gpus() -> list[dict[str, Any]]:
    """Graphics cards as NVML tells them; none where it is not there."""
    return [
        {
            "name": card.name,
            "load": None if card.load is None else round(100 * card.load),
            "used_mb": None if card.memory_used is None else card.memory_used >> 20,
            "total_mb": None if card.memory_total is None else card.memory_total >> 20,
            "celsius": card.temperature,
        }
        for card in Gpus().read()
    ]
