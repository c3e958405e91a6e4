"""The studio used by a program: buttons pressed through Gradio's queue, as a browser does."""

from __future__ import annotations

import json
from typing import Any

import httpx


class Program:
    """One page of the studio, with the cookie it was given."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        client.get("/").raise_for_status()
        self._config = client.get("/config").json()
        self.press("", event="load")  # fills the lists

    def buttons(self) -> set[str]:
        """Ids of what can be clicked and then asks the server for something."""
        return {
            name
            for each in self._config["dependencies"]
            if each["backend_fn"]
            for name, event in self._targets(each)
            if event == "click"
        }

    def press(self, name: str, *values: Any, event: str = "click") -> list[Any] | str:
        """What an event brings, one value for each thing it changes; or why it was refused."""
        number = next(
            each["id"]
            for each in self._config["dependencies"]
            if (name, event) in self._targets(each)
        )
        body = {"data": list(values), "fn_index": number, "session_hash": "program"}
        self._client.post("/gradio_api/queue/join", json=body).raise_for_status()
        params = {"session_hash": "program"}
        with self._client.stream("GET", "/gradio_api/queue/data", params=params) as stream:
            for line in stream.iter_lines():
                told = json.loads(line.removeprefix("data: ") or "{}")
                if told.get("msg") == "process_completed":
                    output = told["output"]
                    return list(output["data"]) if told["success"] else str(output["error"])
        raise AssertionError("the queue ended before the event did")

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """A file as an event takes it."""
        sent = self._client.post("/gradio_api/upload", files={"files": (name, content)})
        (path,) = sent.json()
        return {"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}}

    def _targets(self, dependency: dict[str, Any]) -> list[tuple[str, str]]:
        ids = {each["id"]: each["props"].get("elem_id") for each in self._config["components"]}
        return [(ids.get(target) or "", event) for target, event in dependency["targets"]]
