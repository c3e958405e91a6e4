"""Revoking: it holds at once, for every holder of the voice, and leaves a receipt."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kouji.errors import ConsentError, UnknownVoice, VoiceError
from kouji.types import Audio
from kouji.voices import Consent, Voice, VoiceStore, audit
from kouji.voices.consent import attest, now_text, of_key
from kouji.voices.leave import Leave
from kouji.voices.receipt import Receipt, read_receipt, revoke
from kouji.voices.revocation import FILE_NAME
from kouji.voices.sample import SAMPLE_CONSENT
from kouji.voices.voice import hash_audio


def make_voice(seed: int = 0, **changes: object) -> Voice:
    noise = np.random.default_rng(seed).normal(0, 0.05, 24_000).astype(np.float32)
    facts: dict[str, object] = {"name": f"voice{seed}", "consent": attest()} | changes
    return Voice.from_reference(Audio(noise, 24_000), **facts)  # type: ignore[arg-type]


def take_back(home: Path, name: str, **facts: str) -> Receipt:
    return revoke(home, name, audit_file=home / "audit.jsonl", **facts)


def refused(home: Path, voice: Voice, policy: str = "attest") -> str | None:
    """The reason why a voice may not speak, or None."""
    try:
        Leave(home, policy).require(voice)
    except ConsentError as error:
        return error.reason
    return None


@pytest.mark.parametrize("policy", ["off", "attest", "verify"])
def test_whoever_holds_the_voice_is_refused(tmp_path: Path, policy: str) -> None:
    voice = make_voice(consent=Consent("verified", "", now_text()))
    VoiceStore(tmp_path).add(voice)
    leave = Leave(tmp_path, policy)
    leave.require(voice)
    take_back(tmp_path, "voice0")
    held = [voice, replace(voice, name="another"), replace(voice, consent=None)]
    held.append(VoiceStore(tmp_path).get("voice0"))
    for each in held:
        with pytest.raises(ConsentError) as caught:
            leave.require(each)
        assert caught.value.reason == "revoked"
        assert refused(tmp_path, each, policy) == "revoked"
    leave.require(make_voice(1, consent=Consent("verified", "", now_text())))


def test_only_the_speaker_can_agree_again_under_verify(tmp_path: Path) -> None:
    voice = make_voice()
    VoiceStore(tmp_path).add(voice)
    take_back(tmp_path, "voice0")
    assert refused(tmp_path, replace(voice, consent=of_key("k1")), "verify") == "revoked"
    assert refused(tmp_path, replace(voice, consent=attest()), "verify") == "revoked"
    anew = Consent("verified", "", now_text(), voice=voice.content_hash)
    assert refused(tmp_path, replace(voice, consent=anew), "verify") is None
    attested = replace(voice, consent=attest())
    leave = Leave(tmp_path, "attest")
    leave.require(attested)
    assert "was revoked" in str(leave.warning(attested))
    assert leave.warning(make_voice(1)) is None


def test_a_record_without_an_id_or_with_a_later_date_is_revoked_too(tmp_path: Path) -> None:
    consent = replace(attest(), time="2999-01-01T00:00:00+00:00")
    store = VoiceStore(tmp_path)
    store.add(make_voice(0, consent=consent))
    store.add(make_voice(1, consent=replace(attest(), id="")))
    for name in ("voice0", "voice1"):
        take_back(tmp_path, name)
        assert refused(tmp_path, store.get(name)) == "revoked"


def test_a_revoked_recording_lends_nothing_to_other_voices(tmp_path: Path) -> None:
    store, voice = VoiceStore(tmp_path), make_voice()
    mixed = make_voice(1, others=[voice.reference])
    store.add(voice)
    take_back(tmp_path, "voice0")
    assert refused(tmp_path, mixed) == "revoked"
    store.add(make_voice(2, others=[make_voice(3).reference]))
    take_back(tmp_path, "voice2")
    assert refused(tmp_path, make_voice(3)) is None  # its consent is newer
    assert refused(tmp_path, make_voice(3, consent=None), "off") == "revoked"


def test_the_public_sample_is_nobodys_to_revoke(tmp_path: Path) -> None:
    voice = make_voice()
    VoiceStore(tmp_path).add(voice)
    take_back(tmp_path, "voice0")
    assert refused(tmp_path, replace(voice, consent=SAMPLE_CONSENT), "verify") is None


def test_the_receipt_says_what_was_done(tmp_path: Path) -> None:
    store, voice = VoiceStore(tmp_path), make_voice()
    store.add(voice)
    store.save_conditioning("voice0", "mini", "abc", {"x": np.zeros(1)})
    dropped: list[str] = []

    def forget(content_hash: str) -> int:
        dropped.append(content_hash)
        return 3

    made = revoke(
        tmp_path, "voice0", audit_file=tmp_path / "audit.jsonl", reason="我不愿意", drop=[forget]
    )
    assert dropped == [voice.content_hash]
    assert voice.consent is not None
    assert (made.consent, made.voice) == (voice.consent.id, voice.content_hash)
    assert (made.dropped, made.memory, made.reason) == (("mini@abc.safetensors",), 3, "我不愿意")
    assert store.load_conditioning("voice0", "mini", "abc") is None
    assert read_receipt(tmp_path, made.id) == made
    line = (tmp_path / "audit.jsonl").read_text(encoding="utf-8")
    assert made.sha256 in line
    assert "我不愿意" not in line
    assert "voice0" not in line
    assert audit.verify(tmp_path / "audit.jsonl") == 1
    path = tmp_path / "receipts" / f"{made.id}.json"
    path.write_text(path.read_text(encoding="utf-8").replace("不愿意", "愿意"), encoding="utf-8")
    with pytest.raises(VoiceError, match="changed"):
        read_receipt(tmp_path, made.id)
    with pytest.raises(UnknownVoice):
        take_back(tmp_path, "nobody")
    with pytest.raises(VoiceError, match="id of a receipt"):
        read_receipt(tmp_path, "../../voice")


def test_revocations_that_cannot_be_read_stop_everything(tmp_path: Path) -> None:
    voice, other = make_voice(), make_voice(1)
    VoiceStore(tmp_path).add(voice)
    take_back(tmp_path, "voice0")
    path, leave = tmp_path / FILE_NAME, Leave(tmp_path, "attest")
    leave.require(other)
    whole = path.read_text(encoding="utf-8")
    path.write_text("{broken}\n" + whole, encoding="utf-8")
    with pytest.raises(VoiceError, match="cannot be read"):
        leave.require(other)
    path.unlink()
    for each in (leave, Leave(tmp_path, "attest")):  # a process that never saw it has receipts
        with pytest.raises(VoiceError, match="vanished"):
            each.require(other)
    path.write_text(whole + '{"id": "half', encoding="utf-8")  # the power went while writing
    leave.require(other)
    VoiceStore(tmp_path).add(other)
    take_back(tmp_path, "voice1")
    assert refused(tmp_path, other) == refused(tmp_path, voice) == "revoked"


def test_another_process_is_heard_at_once(tmp_path: Path) -> None:
    voice, leave = make_voice(), Leave(tmp_path, "attest")
    VoiceStore(tmp_path).add(voice)
    leave.require(voice)
    code = (
        "import sys; from pathlib import Path; from kouji.voices.receipt import revoke\n"
        "home = Path(sys.argv[1]); revoke(home, 'voice0', audit_file=home / 'audit.jsonl')"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)
    with pytest.raises(ConsentError, match="revoked"):
        leave.require(voice)


def test_states_for_lists(tmp_path: Path) -> None:
    store = VoiceStore(tmp_path)
    over = replace(attest(), expires="2020-01-01T00:00:00+00:00")
    for seed, consent in enumerate([attest(), over, None, attest()]):
        store.add(make_voice(seed, consent=consent))
    take_back(tmp_path, "voice3")
    states = {
        policy: [Leave(tmp_path, policy).state(values) for values in store.list()]
        for policy in ("attest", "verify")
    }
    assert states["attest"] == ["attest", "expired", "none", "revoked"]
    assert states["verify"] == ["unverified", "unverified", "none", "revoked"]


def test_a_consent_covers_every_reference_it_was_checked_on(tmp_path: Path) -> None:
    further = make_voice(1).reference
    voice = make_voice(0, others=[further])
    consent = Consent("verified", "", now_text(), voice=voice.content_hash)
    assert refused(tmp_path, replace(voice, consent=consent), "verify") == "not_this_voice"
    whole = replace(consent, others=(hash_audio(further),))
    assert refused(tmp_path, replace(voice, consent=whole), "verify") is None
    assert refused(tmp_path, replace(make_voice(2), consent=whole), "verify") == "not_this_voice"


def test_a_kept_voice_gets_a_new_consent(tmp_path: Path) -> None:
    store = VoiceStore(tmp_path)
    store.add(make_voice())
    take_back(tmp_path, "voice0")
    consent = replace(attest(), scores={"speaker": 0.9}, others=("aa",))
    store.set_consent("voice0", consent, recording=b"read")
    assert store.get("voice0").consent == consent
    assert (store.folder / "voice0" / "consent.recording").read_bytes() == b"read"
    store.set_consent("voice0", attest())
    assert not (store.folder / "voice0" / "consent.recording").exists()
    values = json.loads((store.folder / "voice0" / "voice.json").read_text(encoding="utf-8"))
    assert values["name"] == "voice0"
