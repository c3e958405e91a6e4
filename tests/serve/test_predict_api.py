"""`POST /api/predict` as articles about deployed web pages use it, with the `requests` library."""

from __future__ import annotations

import asyncio
import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import soundfile
from live_server import Live, Running
from starlette.requests import Request
from two_families import open_mini, recording

from kouji.audio.labels import read_labels
from kouji.audio.watermark import detect
from kouji.config import Settings
from kouji.serve.keys import KeyRing
from kouji.serve.routes.predict import address_of
from kouji.serve.shelf import Shelf, parse_range
from kouji.types import Audio

TEXT = "你好，今天天气真好。"
CLONE, INSTRUCT = "3s极速复刻", "自然语言控制"


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server for all tests here."""
    home = tmp_path_factory.mktemp("home")
    (home / "references").mkdir()
    (home / "references/own.wav").write_bytes(recording())
    settings = Settings(home=home, threads=1, serve_seats=4)
    with Running(settings, open_mini) as live:
        yield live


def _url(wav: bytes) -> str:
    return f"data:audio/wav;base64,{base64.b64encode(wav).decode()}"


def _post(live: Live, data: Any, path: str = "/api/predict/", **more: Any) -> requests.Response:
    return requests.post(f"{live.url}{path}", json={"data": data}, timeout=60, **more)


def _fetch(response: requests.Response) -> bytes:
    assert response.status_code == 200, response.text
    sound = requests.get(response.json()["data"][0], timeout=60)
    assert sound.status_code == 200
    return sound.content


def test_the_client_of_the_article(here: Live, tmp_path: Path) -> None:
    """Clone from three seconds, then fetch the sound and save it."""
    response = requests.post(
        f"{here.url}/api/predict/",
        json={"data": [CLONE, _url(recording()), TEXT, ""]},
        timeout=60,
    )
    audio_url = response.json()["data"][0]
    (tmp_path / "output.wav").write_bytes(requests.get(audio_url, timeout=60).content)
    samples, rate = soundfile.read(tmp_path / "output.wav")
    assert rate == 24_000
    assert len(samples) > rate / 10
    assert abs(samples).max() > 0


def test_the_sound_is_labelled_and_marked(here: Live) -> None:
    response = _post(here, [CLONE, None, TEXT * 6, ""])
    assert response.headers["X-AI-Generated"] == "true"
    assert response.headers["X-Kouji-Model-Substitute"] == "true"
    sound = requests.get(response.json()["data"][0], timeout=60)
    assert sound.headers["X-AI-Generated"] == "true"
    assert sound.headers["Content-Type"] == "audio/wav"
    assert read_labels(sound.content).is_ai_generated
    samples, rate = soundfile.read(io.BytesIO(sound.content), dtype="float32")
    assert detect(Audio(samples, rate)).found


def test_every_form_of_a_recording_is_understood(here: Live) -> None:
    wav = recording()
    bare = base64.b64encode(wav).decode()
    forms: list[Any] = [
        _url(wav),
        bare,
        {"name": "a.wav", "data": _url(wav)},
        {"path": "own.wav", "meta": {"_type": "gradio.FileData"}},
        {"name": "own.wav", "data": None, "is_file": True},
        "own.wav",
    ]
    sounds = {_fetch(_post(here, [CLONE, form, TEXT, ""]))[100:] for form in forms}
    defaults = {_fetch(_post(here, [CLONE, form, TEXT, ""])) for form in (None, "", "sample")}
    assert len(defaults) == 1
    assert len({sound[-2000:] for sound in sounds}) == 1
    assert {sound[-2000:] for sound in sounds} != {sound[-2000:] for sound in defaults}


@pytest.mark.parametrize(
    "mode",
    ["3s极速复刻", "3s fast cloning", "3s Fast Clone", "3S FAST CLONE", "3 s rapid cloning",
     "zero-shot", "预训练音色",
     "自然语言控制", "Natural language control", "Natural Language Control"],
)  # fmt: skip
def test_modes_and_paths(here: Live, mode: str) -> None:
    assert _fetch(_post(here, [mode, None, TEXT, ""], path="/api/predict"))
    assert _fetch(_post(here, [mode, None, TEXT]))


def test_an_instruction_counts_where_it_was_asked_for(here: Live) -> None:
    usual = _fetch(_post(here, [CLONE, None, TEXT, ""]))
    told = _post(here, [INSTRUCT, None, TEXT, "快两倍<|endofprompt|>"])
    assert len(_fetch(told)) < 0.8 * len(usual)
    over = _post(here, [CLONE, None, TEXT, "快两倍"])
    assert _fetch(over) == usual
    assert "自然语言控制" in over.json()["data"][1]
    prose = _post(here, [INSTRUCT, None, TEXT, "A fiery rebel leader.", 42, False])
    assert "2 further values" in prose.json()["data"][1]
    assert "X-Kouji-Warnings" in prose.headers


def test_a_part_of_the_sound_can_be_fetched(here: Live) -> None:
    url = _post(here, [CLONE, None, TEXT, ""]).json()["data"][0]
    whole = requests.get(url, timeout=60).content
    for wanted, expected in (
        ("bytes=0-43", whole[:44]),
        ("bytes=100-", whole[100:]),
        ("bytes=-10", whole[-10:]),
        (f"bytes=10-{len(whole) + 5}", whole[10:]),
    ):
        part = requests.get(url, headers={"Range": wanted}, timeout=60)
        assert (part.status_code, part.content) == (206, expected)
        assert part.headers["Content-Range"].endswith(f"/{len(whole)}")
    head = requests.head(url, timeout=60)
    assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(whole)))
    beyond = requests.get(url, headers={"Range": f"bytes={len(whole)}-"}, timeout=60)
    assert (beyond.status_code, list(beyond.json())) == (416, ["error"])
    odd = requests.get(url, headers={"Range": "lines=1-2"}, timeout=60)
    assert (odd.status_code, odd.content) == (200, whole)
    missing = requests.get(f"{here.url}/api/predict/files/nothing.wav", timeout=60)
    assert (missing.status_code, list(missing.json())) == (404, ["error"])


@pytest.mark.parametrize(
    ("data", "status"),
    [
        ([], 400),
        (["no such mode", None, TEXT, ""], 400),
        ([7, None, TEXT, ""], 400),
        ([CLONE, None, "", ""], 400),
        ([CLONE, None, 5, ""], 400),
        ([CLONE, None, TEXT, {"x": 1}], 400),
        ([CLONE, 5, TEXT, ""], 400),
        ([CLONE, {"x": 1}, TEXT, ""], 400),
        ([CLONE, "data:audio/wav;base64,!!!", TEXT, ""], 400),
        ([CLONE, "data:audio/wav;base64,aGVsbG8=", TEXT, ""], 400),
        ([CLONE, "x" * 300 + "!", TEXT, ""], 400),
        ([CLONE, "/etc/passwd", TEXT, ""], 400),
        ([CLONE, {"path": "../config.toml"}, TEXT, ""], 400),
        ([CLONE, "http://127.0.0.1/a.wav", TEXT, ""], 403),
        ([CLONE, {"url": "http://169.254.169.254/"}, TEXT, ""], 403),
        ([CLONE, None, "。。。", ""], 400),
        ([CLONE, None, "x" * 4097, ""], 413),
        ("no list", 400),
    ],
)
def test_errors_have_the_dialects_shape(here: Live, data: Any, status: int) -> None:
    response = _post(here, data)
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert str(here.service.settings.home) not in response.text


def test_strict_wants_the_family_itself(here: Live) -> None:
    response = _post(here, [CLONE, None, TEXT, ""], params={"strict": "true"})
    assert (response.status_code, list(response.json())) == (404, ["error"])


def test_asking_needs_the_key_and_fetching_the_address(home_dir: Path) -> None:
    _, key = KeyRing(home_dir).add("ann", ["speak"])
    settings = Settings(home=home_dir, threads=1, consent="verify")
    with Running(settings, open_mini) as live:
        assert _post(live, [CLONE, None, TEXT, ""]).status_code == 401
        mine = {"headers": {"Authorization": f"Bearer {key}"}}
        assert _fetch(_post(live, [CLONE, None, TEXT, ""], **mine))
        refused = _post(live, [CLONE, _url(recording()), TEXT, ""], **mine)
        assert (refused.status_code, list(refused.json())) == (403, ["error"])


def test_the_address_is_the_one_that_was_asked() -> None:
    scope = {"type": "http", "scheme": "https", "headers": [(b"host", b"voice.example:8443")]}
    for root, path in (("", ""), ("/speech/", "/speech")):
        request = Request({**scope, "root_path": root})
        expected = f"https://voice.example:8443{path}/api/predict/files/name.wav"
        assert address_of(request, "name") == expected


def test_a_shelf_forgets_by_age_and_by_room() -> None:
    async def scene() -> None:
        now = [0.0]
        shelf = Shelf(seconds=10, max_bytes=100, clock=lambda: now[0])
        first = shelf.put(b"a" * 60, "audio/wav", {})
        assert shelf.get(first) is not None
        second = shelf.put(b"b" * 60, "audio/wav", {})
        assert shelf.get(first) is None
        assert (shelf.num_bytes, first != second) == (60, True)
        huge = shelf.put(b"c" * 200, "audio/wav", {})
        assert shelf.get(huge) is not None
        now[0] = 10.0
        assert shelf.get(huge) is None
        assert shelf.num_bytes == 0

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("header", "wanted"),
    [("bytes=0-0", range(1)), ("bytes=5-3", None), ("bytes=-", None), ("", None),
     ("bytes=0-1,3-4", None), ("bytes=-0", range(10, 10)), ("bytes=9-", range(9, 10)),
     ("bytes=10-", range(0)), ("bytes=-99", range(10))],
)  # fmt: skip
def test_ranges(header: str, wanted: range | None) -> None:
    assert parse_range(header, 10) == wanted
