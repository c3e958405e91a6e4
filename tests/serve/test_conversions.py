"""`POST /v1/audio/conversions`: a form with a recording, and everything that can be wrong."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from converting_mini import ConvertingMini
from live_server import Live, Running
from tiny_mini import make_tiny_checkpoint

from kouji.api import TTS
from kouji.audio.encode import encode_bytes
from kouji.audio.load import load_audio
from kouji.config import Settings
from kouji.engine.engine import Engine
from kouji.engine.settings import EngineSettings
from kouji.models.mini.family import MiniFamily
from kouji.serve.caller import Quotas
from kouji.serve.models import ModelPool
from kouji.types import Audio

ROUTE = "/v1/audio/conversions"


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A server whose default model does not convert, and whose second does."""

    def open_pool(settings: Settings) -> ModelPool:
        engine = Engine(EngineSettings.from_settings(settings))
        families = {"mini": MiniFamily, "converter": ConvertingMini}
        return ModelPool(
            {
                name: TTS(made(make_tiny_checkpoint(), precision="float32"), settings, engine)
                for name, made in families.items()
            },
            engine,
        )

    home = tmp_path_factory.mktemp("home")
    settings = Settings(home=home, threads=1, max_text_characters=150)
    with Running(settings, open_pool) as running:
        yield running


@pytest.fixture
def client(live: Live) -> Iterator[httpx.Client]:
    with live.client() as opened:
        yield opened


def recording(seconds: float = 1.0) -> bytes:
    samples = np.random.default_rng(0).normal(0, 0.05, int(16_000 * seconds))
    return encode_bytes(Audio(samples.astype(np.float32), 16_000), "wav", None)


def post(client: httpx.Client, content: bytes | None, **fields: Any) -> httpx.Response:
    files = {} if content is None else {"file": ("a.wav", content)}
    data = {"voice": "sample", **{key: str(value) for key, value in fields.items()}}
    return client.post(ROUTE, files=files, data=data)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["message"]


@pytest.mark.parametrize("format", ["wav", "mp3", "pcm"])
def test_the_first_model_that_can_converts(client: httpx.Client, format: str) -> None:
    answer = post(client, recording(), response_format=format)
    assert answer.status_code == 200
    assert answer.headers["X-Kouji-Model"] == "converter"
    assert answer.headers["X-AI-Generated"] == "true"
    assert "heard%201.0%20s" in answer.headers["X-Kouji-Warnings"]
    if format != "pcm":
        assert load_audio(answer.content).duration > 0.5


def test_a_data_url_in_json_does_too(client: httpx.Client) -> None:
    url = f"data:audio/wav;base64,{base64.b64encode(recording()).decode()}"
    answer = client.post(ROUTE, json={"file": url, "voice": "sample", "model": "converter"})
    assert answer.status_code == 200


def test_speed_and_seed_are_heard(client: httpx.Client) -> None:
    def seconds(**fields: Any) -> float:
        return load_audio(post(client, recording(), **fields).content).duration

    assert seconds(speed=0.5) > 1.5 * seconds(speed=2.0)
    assert post(client, recording(), seed=3).headers["X-Kouji-Seed"] == "3"


def test_a_model_that_cannot_says_so(client: httpx.Client) -> None:
    status, message = code(post(client, recording(), model="mini"))
    assert status == 400
    assert "does not convert speech" in message
    assert "cosyvoice3" in message


@pytest.mark.parametrize(
    ("content", "fields", "status", "told"),
    [
        (None, {}, 400, "file is missing"),
        (b"", {}, 400, "file is missing"),
        (b"no sound at all", {}, 400, "sound"),
        (recording()[:500], {}, 400, ""),
        (recording(11.0), {}, 400, "too long"),
        (recording(), {"voice": "nobody"}, 404, "no such voice"),
        (recording(), {"speed": 9}, 400, "speed"),
        (recording(), {"respons_format": "wav"}, 400, "respons_format"),
    ],
)
def test_what_is_wrong_is_told(
    client: httpx.Client, content: bytes | None, fields: dict[str, Any], status: int, told: str
) -> None:
    seen, message = code(post(client, content, **fields))
    assert seen == status
    assert told in message


def test_a_quota_counts_seconds(live: Live) -> None:
    quotas = Quotas(characters_per_day=40)
    key = live.service.admission.keys.add("small", scopes=("speak",), quotas=quotas)[1]
    with live.client(headers={"Authorization": f"Bearer {key}"}) as client:
        assert post(client, recording(2.0)).status_code == 200  # 30 characters' worth
        assert post(client, recording(2.0)).status_code == 429
