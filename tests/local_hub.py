"""A model hub on this machine for tests: serves, breaks off, lies, redirects, refuses."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

import pytest

from kouji.hub import catalogue, pull
from kouji.hub.catalogue import read_catalogue

COMMIT = "336b2ec4e8d4ac74740798dd40af44e74659ecaf"
FILES = {
    "s1=v3.ckpt": bytes(range(256)) * 4096,
    "v2Pro/s2G.pth": b"generator" * 30_000,
    "hubert/config.json": b'{"model_type": "hubert"}',
}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Hub:
    """What the server has, how it misbehaves, and what it was asked."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(FILES))
    endpoint: str = ""
    breaks: list[int] = field(default_factory=list)  # bytes after which a GET is cut, each once
    statuses: list[int] = field(default_factory=list)  # answered first, one each
    knows_ranges: bool = True
    redirects: bool = False
    is_chunked: bool = False
    mark: str | None = '"v1"'
    refuses: int | None = None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    wait: threading.Event | None = None

    def ranges(self) -> list[str | None]:
        """The Range headers of all GETs for content."""
        return [span for method, _, span in self.asked if method == "GET"]


class Handler(BaseHTTPRequestHandler):
    """Answers as Hugging Face and ModelScope do."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer("HEAD")

    def do_GET(self) -> None:
        self.answer("GET")

    def reply(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def answer(self, method: str) -> None:
        hub, path = self.hub, unquote(self.path)
        hub.asked.append((method, path, self.headers.get("Range")))
        if path.startswith("/api/v1/models/"):
            listed = [
                {"Path": name, "Size": len(data), "Sha256": sha256(data)}
                for name, data in hub.files.items()
            ]
            self.reply(200, {}, json.dumps({"Code": 200, "Data": {"Files": listed}}).encode())
            return
        if hub.refuses:
            self.reply(hub.refuses)
            return
        if hub.statuses and method == "GET":
            self.reply(hub.statuses.pop(0), {"Retry-After": "7"})
            return
        name = path.split("/resolve/", 1)[-1].split("/", 1)[-1] if "/resolve/" in path else path[5:]
        if name not in hub.files:
            self.reply(404)
            return
        data = hub.files[name]
        facts = {"X-Repo-Commit": COMMIT}
        if len(data) > 1000:
            facts |= {"X-Linked-Etag": f'"{sha256(data)}"', "X-Linked-Size": str(len(data))}
        if hub.redirects and not path.startswith("/cdn/"):
            self.reply(302, {**facts, "Location": f"/cdn/{name}"})
            return
        self.content(data, facts)

    def content(self, data: bytes, headers: dict[str, str]) -> None:
        hub = self.hub
        if hub.wait is not None:
            hub.wait.wait(10)
        if hub.mark:
            headers["ETag"] = hub.mark
        status, body = 200, data
        span = self.headers.get("Range")
        is_same = self.headers.get("If-Range") in (None, hub.mark)
        if span and hub.knows_ranges and is_same:
            start = int(span.removeprefix("bytes=").removesuffix("-"))
            if start >= len(data):
                self.reply(416, {"Content-Range": f"bytes */{len(data)}"})
                return
            status, body = 206, data[start:]
            headers["Content-Range"] = f"bytes {start}-{len(data) - 1}/{len(data)}"
        cut = hub.breaks.pop(0) if hub.breaks and self.command == "GET" else None
        if cut is None and not hub.is_chunked:
            self.reply(status, headers, body)
            return
        self.send_response(status)
        length = {"Transfer-Encoding": "chunked"} if hub.is_chunked else {}
        for name, value in {**headers, **(length or {"Content-Length": str(len(body))})}.items():
            self.send_header(name, value)
        self.end_headers()
        part = body[:cut]
        if hub.is_chunked:
            part = b"%x\r\n%s\r\n" % (len(part), part) + (b"" if cut is not None else b"0\r\n\r\n")
        self.wfile.write(part)
        self.close_connection = True


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that listens on this machine."""
    state = Hub()
    handler = type("Bound", (Handler,), {"hub": state})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    state.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def listing(**changes: Any) -> dict[str, Any]:
    """A catalogue of two models that share files."""
    files = {path: {"size": len(data), "sha256": sha256(data)} for path, data in FILES.items()}
    repository = {
        "licence": "MIT",
        "huggingface": {"repo": "some/voices", "revision": COMMIT},
        "modelscope": {"repo": "other/voices", "revision": "master"},
        "files": files,
    } | changes
    return {
        "format": 1,
        "repositories": {"r": repository},
        "models": {
            "big": {"title": "All", "repository": "r", "files": list(FILES)},
            "small": {"title": "Two", "repository": "r", "files": list(FILES)[1:]},
        },
    }


def use(monkeypatch: pytest.MonkeyPatch, document: dict[str, Any]) -> None:
    """Put a catalogue in the place of the packaged one."""
    for module in (catalogue, pull):
        monkeypatch.setattr(module, "load_catalogue", lambda: read_catalogue(document))
