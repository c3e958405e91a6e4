"""CosyVoice's runtime dialect on a real server: forms in, raw samples out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import requests
from live_server import Live, Running
from two_families import open_mini, recording

from kouji.audio.watermark import detect
from kouji.config import Settings
from kouji.serve.prompts import Spoken, read_instruct, read_prompt_text, read_text
from kouji.types import Audio

TEXT = "你好，世界。今天天气真好。"
LONG = "Hello there. This is a longer text, so that there is something to be heard in it. " * 3


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server for all tests here, which change nothing."""
    settings = Settings(home=tmp_path_factory.mktemp("home"), threads=1, serve_seats=4)
    with Running(settings, open_mini) as live:
        yield live


@pytest.fixture
def client(here: Live) -> Iterator[httpx.Client]:
    """A client of it."""
    with here.client() as client:
        yield client


def _ask(client: httpx.Client, route: str, wav: bytes | None = None, **form: str) -> httpx.Response:
    files = {"prompt_wav": ("a.wav", wav, "audio/wav")} if wav is not None else None
    return client.post(f"/inference_{route}", data=form, files=files)


def _sound(answer: httpx.Response) -> bytes:
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-AI-Generated"] == "true"
    assert answer.headers["X-Sample-Rate"] == "24000"
    assert answer.headers["X-Kouji-Model-Substitute"] == "true"
    assert len(answer.content) > 4800
    assert np.abs(np.frombuffer(answer.content, "<i2")).max() > 0
    return answer.content


def test_the_official_client_works(here: Live, tmp_path: Path) -> None:
    """As runtime/python/fastapi/client.py asks: GET with a form, reading a stream."""
    (tmp_path / "prompt.wav").write_bytes(recording())
    for mode, payload, has_file in (
        ("sft", {"tts_text": TEXT, "spk_id": "中文女"}, False),
        ("zero_shot", {"tts_text": TEXT, "prompt_text": "希望你以后能够做的比我还好呦。"}, True),
        ("cross_lingual", {"tts_text": TEXT}, True),
        (
            "instruct",
            {"tts_text": TEXT, "spk_id": "中文男", "instruct_text": "Theo is sad."},
            False,
        ),
        ("instruct2", {"tts_text": TEXT, "instruct_text": "用四川话说<|endofprompt|>"}, True),
    ):
        for method in ("GET", "POST"):
            with (tmp_path / "prompt.wav").open("rb") as wav:
                files: Any = [("prompt_wav", ("prompt_wav", wav, "application/octet-stream"))]
                response = requests.request(
                    method,
                    f"{here.url}/inference_{mode}",
                    data=payload,
                    files=files if has_file else None,
                    stream=True,
                    timeout=60,
                )
                sound = b"".join(response.iter_content(chunk_size=16000))
            assert response.status_code == 200, sound[:500]
            assert len(np.frombuffer(sound, dtype=np.int16)) > 2400


def test_the_sound_is_marked(client: httpx.Client) -> None:
    answer = _ask(client, "sft", tts_text=LONG, spk_id="sample")
    samples = np.frombuffer(_sound(answer), "<i2").astype(np.float32) / 32768
    assert detect(Audio(samples, 24_000)).found


def test_each_recording_is_its_own_voice(client: httpx.Client) -> None:
    sounds = [_sound(_ask(client, "cross_lingual", recording(speed), tts_text=TEXT))
              for speed in (1.0, 1.15)]  # fmt: skip
    assert sounds[0] != sounds[1]
    again = _sound(_ask(client, "cross_lingual", recording(1.0), tts_text=TEXT))
    assert again == sounds[0]


def test_an_instruction_is_followed_or_named_never_an_error(client: httpx.Client) -> None:
    form = {"tts_text": TEXT, "spk_id": "中文女"}
    usual = len(_sound(_ask(client, "sft", **form)))
    fast = _ask(client, "instruct", **form, instruct_text="请说得快两倍。<|endofprompt|>")
    slow = _ask(client, "instruct", **form, instruct_text="慢一点")
    assert len(_sound(fast)) < usual < len(_sound(slow))
    for prose in (
        "Theo 'Crimson', is a fiery, passionate rebel leader.<|endofprompt|>",
        "You are a helpful assistant. 请用广东话表达。<|endofprompt|>",
    ):
        answer = _ask(client, "instruct2", recording(), tts_text=TEXT, instruct_text=prose)
        assert "X-Kouji-Warnings" in answer.headers
        _sound(answer)


def test_signs_of_the_model_are_never_spoken(client: httpx.Client) -> None:
    plain = _sound(_ask(client, "cross_lingual", recording(), tts_text="And then later on."))
    for text in (
        "<|en|>And then later on.",
        "You are a helpful assistant.<|endofprompt|>And then later on.",
    ):
        assert _sound(_ask(client, "cross_lingual", recording(), tts_text=text)) == plain
    assert read_text("<|jp|>はい") == Spoken("はい", "", "ja")
    assert read_instruct("You are a helpful assistant. Be sad.<|endofprompt|>") == "Be sad."
    assert read_prompt_text("You are a helpful assistant.<|endofprompt|>你好") == ("你好", "")
    assert read_prompt_text("你好") == ("你好", "")


def test_another_rate_is_the_same_sound(client: httpx.Client) -> None:
    form = {"tts_text": TEXT, "spk_id": "sample"}
    usual = _sound(_ask(client, "sft", **form))
    answer = _ask(client, "sft", **form, sample_rate="48000")
    assert answer.headers["X-Sample-Rate"] == "48000"
    assert abs(len(answer.content) - 2 * len(usual)) <= 4
    twice = np.frombuffer(answer.content, "<i2")[::2].astype(float)
    once = np.frombuffer(usual, "<i2").astype(float)
    length = min(len(once), len(twice))
    assert np.corrcoef(once[:length], twice[:length])[0, 1] > 0.95


@pytest.mark.parametrize(
    ("route", "wav", "form", "status"),
    [
        ("sft", None, {"tts_text": TEXT}, 422),
        ("sft", None, {"tts_text": TEXT, "spk_id": "nobody"}, 404),
        ("sft", None, {"tts_text": "。。。", "spk_id": "sample"}, 400),
        ("sft", None, {"tts_text": TEXT, "spk_id": "sample", "strict": "true"}, 404),
        ("sft", None, {"tts_text": TEXT, "spk_id": "sample", "sample_rate": "7999"}, 422),
        ("sft", None, {"tts_text": "x" * 4097, "spk_id": "sample"}, 413),
        ("zero_shot", None, {"tts_text": TEXT, "prompt_text": "x"}, 422),
        ("zero_shot", b"", {"tts_text": TEXT, "prompt_text": "x"}, 400),
        ("zero_shot", b"no sound", {"tts_text": TEXT, "prompt_text": "x"}, 400),
        ("cross_lingual", recording(seconds=0.3), {"tts_text": TEXT}, 400),
    ],
)
def test_errors_have_the_dialects_shape(
    client: httpx.Client, route: str, wav: bytes | None, form: dict[str, str], status: int
) -> None:
    answer = _ask(client, route, wav, **form)
    assert answer.status_code == status, answer.text
    detail = answer.json()["detail"]
    assert isinstance(detail, list if status == 422 else str)
    assert detail


def test_strict_may_stand_in_the_address(client: httpx.Client) -> None:
    assert _ask(client, "sft?strict=true", tts_text=TEXT, spk_id="sample").status_code == 404


def test_a_recording_needs_consent_where_it_is_verified(home_dir: Path) -> None:
    settings = Settings(home=home_dir, threads=1, consent="verify")
    with Running(settings, open_mini) as live, live.client() as client:
        answer = _ask(client, "cross_lingual", recording(), tts_text=TEXT)
        assert (answer.status_code, list(answer.json())) == (403, ["detail"])
        assert _ask(client, "sft", tts_text=TEXT, spk_id="sample").status_code == 200


def test_a_client_that_leaves_frees_its_seat(here: Live, client: httpx.Client) -> None:
    form = {"tts_text": LONG * 6, "spk_id": "sample"}
    with client.stream("POST", "/inference_sft", data=form) as answer:
        next(answer.iter_raw(100))
    _sound(_ask(client, "sft", tts_text=TEXT, spk_id="sample"))
    assert here.service.gate.num_inside == 0
    assert here.service.models.get().engine.stats().num_requests == 0
