"""Several speeches in one request, and finding the mark in what came out."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import numpy as np
import pytest
from live_server import Live

from kouji.audio.encode import encode_bytes
from kouji.audio.load import load_audio
from kouji.serve.keys import KeyRing
from kouji.types import Audio
from kouji.voices.sample import sample_path

LONG = "This is a sentence that is long enough to carry the mark safely, and it goes on. " * 3


@pytest.fixture
def speaker(shared_live: Live) -> Any:
    """A client of the shared server."""
    with shared_live.client() as client:
        yield client


def batch(client: httpx.Client, *requests: Any) -> list[dict[str, Any]]:
    """The lines of a batch in the order of its requests."""
    answer = client.post("/v1/audio/speech/batch", json={"requests": requests})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return sorted(map(json.loads, answer.text.splitlines()), key=lambda line: line["index"])


def test_each_speech_has_a_manner_and_an_end_of_its_own(speaker: httpx.Client) -> None:
    lines = batch(
        speaker,
        {"id": "a", "input": "One two.", "response_format": "pcm", "seed": 3},
        {"id": "b", "input": "One two.", "response_format": "pcm", "seed": 4},
        {"id": "c", "input": "One two.", "voice": "nobody"},
        {"input": "One two.", "response_format": "wav", "style": "slow",
         "timestamp_granularities": ["word"]},
        {"id": "e", "input": ""},
        {"id": "f"},
        {"id": "g", "input": "Hi.", "speed": "fast"},
        {"id": "h", "input": "Hi.", "stream_format": "sse"},
    )  # fmt: skip
    assert [line["index"] for line in lines] == list(range(8))
    assert [line["status"] for line in lines] == [200, 200, 404, 200, 400, 400, 400, 400]
    assert [line.get("id") for line in lines] == ["a", "b", "c", None, "e", "f", "g", "h"]
    assert lines[0]["audio"] != lines[1]["audio"]
    assert lines[2]["error"]["code"] == "voice_not_found"
    assert [word["word"] for word in lines[3]["words"]] == ["One", "two"]
    alone = speaker.post(
        "/v1/audio/speech", json={"input": "One two.", "response_format": "pcm", "seed": 3}
    )
    together = np.frombuffer(base64.b64decode(lines[0]["audio"]), "<i2").astype(int)
    assert np.abs(together - np.frombuffer(alone.content, "<i2")).max() <= 1


@pytest.mark.parametrize("requests", [[], [{"input": "Hi."}] * 65, "Hi.", None, [1]])
def test_a_batch_is_bounded(speaker: httpx.Client, requests: Any) -> None:
    answer = speaker.post("/v1/audio/speech/batch", json={"requests": requests})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_value")


def test_a_client_that_leaves_a_batch_frees_its_seats(
    shared_live: Live, speaker: httpx.Client
) -> None:
    body = {"requests": [{"input": LONG, "response_format": "wav"}] * 20}
    with speaker.stream("POST", "/v1/audio/speech/batch", json=body) as answer:
        assert next(answer.iter_lines())
    for _ in range(8):  # as many as there are seats, twice over
        speaker.post("/v1/audio/speech", json={"input": "Hi."}).raise_for_status()
    shared_live.service.models.get().engine.check_integrity()


@pytest.mark.parametrize("format", ["wav", "mp3", "opus", "flac"])
def test_the_mark_leads_to_the_audit_line(speaker: httpx.Client, format: str) -> None:
    answer = speaker.post("/v1/audio/speech", json={"input": LONG, "response_format": format})
    found = speaker.post("/v1/watermark/detect", files={"audio": answer.content}).json()
    assert found["found"] is True
    assert found["id"] == answer.headers["X-Kouji-Watermark"]
    assert found["number"] == int(found["id"], 16)
    assert found["labels"]["is_ai_generated"] is True
    assert {line["watermark"] for line in found["audit"]} == {found["id"]}


def test_natural_speech_carries_no_mark(speaker: httpx.Client) -> None:
    natural = load_audio(sample_path())
    url = base64.b64encode(encode_bytes(natural, "wav")).decode()
    found = speaker.post("/v1/watermark/detect", json={"audio": f"data:audio/wav;base64,{url}"})
    facts = found.json()
    assert (facts["found"], facts["id"], facts["audit"]) == (False, None, None)
    assert facts["labels"]["is_ai_generated"] is False


@pytest.mark.parametrize(
    ("content", "code"), [(b"", "invalid_value"), (b"no sound", "unreadable_audio")]
)
def test_what_is_no_sound_is_refused(speaker: httpx.Client, content: bytes, code: str) -> None:
    answer = speaker.post("/v1/watermark/detect", files={"audio": content})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)


def test_audit_lines_are_for_admins(live: Live) -> None:
    _, plain = KeyRing(live.service.settings.home).add("ann", ("speak",))
    with live.client(headers={"Authorization": f"Bearer {plain}"}) as client:
        sound = client.post("/v1/audio/speech", json={"input": LONG, "response_format": "wav"})
        found = client.post("/v1/watermark/detect", files={"audio": sound.content}).json()
    assert (found["found"], found["audit"]) == (True, None)


def test_the_audit_lines_tell_the_keys_that_asked(live: Live) -> None:
    """The same words in the same voice carry the same number, whoever asks."""
    ring = KeyRing(live.service.settings.home)
    (ann, ann_key), (bob, bob_key) = (ring.add(name, ("speak",)) for name in ("ann", "bob"))
    _, admin_key = ring.add("admin", ("admin",))
    body = {"input": LONG, "response_format": "wav"}
    for key in (ann_key, bob_key):
        with live.client(headers={"Authorization": f"Bearer {key}"}) as client:
            sound = client.post("/v1/audio/speech", json=body).content
    with live.client(headers={"Authorization": f"Bearer {admin_key}"}) as client:
        found = client.post("/v1/watermark/detect", files={"audio": sound}).json()
    assert [line["by"] for line in found["audit"]] == [ann.id, bob.id]


def test_a_very_long_recording_is_refused(speaker: httpx.Client) -> None:
    hour = Audio(np.zeros(8000 * 700, np.float32), 8000)
    answer = speaker.post("/v1/watermark/detect", files={"audio": encode_bytes(hour, "flac")})
    assert answer.status_code == 400
