"""`/v1/jobs` on a real server: hand in, watch, fetch, pause, resume, cancel, remove."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from live_server import Live

from kouji.config import Settings

JSONL = "".join(
    json.dumps({"id": f"line-{index}", "text": f"This is line number {index}."}) + "\n"
    for index in range(4)
)


def hand_in(client: httpx.Client, content: str = JSONL, **fields: str) -> dict[str, Any]:
    answer = client.post(
        "/v1/jobs", files={"file": ("lines.jsonl", content)}, data={"voice": "sample", **fields}
    )
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    return job


def watch(client: httpx.Client, job_id: str) -> list[dict[str, Any]]:
    """Every state the server told, to the end."""
    with client.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: ")]


def test_a_file_is_spoken_to_its_end(client: httpx.Client) -> None:
    job = hand_in(client)
    told = watch(client, job["id"])
    assert told[-1]["state"] == "finished"
    assert (told[-1]["done"], told[-1]["failed"], told[-1]["lines"]) == (4, 0, 4)
    shown = client.get(f"/v1/jobs/{job['id']}").json()
    assert shown == told[-1]
    assert [item["id"] for item in client.get("/v1/jobs").json()["data"]] == [job["id"]]


def test_the_result_is_sound_with_a_manifest(client: httpx.Client) -> None:
    job_id = hand_in(client)["id"]
    watch(client, job_id)
    base = f"/v1/jobs/{job_id}/result"
    joined = client.get(f"{base}/audio")
    assert joined.headers["X-AI-Generated"] == "true"
    samples, _ = soundfile.read(io.BytesIO(joined.content))
    assert np.abs(samples).max() > 0
    manifest = [json.loads(line) for line in client.get(f"{base}/manifest").text.splitlines()]
    assert [entry["id"] for entry in manifest] == [f"line-{index}" for index in range(4)]
    assert "This is line" not in json.dumps(manifest)
    assert client.get(f"{base}/srt").text.startswith("1\n")
    with zipfile.ZipFile(io.BytesIO(client.get(base).content)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert "manifest.jsonl" in names
        assert not [name for name in names if name.startswith((".", "/"))]
    name = manifest[0]["file"].rsplit("/", 1)[-1]
    line = client.get(f"{base}/lines/{name}")
    assert line.status_code == 200
    assert len(soundfile.read(io.BytesIO(line.content))[0]) > 0


def test_lines_as_json(client: httpx.Client) -> None:
    lines = [{"id": "a", "text": "One."}, {"id": "b", "text": "Two.", "seed": 3}]
    answer = client.post("/v1/jobs/lines", json={"lines": lines, "voice": "sample"})
    assert answer.status_code == 202, answer.text
    assert watch(client, answer.json()["id"])[-1]["state"] == "finished"


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ('{"id": "a"}\n', {}),
        ('{"id": "a", "text": "x"}\n{"id": "a", "text": "y"}\n', {}),
        ('{"id": "a", "text": "x", "voice": "nobody"}\n', {}),
        ("", {}),
        (JSONL, {"voice": "nobody"}),
        (JSONL, {"model": "no-such-model"}),
    ],
)
def test_a_wrong_file_is_refused_before_anything_is_spoken(
    client: httpx.Client, content: str, fields: dict[str, str]
) -> None:
    files = {"file": ("lines.jsonl", content)}
    answer = client.post("/v1/jobs", files=files, data={"voice": "sample", **fields})
    assert 400 <= answer.status_code < 500, answer.text
    assert client.get("/v1/jobs").json()["data"] == []


def test_a_job_can_be_stopped_and_go_on(client: httpx.Client) -> None:
    many = "".join(
        f'{{"id": "{i}", "text": "Line number {i}, a bit longer."}}\n' for i in range(24)
    )
    job_id = hand_in(client, many)["id"]
    client.post(f"/v1/jobs/{job_id}/pause")
    paused = watch(client, job_id)[-1]
    assert paused["state"] == "paused"
    assert paused["done"] < 24
    client.post(f"/v1/jobs/{job_id}/resume")
    assert watch(client, job_id)[-1]["state"] == "finished"
    assert client.post(f"/v1/jobs/{job_id}/cancel").status_code == 409
    assert client.delete(f"/v1/jobs/{job_id}").json()["deleted"] is True
    assert client.get(f"/v1/jobs/{job_id}").status_code == 404


def test_what_is_not_there_is_404(client: httpx.Client) -> None:
    assert client.get("/v1/jobs/0000").status_code == 404
    assert client.post("/v1/jobs/0000/pause").status_code == 404
    assert client.post("/v1/jobs/0000/explode").status_code == 400
    job_id = hand_in(client)["id"]
    watch(client, job_id)
    for name in ("..%2f..%2fledger", "missing.wav", ".hidden"):
        assert client.get(f"/v1/jobs/{job_id}/result/lines/{name}").status_code == 404


def test_jobs_belong_to_their_key(serve: Callable[[Settings], Live], settings: Settings) -> None:
    from kouji.serve.keys import KeyRing

    ring = KeyRing(settings.home)
    keys = [ring.add(name, scopes=("speak", "jobs"))[1] for name in ("one", "two")]
    speak_only = ring.add("three", scopes=("speak",))[1]
    live = serve(replace(settings, studio=False))

    def as_key(key: str) -> httpx.Client:
        return live.client(headers={"Authorization": f"Bearer {key}"})

    with as_key(keys[0]) as one, as_key(keys[1]) as two, as_key(speak_only) as three:
        job_id = hand_in(one)["id"]
        assert watch(one, job_id)[-1]["state"] == "finished"
        assert two.get(f"/v1/jobs/{job_id}").status_code == 404
        assert two.get(f"/v1/jobs/{job_id}/result").status_code == 404
        assert two.delete(f"/v1/jobs/{job_id}").status_code == 404
        assert two.get("/v1/jobs").json()["data"] == []
        assert three.get("/v1/jobs").status_code == 403
    with live.client() as nobody:
        assert nobody.get("/v1/jobs").status_code == 401


def test_the_operators_jobs_are_nobody_elses(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    """Their subtitles hold the whole text."""
    from kouji.serve.keys import KeyRing

    live = serve(replace(settings, studio=False))
    with live.client() as client:  # as from the command line, or before there were keys
        job_id = hand_in(client)["id"]
        assert watch(client, job_id)[-1]["state"] == "finished"
    ring = KeyRing(settings.home)
    key, admin = (ring.add(scope, scopes=(scope,))[1] for scope in ("jobs", "admin"))
    with live.client(headers={"Authorization": f"Bearer {key}"}) as client:
        assert client.get("/v1/jobs").json()["data"] == []
        for path in ("", "/events", "/result", "/result/srt", "/result/audio"):
            assert client.get(f"/v1/jobs/{job_id}{path}").status_code == 404
    with live.client(headers={"Authorization": f"Bearer {admin}"}) as client:
        assert client.get(f"/v1/jobs/{job_id}/result/srt").status_code == 200
