"""`kouji serve` as a process: what it says, what signals do to it, what it refuses."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from changing_sound import changing_sound
from tiny_classifier import make_tiny_classifier

from kouji.audio.encode import encode_bytes
from kouji.cli import run
from kouji.serve.keys import KeyRing

Captured = pytest.CaptureFixture[str]
SPEECH = {"input": "Hello there, this is a stream.", "response_format": "pcm"}
_LONGEST_SECONDS = 120


@dataclass
class Process:
    """A running server."""

    url: str
    process: subprocess.Popen[str]
    said: list[str]

    @property
    def place(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").strip("/").split(":")
        return host, int(port)

    def when_ready(self, client: httpx.Client) -> None:
        """Ask until the probe says so, as an orchestrator does."""
        until = time.monotonic() + _LONGEST_SECONDS
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < until, "the server did not get ready"
            time.sleep(0.1)

    def end(self) -> tuple[int, str]:
        """Wait for its end; exit code and the rest of what it said."""
        assert self.process.stderr is not None
        rest = self.process.stderr.read()
        return self.process.wait(_LONGEST_SECONDS), "".join(self.said) + rest


@contextmanager
def serving(home: Path, *arguments: str, **settings: str) -> Iterator[Process]:
    """The real command in a process of its own."""
    environment = {**os.environ, "KOUJI_HOME": str(home), "KOUJI_THREADS": "1",
                   "KOUJI_STUDIO": "false", "KOUJI_LOG_FORMAT": "json",
                   "OMP_NUM_THREADS": "1", **settings}  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "kouji", "serve", "--port", "0", *arguments],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment,
    )  # fmt: skip
    try:
        said = []
        assert process.stderr is not None
        while not (said and "consent:" in said[-1]):
            line = process.stderr.readline()
            assert line, "it ended: " + "".join(said)
            said.append(line)
        url = re.search(r"http://\S+?:\d+", said[-1])
        assert url is not None
        yield Process(url[0].replace("0.0.0.0", "127.0.0.1"), process, said)
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()


def test_the_first_sigterm_drains(home_dir: Path) -> None:
    """What came before finishes, also what is still being sent; newcomers shall come again."""
    _, key = KeyRing(home_dir).add("app", ["speak"])
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    wide = {"KOUJI_HOST": "0.0.0.0", "KOUJI_COLOUR": "blue"}
    with serving(home_dir, KOUJI_DRAIN_SECONDS="100", **wide) as server:
        options: dict[str, Any] = {"base_url": server.url, "timeout": _LONGEST_SECONDS}
        with httpx.Client(**options) as client, httpx.Client(**options) as other:
            server.when_ready(client)
            assert client.post("/v1/audio/speech", json=SPEECH).status_code == 401
            client.headers.update(headers)
            content = json.dumps(SPEECH).encode()

            def slowly() -> Iterator[bytes]:
                yield content[:5]
                client.get("/livez")  # the server has read what came before this
                server.process.send_signal(signal.SIGTERM)
                while client.get("/readyz").json()["status"] != "draining":
                    pass
                refused = client.post("/v1/audio/speech", json=SPEECH)
                assert refused.status_code == 503
                assert refused.headers["Connection"] == "close"
                assert int(refused.headers["Retry-After"]) >= 1
                assert client.get("/livez").status_code == 200
                yield content[5:]

            with client.stream("POST", "/v1/audio/speech", json=SPEECH) as stream:
                pieces = stream.iter_raw()
                first = next(pieces)
                answer = other.post("/v1/audio/speech", content=slowly(), headers=headers)
                whole = first + b"".join(pieces)
            assert (answer.status_code, stream.status_code) == (200, 200), answer.text
            assert len(answer.content) == len(whole) > 20_000
        code, said = server.end()
    assert code == 0
    assert "with mini; consent: verify" in said
    assert "every caller needs one" in said
    assert "unknown setting 'colour'" in said
    requests = [json.loads(line) for line in said.splitlines() if '"event": "request"' in line]
    assert sorted({line["status"] for line in requests}) == [200, 401, 503]
    assert "stream" not in said  # no word of a text
    assert key not in said


def test_the_second_signal_ends_at_once(home_dir: Path) -> None:
    head = b"POST /v1/audio/speech HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n"
    with (
        serving(home_dir, KOUJI_DRAIN_SECONDS="1000") as server,
        httpx.Client(base_url=server.url) as client,
        socket.create_connection(server.place) as holds,
    ):
        holds.sendall(head)
        server.process.send_signal(signal.SIGTERM)
        while client.get("/readyz").json()["status"] != "draining":
            pass
        server.process.send_signal(signal.SIGINT)
        code, _ = server.end()
    assert code == 128 + signal.SIGINT


def test_an_unknown_model_ends_it(
    home_dir: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kouji.serve.logs.set_up_logs", lambda _: None)
    monkeypatch.setenv("KOUJI_STUDIO", "false")
    assert run(["serve", "--port", "0", "--model", "no-such-model"]) == 2
    told = capfd.readouterr().err
    assert "seen: no-such-model" in told
    assert "Traceback" not in told


def test_a_classifier_of_ones_own_is_served(home_dir: Path, tmp_path: Path) -> None:
    folder = make_tiny_classifier(tmp_path / "city-sounds")
    sound = encode_bytes(changing_sound(1.5), "flac", None)
    with (
        serving(home_dir, "--classifier", str(folder)) as server,
        httpx.Client(base_url=server.url, timeout=60) as client,
    ):
        server.when_ready(client)
        answer = client.post("/v1/audio/classifications", files={"file": ("mine.flac", sound)})
        assert answer.status_code == 200, answer.text
        assert answer.json()["model"] == "city-sounds"
        server.process.send_signal(signal.SIGTERM)
        code, said = server.end()
    assert code == 0
    assert "sounds: classified by" in said
    assert "mine.flac" not in said


def test_a_damaged_classifier_ends_it(
    home_dir: Path, tmp_path: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kouji.serve.logs.set_up_logs", lambda _: None)
    monkeypatch.setenv("KOUJI_STUDIO", "false")
    folder = make_tiny_classifier(tmp_path / "city-sounds")
    (folder / "classifier.safetensors").write_bytes(b"damaged")
    assert run(["serve", "--port", "0", "--classifier", str(folder)]) == 1
    told = capfd.readouterr().err
    assert "a classifier cannot be read" in told
    assert "Traceback" not in told


def test_bound_wider_without_keys_it_refuses(home_dir: Path, capfd: Captured) -> None:
    assert run(["serve", "--host", "0.0.0.0", "--port", "0"]) == 2
    told = capfd.readouterr().err
    assert "kouji key add" in told
    assert "--insecure" in told
    assert told.count("\n") == 1


def test_a_taken_port_is_one_line(home_dir: Path, capfd: Captured) -> None:
    from kouji.serve.run import listen

    (taken,) = listen("127.0.0.1", 0)
    try:
        assert run(["serve", "--port", str(taken.getsockname()[1])]) == 2
    finally:
        taken.close()
    told = capfd.readouterr().err
    assert "already in use" in told
    assert told.count("\n") == 1
    assert run(["serve", "--port", "70000"]) == 2


def test_print_config_names_every_setting_and_its_origin(
    home_dir: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import fields

    from kouji.config import Settings

    home_dir.mkdir()
    config = home_dir / "config.toml"
    config.write_text('seats = 3\nserve_seats = 3\njobs_database = "postgresql://me:pa%ss@h/n"\n')
    monkeypatch.setenv("KOUJI_LOG_FORMAT", "json")
    assert run(["serve", "--print-config", "--port", "81"]) == 0
    told = capfd.readouterr()
    lines = dict(line.split(" = ", 1) for line in told.out.splitlines())
    assert list(lines) == [item.name for item in fields(Settings)]
    assert lines["serve_seats"] == f"3\t# {config}"
    assert lines["log_format"] == "'json'\t# environment variable KOUJI_LOG_FORMAT"
    assert lines["port"] == "81\t# the command line"
    assert lines["host"] == "'127.0.0.1'\t# default"
    assert lines["jobs_database"].startswith("'postgresql://me:***@h/n'")
    assert "pa%ss" not in told.out
    assert "unknown setting 'seats'" in told.err
