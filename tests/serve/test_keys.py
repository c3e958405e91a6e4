"""Keys: shown once, kept as hashes, known and refused at once; the same refusal for every fault."""

from __future__ import annotations

import json
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from live_server import Live

from kouji.errors import ConfigError, UsageError
from kouji.serve import keys
from kouji.serve.caller import Quotas
from kouji.serve.keys import KeyRing

SPEECH = {"input": "Hello.", "voice": "sample", "response_format": "pcm"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_only_a_hash_is_kept_and_only_its_owner_may_read_it(home_dir: Path) -> None:
    record, key = KeyRing(home_dir).add("app", ["speak", "jobs"], Quotas(5, 100, 2))
    assert key.startswith("kouji_")
    assert len(key) >= len("kouji_") + 192 / 6  # each character is worth six bits at most
    path = home_dir / keys.FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert key not in path.read_text()
    assert key.removeprefix("kouji_") not in path.read_text()
    assert record.hash in path.read_text()
    (kept,) = KeyRing(home_dir).records()
    assert kept == record
    assert kept.quotas == Quotas(5, 100, 2)
    found = KeyRing(home_dir).find(key)
    assert found is not None
    assert found.caller().scopes == {"speak", "jobs"}


def test_two_keys_never_are_alike(home_dir: Path) -> None:
    ring = KeyRing(home_dir)
    made = [ring.add(f"key {number}", ["speak"]) for number in range(20)]
    assert len({key for _, key in made}) == len({record.id for record, _ in made}) == 20


def test_a_ring_that_was_read_sees_keys_of_other_processes(home_dir: Path) -> None:
    running, tool = KeyRing(home_dir), KeyRing(home_dir)
    assert running.is_empty
    _, key = tool.add("app", ["speak"])
    assert not running.is_empty
    assert running.find(key) is not None
    tool.revoke("app")
    assert running.find(key) is None
    assert not running.is_empty  # a revoked key does not open the server again


def test_adding_at_once_loses_no_key(home_dir: Path) -> None:
    rings = [KeyRing(home_dir) for _ in range(8)]
    threads = [
        threading.Thread(target=ring.add, args=(f"key {number}", ["speak"]))
        for number, ring in enumerate(rings)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(KeyRing(home_dir).records()) == 8


def test_every_record_is_compared_whatever_the_key(
    home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time of a refusal tells nothing: the same comparisons for each kind of bad key."""
    ring = KeyRing(home_dir)
    held = [ring.add(f"key {number}", ["speak"])[1] for number in range(4)]
    ring.revoke("key 1")
    seen: list[str] = []
    compare = keys.hmac.compare_digest
    monkeypatch.setattr(
        keys.hmac, "compare_digest", lambda a, b: (seen.append(a), compare(a, b))[1]
    )
    for key in (held[0], held[3], held[1], "kouji_wrong", "", "x" * 5000, "schlüssel\udcff"):
        seen.clear()
        ring.find(key)
        assert len(seen) == 4, key


def test_an_expired_key_is_refused(home_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = KeyRing(home_dir)
    end = datetime.now(UTC) + timedelta(hours=1)
    _, key = ring.add("app", ["speak"], expires=end)
    assert ring.find(key) is not None

    class Later(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            return end

    monkeypatch.setattr(keys, "datetime", Later)
    assert ring.find(key) is None
    assert ring.records()[0].state == "expired"


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 65])
def test_a_key_needs_a_name(home_dir: Path, name: str) -> None:
    with pytest.raises(UsageError, match="needs a name"):
        KeyRing(home_dir).add(name, ["speak"])


def test_what_cannot_be_made_or_revoked_is_told(home_dir: Path) -> None:
    ring = KeyRing(home_dir)
    with pytest.raises(UsageError, match="scope"):
        ring.add("a", ["talk"])
    with pytest.raises(UsageError, match="scope"):
        ring.add("a", [])
    with pytest.raises(UsageError, match="quota"):
        ring.add("a", ["speak"], Quotas(requests_per_minute=-1))
    with pytest.raises(UsageError, match="expired"):
        ring.add("a", ["speak"], expires=datetime.now(UTC))
    ring.add("a", ["speak"])
    with pytest.raises(UsageError, match="of this name"):
        ring.add("a", ["speak"])
    with pytest.raises(UsageError, match="no such key"):
        ring.revoke("b")
    ring.revoke("a")
    with pytest.raises(UsageError, match="no such key"):
        ring.revoke("a")
    ring.add("a", ["speak"])  # the name is free again


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"keys": [{"id": "x"}]}', "\xff"])
def test_a_damaged_file_lets_nobody_in(home_dir: Path, content: str) -> None:
    ring = KeyRing(home_dir)
    _, key = ring.add("app", ["speak"])
    ring.path.write_text(content, encoding="latin-1")
    assert ring.find(key) is None
    assert not ring.is_empty
    with pytest.raises(ConfigError):
        ring.records()
    with pytest.raises(ConfigError):
        ring.add("other", ["speak"])


# --- on a server


def test_with_the_first_key_everybody_needs_one(live: Live, client: httpx.Client) -> None:
    assert client.post("/v1/audio/speech", json=SPEECH).status_code == 200
    ring = KeyRing(live.service.settings.home)
    _, key = ring.add("app", ["speak"])
    refused = client.post("/v1/audio/speech", json=SPEECH)
    assert refused.status_code == 401
    assert refused.headers["WWW-Authenticate"] == "Bearer"
    assert refused.json()["error"]["code"] == "invalid_api_key"
    for headers in (bearer(key), {"X-Api-Key": key}, {"Authorization": f"bearer {key}"}):
        answer = client.post("/v1/audio/speech", json=SPEECH, headers=headers)
        assert answer.status_code == 200, headers
    for path in ("/livez", "/readyz"):
        assert client.get(path).status_code == 200


def test_every_bad_key_is_refused_alike(live: Live, client: httpx.Client) -> None:
    ring = KeyRing(live.service.settings.home)
    _, good = ring.add("good", ["speak"])
    _, revoked = ring.add("revoked", ["speak"])
    assert client.post("/v1/audio/speech", json=SPEECH, headers=bearer(revoked)).status_code == 200
    ring.revoke("revoked")
    _, ended = ring.add("ended", ["speak"], expires=datetime.now(UTC) + timedelta(days=1))
    values = json.loads(ring.path.read_text())
    values["keys"][-1]["expires"] = "2020-01-01T00:00:00+00:00"
    ring.path.write_text(json.dumps(values))
    bad = [{}, bearer(revoked), bearer(ended), bearer("kouji_guess"), bearer(good[:-1]),
           bearer(good.upper()), bearer("x" * 300), {"Authorization": f"Basic {good}"},
           {"X-Api-Key": ""}]  # fmt: skip
    answers = [client.post("/v1/audio/speech", json=SPEECH, headers=each) for each in bad]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    # The URL is no place for a key.
    in_url = client.post(f"/v1/audio/speech?key={good}&api_key={good}", json=SPEECH)
    assert in_url.status_code == 401
    assert client.post("/v1/audio/speech", json=SPEECH, headers=bearer(good)).status_code == 200


def test_a_refusal_comes_before_the_body_is_read(live: Live, client: httpx.Client) -> None:
    """A caller without a key cannot make the server read, or parse, anything."""
    KeyRing(live.service.settings.home).add("app", ["speak"])
    answer = client.post("/v1/audio/speech", content=b"{not json", headers=bearer("kouji_x"))
    assert answer.status_code == 401


def test_a_key_without_the_scope_is_refused(live: Live, client: httpx.Client) -> None:
    _, key = KeyRing(live.service.settings.home).add("jobs", ["jobs"])
    answer = client.post("/v1/audio/speech", json=SPEECH, headers=bearer(key))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "not_allowed")


def test_figures_need_any_key(live: Live, client: httpx.Client) -> None:
    assert client.get("/metrics").status_code == 200
    _, key = KeyRing(live.service.settings.home).add("prometheus", ["jobs"])
    assert client.get("/metrics").status_code == 401
    assert client.get("/metrics", headers=bearer(key)).status_code == 200
