"""No path of the public door speaks in a voice that was revoked, or whose consent has ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kouji.api import TTS, SpeechRequest
from kouji.config import Settings
from kouji.errors import ConsentError
from kouji.models.mini.family import MiniFamily
from kouji.types import Audio
from kouji.voices import Consent, Voice, VoiceStore
from kouji.voices.consent import attest, now_text, of_key
from kouji.voices.receipt import Receipt, revoke
from kouji.voices.sample import sample_voice

TEXT = "Hello there. This is the second sentence. 你好，世界！ And here comes the last of them."


def make_voice(home: Path, consent: Consent | None = None) -> Voice:
    """A kept voice that passed no quality check: toy networks hear anything."""
    noise = np.random.default_rng(0).normal(0, 0.05, 48_000).astype(np.float32)
    voice = Voice.from_reference(Audio(noise, 24_000), name="a", consent=consent or attest())
    return VoiceStore(home).add(voice)


def take_back(home: Path, *drop: Callable[[str], int]) -> Receipt:
    return revoke(home, "a", audit_file=home / "audit.jsonl", drop=drop)


def ways_to_speak(tts: TTS, voice: Voice) -> dict[str, Callable[[], object]]:
    """Every public way from a voice to samples."""

    async def read() -> None:
        async for _ in tts.stream(TEXT, voice):
            pass

    def whole_segments() -> list[object]:
        return list(tts.stream(TEXT, voice, in_chunks=False))

    def many() -> None:
        for outcome in tts.speak_many([SpeechRequest(TEXT, voice)]):
            if isinstance(outcome, Exception):
                raise outcome

    return {
        "speak": lambda: tts.speak(TEXT, voice),
        "speak_many": many,
        "stream": lambda: list(tts.stream(TEXT, voice)),
        "stream whole": whole_segments,
        "stream async": lambda: asyncio.run(read()),
    }


@pytest.mark.parametrize("policy", ["off", "attest", "verify"])
def test_no_way_speaks_in_a_revoked_voice(
    tiny_family: MiniFamily, home_dir: Path, policy: str
) -> None:
    voice = make_voice(home_dir, Consent("verified", "", now_text()))
    with TTS(tiny_family, Settings(home=home_dir, consent=policy)) as tts:
        tts.speak("Hello.", voice)  # its conditioning is in memory now
        take_back(home_dir)
        for name, speak in ways_to_speak(tts, voice).items():
            with pytest.raises(ConsentError) as caught:
                speak()
            assert caught.value.reason == "revoked", name
    lines = (home_dir / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["event"] for line in lines] == ["speak", "consent.revoke"]


@pytest.mark.parametrize("policy", ["attest", "verify"])
def test_no_way_speaks_after_a_consent_has_ended(
    tiny_family: MiniFamily, home_dir: Path, policy: str
) -> None:
    over = Consent("verified", "", now_text(), expires="2020-01-01T00:00:00+00:00")
    voice = make_voice(home_dir, over)
    with TTS(tiny_family, Settings(home=home_dir, consent=policy)) as tts:
        for name, speak in ways_to_speak(tts, voice).items():
            with pytest.raises(ConsentError) as caught:
                speak()
            assert caught.value.reason == "expired", name


def test_a_stream_under_way_ends_at_its_next_chunk(tiny_tts: TTS, home_dir: Path) -> None:
    voice = make_voice(home_dir)
    with tiny_tts.stream(TEXT, voice) as stream:
        next(stream)
        take_back(home_dir)
        with pytest.raises(ConsentError, match="revoked"):
            list(stream)

    async def read() -> None:
        chunks = tiny_tts.stream(TEXT, replace(voice, consent=attest()))
        async for _ in chunks:
            take_back(home_dir)

    with pytest.raises(ConsentError, match="revoked"):
        asyncio.run(read())
    tiny_tts.engine.check_integrity()


def test_a_stream_ends_when_its_consent_does(
    tiny_tts: TTS, home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice = make_voice(home_dir, replace(attest(), expires="2999-01-01T00:00:00+00:00"))
    with tiny_tts.stream(TEXT, voice) as stream:
        next(stream)
        monkeypatch.setattr(Consent, "is_expired", lambda *_: True)
        with pytest.raises(ConsentError, match="expired"):
            next(stream)


def test_one_revoked_voice_among_many_fails_alone(tiny_tts: TTS, home_dir: Path) -> None:
    revoked = make_voice(home_dir)
    take_back(home_dir)
    outcomes = tiny_tts.speak_many(
        [SpeechRequest("Hello.", revoked), SpeechRequest("Hello.", sample_voice())]
    )
    assert isinstance(outcomes[0], ConsentError)
    assert not isinstance(outcomes[1], Exception)


def test_caches_are_dropped_in_memory_and_on_disk(tiny_tts: TTS, home_dir: Path) -> None:
    voice = make_voice(home_dir)
    tiny_tts.speak("Hello.", voice)
    receipt = take_back(home_dir, tiny_tts.forget)
    assert receipt.memory == 1
    assert len(receipt.dropped) == 1
    assert not list((home_dir / "voices" / "a").glob("*.safetensors"))


def test_what_another_process_revoked_leaves_memory_at_the_next_request(
    tiny_tts: TTS, home_dir: Path
) -> None:
    tiny_tts.speak("Hello.", make_voice(home_dir))
    take_back(home_dir)  # without being told to this TTS
    tiny_tts.speak("Hello.", sample_voice())
    assert tiny_tts.forget(VoiceStore(home_dir).get("a").content_hash) == 0


def test_a_conditioning_made_during_a_revocation_is_not_kept(
    tiny_tts: TTS, home_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    voice, embed = make_voice(home_dir), MiniFamily.embed

    def embed_and_revoke(family: MiniFamily, reference: Audio) -> object:
        take_back(home_dir)
        return embed(family, reference)

    monkeypatch.setattr(MiniFamily, "embed", embed_and_revoke)
    with pytest.raises(ConsentError, match="revoked"):
        tiny_tts.speak("Hello.", voice)
    assert not list((home_dir / "voices" / "a").glob("*.safetensors"))


def test_under_verify_a_file_needs_a_consent_verified_for_it(
    tiny_family: MiniFamily, home_dir: Path
) -> None:
    from kouji.voices.sample import sample_path

    with TTS(tiny_family, Settings(home=home_dir, consent="verify")) as tts:
        for consent in (None, attest()):
            with pytest.raises(ConsentError, match="challenge") as caught:
                tts.enroll(sample_path(), consent=consent)
            assert caught.value.reason in ("missing", "unverified")
        elsewhere = Consent("verified", "", now_text(), voice="0" * 64)
        with pytest.raises(ConsentError) as caught:
            tts.enroll(sample_path(), consent=elsewhere)
        assert caught.value.reason == "not_this_voice"
        reference = tts.enroll(sample_path(), consent=of_key("k1"))
        bound = replace(elsewhere, voice=reference.content_hash)
        tts.speak("Hello.", tts.enroll(sample_path(), consent=bound))
        kept = make_voice(home_dir)
        with pytest.raises(ConsentError) as caught:
            tts.speak("Hello.", kept)
        assert caught.value.reason == "unverified"


def test_a_revoked_recording_enrolled_again_is_told(
    tiny_tts: TTS, home_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from kouji.voices.sample import sample_path

    voice = replace(tiny_tts.enroll(sample_path()), name="a", id="a")
    VoiceStore(home_dir).add(voice)
    take_back(home_dir)
    assert "revoked" not in caplog.text
    tiny_tts.enroll(sample_path())
    assert "was revoked" in caplog.text
