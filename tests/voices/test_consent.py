"""Consent: what each policy asks for, and what a record of it holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from kouji.errors import ConsentError
from kouji.voices.consent import (
    STATEMENT,
    Consent,
    attest,
    expiry,
    from_recording,
    now_text,
    of_key,
    require_for_enrolment,
    require_for_file,
    require_for_voice,
)
from kouji.voices.sample import SAMPLE_CONSENT


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
    with pytest.raises(ConsentError, match="--consent-file") as caught:
        require_for_enrolment(None, policy)
    assert caught.value.reason == "missing"
    require_for_enrolment(None, "off")


def test_what_each_policy_takes() -> None:
    verified = Consent("verified", "read aloud", now_text())
    for consent in (attest(), from_recording(b"yes"), verified, of_key("k1")):
        require_for_enrolment(consent, "attest")
        require_for_voice("a", consent, "attest")
    for consent in (verified, of_key("k1"), SAMPLE_CONSENT):
        require_for_enrolment(consent, "verify")
        require_for_voice("a", consent, "verify")
    for consent in (attest(), from_recording(b"yes")):
        for ask in (
            lambda consent=consent: require_for_enrolment(consent, "verify"),
            lambda consent=consent: require_for_voice("a", consent, "verify"),
            lambda consent=consent: require_for_file("verify", is_attested=True, consent=consent),
        ):
            with pytest.raises(ConsentError, match="kouji voice challenge") as caught:
                ask()
            assert caught.value.reason == "unverified"


def test_speaking_from_a_file_by_policy() -> None:
    assert require_for_file("attest", is_attested=False)
    assert not require_for_file("attest", is_attested=True)
    assert not require_for_file("off", is_attested=False)
    for is_attested in (False, True):
        with pytest.raises(ConsentError, match="kouji voice challenge"):
            require_for_file("verify", is_attested=is_attested)


def test_a_kept_voice_without_consent_may_not_speak() -> None:
    require_for_voice("a", None, "off")
    with pytest.raises(ConsentError, match="without consent"):
        require_for_voice("a", None, "attest")


def test_a_consent_ends_when_it_says() -> None:
    over = replace(attest(), expires="2020-01-01T00:00:00+00:00")
    with pytest.raises(ConsentError, match="expired") as caught:
        require_for_voice("a", over, "attest")
    assert caught.value.reason == "expired"
    require_for_voice("a", replace(attest(), expires=expiry(1)), "attest")
    require_for_voice("a", over, "off")
    assert expiry(0) is None


def test_a_consent_holds_for_its_recording_alone() -> None:
    consent = Consent("verified", "", now_text(), voice="aa")
    require_for_voice("a", consent, "verify", content_hash="aa")
    with pytest.raises(ConsentError) as caught:
        require_for_voice("a", consent, "verify", content_hash="bb")
    assert caught.value.reason == "not_this_voice"


@pytest.mark.parametrize(
    "change",
    [{"kind": "magic"}, {"scope": "all"}, {"time": "soon"}, {"expires": "never"}, {"who": 7},
     {"surprise": 1}],
)  # fmt: skip
def test_a_record_that_is_none_is_refused(change: dict[str, object]) -> None:
    with pytest.raises((ValueError, TypeError)):
        Consent.from_json(attest().to_json() | change)


def test_records_of_older_versions_are_read() -> None:
    old = {"kind": "attest", "statement": STATEMENT, "time": "2026-01-01T00:00:00+00:00",
           "recording_hash": None}  # fmt: skip
    consent = Consent.from_json(old)
    assert (consent.id, consent.scope, consent.expires) == ("", "any", None)
