"""Figures that are read when somebody asks: the gate, the engine, caches, graphics cards.

Turns what they say about themselves into families of Prometheus; counts nothing itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

import kouji
from kouji.serve.gpus import GpuFigures, Gpus

if TYPE_CHECKING:
    from kouji.engine.stats import EngineStats
    from kouji.serve.service import Service

_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)  # rows


class ServiceFigures(Collector):
    """One service as it is now; reading it takes the engine's lock for a moment."""

    def __init__(self, service: Service, gpus: Gpus | None = None) -> None:
        """gpus: None asks this machine's, once somebody looks"""
        self._service, self._gpus = service, gpus

    def describe(self) -> Iterable[Metric]:
        """Nothing, so that registering does not look at what is not there yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """All families."""
        service = self._service
        yield _gauge("kouji_build_info", "The version that runs", {(kouji.__version__,): 1.0},
                     ("version",))  # fmt: skip
        yield _gauge("kouji_ready", "1 if requests are welcome", {(): float(service.is_ready)})
        gate = service.gate
        yield _gauge("kouji_gate_seats", "Requests worked on at once, at most", {(): gate.seats})
        yield _gauge("kouji_gate_inside", "Requests being worked on", {(): gate.num_inside})
        yield _gauge("kouji_gate_queue", "Requests that may wait, at most", {(): gate.queue})
        yield _gauge("kouji_gate_waiting", "Requests that wait", {(): gate.num_waiting})
        if (pool := service.pool) is not None:
            stats = pool.get().engine.stats()
            yield from _of_engine(stats)
            models = [pool.get(name) for name in pool.names]
            yield from _of_caches(
                {
                    "prompt": (stats.prefix_hits, stats.prefix_misses),
                    "voice": (
                        sum(model.num_voice_hits for model in models),
                        sum(model.num_voice_misses for model in models),
                    ),
                }
            )
        if self._gpus is None:
            self._gpus = Gpus()
        yield from _of_gpus(self._gpus.read())


def _of_engine(stats: EngineStats) -> Iterator[Metric]:
    yield _gauge("kouji_engine_queue", "Requests waiting for their first seat in the engine",
                 {(): stats.queue_length})  # fmt: skip
    yield _gauge("kouji_engine_requests", "Requests in the engine", {(): stats.num_requests})
    yield _gauge("kouji_engine_rows", "Segments in the engine by phase",
                 {(phase,): rows for phase, rows in stats.rows.items()}, ("phase",))  # fmt: skip
    yield _gauge("kouji_engine_seats", "Segments decoded at once, at most, by cache",
                 {(str(key),): most for key, most in stats.seats.items()}, ("cache",))  # fmt: skip
    yield _gauge("kouji_engine_seats_used", "Seats taken in all caches", {(): stats.seats_used})
    yield _gauge("kouji_engine_cache_bytes", "Memory of caches and kept prompts",
                 {(): stats.cache_bytes})  # fmt: skip
    yield _counter("kouji_engine_tokens", "Tokens decoded", {(): stats.num_tokens})
    yield _counter("kouji_engine_retries", "Segments decoded again", {(): stats.num_retries})
    yield _counter("kouji_engine_faults", "Faults of segments", {(): stats.num_faults})
    yield _counter("kouji_engine_splits", "Batches that failed and were halved",
                   {(): stats.num_splits})  # fmt: skip
    yield _counter("kouji_engine_ended", "Requests of the engine by how they ended",
                   {(end,): count for end, count in stats.ended.items()}, ("result",))  # fmt: skip
    yield _batches(stats.batches)


def _of_caches(found: Mapping[str, tuple[int, int]]) -> Iterator[Metric]:
    yield _counter("kouji_cache_hits", "What was found in a cache",
                   {(name,): hits for name, (hits, _) in found.items()}, ("cache",))  # fmt: skip
    yield _counter("kouji_cache_misses", "What was not",
                   {(name,): count for name, (_, count) in found.items()}, ("cache",))  # fmt: skip


def _of_gpus(cards: list[GpuFigures]) -> Iterator[Metric]:
    for name, meaning, field in (
        ("kouji_gpu_utilization_ratio", "Fraction of time a card computes", "load"),
        ("kouji_gpu_memory_used_bytes", "Memory in use on a card", "memory_used"),
        ("kouji_gpu_memory_total_bytes", "Memory of a card", "memory_total"),
        ("kouji_gpu_temperature_celsius", "Temperature of a card", "temperature"),
    ):
        told: dict[tuple[str, ...], float] = {
            (str(card.index), card.name): float(value)
            for card in cards
            if (value := getattr(card, field)) is not None
        }
        if told:
            yield _gauge(name, meaning, told, ("gpu", "name"))


def _gauge(
    name: str, meaning: str, values: Mapping[tuple[str, ...], float], labels: tuple[str, ...] = ()
) -> Metric:
    family = GaugeMetricFamily(name, meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(
    name: str, meaning: str, values: Mapping[tuple[str, ...], float], labels: tuple[str, ...] = ()
) -> Metric:
    family = CounterMetricFamily(name, meaning, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _batches(batches: Mapping[str, Mapping[int, int]]) -> Metric:
    """How many rows the batches of each stage had."""
    family = HistogramMetricFamily(
        "kouji_engine_batch_rows", "Rows of a batch, by stage", labels=("stage",)
    )
    for stage, sizes in batches.items():
        counts = [0] * (len(_BATCH_BUCKETS) + 1)
        for rows, count in sizes.items():
            counts[sum(rows > most for most in _BATCH_BUCKETS)] += count
        edges = [*(f"{most:.1f}" for most in _BATCH_BUCKETS), "+Inf"]
        rows_in_all = sum(rows * count for rows, count in sizes.items())
        buckets = list(zip(edges, map(float, accumulate(counts)), strict=True))
        family.add_metric([stage], buckets, rows_in_all)
    return family
