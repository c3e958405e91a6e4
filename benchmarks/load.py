"""The server under load: first audio, throughput, overhead, overload, isolation, leaving.

    python benchmarks/load.py [--parts latency,overhead,overload,isolation,leave]
                              [--clients 1,4,16,64] [--seconds 20] [--overload-seconds 60]
                              [--voices 32] [--rounds 200] [--leavers 1000] [--model mini]

Starts the real `kouji serve` in a process of its own and asks it from this one, both on the same
cores. Prints tables and, as its last line, one JSON object. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from raw_client import Reply, post

SPEECH = "/v1/audio/speech"
# What is zero when nobody is inside.
_HELD = (
    r"kouji_(gate_inside|gate_waiting|engine_requests|engine_queue|engine_rows|engine_seats_used)\b"
)
_ALWAYS_THERE = {"kouji_gate_inside", "kouji_gate_waiting", "kouji_engine_requests"}
TEXTS = (
    "Good morning, the meeting begins at nine.",
    "今天下午三点，我们在公园门口见面。",
    "The evening train was late again, so we left the station and walked along the river.",
    "请把窗户关上，外面风很大。",
)


@dataclass(frozen=True)
class Server:
    """A running `kouji serve`."""

    port: int
    process: subprocess.Popen[str]
    home: Path

    def figures(self) -> dict[str, float]:
        """The figures of /metrics, labels and all."""
        page = httpx.get(f"http://127.0.0.1:{self.port}/metrics", timeout=30).text
        return {
            name: float(value)
            for name, value in re.findall(r"^(\w+(?:{[^}]*})?) ([0-9.e+-]+)$", page, re.MULTILINE)
        }


def main() -> None:
    """Start, measure, print."""
    options = _parse()
    results: dict[str, Any] = {
        "commit": _commit(), "machine": platform.processor() or platform.machine(),
        "cores": os.cpu_count(), "model": options.model,
    }  # fmt: skip
    if "overhead" in options.parts:
        results["overhead"] = measure_overhead(options.model)
    parts = [part for part in options.parts if part in _PARTS]
    if parts:
        with serving(options.model) as server:
            for part in parts:
                results[part] = asyncio.run(_PARTS[part](server, options))
    print(json.dumps(results))


@contextmanager
def serving(model: str) -> Iterator[Server]:
    """A server of its own with an empty home."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "KOUJI_HOME": folder, "KOUJI_STUDIO": "false"}
        command = [sys.executable, "-m", "kouji", "serve", "--port", str(port := _free_port())]
        process = subprocess.Popen([*command, "--model", model], env=environment, text=True)
        try:
            _wait_until_ready(port, process)
            yield Server(port, process, Path(folder))
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


# --- parts


async def measure_latency(server: Server, options: argparse.Namespace) -> list[dict[str, float]]:
    """p50 and p95 of first audio, and speech made a second, at several numbers of clients."""
    print(f"{'clients':>8}{'requests':>10}{'p50 ms':>9}{'p95 ms':>9}{'req/s':>8}{'speech s/s':>12}")
    rows = []
    for clients in options.clients:
        replies: list[Reply] = []
        began = time.perf_counter()
        await asyncio.gather(
            *(_keep_asking(server, i, began + options.seconds, replies) for i in range(clients))
        )
        spent = time.perf_counter() - began
        good = [reply for reply in replies if reply.status == 200]
        first = sorted(1000 * (reply.first_byte or 0) for reply in good)
        speech = sum(len(reply.body) for reply in good) / 2 / 24_000
        row = {
            "clients": clients, "requests": len(good),
            "refused": len(replies) - len(good),
            "p50_ms": round(statistics.median(first), 1),
            "p95_ms": round(first[int(0.95 * (len(first) - 1))], 1),
            "requests_per_s": round(len(good) / spent, 2),
            "speech_s_per_s": round(speech / spent, 1),
        }  # fmt: skip
        rows.append(row)
        print(f"{clients:>8}{len(good):>10}{row['p50_ms']:>9}{row['p95_ms']:>9}"
              f"{row['requests_per_s']:>8}{row['speech_s_per_s']:>12}")  # fmt: skip
    return rows


def measure_overhead(model: str, pairs: int = 60) -> dict[str, float]:
    """First audio over HTTP less first audio from the same engine, asked in turns."""
    import threading

    import uvicorn

    import kouji
    from kouji.config import Settings
    from kouji.serve.app import create_app
    from kouji.serve.models import ModelPool
    from kouji.serve.service import Service
    from kouji.voices.sample import sample_voice

    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(home=Path(folder), studio=False)
        tts = kouji.load(model, settings=settings)
        service = Service(settings, lambda _: ModelPool({model: tts}))
        config = uvicorn.Config(create_app(service), port=(port := _free_port()), log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        service.loaded.wait()
        voice, direct, over_http = sample_voice(), [], []
        for index in range(pairs + 5):
            text = TEXTS[index % len(TEXTS)]
            began = time.perf_counter()
            with tts.stream(text, voice, seed=index) as stream:
                next(iter(stream))
                direct.append(time.perf_counter() - began)
                for _ in stream:
                    pass
            reply = asyncio.run(post(port, SPEECH, _body(text, "sample", index)))
            over_http.append(reply.first_byte or float("nan"))
        server.should_exit = True
        thread.join(30)
    gaps = [1000 * (b - a) for a, b in zip(direct[5:], over_http[5:], strict=True)]
    result = {
        "direct_p50_ms": round(1000 * statistics.median(direct[5:]), 2),
        "http_p50_ms": round(1000 * statistics.median(over_http[5:]), 2),
        "overhead_p50_ms": round(statistics.median(gaps), 2),
    }
    print("first audio:", result)
    return result


async def measure_overload(server: Server, options: argparse.Namespace) -> dict[str, Any]:
    """Ten times as many clients as there is room for, and how soon it is well again.

    Refused clients come again when `Retry-After` says.
    """
    room = 8 + 32  # seats and queue on a CPU
    calm = [await post(server.port, SPEECH, _body(TEXTS[0], "sample", i)) for i in range(10)]
    alone = statistics.median(reply.first_byte or 0 for reply in calm)
    replies: list[Reply] = []
    end = time.perf_counter() + options.overload_seconds
    await asyncio.gather(*(_keep_asking(server, i, end, replies) for i in range(10 * room)))
    over, well_after = time.perf_counter(), None
    while well_after is None and time.perf_counter() - over < 60:
        reply = await post(server.port, SPEECH, _body(TEXTS[0], "sample", 1))
        if reply.status == 200 and (reply.first_byte or 9) < 3 * alone:
            well_after = round(time.perf_counter() - over, 2)
    refused = sorted(1000 * reply.seconds for reply in replies if reply.status in (429, 503))
    served = sorted(1000 * (r.first_byte or 0) for r in replies if r.status == 200)
    result = {
        "alone_p50_ms": round(1000 * alone, 1),
        "answers": dict(Counter(str(reply.status) for reply in replies)),
        "without_retry_after": sum(
            "retry-after" not in r.headers for r in replies if r.status in (429, 503)
        ),
        "refusal_p50_ms": _at(refused, 0.5), "refusal_p95_ms": _at(refused, 0.95),
        "served_first_audio_p50_ms": _at(served, 0.5),
        "served_first_audio_p95_ms": _at(served, 0.95),
        "well_again_after_s": well_after, "is_alive": server.process.poll() is None,
    }  # fmt: skip
    print("overload:", result)
    return result


async def measure_isolation(server: Server, options: argparse.Namespace) -> dict[str, Any]:
    """Many voices at once, each output compared with the same request served alone."""
    names = await _keep_voices(server, options.voices)
    alone = {
        (name, text): await post(server.port, SPEECH, _body(text, name, 7))
        for name in names
        for text in TEXTS[:2]
    }
    differing, served = [0.0], Counter[str]()

    async def one(name: str) -> None:
        for turn in range(options.rounds):
            text = TEXTS[turn % 2]
            reply = await post(server.port, SPEECH, _body(text, name, 7))
            while reply.status == 503:
                await asyncio.sleep(float(reply.headers.get("retry-after", "1")))
                reply = await post(server.port, SPEECH, _body(text, name, 7))
            served[str(reply.status)] += 1
            differing.append(_difference(reply.body, alone[name, text].body))

    began = time.perf_counter()
    await asyncio.gather(*(one(name) for name in names))
    across = min(
        _difference(alone[a, TEXTS[0]].body, alone[b, TEXTS[0]].body) for a, b in pairwise(names)
    )
    result = {
        "voices": len(names), "requests": sum(served.values()), "answers": dict(served),
        "largest_difference": round(max(differing), 6),
        "smallest_between_voices": round(across, 4),
        "seconds": round(time.perf_counter() - began, 1),
    }  # fmt: skip
    print("isolation:", result)
    return result


async def measure_leaving(server: Server, options: argparse.Namespace) -> dict[str, Any]:
    """Streams of every dialect left at random moments; afterwards nothing may be held."""
    draw, text = random.Random(0), TEXTS[2] * 4
    said = {"text": text, "text_lang": "en", "ref_audio_path": "sample", "prompt_lang": "en"}
    asked = [
        (SPEECH, _body(text, "sample", 0)),
        (SPEECH, {"input": text, "stream_format": "sse"}),
        (SPEECH, {"input": text, "timestamp_granularities": ["word"]}),
        ("/tts", {**said, "streaming_mode": 2}),
        ("/api/predict", {"data": ["3s极速复刻", None, text, ""]}),
    ]
    for _ in range(options.leavers // 20):
        await asyncio.gather(
            *(
                post(server.port, *asked[i % len(asked)], leave_after=draw.uniform(0.0, 1.5))
                for i in range(20)
            ),
            return_exceptions=True,
        )  # fmt: skip
    held: dict[str, float] = {}
    for _ in range(50):
        held = {name: value for name, value in server.figures().items() if re.match(_HELD, name)}
        assert {name.partition("{")[0] for name in held} >= _ALWAYS_THERE, held
        if not any(held.values()):
            break
        await asyncio.sleep(0.1)
    ended = {
        name.partition("result=")[2].strip('"}'): value
        for name, value in server.figures().items()
        if name.startswith("kouji_engine_ended_total")
    }
    result = {"left": options.leavers, "still_held": held, "ended_in_engine": ended}
    print("leaving:", result)
    return result


_PARTS = {
    "latency": measure_latency,
    "overload": measure_overload,
    "isolation": measure_isolation,
    "leave": measure_leaving,
}

# --- parts' parts


def _body(text: str, voice: str, seed: int) -> dict[str, Any]:
    return {
        "model": "default", "input": text, "voice": voice, "response_format": "pcm", "seed": seed,
    }  # fmt: skip


async def _keep_asking(
    server: Server, client: int, until: float, replies: list[Reply], pause: float = 0.0
) -> None:
    turn = client
    while time.perf_counter() < until:
        try:
            reply = await post(server.port, SPEECH, _body(TEXTS[turn % len(TEXTS)], "sample", turn))
        except (OSError, asyncio.IncompleteReadError):
            reply = Reply(status=-1)
        replies.append(reply)
        turn += 1
        if reply.status != 200:
            await asyncio.sleep(pause or float(reply.headers.get("retry-after", "1")))


async def _keep_voices(server: Server, count: int) -> list[str]:
    """Made-up voices, one differing from the next: isolation does not ask who speaks."""
    from kouji.types import Audio
    from kouji.voices import Voice, VoiceStore
    from kouji.voices.consent import attest

    store, names = VoiceStore(server.home), []
    for index in range(count):
        times = np.arange(72_000) / 24_000
        pitch = 90 + 7 * index
        harmonics = range(1, 1 + 3000 // pitch)
        wave = sum(np.sin(2 * np.pi * k * pitch * times + k * index) / k for k in harmonics)
        swell = 0.5 + 0.5 * np.sin(2 * np.pi * (2 + index % 5) * times)
        samples = (0.1 * wave * swell).astype(np.float32)
        name = f"voice-{index}"
        store.add(Voice.from_reference(Audio(samples, 24_000), name=name, consent=attest()))
        names.append(name)
    return names


def _difference(one: bytes, other: bytes) -> float:
    """Largest difference of two 16-bit sounds on the scale of [-1, 1]; 2.0 if one is longer."""
    if len(one) != len(other):
        return 2.0
    a, b = (np.frombuffer(data, "<i2").astype(np.float32) / 32768 for data in (one, other))
    return float(np.abs(a - b).max(initial=0.0))


def _at(values: list[float], fraction: float) -> float | None:
    return round(values[int(fraction * (len(values) - 1))], 1) if values else None


def _wait_until_ready(port: int, process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise SystemExit("the server ended before it was ready")


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _commit() -> str:
    return subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--parts",
        type=lambda text: text.split(","),
        default=["overhead", "latency", "overload", "isolation", "leave"],
    )
    parser.add_argument(
        "--clients",
        type=lambda text: [int(part) for part in text.split(",")],
        default=[1, 4, 16, 64],
    )
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--overload-seconds", type=float, default=60.0)
    parser.add_argument("--voices", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--leavers", type=int, default=1000)
    parser.add_argument("--model", default="mini")
    return parser.parse_args()


if __name__ == "__main__":
    main()
