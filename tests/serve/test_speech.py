"""`POST /v1/audio/speech` on a real server."""

from __future__ import annotations

import io

import httpx
import numpy as np
import soundfile
from live_server import Live

from kouji.audio.labels import read_labels


def test_a_text_becomes_a_wav(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/audio/speech",
        json={
            "model": "tts-1",
            "input": "Hello there.",
            "voice": "alloy",
            "response_format": "wav",
        },
    )
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-AI-Generated"] == "true"
    samples, rate = soundfile.read(io.BytesIO(answer.content))
    assert rate == 24_000
    assert len(samples) > rate / 10
    assert np.abs(samples).max() > 0
    assert read_labels(answer.content).is_ai_generated


def test_errors_have_openais_shape(client: httpx.Client) -> None:
    answer = client.post("/v1/audio/speech", json={"model": "tts-1", "input": "", "voice": "alloy"})
    assert answer.status_code == 400
    assert set(answer.json()["error"]) >= {"message", "type", "param", "code"}
    unknown = client.post("/v1/audio/speech", json={"input": "x", "voice": "nobody"})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "voice_not_found")


def test_a_seat_is_free_after_each_answer(live: Live, client: httpx.Client) -> None:
    for text in ("One.", "", "Two."):
        client.post("/v1/audio/speech", json={"input": text, "voice": "sample"})
    assert live.service.gate.num_inside == 0
    assert live.service.models.get().engine.stats().num_requests == 0
