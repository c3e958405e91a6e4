"""`POST /v1/audio/classifications`: what is answered, to whom, within which limits, together."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from changing_sound import changing_sound
from live_server import Live, Running
from prometheus_client.parser import text_string_to_metric_families
from tiny_classifier import LABELS, make_tiny_classifier
from wire import Wire

from kouji.audio.encode import encode_bytes
from kouji.classifying import load_classifier
from kouji.config import Settings
from kouji.errors import ModelError, UsageError
from kouji.serve.caller import SCOPES, Quotas
from kouji.serve.keys import KeyRing
from kouji.serve.models import ModelPool
from kouji.serve.routes.classifications import ClassificationAnswer
from kouji.serve.ui.messages import warning_of
from kouji.types import Audio

ROUTE = "/v1/audio/classifications"
WINDOW_SECONDS = 1.0  # of the toy
SPEECH = {"input": "Hello there.", "voice": "sample", "response_format": "pcm"}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_classifier(tmp_path_factory.mktemp("models") / "tiny-ears")


@pytest.fixture
def settings(settings: Settings, classifier: Path) -> Settings:
    return replace(settings, classifier=str(classifier))


def wav(seconds: float = 2.5, *, seed: int = 0, sample_rate: int = 16_000) -> bytes:
    return encode_bytes(changing_sound(seconds, sample_rate, seed), "wav", None)


def post(client: httpx.Client, recording: bytes, **fields: Any) -> httpx.Response:
    files = {"file": ("secret-name.wav", recording, "audio/wav")}
    return client.post(ROUTE, files=files, data=fields)


def found(client: httpx.Client, recording: bytes, **fields: Any) -> dict[str, Any]:
    answer = post(client, recording, **fields)
    assert answer.status_code == 200, answer.text
    values: dict[str, Any] = answer.json()
    ClassificationAnswer.model_validate(values)
    return values


def error_of(answer: httpx.Response) -> tuple[int, str, str]:
    """Status, code and message; the shape is that of every route."""
    facts = answer.json()["error"]
    assert set(facts) >= {"message", "type", "param", "code"}
    assert answer.headers["X-Request-Id"]
    return answer.status_code, facts["code"], facts["message"]


def figure(client: httpx.Client, name: str, **labels: str) -> float:
    """The sum of a figure over the labels that are not named."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return sum(
        sample.value
        for family in families
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


# --- what is answered


@pytest.mark.parametrize("format", ["wav", "flac", "mp3", "opus"])
def test_the_answer_is_what_the_library_says(
    client: httpx.Client, classifier: Path, format: str
) -> None:
    sound = encode_bytes(changing_sound(2.5, 24_000), format, None)
    values = found(client, sound, top=len(LABELS))
    with load_classifier(classifier) as own:
        expected = own.classify(sound)
    assert (values["object"], values["model"]) == ("audio.classification", "tiny-ears")
    assert values["label"] == expected.label
    assert values["duration"] == pytest.approx(expected.seconds, abs=1e-4)
    told = {each["label"]: each["probability"] for each in values["probabilities"]}
    for label, probability in zip(expected.labels, expected.probabilities, strict=True):
        assert told[label] == pytest.approx(float(probability), abs=1e-4)
    assert sum(told.values()) == pytest.approx(1, abs=1e-4)
    ordered = [each["probability"] for each in values["probabilities"]]
    assert ordered == sorted(ordered, reverse=True)
    assert [(each["start"], each["end"]) for each in values["windows"]] == [
        (pytest.approx(each.start, abs=1e-4), pytest.approx(each.end, abs=1e-4))
        for each in expected.windows
    ]


def test_json_with_a_data_url_does_too(client: httpx.Client) -> None:
    url = f"data:audio/wav;base64,{base64.b64encode(wav()).decode()}"
    for name in ("file", "audio"):
        answer = client.post(ROUTE, json={name: url, "model": "tiny-ears", "top": 2})
        assert answer.status_code == 200, answer.text
        assert answer.json()["probabilities"] == found(client, wav())["probabilities"][:2]


def test_headers_are_those_of_every_answer(client: httpx.Client) -> None:
    answer = client.post(ROUTE, files={"file": wav()}, headers={"X-Request-Id": "mine-1"})
    assert answer.headers["X-Request-Id"] == "mine-1"
    assert answer.headers["X-Kouji-Model"] == "tiny-ears"


def test_how_much_is_told_is_the_callers_choice(client: httpx.Client) -> None:
    assert len(found(client, wav(), top=1)["probabilities"]) == 1
    assert found(client, wav(), windows="false")["windows"] is None
    verbose = found(client, wav(), response_format="verbose_json", hop_seconds=0.25)
    assert verbose["labels"] == list(LABELS)
    assert verbose["window_seconds"] == WINDOW_SECONDS
    assert verbose["hop_seconds"] == 0.25
    assert len(verbose["windows"]) == 7  # of 1 s each 0.25 s in 2.5 s
    assert all(len(each["probabilities"]) == len(LABELS) for each in verbose["windows"])
    text = post(client, wav(), response_format="text")
    assert text.headers["Content-Type"].startswith("text/plain")
    assert text.text.strip() == verbose["label"]


def test_windows_come_as_events_while_they_are_heard(client: httpx.Client) -> None:
    whole = found(client, wav(), top=2)
    with client.stream("POST", ROUTE, files={"file": wav()}, data={"stream": "true", "top": 2}) as (
        answer
    ):
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = [line for line in answer.iter_lines() if line]
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    *windows, done = events
    assert {each.pop("type") for each in windows} == {"audio.classification.window"}
    assert windows == whole["windows"]
    assert done.pop("type") == "audio.classification.done"
    assert done == {**whole, "windows": None}


def test_a_long_sound_is_heard_to_its_end(client: httpx.Client) -> None:
    windows = found(client, wav(61.3))["windows"]
    assert len(windows) >= 60
    assert windows[0]["start"] == 0
    assert windows[-1]["end"] == pytest.approx(61.3, abs=1e-3)
    assert all(a["start"] < b["start"] <= a["end"] for a, b in pairwise(windows))


@pytest.mark.parametrize("seconds", [0.01, 0.5, WINDOW_SECONDS])
def test_a_short_or_silent_sound_is_one_window(client: httpx.Client, seconds: float) -> None:
    silence = Audio(np.zeros(int(16_000 * seconds), np.float32), 16_000)
    for sound in (wav(seconds), encode_bytes(silence, "wav", None)):
        values = found(client, sound)
        assert len(values["windows"]) == 1
        assert values["duration"] == pytest.approx(seconds, abs=1e-3)
        assert all(0 <= each["probability"] <= 1 for each in values["probabilities"])
    assert "silence" in values["warnings"][0]
    assert warning_of(values["warnings"][0], "zh").startswith("声音里几乎没有内容")


@pytest.mark.parametrize(
    ("recording", "fields", "status", "code", "told"),
    [
        (b"", {}, 400, "invalid_value", "file is missing"),
        (b"no sound at all", {}, 400, "unreadable_audio", ""),
        (wav()[:60], {}, 400, "unreadable_audio", ""),
        (b"<html>not a sound</html>" * 50, {}, 400, "unreadable_audio", ""),
        (wav(), {"model": "whisper-1"}, 404, "model_not_found", "tiny-ears"),
        (wav(), {"model": "mini"}, 404, "model_not_found", "tiny-ears"),
        (wav(), {"top": 0}, 400, "invalid_value", "top"),
        (wav(), {"top": len(LABELS) + 1}, 400, "invalid_value", "1 to 3"),
        (wav(), {"hop_seconds": 0}, 400, "invalid_value", "hop_seconds"),
        (wav(), {"hop_seconds": "nan"}, 400, "invalid_value", "hop_seconds"),
        (wav(), {"hop_seconds": 1e-5}, 413, "too_large", "hop"),
        (wav(), {"hop_seconds": 1.5}, 400, "invalid_value", "hop_seconds"),
        (wav(), {"windows": "perhaps"}, 400, "invalid_value", "windows"),
        (wav(), {"response_format": "srt"}, 400, "invalid_value", "response_format"),
        (wav(), {"respons_format": "json"}, 400, "invalid_value", "respons_format"),
        (wav(), {"stream": "true", "response_format": "text"}, 400, "invalid_value", "stream"),
    ],
)
def test_what_is_wrong_is_told(
    client: httpx.Client,
    live: Live,
    recording: bytes,
    fields: dict[str, Any],
    status: int,
    code: str,
    told: str,
) -> None:
    seen = error_of(post(client, recording, **fields))
    assert seen[:2] == (status, code)
    assert told in seen[2]
    assert live.service.gate.num_inside == 0


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{}", 400), (b"{not json", 400), (b"", 400), (b'{"file": "data:,x"}', 400),
     (b'{"file": "https://example.com/a.wav"}', 403), (b'{"file": 1}', 400)],
)  # fmt: skip
def test_json_that_is_wrong_is_told(client: httpx.Client, content: bytes, status: int) -> None:
    answer = client.post(ROUTE, content=content, headers={"Content-Type": "application/json"})
    assert error_of(answer)[0] == status


# --- which model


def test_the_classifier_is_listed_behind_what_speaks(client: httpx.Client) -> None:
    listed = client.get("/v1/models").json()["data"]
    assert listed[0]["id"] == "mini"
    assert {each["id"] for each in listed if each["task"] == "classification"} == {"tiny-ears"}
    assert listed[-1]["id"] == "tiny-ears"
    assert client.get("/v1/models/tiny-ears").json()["root"] == "tiny-ears"
    answer = client.post("/v1/audio/speech", json={**SPEECH, "model": "tiny-ears"})
    assert error_of(answer)[:2] == (404, "model_not_found")


def test_a_server_without_a_classifier_says_so(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    live = serve(replace(settings, classifier=""))
    with live.client() as client:
        status, code, message = error_of(post(client, wav()))
        assert (status, code) == (404, "model_not_found")
        assert "classifies no sounds" in message
        assert all(each["task"] == "speech" for each in client.get("/v1/models").json()["data"])


def test_a_package_without_its_own_classifier_speaks(
    serve: Callable[[Settings], Live],
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("kouji.models.classifier.weights.SHIPPED", tmp_path)
    live = serve(replace(settings, classifier="esc10"))
    with live.client() as client:
        assert error_of(post(client, wav()))[:2] == (404, "model_not_found")
        assert client.post("/v1/audio/speech", json=SPEECH).status_code == 200
    assert "esc10 is not in this package" in caplog.text
    make_tiny_classifier(tmp_path)
    with serve(replace(settings, classifier="esc10")).client() as client:
        assert found(client, wav())["model"] == "esc10"


@pytest.mark.parametrize("fault", ["weights", "config", "absent", "name"])
def test_a_classifier_that_does_not_load_ends_the_server_as_a_speech_model_does(
    settings: Settings,
    open_pool: Callable[[Settings], ModelPool],
    tmp_path: Path,
    fault: str,
) -> None:
    folder = tmp_path / ("mini" if fault == "name" else "ears")
    if fault != "absent":
        make_tiny_classifier(folder)
    if fault == "weights":
        file = next(folder.glob("*.safetensors"))
        file.write_bytes(file.read_bytes()[:-100])
    if fault == "config":
        (folder / "classifier.json").write_text("{")
    running = Running(replace(settings, classifier=str(folder)), open_pool)
    running.start()
    running.join()
    is_named_wrong = fault in ("name", "absent")
    assert isinstance(running.server.fault, UsageError if is_named_wrong else ModelError)


# --- keys and limits


def test_which_keys_may(live: Live) -> None:
    ring = KeyRing(live.service.settings.home)
    for scope in SCOPES:
        _, key = ring.add(scope, [scope])
        with live.client(headers={"Authorization": f"Bearer {key}"}) as client:
            answer = post(client, wav(0.5))
            assert answer.status_code == (200 if scope in ("speak", "classify", "admin") else 403)
            spoken = client.post("/v1/audio/speech", json=SPEECH).status_code
            assert spoken == (200 if scope in ("speak", "admin") else 403)
    with live.client() as client:
        assert error_of(post(client, wav(0.5)))[:2] == (401, "invalid_api_key")


def test_a_quota_of_requests_counts(live: Live) -> None:
    quotas = Quotas(requests_per_minute=2)
    _, key = KeyRing(live.service.settings.home).add("few", ["classify"], quotas)
    with live.client(headers={"Authorization": f"Bearer {key}"}) as client:
        answers = [post(client, wav(0.5)) for _ in range(3)]
    assert [each.status_code for each in answers] == [200, 200, 429]
    assert int(answers[2].headers["Retry-After"]) >= 1


def test_seconds_of_a_sound(serve: Callable[[Settings], Live], settings: Settings) -> None:
    """To the sample, in every format that knows its length, and where its header lies."""
    live = serve(replace(settings, max_classify_seconds=1.5))
    with live.client() as client:
        for rate in (16_000, 44_100):
            most = int(1.5 * rate)
            for format in ("wav", "flac"):
                answers = [
                    post(
                        client, encode_bytes(Audio(np.zeros(count, np.float32), rate), format, None)
                    )
                    for count in (most - 1, most, most + 1)
                ]
                assert [each.status_code for each in answers] == [200, 200, 413], (rate, format)
                _, code, message = error_of(answers[2])
                assert code == "too_large"
                assert "1.5 s" in message
        assert live.service.gate.num_inside == 0


def mp3(num_samples: int, rate: int = 16_000) -> bytes:
    noise = np.random.default_rng(0).normal(0, 0.1, num_samples).astype(np.float32)
    return encode_bytes(Audio(noise, rate), "mp3", None)


@pytest.mark.parametrize("stream", [False, True])
def test_too_long_a_sound_without_a_length_is_refused_before_any_window_is_heard(
    serve: Callable[[Settings], Live], settings: Settings, stream: bool
) -> None:
    """An MP3 says nothing of its length; the answer is an error then, and no stream of events."""
    live = serve(replace(settings, max_classify_seconds=3.0))
    with live.client() as client:
        assert post(client, mp3(48_000), stream=stream, hop_seconds=0.1).status_code == 200
        heard = figure(client, "kouji_classifier_batch_rows_sum")
        assert heard == 21
        for num_samples in (48_001, 480_000):
            answer = post(client, mp3(num_samples), stream=stream, hop_seconds=0.1)
            status, code, message = error_of(answer)
            assert (status, code) == (413, "too_large")
            assert "too long" in message
        assert figure(client, "kouji_classifier_batch_rows_sum") == heard
        assert live.service.gate.num_inside == 0


def test_bytes_of_a_body(serve: Callable[[Settings], Live], settings: Settings) -> None:
    sound = wav(0.5)
    with httpx.Client() as any_client:
        body = any_client.build_request("POST", "http://a", files={"file": sound}).read()
    live = serve(replace(settings, max_body_mb=(len(body)) / 1e6))
    with live.client() as client:
        assert client.post(ROUTE, files={"file": sound}).status_code == 200
        assert client.post(ROUTE, files={"file": sound + b"\0"}).status_code == 413


def test_windows_of_a_sound(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused by the length of the sound, before a window was heard."""
    monkeypatch.setattr("kouji.serve.hearing.MAX_WINDOWS", 5)
    assert len(found(client, wav(2.0), hop_seconds=0.25)["windows"]) == 5
    status, code, message = error_of(post(client, wav(2.01), hop_seconds=0.25))
    assert (status, code) == (413, "too_large")
    assert "too many windows with hop_seconds 0.25" in message
    assert "2 s" in message
    assert error_of(post(client, mp3(32_001), hop_seconds=0.25))[:2] == (413, "too_large")
    assert figure(client, "kouji_classifier_batch_rows_sum") == 5
    assert figure(client, "kouji_classifications_total", result="refused") == 2


def test_beyond_seats_and_queue_a_caller_is_told_when_to_come_again(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    live = serve(replace(settings, serve_seats=1, serve_queue=1))
    seat = live.call(live.service.gate.enter("somebody"))
    with live.client() as client, live.client() as other, ThreadPoolExecutor(1) as beside:
        waiting = beside.submit(post, other, wav())
        live.call(until(lambda: live.service.gate.num_waiting == 1))
        refused = post(client, wav())
        assert error_of(refused)[:2] == (503, "overloaded")
        assert int(refused.headers["Retry-After"]) >= 1
        live.server.loop.call_soon_threadsafe(seat.leave)
        assert waiting.result(60).status_code == 200  # whoever was let in keeps the turn


def test_who_waits_too_long_is_told(serve: Callable[[Settings], Live], settings: Settings) -> None:
    live = serve(replace(settings, serve_seats=1, request_seconds=0.3))
    seat = live.call(live.service.gate.enter("somebody"))
    with live.client() as client:
        assert error_of(post(client, wav()))[:2] == (503, "deadline_exceeded")
        live.server.loop.call_soon_threadsafe(seat.leave)
        live.call(live.service.gate.empty())


async def until(is_so: Callable[[], bool]) -> None:
    """Return once it is so; within a minute."""
    import asyncio

    for _ in range(6000):
        if is_so():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never was so")


@pytest.mark.parametrize("stream", [False, True])
def test_who_leaves_frees_the_seat_and_the_engine(live: Live, stream: bool) -> None:
    service = live.service
    engine = service.models.get().engine
    before = engine.stats().ended["finished"]  # the window that warms the classifier
    with httpx.Client() as maker:
        said = maker.build_request(
            "POST", live.url + ROUTE, files={"file": wav(120.0)},
            data={"stream": str(stream).lower(), "hop_seconds": "0.05"},
        )  # fmt: skip
        body = said.read()
    head = f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    head += f"Content-Type: {said.headers['content-type']}\r\n\r\n"
    with Wire(live) as wire:
        wire.send(head.encode() + body)
        live.call(until(lambda: engine.stats().num_requests >= 1))
    live.call(until(lambda: service.gate.num_inside == 0 and engine.stats().num_requests == 0))
    engine.check_integrity()
    with live.client() as client:
        assert engine.stats().ended["finished"] - before < 40  # of 300 requests of 8 windows
        assert figure(client, "kouji_classifications_total", result="cancelled") == 1
        assert post(client, wav()).status_code == 200


# --- together


def test_windows_of_several_callers_share_a_batch(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    """Each sound is one window, so a batch of more than one holds several callers' windows."""
    live = serve(replace(settings, render_wait_ms=200.0, serve_seats=8))
    sounds = [wav(WINDOW_SECONDS, seed=seed) for seed in range(8)]
    with live.client() as client, ThreadPoolExecutor(8) as callers:
        alone = [found(client, sound) for sound in sounds[:2]]
        before = figure(client, "kouji_classifier_batch_rows_count")
        answers = list(callers.map(lambda sound: found(client, sound), sounds))
        batches = figure(client, "kouji_classifier_batch_rows_count") - before
        assert figure(client, "kouji_classifier_batch_rows_sum") == 10
    assert batches < len(sounds)
    for shared, single in zip(answers, alone, strict=False):
        assert shared["label"] == single["label"]
        for a, b in zip(shared["probabilities"], single["probabilities"], strict=True):
            assert a["probability"] == pytest.approx(b["probability"], abs=1e-4)


def test_speech_and_sounds_take_turns(live: Live) -> None:
    """Neither waits for the whole of the other: both kinds end well while both go on."""

    def speak(_: int) -> int:
        with live.client() as client:
            return client.post("/v1/audio/speech", json=SPEECH).status_code

    def hear(number: int) -> int:
        with live.client() as client:
            return post(client, wav(20.0, seed=number)).status_code

    with ThreadPoolExecutor(4) as callers:
        kinds = [callers.submit(work, n) for n in range(4) for work in (speak, hear)]
        assert {each.result(120) for each in kinds} == {200}
    engine = live.service.models.get().engine
    assert live.service.gate.num_inside == engine.stats().num_requests == 0


def test_whom_the_gate_let_in_the_engine_turns_not_away(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    """As many long sounds at once as there are seats, and as the engine's queue has places."""
    live = serve(replace(settings, serve_seats=16, engine_queue=16))

    def hear(number: int) -> int:
        with live.client() as client:
            return post(client, wav(8.0, seed=number), hop_seconds=0.25).status_code

    with ThreadPoolExecutor(16) as callers:
        assert set(callers.map(hear, range(16))) == {200}


# --- what is told of it


def test_what_was_heard_is_counted(client: httpx.Client) -> None:
    found(client, wav(2.0), hop_seconds=0.5)
    post(client, b"no sound")
    assert figure(client, "kouji_classifications_total", model="tiny-ears", result="finished") == 1
    assert figure(client, "kouji_classified_seconds_total", model="tiny-ears") == pytest.approx(2)
    assert figure(client, "kouji_classified_windows_total", model="tiny-ears") == 3
    assert figure(client, "kouji_classification_latency_seconds_count") == 1
    assert figure(client, "kouji_classifier_batch_rows_sum", model="tiny-ears") == 3
    assert figure(client, "kouji_requests_total", route=ROUTE, status="200") == 1
    assert figure(client, "kouji_requests_total", route=ROUTE, status="400") == 1


def test_the_log_has_the_model_and_no_name_of_a_file(
    client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        found(client, wav())
        post(client, b"no sound")
        client.get("/livez")
    told = "\n".join(str(vars(record)) for record in caplog.records)
    assert "tiny-ears" in told
    assert "secret-name" not in told


def test_a_page_of_a_named_origin_may_read_the_answer(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    live = serve(replace(settings, cors_origins="https://app.example"))
    with live.client(headers={"Origin": "https://app.example"}) as client:
        answer = post(client, wav(0.5))
        assert answer.headers["Access-Control-Allow-Origin"] == "https://app.example"
        assert "X-Kouji-Model" in answer.headers["Access-Control-Expose-Headers"]
    with live.client(headers={"Origin": "https://elsewhere.example"}) as client:
        assert post(client, wav(0.5)).status_code == 403
