"""Recordings sent along: data URLs, uploads, URLs; nobody is led to an address inside."""

from __future__ import annotations

import asyncio
import base64
import threading
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from live_server import Live

from kouji.config import Settings
from kouji.errors import KoujiError, NotAllowed, TooLarge, UnreadableAudio, UsageError
from kouji.serve.addresses import Place, check_url, is_public
from kouji.serve.caller import LOCAL, Caller
from kouji.serve.fetching import Fetcher, Streams
from kouji.serve.references import InlineReference, References, decode_data_url
from kouji.voices.sample import sample_path

HOSTS = "voices.example.org, files.example.org:8443, http://old.example.org"
PUBLIC = "93.184.216.34"


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://voices.example.org/a.wav?x=1", ("https", "voices.example.org", 443)),
        ("https://VOICES.example.org./a.wav#part", ("https", "voices.example.org", 443)),
        ("https://files.example.org:8443/", ("https", "files.example.org", 8443)),
        ("http://old.example.org", ("http", "old.example.org", 80)),
    ],
)
def test_allowed_urls(url: str, place: tuple[str, str, int]) -> None:
    found = check_url(url, HOSTS)
    assert (found.scheme, found.host, found.port) == place
    assert found.target.startswith("/")
    assert "#" not in found.target


@pytest.mark.parametrize(
    "url",
    [
        "http://voices.example.org/a.wav",  # https was named
        "https://voices.example.org:8443/",
        "https://files.example.org/",
        "https://voices.example.org:0/",
        "https://voices.example.org.evil.net/",
        "https://evil.net/voices.example.org",
        "https://evil.net/#voices.example.org",
        "https://evil.net?voices.example.org",
        "https://voices.example.org@evil.net/",
        "https://user:secret@voices.example.org/",
        "https://voices.example.org\\@evil.net/",
        "https://voices.example.org\t.evil.net/",
        "https://voices.example.org%2eevil.net/",
        "https://voices.example.org:80a/",
        "https://voices。example。org/",
        "https://127.0.0.1/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://localhost/",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "ftp://voices.example.org/",
        "gopher://voices.example.org/",
        "//voices.example.org/",
        "https://",
        "https://voices.example.org/" + "a" * 3000,
        "",
    ],
)
def test_every_other_url_is_refused(url: str) -> None:
    with pytest.raises((NotAllowed, UsageError)):
        check_url(url, HOSTS)
    with pytest.raises((NotAllowed, UsageError)):
        check_url(url, "")


@pytest.mark.parametrize("address", [PUBLIC, "2606:2800:220:1:248:1893:25c8:1946", "8.8.8.8"])
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    "127.0.0.1 127.8.8.8 10.0.0.1 172.16.0.1 192.168.1.1 169.254.169.254 100.64.0.1 0.0.0.0 "
    "224.0.0.1 239.1.1.1 240.0.0.1 255.255.255.255 192.0.0.1 192.0.2.1 198.18.0.1 203.0.113.1 "
    ":: ::1 fe80::1 fe80::1%eth0 fc00::1 fd12::1 fec0::1 ff02::1 ::ffff:8.8.8.8 ::ffff:127.0.0.1 "
    "::127.0.0.1 64:ff9b::7f00:1 64:ff9b:1::1 2002:7f00:1:: 2001::1 2001:db8::1 nonsense".split(),
)
def test_addresses_inside(address: str) -> None:
    assert not is_public(address)


class Site:
    """A web server of the test that stands in for the open internet."""

    def __init__(self, answers: dict[str, bytes], addresses: dict[str, list[str]]) -> None:
        self.answers, self.addresses = answers, addresses
        self.connected: list[tuple[str, str]] = []
        self.answering: list[Any] = []
        self.port = 0

    async def resolve(self, host: str, port: int) -> list[str]:
        return self.addresses.get(host, [])

    async def connect(self, address: str, place: Place) -> Streams:
        self.connected.append((address, place.authority))
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.answering.append(asyncio.current_task())
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        writer.write(self.answers[head.split()[1]])
        if "slow" in head:
            await reader.read()  # until the other side gives up
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


def fetch(site: Site, url: str, **options: Any) -> bytes:
    """Fetch from a site of the test."""

    async def go() -> bytes:
        server = await asyncio.start_server(site.answer, "127.0.0.1", 0)
        site.port = server.sockets[0].getsockname()[1]
        fetcher = Fetcher(
            HOSTS, options.pop("max_bytes", 1000), resolve=site.resolve, connect=site.connect,
            **options,
        )  # fmt: skip
        try:
            return await fetcher.fetch(url)
        finally:
            await asyncio.gather(*site.answering)
            server.close()

    return asyncio.run(go())


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def moved(target: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\n\r\n".encode()


OPEN = {name: [PUBLIC] for name in ("voices.example.org", "old.example.org", "files.example.org")}
URL = "https://voices.example.org/a"


def test_a_recording_is_fetched_from_the_address_that_was_checked() -> None:
    site = Site({"/a": ok(b"sound")}, OPEN)
    assert fetch(site, URL) == b"sound"
    assert site.connected == [(PUBLIC, "voices.example.org")]


def test_redirects_are_checked_again() -> None:
    site = Site({"/a": moved("https://files.example.org:8443/b"), "/b": ok(b"there")}, OPEN)
    assert fetch(site, URL) == b"there"
    for target in ("https://127.0.0.1/", "http://voices.example.org/a", "file:///etc/passwd",
                   "https://evil.net/", "//169.254.169.254/"):  # fmt: skip
        site = Site({"/a": moved(target)}, OPEN)
        with pytest.raises((NotAllowed, UsageError)):
            fetch(site, URL)
        assert len(site.connected) == 1


def test_redirects_end() -> None:
    site = Site({"/a": moved("/a")}, OPEN)
    with pytest.raises(UnreadableAudio, match="redirects"):
        fetch(site, URL)
    assert len(site.connected) == 4


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["::ffff:127.0.0.1"], ["100.64.1.1"], []],
)
def test_a_name_that_points_inside_is_not_followed(addresses: list[str]) -> None:
    site = Site({"/a": ok(b"secret")}, {"voices.example.org": addresses})
    with pytest.raises(NotAllowed):
        fetch(site, URL)
    assert site.connected == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (ok(b"x" * 1001), TooLarge),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3e9\r\n" + b"x" * 1001,
         TooLarge),
        (b"HTTP/1.1 404 Nope\r\nContent-Length: 0\r\n\r\n", UnreadableAudio),
        (ok(b"x", "Content-Encoding: gzip"), UnreadableAudio),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", UnreadableAudio),
        (b"SSH-2.0-OpenSSH\r\n", UnreadableAudio),
        (b"", UnreadableAudio),
    ],
)  # fmt: skip
def test_bad_answers(answer: bytes, error: type[KoujiError]) -> None:
    with pytest.raises(error):
        fetch(Site({"/a": answer}, OPEN), URL)


def test_a_slow_site_is_given_up() -> None:
    site = Site({"/slow": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"}, OPEN)
    with pytest.raises(UnreadableAudio, match="not there within"):
        fetch(site, "https://voices.example.org/slow", seconds=0.05)


def test_data_urls_are_bounded_before_they_are_decoded() -> None:
    content = base64.b64encode(b"x" * 300).decode()
    for head in ("data:audio/wav;base64,", "data:;base64,", "data:audio/ogg;codecs=opus;base64,"):
        assert decode_data_url(head + content, 300) == b"x" * 300
    with pytest.raises(TooLarge):
        decode_data_url("data:audio/wav;base64," + "A" * 408, 300)
    for wrong in ("data:audio/wav,abc", "data:audio/wav;base64,", "data:audio/wav;base64,a!!a",
                  "data:audio/wav;base64,abc", "data:"):  # fmt: skip
        with pytest.raises(UsageError):
            decode_data_url(wrong, 300)


@pytest.fixture
def references(home_dir: Any) -> References:
    """Of an operator with the policy `attest`."""

    def none(*_: Any) -> Any:
        raise AssertionError("no consent was named")

    return References(Settings(home=home_dir), none)


def test_a_recording_sent_again_is_not_heard_again(
    references: References, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    hear = References._hear

    def counting(self: References, reference: InlineReference, caller: Caller) -> Any:
        heard.append(caller.id)
        return hear(self, reference, caller)

    monkeypatch.setattr(References, "_hear", counting)
    recording = sample_path().read_bytes()
    first = references.voice(InlineReference(recording), LOCAL)
    again = references.voice(InlineReference(recording), LOCAL)
    assert heard == [""]
    assert again.key == first.key
    assert again.consent != first.consent  # asked anew
    references.voice(InlineReference(recording, transcript="other words"), LOCAL)
    references.voice(InlineReference(recording), replace(LOCAL, id="bob"))
    assert heard == ["", "", "bob"]


def test_two_recordings_at_once_never_mix(references: References) -> None:
    recording = sample_path().read_bytes()
    keys: dict[str, set[str]] = {}

    def use(transcript: str) -> None:
        for _ in range(5):
            voice = references.voice(InlineReference(recording, transcript), LOCAL)
            keys.setdefault(transcript, set()).add(voice.key)
            assert voice.transcript == transcript

    threads = [threading.Thread(target=use, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(each) for each in keys.values()] == [1, 1]
    assert keys["one"] != keys["two"]


def test_speech_in_a_recording_sent_along(shared_live: Live) -> None:
    recording = sample_path().read_bytes()
    with shared_live.client() as client:
        text = {"input": "Hello there.", "response_format": "pcm"}
        url = "data:audio/ogg;base64," + base64.b64encode(recording).decode()
        by_url = client.post("/v1/audio/speech", json={**text, "ref_audio": url})
        by_file = client.post("/v1/audio/speech", data=text, files={"ref_audio": recording})
        assert by_url.status_code == 200, by_url.text
        assert by_file.headers["X-Kouji-Voice"] == "reference"
        assert by_url.content == by_file.content
        assert [each["id"] for each in client.get("/v1/audio/voices").json()["data"]] == ["sample"]


@pytest.mark.parametrize(
    ("ref_audio", "status", "code"),
    [
        ("https://evil.net/a.wav", 403, "not_allowed"),
        ("https://127.0.0.1:1/a.wav", 403, "not_allowed"),
        ("file:///etc/passwd", 400, "invalid_value"),
        ("data:audio/wav;base64,AAAA", 400, "unreadable_audio"),
        ("not a url", 400, "invalid_value"),
    ],
)
def test_bad_references_fail_alone(
    shared_live: Live, ref_audio: str, status: int, code: str
) -> None:
    with shared_live.client() as client:
        body = {"input": "Hi.", "ref_audio": ref_audio}
        answer = client.post("/v1/audio/speech", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert shared_live.service.gate.num_inside == 0
