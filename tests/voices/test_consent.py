"""Consent: what each policy asks for, and an audit file that shows tampering."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kouji.errors import ConsentError, VoiceError
from kouji.voices import audit
from kouji.voices.consent import (
    STATEMENT,
    Consent,
    attest,
    from_recording,
    require_for_enrolment,
    require_for_file,
    require_for_voice,
)


def test_a_statement_must_be_the_one_asked_for() -> None:
    assert attest(f" {STATEMENT.upper()}. ").kind == "attest"
    with pytest.raises(ConsentError, match="I have the right"):
        attest("sure, whatever")


def test_a_recording_is_known_by_its_bytes() -> None:
    first, second = from_recording(b"one"), from_recording(b"two")
    assert first.recording_hash != second.recording_hash
    assert Consent.from_json(first.to_json()) == first


@pytest.mark.parametrize("policy", ["attest", "verify"])
def test_enrolling_needs_consent(policy: str) -> None:
    with pytest.raises(ConsentError, match="--consent-file"):
        require_for_enrolment(None, policy)
    require_for_enrolment(attest(), policy)
    require_for_enrolment(None, "off")


def test_speaking_from_a_file_by_policy() -> None:
    assert require_for_file("attest", is_attested=False)
    assert not require_for_file("attest", is_attested=True)
    assert not require_for_file("verify", is_attested=True)
    assert not require_for_file("off", is_attested=False)
    with pytest.raises(ConsentError, match="--i-have-consent"):
        require_for_file("verify", is_attested=False)


def test_a_kept_voice_without_consent_may_not_speak() -> None:
    require_for_voice("a", None, "off")
    require_for_voice("a", attest(), "verify")
    with pytest.raises(ConsentError, match="without consent"):
        require_for_voice("a", None, "attest")


def test_audit_lines_are_chained(tmp_path: Path) -> None:
    path = tmp_path / "home" / "audit.jsonl"
    for index in range(3):
        audit.append(path, "say", voice=f"hash-{index}", watermark=index)
    assert audit.verify(path) == 3
    lines = path.read_text(encoding="utf-8").splitlines()
    for broken in (
        [lines[0], lines[2]],
        [lines[0], lines[1].replace("hash-1", "hash-9"), lines[2]],
        [lines[0], "{}"],
    ):
        path.write_text("\n".join(broken) + "\n", encoding="utf-8")
        with pytest.raises(VoiceError, match="line 2"):
            audit.verify(path)


def test_a_damaged_last_line_is_not_built_upon(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit.append(path, "say")
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    with pytest.raises(VoiceError, match="damaged"):
        audit.append(path, "say")


def test_audit_lines_hold_no_text(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    audit.append(path, "say", voice="abc", watermark=7, consent="attest")
    line = json.loads(path.read_text(encoding="utf-8"))
    assert set(line) == {"time", "event", "voice", "watermark", "consent", "previous", "hash"}
