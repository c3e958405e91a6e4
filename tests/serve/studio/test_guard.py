"""What stands before Gradio, asked by programs: who may call what, and which files are read."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from live_server import Live

from kouji.serve.keys import KeyRing
from kouji.serve.service import SpeakCall
from kouji.serve.ui.sessions import COOKIE, MAX_SESSIONS_A_KEY, Sessions
from kouji.serve.ui.takes import Take

CALLS = ("/config", "/gradio_api/queue/data?session_hash=x", "/gradio_api/heartbeat/x",
         "/studio/takes", "/studio/jobs", "/studio/runs", "/studio/system")  # fmt: skip


@pytest.fixture
def visitor_client(live: Live) -> Iterator[httpx.Client]:
    """A program with the cookie of a page."""
    with live.client() as client:
        assert client.get("/").status_code == 200
        assert COOKIE in client.cookies
        yield client


@pytest.fixture(scope="module")
def keyed(
    start: Callable[..., Live], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Live, KeyRing]:
    """A server that wants a key, and its keys."""
    home = tmp_path_factory.mktemp("keyed-home")
    ring = KeyRing(home)
    ring.add("first", ("speak", "voices", "jobs"))
    return start(home=home), ring


def test_the_routes_of_the_api_stay_in_front(live: Live) -> None:
    with live.client() as client:
        wrong_method = client.get("/v1/audio/speech")
        assert wrong_method.status_code == 405
        assert wrong_method.json()["error"]["code"] == "method_not_allowed"
        nowhere = client.get("/v1/nothing")
        assert (nowhere.status_code, nowhere.json()["error"]["code"]) == (404, "not_found")
        assert client.get("/livez").json() == {"status": "alive"}
        spoken = client.post(
            "/v1/audio/speech",
            json={"input": "Hi.", "voice": "sample", "model": "mini", "response_format": "wav"},
        )
        assert spoken.status_code == 200


@pytest.mark.parametrize("path", CALLS)
def test_nothing_is_called_without_the_page_s_cookie(live: Live, path: str) -> None:
    with live.client() as client:
        assert client.get(path).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/info", "/gradio_api/openapi.json", "/gradio_api/call/begin",
        "/gradio_api/run/begin", "/gradio_api/api/begin", "/gradio_api/proxy=http://127.0.0.1/x",
        "/gradio_api/file=/etc/passwd", "/gradio_api/file=http://127.0.0.1/",
        "/gradio_api/file/etc/passwd", "/gradio_api/component_server", "/gradio_api/runs",
        "/gradio_api/deep_link?session_hash=x", "/gradio_api/stream/x", "/gradio_api/dev/reload",
        "/gradio_api/process_recording", "/gradio_api/vibe-code", "/monitoring", "/login",
        "/token", "/gradio_api/user", "/gradio_api/token",
    ],
)  # fmt: skip
def test_gradios_other_doors_are_closed(visitor_client: httpx.Client, path: str) -> None:
    for method in ("GET", "POST"):
        answer = visitor_client.request(method, path)
        assert answer.status_code in (404, 405), (method, path, answer.text[:200])
        assert "Traceback" not in answer.text


@pytest.mark.parametrize(
    "path",
    ["/static/../../../../etc/passwd", "/static/%2e%2e/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
     "/assets/..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd", "/svelte/..%2f..%2f..%2fetc%2fpasswd",
     "/studio/static/..%2fmount.py", "/studio/static/%2e%2e/mount.py"],
)  # fmt: skip
def test_no_other_file_is_served(visitor_client: httpx.Client, path: str) -> None:
    answer = visitor_client.get(path)
    assert answer.status_code in (400, 403, 404), answer.text[:200]
    assert "root:" not in answer.text
    assert "mount_studio" not in answer.text


def test_an_upload_is_read_by_its_sender_alone(live: Live, visitor_client: httpx.Client) -> None:
    sent = visitor_client.post("/gradio_api/upload", files={"files": ("a.txt", b"a secret")})
    (path,) = sent.json()
    assert visitor_client.get(f"/gradio_api/file={path}").text == "a secret"
    with live.client() as other:
        other.get("/")
        assert other.get(f"/gradio_api/file={path}").status_code == 404
    with live.client() as nobody:
        assert nobody.get(f"/gradio_api/file={path}").status_code == 401


@pytest.mark.parametrize("where", ["home", "foreign address"])
def test_a_call_names_only_files_its_browser_has_sent(
    live: Live, visitor_client: httpx.Client, where: str
) -> None:
    """Gradio would copy or fetch them before our handler is asked."""
    secret = live.service.settings.home / "keys-of-others.json"
    secret.write_text("secret")
    path = str(secret) if where == "home" else "http://example.com/x.wav"
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    for data in ([file], [[file]], [{"a": file}], [{**file, "path": ["x"]}]):
        call = {"data": data, "fn_index": 0, "session_hash": "x"}
        assert visitor_client.post("/gradio_api/queue/join", json=call).status_code == 404
    (own,) = visitor_client.post("/gradio_api/upload", files={"files": ("a.txt", b"mine")}).json()
    call["data"] = [{**file, "path": own}]
    assert visitor_client.post("/gradio_api/queue/join", json=call).status_code == 200


def test_another_page_cannot_sign_anybody_in(keyed: tuple[Live, KeyRing]) -> None:
    live, ring = keyed
    _, key = ring.add("of-an-attacker", ("speak",))
    with live.client() as client:
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "same-site"}):
            answer = client.post("/studio/login", data={"key": key}, headers=headers)
            assert (answer.status_code, dict(client.cookies)) == (403, {})
        own = {"Origin": live.url, "Sec-Fetch-Site": "same-origin"}
        assert client.post("/studio/login", data={"key": key}, headers=own).status_code == 303


def test_uploads_are_limited(live: Live, visitor_client: httpx.Client) -> None:
    most = int(live.service.settings.max_body_mb * 1e6)
    answer = visitor_client.post("/gradio_api/upload", files={"files": ("a", bytes(most + 1))})
    assert answer.status_code == 413


def test_the_page_takes_no_parameters(visitor_client: httpx.Client) -> None:
    answer = visitor_client.get("/?deep_link=../../etc/passwd", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_the_page_names_no_other_host(visitor_client: httpx.Client) -> None:
    page = visitor_client.get("/").text
    config = re.sub(r"window\.gradio_api_info = .*?;</script>", "", page)
    hosts = set(re.findall(r"https?://([\w.-]+)", config)) - {"127.0.0.1"}
    assert hosts <= {"www.w3.org"}, hosts


def test_languages_follow_the_browser_and_can_be_switched(live: Live) -> None:
    with live.client() as client:
        accepted = {"accept-language": "fr, zh-TW;q=0.9, en;q=0.8"}
        assert "后台任务" in client.get("/", headers=accepted).text
        assert "后台任务" not in client.get("/", headers={"accept-language": "fr"}).text
        client.post("/studio/language", data={"language": "zh"})
        assert "后台任务" in client.get("/", headers={"accept-language": "en"}).text


def test_a_key_opens_the_studio_and_a_revoked_one_closes_it(keyed: tuple[Live, KeyRing]) -> None:
    live, ring = keyed
    record, key = ring.add("visitor", ("speak",))
    with live.client() as client:
        form = client.get("/")
        assert 'name="key"' in form.text
        assert COOKIE not in client.cookies
        wrong = client.post("/studio/login", data={"key": "kouji_wrong"})
        assert 'role="alert"' in wrong.text
        assert COOKIE not in client.cookies
        client.post("/studio/login", data={"key": key})
        assert key not in client.cookies[COOKIE]
        assert 'id="kj-speak"' in client.get("/").text or "gradio_config" in client.get("/").text
        assert client.get("/studio/takes").status_code == 200
        refused = client.get("/studio/runs")
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "not_allowed")
        ring.revoke(record.id)
        assert client.get("/studio/takes").status_code == 401
        assert client.post("/gradio_api/queue/join", json={}).status_code == 401
        assert 'name="key"' in client.get("/").text


def test_signing_out_ends_the_session(keyed: tuple[Live, KeyRing]) -> None:
    live, ring = keyed
    _, key = ring.add("leaver", ("speak",))
    with live.client() as client:
        client.post("/studio/login", data={"key": key})
        session = client.cookies[COOKIE]
        client.post("/studio/logout")
        client.cookies.set(COOKIE, session)
        assert client.get("/studio/takes").status_code == 401


def test_a_cookie_is_hidden_from_scripts_and_other_sites(live: Live) -> None:
    with live.client() as client:
        cookie = client.get("/").headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie


def test_a_take_belongs_to_its_session_and_ends_with_its_page(live: Live) -> None:
    """A page that closes frees the seat; strangers neither see nor hear the take."""
    sessions = live.server.config.app.state.studio_sessions
    with live.client() as client, live.client() as stranger:
        client.get("/")
        stranger.get("/")
        session = sessions.find(f"{COOKIE}={client.cookies[COOKIE]}")

        async def begin() -> Take:
            voice = await live.service.voice("sample", live.service.identify(None))
            call = SpeakCall("A long text. " * 200, voice)
            utterance = await live.service.speak(call, live.service.identify(None))
            take = Take(utterance, call.text, "page-1")
            session.keep(take)
            return take

        take = live.call(begin())
        assert stranger.get(f"/studio/takes/{take.id}/news").status_code == 404
        news = client.get(f"/studio/takes/{take.id}/news").json()
        assert news["peaks"]
        with client.stream("GET", "/gradio_api/heartbeat/page-1") as beat:
            next(beat.iter_raw())

        async def over() -> tuple[str, int]:
            await take.ended()
            return take.state, live.service.gate.num_inside

        assert live.call(asyncio.wait_for(over(), 20)) == ("stopped", 0)
        end = client.get(f"/studio/takes/{take.id}/news?since=9999").json()
        assert end["state"] == "stopped"


def test_every_sound_carries_its_labels(live: Live, visitor_client: httpx.Client) -> None:
    from kouji.audio.labels import read_labels

    take = speak(live, visitor_client, "Short.")
    for name in ("wav", "mp3", "flac", "opus"):
        answer = visitor_client.get(f"/studio/takes/{take}/sound.{name}")
        assert answer.headers["X-AI-Generated"] == "true"
        assert read_labels(answer.content).is_ai_generated
    streamed = visitor_client.get(f"/studio/takes/{take}/stream.wav")
    assert streamed.headers["X-AI-Generated"] == "true"
    assert read_labels(streamed.content).is_ai_generated
    part = visitor_client.get(f"/studio/takes/{take}/sound.wav", headers={"Range": "bytes=4-7"})
    assert (part.status_code, len(part.content)) == (206, 4)
    picture = visitor_client.get(f"/studio/takes/{take}/spectrogram.png")
    assert picture.content.startswith(b"\x89PNG")


def test_takes_share_a_budget_of_memory(
    live: Live, visitor_client: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kouji.serve.ui import sessions as module

    speak(live, visitor_client, "One.")
    speak(live, visitor_client, "Two.")
    sessions = live.server.config.app.state.studio_sessions
    mine = sessions.find(f"{COOKIE}={visitor_client.cookies[COOKIE]}")
    newest = next(reversed(mine.takes.values()))
    monkeypatch.setattr(module, "MAX_TAKE_BYTES", newest.num_bytes)

    async def keep_again() -> None:
        sessions.keep(mine, newest)

    live.call(keep_again())
    assert list(mine.takes) == [newest.id]
    assert sessions.num_bytes == newest.num_bytes


def speak(live: Live, client: httpx.Client, text: str) -> str:
    """A finished take of the client's session."""
    session = live.server.config.app.state.studio_sessions.find(
        f"{COOKIE}={client.cookies[COOKIE]}"
    )

    async def run() -> str:
        caller = live.service.identify(None)
        call = SpeakCall(text, await live.service.voice("sample", caller))
        take = Take(await live.service.speak(call, caller), text, "page")
        session.keep(take)
        await take.ended()
        return take.id

    return str(live.call(run()))


def test_a_browser_s_event_speaks_only_in_its_own_name(live: Live, tmp_path: Path) -> None:
    """Gradio's queue, called as the page calls it: a file that was not sent is not read."""
    secret = tmp_path / "secret.wav"
    secret.write_bytes(b"RIFF")
    with live.client() as client:
        client.get("/")
        config = client.get("/config").json()
        examine = _event_after(config, "change", "audio")
        file = {"path": str(secret), "meta": {"_type": "gradio.FileData"}}
        body = {"data": [file], "fn_index": examine, "session_hash": "mine"}
        joined = client.post("/gradio_api/queue/join", json=body)
        told = _told(client, "mine") if joined.status_code == 200 else joined.text
        assert 'success":true' not in told.replace(" ", "")
        assert "Traceback" not in told


def _event_after(config: dict[str, Any], event: str, kind: str) -> int:
    """The number of the event of the first component of a kind."""
    kinds = {each["id"]: each["type"] for each in config["components"]}
    for dependency in config["dependencies"]:
        for target, name in dependency["targets"]:
            if name == event and kinds.get(target) == kind:
                return int(dependency["id"])
    raise AssertionError(f"no {event} of {kind}")


def _told(client: httpx.Client, session: str) -> str:
    """What the queue says until the event is over."""
    told = ""
    with client.stream("GET", "/gradio_api/queue/data", params={"session_hash": session}) as stream:
        for line in stream.iter_lines():
            told += line
            if "process_completed" in line or "unexpected_error" in line:
                break
    return told


def test_a_key_has_its_share_of_sessions(keyed: tuple[Live, KeyRing]) -> None:
    live, ring = keyed
    ann, bob = (ring.add(name, ("speak",))[1] for name in ("sits-ann", "sits-bob"))
    sessions = Sessions(live.service)
    bobs, first = sessions.open(bob), sessions.open(ann)
    for _ in range(MAX_SESSIONS_A_KEY):
        last = sessions.open(ann)
    assert sessions.find(f"{COOKIE}={first.name}") is None
    assert sessions.find(f"{COOKIE}={last.name}") is last
    assert sessions.find(f"{COOKIE}={bobs.name}") is bobs
