"""Probes and figures: ready only when warm and willing, and every figure is in the docs."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from live_server import Live, Running
from prometheus_client.parser import text_string_to_metric_families

from kouji.config import Settings
from kouji.errors import ModelError
from kouji.serve.figures import ServiceFigures
from kouji.serve.gpus import Gpus
from kouji.serve.models import ModelPool
from kouji.serve.underruns import Playhead

SPEECH = {"input": "Hello there.", "voice": "sample", "response_format": "pcm"}


def test_ready_only_after_the_models_are_warm(
    settings: Settings, open_pool: Callable[[Settings], ModelPool]
) -> None:
    may_load = threading.Event()

    def open_late(settings: Settings) -> ModelPool:
        may_load.wait(60)
        return open_pool(settings)

    running = Running(settings, open_late)
    live = running.start()
    with running, live.client() as client:
        assert client.get("/livez").json() == {"status": "alive"}
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "loading"})
        early = client.post("/v1/audio/speech", json=SPEECH)
        assert early.status_code == 503
        assert int(early.headers["Retry-After"]) >= 1
        assert "kouji_ready 0.0" in client.get("/metrics").text
        may_load.set()
        live.service.loaded.wait(60)
        assert client.get("/readyz").json() == {"status": "ready"}
        assert client.post("/v1/audio/speech", json=SPEECH).status_code == 200


def test_probes_by_head(live: Live, client: httpx.Client) -> None:
    for path in ("/livez", "/readyz"):
        answer = client.head(path)
        assert (answer.status_code, answer.content) == (200, b"")
    live.service.drain()
    assert client.head("/livez").status_code == 200
    assert client.head("/readyz").status_code == 503


def test_a_server_whose_models_do_not_load_ends(settings: Settings) -> None:
    def fail(_: Settings) -> ModelPool:
        raise ModelError("no such model", seen="mina")

    running = Running(settings, fail)
    running.start()
    running.join()
    assert isinstance(running.server.fault, ModelError)


def test_draining_is_alive_but_not_ready(live: Live, client: httpx.Client) -> None:
    live.service.drain()
    assert client.get("/livez").status_code == 200
    answer = client.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "draining"})
    refused = client.post("/v1/audio/speech", json=SPEECH)
    assert refused.status_code == 503
    assert refused.headers["Connection"] == "close"
    assert int(refused.headers["Retry-After"]) >= 1


def families(client: httpx.Client) -> dict[str, Any]:
    """The page as Prometheus reads it."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in text_string_to_metric_families(answer.text)}


def value(found: dict[str, Any], family: str, sample: str = "", **labels: str) -> float:
    """Of the one sample with these labels."""
    (fitting,) = [
        each.value
        for each in found[family].samples
        if each.name == (sample or each.name)
        and not each.name.endswith("_created")
        and labels.items() <= each.labels.items()
    ]
    return float(fitting)


def test_what_was_done_is_counted(live: Live, client: httpx.Client) -> None:
    for _ in range(3):
        assert client.post("/v1/audio/speech", json=SPEECH).status_code == 200
    client.post("/v1/audio/speech", json={**SPEECH, "voice": "nobody"})
    client.get("/nothing/secret-name")
    assert client.get("/openapi.json").status_code == 200
    found = families(client)
    speech = {"route": "/v1/audio/speech"}
    assert value(found, "kouji_requests", **speech, status="200", result="finished") == 3
    assert value(found, "kouji_requests", **speech, status="404", result="refused") == 1
    assert value(found, "kouji_requests", route="unmatched", status="404") == 1
    assert value(found, "kouji_requests", route="page", status="200") == 1
    assert value(found, "kouji_utterances", model="mini", result="finished") == 3
    assert value(found, "kouji_first_audio_seconds", "kouji_first_audio_seconds_count") == 3
    assert value(found, "kouji_real_time_factor", "kouji_real_time_factor_count") == 3
    assert value(found, "kouji_speech_seconds") > 0
    assert value(found, "kouji_stream_underruns") >= 0
    assert value(found, "kouji_gate_seats") == live.service.gate.seats
    assert value(found, "kouji_gate_inside") == value(found, "kouji_gate_waiting") == 0
    assert value(found, "kouji_engine_requests") == value(found, "kouji_engine_queue") == 0
    # The classifier has heard a window to be warm.
    assert value(found, "kouji_engine_ended", result="finished") == 3 + 1
    assert value(found, "kouji_cache_misses", cache="voice") == 1
    assert value(found, "kouji_cache_hits", cache="voice") == 2
    assert value(found, "process_resident_memory_bytes") > 1e7
    assert value(found, "process_cpu_seconds") > 0
    batches = live.service.models.get().engine.stats().batches["vocode"]
    counted = value(found, "kouji_engine_batch_rows", "kouji_engine_batch_rows_count",
                    stage="vocode")  # fmt: skip
    assert counted == sum(batches.values())
    assert "secret-name" not in client.get("/metrics").text


class FakeNvml:
    """One card that tells all, and one that tells little."""

    NVML_TEMPERATURE_GPU = 0

    class NVMLError(Exception):
        """As NVML's."""

    def nvmlInit(self) -> None: ...  # noqa: N802

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str | bytes:  # noqa: N802
        return b"Old card" if handle else "New card"

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:  # noqa: N802
        if handle:
            raise self.NVMLError
        return SimpleNamespace(gpu=37)

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:  # noqa: N802
        return SimpleNamespace(used=2_000_000_000 + handle, total=8_000_000_000)

    def nvmlDeviceGetTemperature(self, handle: int, _: int) -> int:  # noqa: N802
        if handle:
            raise self.NVMLError
        return 61


def test_graphics_cards_are_shown_as_far_as_they_tell(live: Live) -> None:
    figures = ServiceFigures(live.service, Gpus(FakeNvml()))
    told = {
        (sample.name, sample.labels["gpu"], sample.labels["name"]): sample.value
        for family in figures.collect()
        if family.name.startswith("kouji_gpu")
        for sample in family.samples
    }
    assert told == {
        ("kouji_gpu_utilization_ratio", "0", "New card"): 0.37,
        ("kouji_gpu_memory_used_bytes", "0", "New card"): 2e9,
        ("kouji_gpu_memory_used_bytes", "1", "Old card"): 2e9 + 1,
        ("kouji_gpu_memory_total_bytes", "0", "New card"): 8e9,
        ("kouji_gpu_memory_total_bytes", "1", "Old card"): 8e9,
        ("kouji_gpu_temperature_celsius", "0", "New card"): 61,
    }


def test_without_a_driver_there_are_no_cards() -> None:
    nvml = FakeNvml()

    def fail() -> None:
        raise nvml.NVMLError

    nvml.nvmlInit = fail  # type: ignore[method-assign]
    assert Gpus(nvml).read() == []


@pytest.mark.parametrize(
    ("asked_and_came", "num_underruns"),
    [
        ([(0.0, 0.0, 1.0), (0.1, 0.9, 1.0), (1.0, 1.9, 1.0)], 0),  # each just in time
        ([(0.0, 0.0, 1.0), (0.1, 1.5, 1.0)], 1),  # half a second of silence
        ([(0.0, 0.0, 1.0), (0.1, 1.5, 1.0), (1.5, 2.4, 1.0)], 1),  # playing went on at 1.5
        ([(0.0, 0.0, 1.0), (0.1, 1.5, 0.1), (1.5, 2.0, 1.0)], 2),
        ([(0.0, 0.0, 1.0), (5.0, 5.0, 1.0)], 0),  # the reader was slow, not we
        ([(0.0, 3.0, 1.0)], 0),  # waiting for the first is its own figure
    ],
)
def test_when_a_stream_runs_dry(
    asked_and_came: list[tuple[float, float, float]], num_underruns: int
) -> None:
    playhead = Playhead()
    for asked, came, seconds in asked_and_came:
        playhead.asked(asked)
        playhead.came(came, seconds)
    assert playhead.num_underruns == num_underruns


def test_every_figure_is_in_the_docs(live: Live, client: httpx.Client, root_dir: Path) -> None:
    client.post("/v1/audio/speech", json=SPEECH)
    live.service.metrics.watch(ServiceFigures(live.service, Gpus(FakeNvml())))
    shown = {
        name.removesuffix("_total")
        for name in re.findall(r"^# TYPE (\w+)", client.get("/metrics").text, re.MULTILINE)
        if name.startswith("kouji_") and not name.endswith("_created")
    }
    page = (root_dir / "docs" / "server.md").read_text(encoding="utf-8")
    table = {
        name.removesuffix("_total") for name in re.findall(r"^\| `(kouji_\w+)", page, re.MULTILINE)
    }
    assert shown == table
