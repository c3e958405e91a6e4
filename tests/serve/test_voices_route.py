"""`/v1/models`, `/v1/audio/voices`, consents: the official client's shapes, isolation, revoking."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import soundfile
from live_server import Live

from kouji.config import Settings
from kouji.serve.caller import Quotas
from kouji.serve.keys import KeyRing
from kouji.types import Audio
from kouji.voices import audit
from kouji.voices.consent import STATEMENT
from kouji.voices.sample import sample_path


@pytest.fixture(scope="session")
def recording() -> bytes:
    """Speech of a person, in a file."""
    return sample_path().read_bytes()


@pytest.fixture(scope="session")
def other_recording() -> bytes:
    """The same person lower: another voice for every purpose here."""
    samples, rate = soundfile.read(sample_path(), dtype="float32")
    file = io.BytesIO()
    soundfile.write(file, samples[: 6 * rate], int(rate * 0.85), format="WAV")
    return file.getvalue()


@pytest.fixture
def keys(settings: Settings) -> Callable[..., str]:
    """Makes keys of the home."""
    ring = KeyRing(settings.home)
    return lambda name, *scopes, **quotas: ring.add(
        name, scopes or ("speak", "voices"), quotas=Quotas(**quotas)
    )[1]


@pytest.fixture
def ai(live: Live) -> Iterator[Callable[[str], openai.OpenAI]]:
    """Official clients by key."""
    opened: list[openai.OpenAI] = []

    def connect(key: str) -> openai.OpenAI:
        opened.append(openai.OpenAI(api_key=key, base_url=f"{live.url}/v1", max_retries=0))
        return opened[-1]

    yield connect
    for client in opened:
        client.close()


def agree(ai: openai.OpenAI, recording: bytes) -> str:
    consent = ai.audio.voice_consents.create(
        name="Ann", language="en-US", recording=("yes.ogg", recording, "audio/ogg")
    )
    assert consent.object == "audio.voice_consent"
    return consent.id


def test_models_are_listed(shared_live: Live) -> None:
    with openai.OpenAI(api_key="x", base_url=f"{shared_live.url}/v1", max_retries=0) as client:
        names = [model.id for model in client.models.list()]
        assert names[0] == "mini"
        assert {"tts-1", "gpt-4o-mini-tts"} <= set(names)
        assert client.models.retrieve("tts-1").object == "model"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-9")


def test_the_official_client_keeps_speaks_and_removes_a_voice(
    ai: Callable[[str], openai.OpenAI], recording: bytes, live: Live
) -> None:
    client = ai("local")
    number = agree(client, recording)
    voice = client.audio.voices.create(
        name="Ann", audio_sample=("ann.ogg", recording, "audio/ogg"), consent=number
    )
    assert (voice.object, voice.type, voice.name) == ("audio.voice", "audio_sample", "Ann")
    sound = client.audio.speech.create(model="tts-1", voice={"id": voice.id}, input="Hello.")
    assert sound.response.headers["X-Kouji-Voice"] == "Ann"
    listed = httpx.get(f"{live.url}/v1/audio/voices").json()
    assert [each["id"] for each in listed["data"]] == ["sample", voice.id]
    assert listed["data"][1]["consent_id"] == number
    gone = client.audio.voices.delete(voice.id)
    assert (gone.deleted, gone.object) == (True, "audio.voice.deleted")
    with pytest.raises(openai.NotFoundError):
        client.audio.speech.create(model="tts-1", voice=voice.id, input="Hello.")
    assert '"voice.add"' in live.service.settings.audit_file.read_text()
    audit.verify(live.service.settings.audit_file)


def test_consents_are_listed_page_by_page_and_renamed(
    ai: Callable[[str], openai.OpenAI], recording: bytes
) -> None:
    client = ai("local")
    numbers = [agree(client, recording) for _ in range(3)]
    assert [each.id for each in client.audio.voice_consents.list(limit=2)] == numbers[::-1]
    renamed = client.audio.voice_consents.update(numbers[0], name="Ann B.")
    assert client.audio.voice_consents.retrieve(numbers[0]).name == renamed.name == "Ann B."


def test_a_consent_that_is_deleted_silences_its_voices(
    ai: Callable[[str], openai.OpenAI], recording: bytes, live: Live
) -> None:
    client = ai("local")
    number = agree(client, recording)
    voice = client.audio.voices.create(
        name="ann", audio_sample=("a.ogg", recording, "audio/ogg"), consent=number
    )
    client.audio.speech.create(model="tts-1", voice=voice.id, input="Hello.")
    answer = httpx.delete(f"{live.url}/v1/audio/voice_consents/{number}", params={"reason": "no"})
    assert answer.json()["deleted"] is True
    (receipt,) = answer.json()["receipts"]
    assert receipt["consent"] == number
    with pytest.raises(openai.PermissionDeniedError) as refused:
        client.audio.speech.create(model="tts-1", voice=voice.id, input="Hello.")
    assert refused.value.body["reason"] == "revoked"  # type: ignore[index]
    assert httpx.get(f"{live.url}/v1/audio/voices/{voice.id}").json()["consent"] == "revoked"
    with pytest.raises(openai.NotFoundError):
        client.audio.voice_consents.retrieve(number)


def test_a_voice_needs_consent_before_anything_is_heard(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/audio/voices", data={"name": "ann"}, files={"audio_sample": b"not even audio"}
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "consent_required")
    wrong = client.post(
        "/v1/audio/voices",
        data={"name": "ann", "attestation": "I like it"},
        files={"audio_sample": b"x"},
    )
    assert wrong.status_code == 403


def test_an_attested_voice_from_json(client: httpx.Client, recording: bytes) -> None:
    sample = "data:audio/ogg;base64," + base64.b64encode(recording).decode()
    body = {"name": "小明", "audio_sample": sample, "attestation": STATEMENT, "language": "en"}
    answer = client.post("/v1/audio/voices", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json()["consent"] == "attest"
    again = client.post("/v1/audio/voices", json=body)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "voice_unusable")
    spoken = client.post("/v1/audio/speech", json={"input": "Hi.", "voice": "小明"})
    assert spoken.status_code == 200


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "invalid_value"),
        (b"RIFF....WAVE", "unreadable_audio"),
        (b"\0" * 50_000, "unreadable_audio"),
    ],
)
def test_bad_recordings_are_refused(client: httpx.Client, content: bytes, code: str) -> None:
    answer = client.post(
        "/v1/audio/voices",
        data={"name": "ann", "attestation": STATEMENT},
        files={"audio_sample": ("x.wav", content)},
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    assert client.get("/v1/audio/voices").json()["data"][1:] == []


def test_a_silent_recording_is_refused_by_its_figure(client: httpx.Client) -> None:
    file = io.BytesIO()
    soundfile.write(file, np.zeros(72_000, np.float32), 24_000, format="WAV")
    answer = client.post(
        "/v1/audio/voices",
        data={"name": "ann", "attestation": STATEMENT},
        files={"audio_sample": file.getvalue()},
    )
    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, "silent")


def test_keys_never_meet_each_others_voices(
    keys: Callable[..., str],
    ai: Callable[[str], openai.OpenAI],
    recording: bytes,
    other_recording: bytes,
    live: Live,
) -> None:
    ann, bob = ai(keys("ann")), ai(keys("bob"))
    number = agree(ann, recording)
    hers = ann.audio.voices.create(
        name="me", audio_sample=("a.ogg", recording, "audio/ogg"), consent=number
    )
    his = bob.audio.voices.create(
        name="me",
        audio_sample=("b.wav", other_recording, "audio/wav"),
        consent=agree(bob, other_recording),
    )
    assert hers.id != his.id

    def speak(client: openai.OpenAI, voice: str) -> bytes:
        return client.audio.speech.create(
            model="tts-1", voice=voice, input="Hello there.", response_format="pcm"
        ).content

    assert speak(ann, "me") == speak(ann, hers.id) != speak(bob, "me") == speak(bob, his.id)
    for stranger, voice in ((ann, his.id), (bob, hers.id)):
        with pytest.raises(openai.NotFoundError):
            speak(stranger, voice)
        with pytest.raises(openai.NotFoundError):
            stranger.audio.voices.delete(voice)
        with pytest.raises(openai.NotFoundError):
            stranger.get(f"/audio/voices/{voice}", cast_to=object)
        listed = stranger.get("/audio/voices", cast_to=object)
        assert voice not in {each["id"] for each in listed["data"]}  # type: ignore[index]
    for call in (bob.audio.voice_consents.retrieve, bob.audio.voice_consents.delete):
        with pytest.raises(openai.NotFoundError):
            call(number)
    with pytest.raises(openai.NotFoundError):
        bob.audio.voices.create(name="x", audio_sample=("a", recording), consent=number)


def test_rights_and_quota(
    keys: Callable[..., str], ai: Callable[[str], openai.OpenAI], recording: bytes
) -> None:
    speaker, keeper = ai(keys("a", "speak")), ai(keys("b", "voices", voices=1))
    with pytest.raises(openai.AuthenticationError):
        ai("wrong").audio.speech.create(model="tts-1", voice="alloy", input="Hi.")
    with pytest.raises(openai.PermissionDeniedError):
        speaker.audio.voices.create(name="x", audio_sample=("a", recording), consent="x")
    with pytest.raises(openai.PermissionDeniedError):
        keeper.audio.speech.create(model="tts-1", voice="alloy", input="Hi.")
    number = agree(keeper, recording)
    keeper.audio.voices.create(name="one", audio_sample=("a", recording), consent=number)
    with pytest.raises(openai.RateLimitError) as full:
        keeper.audio.voices.create(name="two", audio_sample=("a", recording), consent=number)
    assert full.value.code == "quota_exceeded"


def test_too_many_requests_say_when_to_come_again(
    keys: Callable[..., str], ai: Callable[[str], openai.OpenAI]
) -> None:
    client = ai(keys("a", "speak", requests_per_minute=1))
    client.audio.speech.create(model="tts-1", voice="alloy", input="Hi.")
    with pytest.raises(openai.RateLimitError) as refused:
        client.audio.speech.create(model="tts-1", voice="alloy", input="Hi.")
    assert int(refused.value.response.headers["Retry-After"]) >= 1


def test_another_process_removes_a_voice(
    client: httpx.Client, live: Live, recording: bytes, tmp_path: Path
) -> None:
    client.post(
        "/v1/audio/voices",
        data={"name": "ann", "attestation": STATEMENT},
        files={"audio_sample": recording},
    ).raise_for_status()
    assert client.post("/v1/audio/speech", json={"input": "Hi.", "voice": "ann"}).is_success
    live.service.voices.store.remove("ann")
    assert client.post("/v1/audio/speech", json={"input": "Hi.", "voice": "ann"}).status_code == 404
    assert isinstance(live.service.voices.get("sample", _local()).reference, Audio)


def _local():  # type: ignore[no-untyped-def]
    from kouji.serve.caller import LOCAL

    return LOCAL


@pytest.fixture
def strict(serve: Callable[[Settings], Live], settings: Settings) -> Iterator[httpx.Client]:
    """A client of a server whose policy is `verify`."""
    live = serve(replace(settings, consent="verify"))
    with live.client() as client:
        yield client


def test_verify_takes_nobodys_word(strict: httpx.Client, recording: bytes) -> None:
    sample = {"audio_sample": recording}
    for data in ({"name": "a", "attestation": STATEMENT}, {"name": "a"}):
        answer = strict.post("/v1/audio/voices", data=data, files=sample)
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "consent_required")
    plain = {"name": "a", "language": "en"}
    answer = strict.post("/v1/audio/voice_consents", data=plain, files={"recording": recording})
    assert answer.json()["error"]["reason"] == "unverified"
    inline = strict.post("/v1/audio/speech", data={"input": "Hi."}, files={"ref_audio": recording})
    assert inline.json()["error"]["reason"] == "unverified"


def test_a_recording_of_other_words_is_no_consent(strict: httpx.Client, recording: bytes) -> None:
    challenge = strict.post("/v1/audio/voice_consents/challenges", json={"language": "en"}).json()
    assert len(challenge["sentence"].split()) > 6
    number = _give(strict, recording, challenge["id"])
    new = {"name": "a", "consent": number}
    answer = strict.post("/v1/audio/voices", data=new, files={"audio_sample": recording})
    assert (answer.status_code, answer.json()["error"]["reason"]) == (403, "wrong_words")
    again = strict.post("/v1/audio/voices", data=new, files={"audio_sample": recording})
    assert again.json()["error"]["reason"] == "used_challenge"
    assert len(strict.get("/v1/audio/voices").json()["data"]) == 1


def test_a_verified_consent_holds_for_the_voice_it_was_compared_with(
    strict: httpx.Client,
    recording: bytes,
    other_recording: bytes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The words are taken as read: nobody can read a random sentence in a test."""
    monkeypatch.setattr("kouji.verification.consent._check_words", lambda *_: {"words": 0.0})
    challenge = strict.post("/v1/audio/voice_consents/challenges", json={}).json()
    number = _give(strict, recording, challenge["id"])
    new = {"name": "a", "consent": number}
    answer = strict.post("/v1/audio/voices", data=new, files={"audio_sample": recording})
    assert answer.status_code == 200, answer.text
    assert answer.json()["consent"] == "verified"
    assert strict.get(f"/v1/audio/voice_consents/{number}").json()["is_verified"] is True
    assert strict.post("/v1/audio/speech", json={"input": "Hi.", "voice": "a"}).is_success

    def inline(content: bytes, **more: str) -> httpx.Response:
        data = {"input": "Hi.", **more}
        return strict.post("/v1/audio/speech", data=data, files={"ref_audio": content})

    assert inline(recording, consent=number).is_success
    other = inline(other_recording, consent=number)
    assert (other.status_code, other.json()["error"]["reason"]) == (403, "not_this_voice")
    strict.delete(f"/v1/audio/voice_consents/{number}").raise_for_status()
    for answer in (
        inline(recording, consent=number),
        strict.post("/v1/audio/speech", json={"input": "Hi.", "voice": "a"}),
    ):
        assert answer.status_code == 403


def test_a_key_with_the_scope_clone_brings_recordings(
    serve: Callable[[Settings], Live],
    settings: Settings,
    keys: Callable[..., str],
    recording: bytes,
) -> None:
    trusted, plain = keys("a", "speak", "clone"), keys("b", "speak")
    with serve(replace(settings, consent="verify")).client() as client:
        for key, status in ((trusted, 200), (plain, 403)):
            answer = client.post(
                "/v1/audio/speech",
                headers={"Authorization": f"Bearer {key}"},
                data={"input": "Hi."},
                files={"ref_audio": recording},
            )
            assert answer.status_code == status


def _give(client: httpx.Client, recording: bytes, challenge: str) -> str:
    """A consent to a challenge; its id."""
    data = {"name": "Ann", "language": "en", "challenge": challenge}
    answer = client.post("/v1/audio/voice_consents", data=data, files={"recording": recording})
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])
