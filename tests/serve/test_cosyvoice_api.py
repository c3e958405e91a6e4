"""CosyVoice's runtime dialect on a real server: forms in, raw samples out."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import httpx
import numpy as np
import pytest
import requests
import soundfile
from live_server import Live, Running
from tiny_cosyvoice import make_tiny_cosyvoice
from tiny_gpt_sovits import write_directory
from two_families import open_mini, opener, recording

from kouji.audio.watermark import detect
from kouji.config import Settings
from kouji.models.cosyvoice.conditioning import TextSegment
from kouji.models.cosyvoice.text.front import Front
from kouji.models.family import PreparedText
from kouji.serve.models import ModelPool
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


# --- where CosyVoice itself is loaded, behind two other families


@pytest.fixture(scope="module")
def all_three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """mini is the default, a GPT-SoVITS and a CosyVoice 3 stand beside it."""
    root = tmp_path_factory.mktemp("families")
    folder = make_tiny_cosyvoice(root / "cosyvoice3")
    open_both = opener(write_directory(root / "toy"))

    def open_all(settings: Settings) -> ModelPool:
        from kouji.api import load

        two = open_both(settings)
        engine = two._engine
        third = load(str(folder), precision="float32", settings=settings, engine=engine)
        models = {name: two.get(name) for name in two.names}
        return ModelPool({**models, "cosyvoice3": third}, engine)

    settings = Settings(home=root / "home", threads=1, serve_seats=4)
    with Running(settings, open_all) as live:
        yield live


@pytest.fixture
def full(all_three: Live) -> Iterator[httpx.Client]:
    """A client of it."""
    with all_three.client() as client:
        yield client


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What CosyVoice was given since: mode, and all it reads."""
    seen: list[tuple[str, str]] = []
    prepare = Front.prepare

    def listening(front: Front, *args: Any, **facts: Any) -> PreparedText:
        prepared = prepare(front, *args, **facts)
        payload = prepared.segments[0].payload
        assert isinstance(payload, TextSegment)
        decode = front.tokenizer.decode  # type: ignore[attr-defined]
        words = decode(payload.prompt_text.tolist()) + "|" + decode(payload.text.tolist())
        seen.append((payload.mode, words))
        return prepared

    monkeypatch.setattr(Front, "prepare", listening)
    return seen


def _warnings(answer: httpx.Response) -> str:
    return unquote(answer.headers.get("X-Kouji-Warnings", ""))


def _long_recording() -> bytes:
    samples, rate = soundfile.read(io.BytesIO(recording()), dtype="float32")
    buffer = io.BytesIO()
    soundfile.write(buffer, np.tile(samples, 10), rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def test_every_route_is_a_mode_of_a_loaded_model(
    full: httpx.Client, read: list[tuple[str, str]]
) -> None:
    prompt = "You are a helpful assistant.<|endofprompt|>"
    for route, wav, form, mode, words in (
        ("sft", None, {"spk_id": "sample"}, "zero_shot", "his letter"),
        ("zero_shot", recording(), {"prompt_text": prompt + "你好。"}, "zero_shot", "你好。|"),
        ("cross_lingual", recording(), {}, "cross_lingual", "今天天气"),
        ("instruct", None, {"spk_id": "中文男", "instruct_text": "Theo is sad."},
         "instruct", "Theo is sad."),
        ("instruct2", recording(), {"instruct_text": "用四川话，兴奋一点<|endofprompt|>"},
         "instruct", "请用四川话"),
    ):  # fmt: skip
        read.clear()
        answer = _ask(full, route, wav, tts_text=TEXT, strict="true", **form)
        assert answer.status_code == 200, answer.text
        assert answer.headers["X-Kouji-Model"] == "cosyvoice3"
        assert "X-Kouji-Model-Substitute" not in answer.headers
        assert np.abs(np.frombuffer(answer.content, "<i2")).max() > 0
        assert [each for each, _ in read] == [mode], route
        assert words in read[0][1], route


def test_without_a_transcript_the_voice_is_heard_across_languages(
    full: httpx.Client, read: list[tuple[str, str]]
) -> None:
    """An empty field and none at all are the same to a form."""
    for form in ({"prompt_text": ""}, {}):
        answer = _ask(full, "zero_shot", recording(), tts_text=TEXT, **form)
        assert answer.status_code == 200, answer.text
        assert _warnings(answer).count("no transcript") == 1
    assert [mode for mode, _ in read] == ["cross_lingual"] * 2


def test_a_long_recording_whose_words_are_given_is_refused(full: httpx.Client) -> None:
    long = _long_recording()
    answer = _ask(full, "zero_shot", long, tts_text=TEXT, prompt_text="你好。")
    assert answer.status_code == 400, answer.text
    assert "too long for CosyVoice" in answer.json()["detail"]
    assert "leave the transcript out" in answer.json()["detail"]
    assert _ask(full, "cross_lingual", long, tts_text=TEXT).status_code == 200


def test_words_that_a_cut_took_from_a_recording_are_told(client: httpx.Client) -> None:
    answer = _ask(client, "zero_shot", _long_recording(), tts_text=TEXT, prompt_text="你好。")
    assert "of the recording were kept" in _warnings(answer)


def test_instructions_and_languages_of_openai_reach_the_model(
    full: httpx.Client, read: list[tuple[str, str]]
) -> None:
    body = {"model": "cosyvoice", "input": TEXT, "voice": "sample", "response_format": "wav"}
    asked = {"instructions": "say it like a pirate", "language": "de"}
    answer = full.post("/v1/audio/speech", json={**body, **asked})
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Kouji-Model"] == "cosyvoice3"
    assert read[0][0] == "instruct"
    assert "say it like a pirate" in read[0][1]
    wrong = full.post("/v1/audio/speech", json={**body, "input": "你[j][ie]"})
    assert (wrong.status_code, wrong.json()["error"]["code"]) == (400, "invalid_mark")
    mini = full.post("/v1/audio/speech", json={**body, **asked, "model": "mini"})
    assert mini.status_code == 400, "mini does not speak German"


def test_speech_is_converted_by_the_family_that_can(full: httpx.Client) -> None:
    files = {"file": ("a.wav", recording(1.1), "audio/wav")}
    answer = full.post("/v1/audio/conversions", files=files, data={"voice": "sample"})
    assert answer.status_code == 200, answer.text
    assert answer.headers["X-Kouji-Model"] == "cosyvoice3"
    refused = full.post(
        "/v1/audio/conversions", files=files, data={"voice": "sample", "model": "mini"}
    )
    assert refused.status_code == 400
