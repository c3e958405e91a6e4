"""`kouji key`: shown once, listed without it, ended by name or id."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kouji.cli import run
from kouji.serve.keys import KeyRing

Captured = pytest.CaptureFixture[str]


def test_a_key_is_made_listed_and_revoked(home_dir: Path, capfd: Captured) -> None:
    limits = ["--requests-per-minute", "60", "--characters-per-day", "1000", "--voices", "3"]
    assert run(["key", "add", "shop", "--scope", "speak, jobs", *limits, "--expires", "30d"]) == 0
    told = capfd.readouterr()
    key = told.out.strip()
    assert key.startswith("kouji_")
    assert key not in told.err
    found = KeyRing(home_dir).find(key)
    assert found is not None

    assert run(["key", "list"]) == 0
    line = capfd.readouterr().out
    for part in (found.id, "shop", "active", "speak,jobs", "requests per minute 60", "voices 3",
                 "characters per day 1000", "never used"):  # fmt: skip
        assert part in line, part
    assert run(["key", "list", "--json"]) == 0
    (entry,) = json.loads(capfd.readouterr().out)
    assert entry["scopes"] == ["speak", "jobs"]
    assert entry["characters_today"] == 0
    assert "hash" not in entry
    assert key not in line + json.dumps(entry)

    assert run(["key", "revoke", "shop"]) == 0
    assert KeyRing(home_dir).find(key) is None
    assert run(["key", "revoke", "shop"]) == 2
    assert "no such key" in capfd.readouterr().err
    assert run(["key", "list"]) == 0
    assert "revoked" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["x", "--scope", "talk"], "unknown scope"), (["x", "--expires", "soon"], "not a time"),
     (["x", "--expires", "2001-01-01"], "expired already"), ([" "], "needs a name"),
     (["x", "--voices", "-1"], "voices"), (["x", "--expires", "99999999d"], "not a time")],
)  # fmt: skip
def test_a_wrong_wish_is_one_line(
    home_dir: Path, capfd: Captured, arguments: list[str], told: str
) -> None:
    assert run(["key", "add", *arguments]) == 2
    said = capfd.readouterr()
    assert told in said.err
    assert said.err.count("\n") == 1
    assert not said.out
    assert not (home_dir / "keys.json").exists()


def test_a_date_lasts_until_its_end(home_dir: Path, capfd: Captured) -> None:
    assert run(["key", "add", "a", "--expires", "2999-12-30"]) == 0
    assert KeyRing(home_dir).records()[0].expires == "2999-12-31T00:00:00+00:00"
    assert run(["key", "add", "b", "--expires", "2999-12-30T10:00:00+02:00"]) == 0
    assert KeyRing(home_dir).records()[1].expires == "2999-12-30T08:00:00+00:00"
    capfd.readouterr()
