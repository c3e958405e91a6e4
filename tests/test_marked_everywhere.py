"""Every way sound can leave Kouji: each is listed here, and each is tried.

A route or command that is not listed fails the first tests; one that is listed as speaking must
give sound that carries the watermark and, where the format has room, the labels; must leave an
audit line under the mark's number; and must refuse a voice without consent.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import pytest
import typer
from converting_mini import ConvertingMini
from live_server import Live, Running
from starlette.routing import Mount
from studio_program import Program
from tiny_cosyvoice import make_tiny_cosyvoice

from kouji.api import TTS
from kouji.audio.labels import read_labels
from kouji.audio.load import load_audio
from kouji.audio.watermark import detect
from kouji.cli.app import app as commands
from kouji.cli.job_speakers import LocalSpeakers
from kouji.config import Settings
from kouji.jobs.centre import JobCentre
from kouji.jobs.job import JobOptions
from kouji.models.mini.weights import SHIPPED, load_checkpoint
from kouji.serve.models import ModelPool, open_models
from kouji.types import Audio
from kouji.voices import VoiceStore
from kouji.voices.sample import sample_path, sample_voice
from kouji.voices.voice import Voice

TEXT = "The evening train was late again, so we left the station and walked along the river."
UNOWNED = "unowned"  # a voice nobody gave consent for


class Sound(NamedTuple):
    """What came out: sound, its number where the answer tells it, and whether labels fit in."""

    status: int
    audio: Audio | None = None
    raw: bytes = b""
    number: str | None = None
    has_room: bool = True
    is_told: bool = True  # by a header or an event


Way = Callable[[Live, str], Sound]


def _whole(answer: httpx.Response, *, has_room: bool = True) -> Sound:
    if answer.status_code != 200:
        return Sound(answer.status_code)
    return Sound(
        200,
        load_audio(answer.content),
        answer.content,
        answer.headers.get("X-Kouji-Watermark"),
        has_room,
        answer.headers.get("X-AI-Generated") == "true",
    )


def _pcm(data: bytes, rate: int, number: str | None, is_told: bool = True) -> Sound:
    samples = np.frombuffer(data, "<i2").astype(np.float32) / 32768
    return Sound(200, Audio(samples, rate), data, number, has_room=False, is_told=is_told)


def _speech(live: Live, voice: str) -> Sound:
    body = {"model": "tts-1", "input": TEXT, "voice": voice, "response_format": "mp3"}
    with live.client() as client:
        return _whole(client.post("/v1/audio/speech", json=body))


def _batch(live: Live, voice: str) -> Sound:
    one = {"input": TEXT, "voice": voice, "response_format": "wav"}
    with live.client() as client:
        answer = client.post("/v1/audio/speech/batch", json={"requests": [one]})
    line = json.loads(answer.text.splitlines()[0])
    if line["status"] != 200:
        return Sound(line["status"])
    raw = base64.b64decode(line["audio"])
    return Sound(200, load_audio(raw), raw)


def _socket(live: Live, voice: str) -> Sound:
    from websockets.sync.client import connect

    url = live.url.replace("http://", "ws://") + "/v1/audio/speech/stream"
    sound, number, error = b"", None, None
    with connect(url) as socket:
        socket.send(json.dumps({"type": "session", "voice": voice, "response_format": "pcm"}))
        socket.send(json.dumps({"type": "text", "text": TEXT}))
        socket.send(json.dumps({"type": "end"}))
        for message in socket:
            if isinstance(message, bytes):
                sound += message
                continue
            event = json.loads(message)
            number = event.get("watermark", number)
            error = event if event["type"] == "error" else error
    return Sound(403) if error else _pcm(sound, 24_000, number)


def _job(live: Live, voice: str) -> Sound:
    lines = {"lines": [{"id": "a", "text": TEXT}], "voice": voice}
    return _job_result(live, lambda client: client.post("/v1/jobs/lines", json=lines), "audio")


def _job_file(live: Live, voice: str) -> Sound:
    def hand_in(client: httpx.Client) -> httpx.Response:
        return client.post(
            "/v1/jobs", files={"file": ("text.txt", TEXT)}, data={"voice": voice, "seed": "5"}
        )

    return _job_result(live, hand_in, "lines")


def _job_result(live: Live, hand_in: Callable[[httpx.Client], httpx.Response], part: str) -> Sound:
    with live.client() as client:
        answer = hand_in(client)
        if answer.status_code != 202:
            return Sound(answer.status_code)
        base = f"/v1/jobs/{answer.json()['id']}"
        for _ in client.get(f"{base}/events").iter_lines():
            pass
        if client.get(base).json()["failed"]:
            return Sound(403)
        manifest = json.loads(client.get(f"{base}/result/manifest").text.splitlines()[0])
        if part == "lines":
            return _whole(client.get(f"{base}/result/lines/{Path(manifest['file']).name}"))
        return _whole(client.get(f"{base}/result/{part}"))


def _api_v2(method: str) -> Way:
    def way(live: Live, voice: str) -> Sound:
        asked = {
            "text": TEXT, "text_lang": "en", "ref_audio_path": voice, "prompt_lang": "en",
            "media_type": "wav",
        }  # fmt: skip
        with live.client() as client:
            if method == "GET":
                return _whole(client.get("/tts", params=asked))
            return _whole(client.post("/tts", json=asked))

    return way


def _cosyvoice(method: str, name: str) -> Way:
    def way(live: Live, voice: str) -> Sound:
        fields = {
            "tts_text": TEXT, "prompt_text": "his letter is", "spk_id": voice,
            "instruct_text": "speak calmly",
        }  # fmt: skip
        with live.client() as client:
            answer = client.request(
                method, f"/inference_{name}", data=fields,
                files={"prompt_wav": ("a.ogg", sample_path().read_bytes())},
            )  # fmt: skip
        if answer.status_code != 200:
            return Sound(answer.status_code)
        return _pcm(
            answer.content,
            int(answer.headers["X-Sample-Rate"]),
            answer.headers["X-Kouji-Watermark"],
            answer.headers["X-AI-Generated"] == "true",
        )

    return way


def _conversion(live: Live, voice: str) -> Sound:
    recording = {"file": ("a.ogg", sample_path().read_bytes())}
    with live.client() as client:
        data = {"voice": voice, "response_format": "flac"}
        return _whole(client.post("/v1/audio/conversions", files=recording, data=data))


def _predict(path: str) -> Way:
    def way(live: Live, voice: str) -> Sound:
        del voice  # a recording is sent along
        sample = base64.b64encode(sample_path().read_bytes()).decode()
        data = ["3s极速复刻", f"data:audio/ogg;base64,{sample}", TEXT, ""]
        with live.client() as client:
            answer = client.post(path, json={"data": data})
            if answer.status_code != 200:
                return Sound(answer.status_code)
            return _whole(client.get(answer.json()["data"][0]))

    return way


def _studio_take(button: str, tab: str, box: str) -> Way:
    """A button of the studio that speaks in the chosen voice."""

    def way(live: Live, voice: str) -> Sound:
        with live.client() as client:
            page = Program(client)
            page.press(tab, "sample", event="select")  # the lists of voices as they are now
            if box == "speak":
                pressed = page.press(button, TEXT, voice, "mini", "", "", "", 1.0, 0)
            else:
                pressed = page.press(button, voice, TEXT)
            if isinstance(pressed, str):
                assert "consent" in pressed
                return Sound(403)
            return _whole(client.get(f"/studio/takes/{pressed[0]['id']}/sound.mp3"))

    return way


def _studio_job(live: Live, voice: str) -> Sound:
    with live.client() as client:
        page = Program(client)
        page.press("kj-tab-jobs", "sample", event="select")
        before = {job["id"] for job in client.get("/studio/jobs").json()}
        file = page.upload("lines.txt", TEXT.encode())
        pressed = page.press("kj-job-start", file, voice, "wav", "", 9)
        if isinstance(pressed, str):
            assert "consent" in pressed
            return Sound(403)
        (new,) = {job["id"] for job in client.get("/studio/jobs").json()} - before
        for _ in client.get(f"/v1/jobs/{new}/events").iter_lines():
            pass
        if client.get(f"/v1/jobs/{new}").json()["failed"]:
            return Sound(403)
        sound = _whole(client.get(f"/studio/jobs/{new}/files/joined"))
        client.delete(f"/v1/jobs/{new}")
        return sound


# Buttons of the studio: each asks Gradio's queue, none has a route of its own.
SPEAKING_BUTTONS: dict[str, Way] = {
    "kj-speak": _studio_take("kj-speak", "kj-tab-speak", "speak"),
    "kj-hear": _studio_take("kj-hear", "kj-tab-voices", "hear"),
    "kj-job-start": _studio_job,
}
SILENT_BUTTONS = {
    "kj-stop", "kj-challenge", "kj-keep", "kj-delete", "kj-hear-sound", "kj-hear-example",
    "kj-run-start", "kj-doctor",
}  # fmt: skip
SPEAKING: dict[str, Way] = {
    "POST /v1/audio/speech": _speech,
    "POST /v1/audio/speech/batch": _batch,
    "POST /v1/audio/conversions": _conversion,
    "WS /v1/audio/speech/stream": _socket,
    "POST /v1/jobs": _job_file,
    "POST /v1/jobs/lines": _job,
    "GET /tts": _api_v2("GET"),
    "POST /tts": _api_v2("POST"),
    **{
        f"{method} /inference_{name}": _cosyvoice(method, name)
        for method in ("GET", "POST")
        for name in ("zero_shot", "cross_lingual", "sft", "instruct", "instruct2")
    },
    "POST /api/predict": _predict("/api/predict"),
    "POST /api/predict/": _predict("/api/predict/"),
}
# These bring the sound of a recording, which policy `verify` refuses, not of a kept voice.
BY_RECORDING = {
    *(f"{m} /inference_{n}" for m in ("GET", "POST") for n in ("zero_shot", "cross_lingual")),
    *(f"{m} /inference_instruct2" for m in ("GET", "POST")),
    "POST /api/predict",
    "POST /api/predict/",
}
# Sound that was made, marked and written down before; fetched by the ways above.
FETCHING = {
    "GET /studio/takes/{take_id}/stream.wav",
    "GET /studio/takes/{take_id}/sound.{format}",
    "GET /studio/jobs/{job_id}/files/{kind}",
    "GET /v1/jobs/{job_id}/result",
    "GET /v1/jobs/{job_id}/result/{part}",
    "GET /v1/jobs/{job_id}/result/lines/{file_name}",
    "GET /api/predict/files/{name}",
    "HEAD /api/predict/files/{name}",
}
SILENT = {
    "GET /livez", "HEAD /livez", "GET /readyz", "HEAD /readyz", "GET /metrics",
    "GET /v1/models", "GET /v1/models/{model}",
    "GET /v1/audio/voices", "POST /v1/audio/voices",
    "GET /v1/audio/voices/{voice}", "DELETE /v1/audio/voices/{voice}",
    "POST /v1/audio/voice_consents/challenges",
    "GET /v1/audio/voice_consents", "POST /v1/audio/voice_consents",
    "GET /v1/audio/voice_consents/{consent}", "POST /v1/audio/voice_consents/{consent}",
    "DELETE /v1/audio/voice_consents/{consent}",
    "GET /v1/jobs", "GET /v1/jobs/{job_id}", "GET /v1/jobs/{job_id}/events",
    "POST /v1/jobs/{job_id}/{action}", "DELETE /v1/jobs/{job_id}",
    "POST /v1/watermark/detect", "POST /v1/audio/classifications",
    "GET /set_gpt_weights", "GET /set_sovits_weights", "GET /set_refer_audio",
    "GET /control", "POST /control",
    "GET /studio/static/{name}", "POST /studio/login", "POST /studio/logout",
    "POST /studio/language", "GET /studio/takes", "GET /studio/takes/{take_id}/news",
    "GET /studio/takes/{take_id}/subtitles.{format}",
    "GET /studio/takes/{take_id}/spectrogram.png",
    "GET /studio/jobs", "POST /studio/jobs/{job_id}/{action}",
    "GET /studio/runs", "GET /studio/runs/{name}", "POST /studio/runs/{name}/stop",
    "GET /studio/system",
    "GET /studio/example.wav",  # a ticking clock and rain, nobody's voice
    "GET /openapi.json", "HEAD /openapi.json",
    "MOUNT /",  # Gradio's page; what makes it speak are its buttons
}  # fmt: skip
SPEAKING_COMMANDS = {
    "say": ["say", TEXT, "--voice", "{voice}", "--out", "{out}"],
    "job run": ["job", "run", "{text}", "--voice", "{voice}", "--out", "{folder}"],
    "job resume": ["job", "resume", "{job}"],
    "demo": ["demo", "--out", "{folder}"],
    "convert": [
        "convert",
        "{source}",
        "--voice",
        "{voice}",
        "--model",
        "{cosyvoice}",
        "--out",
        "{out}",
    ],
}
# Evaluation and training write figures and curves; what they speak stays in memory, or is a
# training voice's sample in the run's own log.
SILENT_COMMANDS = {
    "pull", "load-check", "serve", "doctor", "slice", "prepare", "train", "finetune", "align",
    "export", "export-recogniser", "pack", "evaluate", "bench", "voice add", "voice list",
    "voice show", "voice remove", "voice check", "voice challenge", "voice consent", "voice revoke",
    "voice import", "voice export", "export-graphs",
    "job list", "job show", "job pause", "job cancel", "job remove",
    "key add", "key list", "key revoke", "watermark detect",
    "audit verify", "audit show", "audit find",
    "classify prepare", "classify train", "classify predict", "classify evaluate",
    "classify export",
}  # fmt: skip


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The shipped model behind a real server, and a voice without consent in its home."""
    home = tmp_path_factory.mktemp("home")
    VoiceStore(home).add(
        Voice.from_reference(sample_voice().reference, name=UNOWNED, transcript="his letter is")
    )
    settings = Settings(home=home, threads=1)
    with Running(settings, _open_with_converter, studio=True) as running:
        yield running


def _open_with_converter(settings: Settings) -> ModelPool:
    pool = open_models(settings)
    family = ConvertingMini(load_checkpoint(SHIPPED), precision="float32")
    tts = TTS(family, settings, pool.get().engine)
    return ModelPool(
        {**{name: pool.get(name) for name in pool.names}, "converter": tts}, tts.engine
    )


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """The same under the policy that asks every recording for a verified consent."""
    settings = Settings(home=tmp_path_factory.mktemp("strict"), threads=1, consent="verify")
    with Running(settings, open_models) as running:
        yield running


def test_every_route_is_listed(live: Live) -> None:
    """Of the very app that is served, the studio included."""
    found = set(_ways_in(live.server.config.app.routes))
    listed = {*SPEAKING, *FETCHING, *SILENT}
    assert found == listed, f"say what these do: {sorted(found ^ listed)}"


def _ways_in(routes: Iterable[Any]) -> Iterator[str]:
    for route in routes:
        if (included := getattr(route, "original_router", None)) is not None:
            yield from _ways_in(included.routes)
        elif isinstance(route, Mount):
            yield f"MOUNT {route.path or '/'}"
        else:
            for method in getattr(route, "methods", None) or ("WS",):
                yield f"{method} {route.path}"


def test_every_button_of_the_studio_is_listed(live: Live) -> None:
    with live.client() as client:
        found = Program(client).buttons()
    assert found == {*SPEAKING_BUTTONS, *SILENT_BUTTONS}, "say what the new button does"


def test_every_command_is_listed() -> None:
    def walk(group: object, before: str = "") -> Iterator[str]:
        for name, command in group.commands.items():  # type: ignore[attr-defined]
            if hasattr(command, "commands"):
                yield from walk(command, f"{before}{name} ")
            else:
                yield before + name

    found = set(walk(typer.main.get_command(commands)))
    assert found == {*SPEAKING_COMMANDS, *SILENT_COMMANDS}, "say what the new command does"


@pytest.mark.parametrize("name", {**SPEAKING, **SPEAKING_BUTTONS})
def test_what_a_route_speaks_is_marked_and_written_down(live: Live, name: str) -> None:
    sound = {**SPEAKING, **SPEAKING_BUTTONS}[name](live, "sample")
    assert sound.status == 200
    assert sound.audio is not None
    found = detect(sound.audio)
    assert found.found, f"{name} sent sound without a watermark"
    assert found.payload is not None
    number = f"{found.payload:08x}"
    assert sound.number in (None, number)
    assert sound.is_told
    if sound.has_room:
        labels = read_labels(sound.raw)
        assert labels.is_ai_generated
        assert labels.aigc["ProduceID"] == number
    assert _audit_numbers(live.service.settings.home)[number] == "speak"


@pytest.mark.parametrize("name", sorted({*SPEAKING, *SPEAKING_BUTTONS} - BY_RECORDING))
def test_no_route_speaks_in_a_voice_without_consent(live: Live, name: str) -> None:
    before = len(_audit(live.service.settings.home))
    sound = {**SPEAKING, **SPEAKING_BUTTONS}[name](live, UNOWNED)
    assert sound.audio is None
    assert 400 <= sound.status < 500
    after = _audit(live.service.settings.home)[before:]
    assert not [line for line in after if line["event"] == "speak"]


@pytest.mark.parametrize("name", sorted(BY_RECORDING))
def test_no_route_imitates_a_recording_nobody_verified(strict: Live, name: str) -> None:
    # Without keys this machine's own callers hold every scope; take away the one for this.
    key = strict.service.admission.keys.add(f"key {name}", scopes=("speak",))[1]
    inner = strict.client

    class Keyed(Live):
        def client(self, **options: object) -> httpx.Client:
            return inner(headers={"Authorization": f"Bearer {key}"}, **options)

    sound = SPEAKING[name](Keyed(strict.url, strict.service, strict.server), "sample")
    assert sound.audio is None
    assert sound.status in (400, 403)


@pytest.mark.parametrize("name", SPEAKING_COMMANDS)
def test_what_a_command_speaks_is_marked_and_written_down(name: str, tmp_path: Path) -> None:
    assert _run(name, "sample", tmp_path).returncode == 0
    sounds = _sounds_in(tmp_path)
    assert sounds
    for path in sounds:
        found = detect(load_audio(path))
        assert found.found, f"{path.name} carries no watermark"
        assert read_labels(path).is_ai_generated
        assert f"{found.payload:08x}" in _audit_numbers(tmp_path / "home")


@pytest.mark.parametrize("name", [n for n in SPEAKING_COMMANDS if n != "demo"])
def test_no_command_speaks_in_a_voice_without_consent(name: str, tmp_path: Path) -> None:
    """The demo speaks in the packaged voice alone."""
    store = VoiceStore(tmp_path / "home")
    store.add(Voice.from_reference(sample_voice().reference, name=UNOWNED, transcript="his letter"))
    ended = _run(name, UNOWNED, tmp_path)
    assert ended.returncode != 0
    assert name.startswith("job") or "consent" in ended.stderr  # of a job its lines tell
    assert not _sounds_in(tmp_path)
    assert not [line for line in _audit(tmp_path / "home") if line["event"] == "speak"]


def _run(name: str, voice: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command that speaks, in a process of its own; `home` in the folder is its home."""
    text, home = folder / "text.txt", folder / "home"
    text.write_text(TEXT, "utf-8")
    given: dict[str, object] = {"out": folder / "out.flac", "folder": folder / "out", "text": text,
                                "source": sample_path(), "voice": voice}  # fmt: skip
    if name == "convert":
        pytest.importorskip("kouji.models.cosyvoice.family")
        given["cosyvoice"] = make_tiny_cosyvoice(folder / "cosyvoice")
    if name == "job resume":
        settings = Settings(home=home)
        with JobCentre(settings, LocalSpeakers(settings)) as centre:
            options = JobOptions(voice=voice, out=folder / "out")
            given["job"] = centre.submit("a.txt", TEXT.encode(), options, is_begun=False).id
    arguments = [part.format(**given) for part in SPEAKING_COMMANDS[name]]
    environment = {**os.environ, "KOUJI_HOME": str(home), "KOUJI_THREADS": "1"}
    command = [sys.executable, "-m", "kouji", *arguments]
    return subprocess.run(command, env=environment, text=True, stderr=subprocess.PIPE, timeout=300)


def _sounds_in(folder: Path) -> list[Path]:
    """What a command left outside its home."""
    found = [path for path in folder.rglob("*") if path.suffix in (".wav", ".flac")]
    return [path for path in found if folder / "home" not in path.parents]


def _audit(home: Path) -> list[dict[str, str]]:
    path = home / "audit.jsonl"
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines]


def _audit_numbers(home: Path) -> dict[str, str]:
    """Events by the watermark number of their line; no line holds text."""
    lines = _audit(home)
    assert TEXT[:20] not in json.dumps(lines)
    return {str(line.get("watermark")): str(line["event"]) for line in lines}
