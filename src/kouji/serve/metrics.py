"""What the server counts, for Prometheus: requests, waiting, first audio, speed, sounds heard.

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
_ANSWER_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)  # seconds
_BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64)  # windows
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
        self._classified = Counter(
            "kouji_classifications", "Sounds given to the classifier by how they ended",
            ("model", "result"), registry=registry,
        )  # fmt: skip
        self._classified_seconds = Counter(
            "kouji_classified_seconds", "Seconds of sound classified", ("model",),
            registry=registry,
        )  # fmt: skip
        self._windows = Counter(
            "kouji_classified_windows", "Windows of sound classified", ("model",),
            registry=registry,
        )  # fmt: skip
        self._classify_latency = Histogram(
            "kouji_classification_latency_seconds", "From a sound to all its classes", ("model",),
            buckets=_ANSWER_BUCKETS, registry=registry,
        )  # fmt: skip
        self._classifier_batches = Histogram(
            "kouji_classifier_batch_rows", "Windows the classifier was given at once",
            ("model",), buckets=_BATCH_BUCKETS, registry=registry,
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

    def windows_heard(self, model: str, num_windows: int) -> None:
        """Windows of any callers went through the classifier together; from any thread."""
        self._classifier_batches.labels(model).observe(num_windows)

    def classification_ended(
        self, model: str, result: str, *, audio_seconds: float, num_windows: int, seconds: float
    ) -> None:
        """A sound was classified, or not.

        result:        finished, refused, cancelled or failed
        audio_seconds: of the sound; with num_windows, as far as it was heard
        seconds:       since the request came
        """
        self._classified.labels(model, result).inc()
        self._classified_seconds.labels(model).inc(audio_seconds)
        self._windows.labels(model).inc(num_windows)
        if result == "finished":
            self._classify_latency.labels(model).observe(seconds)

    def page(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)
