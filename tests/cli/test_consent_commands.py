"""`kouji voice challenge | consent | revoke` and `kouji audit`: the flow of a verified consent."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from kouji.cli import run
from kouji.verification import words
from kouji.verification.sentences import symbols_of, words_of
from kouji.verification.words import Piece
from kouji.voices import VoiceStore, audit
from kouji.voices.sample import SAMPLE_TRANSCRIPT, sample_path

Captured = pytest.CaptureFixture[str]
SAMPLE = str(sample_path())
SPOKEN = ("letter", "admirably", "clear", "regular", "beautiful", "Roman")


@pytest.fixture
def strict(monkeypatch: pytest.MonkeyPatch, home_dir: Path) -> Path:
    """The verify policy, and a sentence that is on tape: what the packaged sample says."""
    listed = tuple(symbols_of(word, "en") for word in words_of("en"))
    pieces = [
        Piece(symbols_of(word, "en"), listed if word.strip(",.") in SPOKEN else ())
        for word in SAMPLE_TRANSCRIPT.split()
    ]
    monkeypatch.setattr(words, "pieces_of", lambda _: pieces)
    monkeypatch.setenv("KOUJI_CONSENT", "verify")
    return home_dir


def challenge(capfd: Captured, *arguments: str) -> str:
    capfd.readouterr()
    assert run(["voice", "challenge", *arguments]) == 0
    found = re.search(r"^id: ([0-9a-f]{16})$", capfd.readouterr().out, re.MULTILINE)
    assert found
    return found[1]


def test_a_sentence_to_read_is_printed(home_dir: Path, capfd: Captured) -> None:
    assert run(["voice", "challenge", "--language", "zh"]) == 0
    out = capfd.readouterr().out
    assert out.startswith("我同意")
    assert run(["voice", "challenge", "小明", "--scope", "own", "--json"]) == 0
    made = json.loads(capfd.readouterr().out)
    assert made["scope"] == "own"
    assert made["purpose"].startswith("voice:voice-")
    assert run(["voice", "challenge", "--language", "fr"]) == 2
    assert run(["voice", "challenge", "--scope", "everything"]) == 2


def test_from_challenge_to_receipt(
    strict: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOUJI_CONSENT_DAYS", "30")
    add = ["voice", "add", "linda", SAMPLE]
    assert run([*add, "--attest"]) == 1
    assert "kouji voice challenge" in capfd.readouterr().err
    number = challenge(capfd, "linda")
    assert run([*add, "--challenge", number]) == 2  # nothing was read
    assert (
        run(["voice", "add", "bob", SAMPLE, "--challenge", number, "--consent-file", SAMPLE]) == 1
    )
    assert "something else" in capfd.readouterr().err
    read = ["--challenge", number, "--consent-file", SAMPLE, "--who", "Linda Johnson"]
    assert run([*add, *read]) == 0
    assert "consent: verified, until" in capfd.readouterr().err
    assert run([*add, *read]) == 1
    assert "exists already" in capfd.readouterr().err
    assert run(["voice", "show", "linda", "--json"]) == 0
    shown = json.loads(capfd.readouterr().out)
    assert shown["consent_state"] == "verified"
    assert shown["consent"]["who"] == "Linda Johnson"
    assert shown["consent"]["voice"] == shown["content_hash"]
    assert (strict / "voices" / "linda" / "consent.recording").read_bytes() == Path(
        SAMPLE
    ).read_bytes()

    assert run(["voice", "revoke", "linda", "--reason", "I changed my mind"]) == 0
    receipt = json.loads(capfd.readouterr().out)
    assert (strict / "receipts" / f"{receipt['id']}.json").is_file()
    assert run(["voice", "list"]) == 0
    assert "consent: revoked" in capfd.readouterr().out
    assert run(["say", "a", "--voice", "linda", "--out", str(strict / "o.wav")]) == 1
    assert "was revoked" in capfd.readouterr().err

    read[1] = challenge(capfd)
    assert run(["voice", "consent", "linda", *read]) == 0
    assert run(["voice", "list"]) == 0
    assert "consent: verified until" in capfd.readouterr().out
    assert audit.verify(strict / "audit.jsonl") == 3
    trail = (strict / "audit.jsonl").read_text(encoding="utf-8")
    for private in ("linda", "Linda", "mind", SAMPLE_TRANSCRIPT[:20]):
        assert private not in trail


def test_an_attestation_again_after_a_revocation_is_told(
    home_dir: Path, capfd: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(["voice", "add", "a", SAMPLE, "--attest"]) == 0
    assert run(["voice", "revoke", "a"]) == 0
    assert run(["voice", "remove", "a"]) == 0
    capfd.readouterr()
    assert run(["voice", "add", "b", SAMPLE, "--attest"]) == 0
    assert "warning: the consent to this recording was revoked" in capfd.readouterr().err
    monkeypatch.setenv("KOUJI_CONSENT", "verify")
    assert run(["voice", "add", "c", SAMPLE, "--attest"]) == 1
    monkeypatch.setenv("KOUJI_CONSENT", "off")
    assert run(["voice", "add", "d", SAMPLE]) == 1  # the policy is off, the revocation is not
    assert "was revoked" in capfd.readouterr().err


def test_an_expired_consent_is_shown_and_renewed(home_dir: Path, capfd: Captured) -> None:
    assert run(["voice", "add", "a", SAMPLE, "--attest"]) == 0
    store = VoiceStore(home_dir)
    consent = store.get("a").consent
    assert consent is not None
    store.set_consent("a", replace(consent, expires="2020-01-01T00:00:00+00:00"))
    assert run(["voice", "list"]) == 0
    assert "expired until 2020-01-01" in capfd.readouterr().out
    assert run(["say", "a", "--voice", "a", "--out", str(home_dir / "o.wav")]) == 1
    assert "has expired" in capfd.readouterr().err
    assert run(["voice", "consent", "a"]) == 1
    assert run(["voice", "consent", "a", "--attest"]) == 0
    assert run(["voice", "show", "a", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["consent_state"] == "attest"


def test_the_audit_file_is_checked(home_dir: Path, capfd: Captured) -> None:
    assert run(["audit", "verify"]) == 0
    assert "0 lines" in capfd.readouterr().out
    path = home_dir / "audit.jsonl"
    for number in range(3):
        audit.append(path, "speak", voice="aa", watermark=f"{number:08x}")
    assert run(["audit", "verify"]) == 0
    out = capfd.readouterr().out
    assert "3 lines" in out
    noted = out.split()[-1]
    assert run(["audit", "verify", "--expect", noted]) == 0
    assert run(["audit", "verify", "--expect", "0" * 63 + "1"]) == 1
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_text(lines[0] + lines[1].replace("aa", "bb") + lines[2], encoding="utf-8")
    assert run(["audit", "verify"]) == 1
    assert "line 2" in capfd.readouterr().err
    path.write_text(lines[0], encoding="utf-8")
    assert run(["audit", "verify"]) == 1
    assert "line 2 is missing" in capfd.readouterr().err
    path.unlink()
    assert run(["audit", "verify"]) == 1
    assert "line 1 is missing" in capfd.readouterr().err


def test_lines_are_shown_and_found(home_dir: Path, capfd: Captured) -> None:
    assert run(["audit", "find", "1a2b3c4d"]) == 1
    for number in (0x1A2B3C4D, 7):
        audit.append(home_dir / "audit.jsonl", "speak", voice="aa", watermark=f"{number:08x}")
    assert run(["audit", "find", "1A2B3C4D"]) == 0
    out = capfd.readouterr().out
    assert out.count("\n") == 1
    assert "watermark=1a2b3c4d" in out
    assert run(["audit", "find", "7", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["watermark"] == "00000007"
    assert run(["audit", "find", "not hex"]) == 2
    assert run(["audit", "show", "--last", "1"]) == 0
    assert capfd.readouterr().out.count("\n") == 1
    assert run(["audit", "show", "--event", "voice.add"]) == 0
    assert capfd.readouterr().out == ""
