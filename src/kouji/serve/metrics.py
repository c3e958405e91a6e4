"""What the server counts, for Prometheus: requests, waiting, first audio, speed, tokens, memory.

Each server has a registry of its own, so that several can live in one process (tests do).
Figures of the engine and of this machine are read when they are asked for (`figures`).
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FIRST_AUDIO_BUCKETS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30)  # seconds
_RTF_BUCKETS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 4)


class Metrics:
    """Counters of one server; its methods are called where things happen."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        ProcessCollector(registry=registry)  # memory, processor time, open files
        self._requests = Counter(
            "kouji_requests", "HTTP requests by route and how they ended",
            ("route", "status", "result"), registry=registry,
        )  # fmt: skip
        self._first_audio = Histogram(
            "kouji_first_audio_seconds", "From the request to its first sound", ("model",),
            buckets=_FIRST_AUDIO_BUCKETS, registry=registry,
        )  # fmt: skip
        self._rtf = Histogram(
            "kouji_real_time_factor", "Seconds of work for a second of speech", ("model",),
            buckets=_RTF_BUCKETS, registry=registry,
        )  # fmt: skip
        self._speech = Counter(
            "kouji_speech_seconds", "Seconds of speech made", ("model",), registry=registry
        )
        self._underruns = Counter(
            "kouji_stream_underruns", "Chunks made only after those before them had been played",
            ("model",), registry=registry,
        )  # fmt: skip
        self._ended = Counter(
            "kouji_utterances", "Utterances by how they ended", ("model", "result"),
            registry=registry,
        )  # fmt: skip

    def watch(self, figures: Collector) -> None:
        """Show these figures too, read anew for every page."""
        self.registry.register(figures)

    def request_ended(self, route: str, status: int, result: str) -> None:
        """Count an HTTP request under its route's template.

        result: as in its log line: finished, refused, failed, left, timeout
        """
        self._requests.labels(route, str(status), result).inc()

    def ran_dry(self, model: str, num_underruns: int) -> None:
        """Chunks of a stream came later than a listener needed them."""
        self._underruns.labels(model).inc(num_underruns)

    def first_audio(self, model: str, seconds: float) -> None:
        """The first sound of an utterance was ready."""
        self._first_audio.labels(model).observe(seconds)

    def utterance_ended(
        self, model: str, result: str, *, audio_seconds: float, seconds: float
    ) -> None:
        """An utterance has ended.

        result:  finished, cancelled or failed
        seconds: since its seat was taken
        """
        self._ended.labels(model, result).inc()
        self._speech.labels(model).inc(audio_seconds)
        if result == "finished" and audio_seconds > 0:
            self._rtf.labels(model).observe(seconds / audio_seconds)

    def page(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)
