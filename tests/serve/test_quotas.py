"""Quotas: exact at the edge, counted once, kept over a restart, fair when many come at once."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
from live_server import Live

from kouji.config import Settings
from kouji.errors import QuotaExceeded
from kouji.serve.caller import LOCAL, Caller, Quotas
from kouji.serve.keys import KeyRing
from kouji.serve.problems import problem_of
from kouji.serve.quotas import FILE_NAME, QuotaBook, read_usage


@dataclass
class Clock:
    """A time the test sets."""

    seconds: float = 0.0
    start: datetime = field(default_factory=lambda: datetime(2026, 3, 1, 23, 0, tzinfo=UTC))

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)

    def book(self, home: Path) -> QuotaBook:
        return QuotaBook(home, clock=self.monotonic, now=self.now)


def caller(**quotas: int) -> Caller:
    return Caller("key-1", "app", frozenset({"speak"}), Quotas(**quotas))


def test_requests_of_any_minute(home_dir: Path) -> None:
    clock = Clock()
    book, app = clock.book(home_dir), caller(requests_per_minute=3)
    for second in (0, 10, 20):
        clock.seconds = second
        book.count_request(app)
    clock.seconds = 30
    for _ in range(5):  # refusals do not count
        with pytest.raises(QuotaExceeded) as refused:
            book.count_request(app)
        assert refused.value.retry_after == 30
    clock.seconds = 60
    book.count_request(app)
    with pytest.raises(QuotaExceeded) as refused:
        book.count_request(app)
    assert refused.value.retry_after == 10


def test_no_requests_at_all(home_dir: Path) -> None:
    with pytest.raises(QuotaExceeded):
        QuotaBook(home_dir).count_request(caller(requests_per_minute=0))


def test_characters_of_a_day(home_dir: Path) -> None:
    clock = Clock()
    book, app = clock.book(home_dir), caller(characters_per_day=10)
    book.charge(app, 4)
    book.charge(app, 6)
    with pytest.raises(QuotaExceeded) as refused:
        book.charge(app, 1)
    assert refused.value.retry_after == 3600  # until midnight UTC
    clock.seconds = 3600
    book.charge(app, 10)
    with pytest.raises(QuotaExceeded):
        book.charge(app, 1)


def test_a_text_is_charged_whole_or_not_at_all(home_dir: Path) -> None:
    book, app = QuotaBook(home_dir), caller(characters_per_day=10)
    with pytest.raises(QuotaExceeded):
        book.charge(app, 11)
    charge = book.charge(app, 10)
    charge.give_back()
    book.charge(app, 10)


def test_a_charge_of_yesterday_gives_nothing_back_today(home_dir: Path) -> None:
    clock = Clock()
    book, app = clock.book(home_dir), caller(characters_per_day=10)
    old = book.charge(app, 10)
    clock.seconds = 3600
    book.charge(app, 10)
    old.give_back()
    with pytest.raises(QuotaExceeded):
        book.charge(app, 1)


def test_the_day_survives_a_restart_and_its_end(home_dir: Path) -> None:
    clock = Clock()
    book, app = clock.book(home_dir), caller(characters_per_day=10)
    book.count_request(app)
    book.charge(app, 7)
    book.flush()
    book.flush()  # again adds nothing
    assert read_usage(home_dir).characters == {"key-1": 7}
    assert read_usage(home_dir).last == {"key-1": "2026-03-01T23:00Z"}  # to the hour
    again = clock.book(home_dir)
    again.charge(app, 3)
    with pytest.raises(QuotaExceeded):
        again.charge(app, 1)
    again.flush()
    clock.seconds = 3600
    clock.book(home_dir).charge(app, 10)


def test_two_servers_of_one_home_add_up(home_dir: Path) -> None:
    one, two, app = QuotaBook(home_dir), QuotaBook(home_dir), caller(characters_per_day=10)
    one.charge(app, 4)
    two.charge(app, 4)
    one.flush()
    two.flush()
    assert read_usage(home_dir).characters == {"key-1": 8}
    with pytest.raises(QuotaExceeded):
        two.charge(app, 3)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"day": 1, "characters": 3, "last": {}}'])
def test_a_damaged_count_is_no_reason_to_refuse(home_dir: Path, content: str) -> None:
    home_dir.mkdir()
    (home_dir / FILE_NAME).write_text(content)
    book = QuotaBook(home_dir)
    book.charge(caller(characters_per_day=10), 10)
    book.flush()
    assert json.loads((home_dir / FILE_NAME).read_text())["characters"] == {"key-1": 10}


def test_many_at_once_get_exactly_what_there_is(home_dir: Path) -> None:
    book, app = QuotaBook(home_dir), caller(characters_per_day=100, requests_per_minute=50)
    outcomes: list[bool] = []
    start = threading.Barrier(8)

    def work() -> None:
        start.wait()
        for _ in range(20):
            for count in (partial(book.count_request, app), partial(book.charge, app, 3)):
                try:
                    count()
                    outcomes.append(True)
                except QuotaExceeded:
                    outcomes.append(False)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(outcomes) == 50 + 33
    assert len(outcomes) == 8 * 20 * 2


def test_voices_are_kept_one_at_a_time(home_dir: Path) -> None:
    book, app, kept = QuotaBook(home_dir), caller(voices=3), list[int]()
    start = threading.Barrier(8)
    refused: list[QuotaExceeded] = []

    def keep(number: int) -> None:
        start.wait()
        try:
            with book.room_for_voice(app, lambda: len(kept)):
                kept.append(number)
        except QuotaExceeded as error:
            refused.append(error)

    threads = [threading.Thread(target=keep, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(kept), len(refused)) == (3, 5)
    assert problem_of(refused[0]).status == 429
    assert int(problem_of(refused[0]).headers()["Retry-After"]) > 60


def test_nothing_is_counted_where_no_key_is_needed(home_dir: Path) -> None:
    book = QuotaBook(home_dir)
    book.count_request(LOCAL)
    book.charge(LOCAL, 1000).give_back()
    book.flush()
    assert not (home_dir / FILE_NAME).exists()


# --- on a server


def speak(client: httpx.Client, key: str, text: str) -> httpx.Response:
    body = {"input": text, "voice": "sample", "response_format": "pcm"}
    return client.post("/v1/audio/speech", json=body, headers={"Authorization": f"Bearer {key}"})


def test_requests_and_characters_over_http(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    ring = KeyRing(settings.home)
    _, busy = ring.add("busy", ["speak"], Quotas(requests_per_minute=2))
    _, wordy = ring.add("wordy", ["speak"], Quotas(characters_per_day=10))
    live = serve(settings)
    with live.client() as client:
        assert [speak(client, busy, "Hi.").status_code for _ in range(2)] == [200, 200]
        refused = speak(client, busy, "Hi.")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "quota_exceeded")
        assert 1 <= int(refused.headers["Retry-After"]) <= 60

        assert speak(client, wordy, "!" * 10).status_code == 400  # nothing was spoken: no charge
        assert speak(client, wordy, "Hi there!!").status_code == 200
        refused = speak(client, wordy, "H")
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["Retry-After"]) <= 86_400


def test_a_restarted_server_remembers_the_day(
    serve: Callable[[Settings], Live], settings: Settings
) -> None:
    _, key = KeyRing(settings.home).add("app", ["speak"], Quotas(characters_per_day=10))
    first = serve(settings)
    with first.client() as client:
        assert speak(client, key, "Hi there!").status_code == 200
    first.call(first.service.close())
    with serve(settings).client() as client:
        assert speak(client, key, "Hi").status_code == 429
        assert speak(client, key, "H").status_code == 200
