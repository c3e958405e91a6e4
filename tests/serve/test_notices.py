"""The audible notice through the server: wished by a caller, or asked for by the operator."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
from live_server import Live
from numpy.typing import NDArray

from kouji.audio.labels import read_labels
from kouji.audio.watermark import detect
from kouji.config import Settings, load_settings
from kouji.notice import settle_notice
from kouji.types import Audio

TEXT = "These are a few quiet words."


def spoken(client: httpx.Client, **fields: Any) -> NDArray[np.float32]:
    body = {"input": TEXT, "response_format": "wav", "seed": 3, **fields}
    answer = client.post("/v1/audio/speech", json=body)
    assert answer.status_code == 200, answer.text
    assert read_labels(answer.content).is_ai_generated
    samples, _ = soundfile.read(io.BytesIO(answer.content), dtype="float32")
    return samples


def test_a_caller_chooses_how_a_notice_sounds(client: httpx.Client) -> None:
    plain = spoken(client)
    words = spoken(client, disclosure="start", notice="spoken")
    rhythm = spoken(client, disclosure="start", notice="morse")
    assert len(words) > len(plain) + 6_000
    assert len(rhythm) > len(plain) + 6_000
    assert len(words) != len(rhythm)
    answer = client.post("/v1/audio/speech", json={"input": TEXT, "notice": "song"})
    assert answer.status_code == 400


def test_the_preset_cn_is_heard_and_cannot_be_wished_away(
    serve: Callable[[Settings], Live], home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home_dir.mkdir(exist_ok=True)
    (home_dir / "config.toml").write_text('compliance = "cn"\n')
    monkeypatch.setenv("KOUJI_HOME", str(home_dir))
    live = serve(load_settings())
    notice = settle_notice(live.service.settings, None, None)
    assert (notice.places, notice.kind) == (frozenset({"start"}), "spoken")
    with live.client() as client:
        as_asked = spoken(client)
        assert detect(Audio(as_asked, 24_000)).found
        np.testing.assert_array_equal(as_asked, spoken(client, disclosure="start"))
        for less in ({"disclosure": "none"}, {"notice": "morse"}):
            answer = client.post("/v1/audio/speech", json={"input": TEXT, **less})
            assert answer.status_code == 403, answer.text
    with serve(Settings(home=home_dir)).client() as client:
        assert len(as_asked) > len(spoken(client)) + 6_000
