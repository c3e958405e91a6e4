"""Verified consent on real speech: the right words by the right speaker, and nothing else.

Nobody has read a challenge to us, so the sentence shown is one that is on tape: what the
packaged sample says. Its random words are weighed against the shipped list as any others.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kouji.audio.load import load_audio
from kouji.audio.watermark import EmbedState, embed
from kouji.errors import ConsentError
from kouji.types import Audio
from kouji.verification import words
from kouji.verification.consent import new_challenge, verify_challenge
from kouji.verification.sentences import Sentence, random_sentence, symbols_of, words_of
from kouji.verification.words import Piece, hear, weigh
from kouji.voices.consent import Consent, hash_recording
from kouji.voices.sample import SAMPLE_TRANSCRIPT, sample_path, sample_voice

SPOKEN = ("letter", "admirably", "clear", "regular", "beautiful", "Roman")
LIBRI = {
    "one": "librispeech/ls-1867",
    "two": "librispeech/ls-1970",
}


def pieces(transcript: str, random_words: tuple[str, ...]) -> list[Piece]:
    """A sentence on tape in pieces; its random words may be any of the list instead."""
    listed = [symbols_of(word, "en") for word in words_of("en")]
    return [
        Piece(symbols_of(word, "en"), tuple(listed) if word.strip(",.") in random_words else ())
        for word in transcript.split()
    ]


@pytest.fixture
def on_tape(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence shown is what the packaged sample says."""
    monkeypatch.setattr(words, "pieces_of", lambda _: pieces(SAMPLE_TRANSCRIPT, SPOKEN))


def wav(audio: Audio) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, audio.samples, audio.sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def verify(home: Path, recording: bytes, **changes: object) -> Consent:
    number = new_challenge(home).id
    facts: dict[str, object] = {"reference": sample_voice().reference, "name": "Linda"} | changes
    return verify_challenge(home, number, recording, **facts)  # type: ignore[arg-type]


def reason_of(home: Path, recording: bytes, **changes: object) -> str:
    with pytest.raises(ConsentError) as caught:
        verify(home, recording, **changes)
    return caught.value.reason


def test_the_right_words_by_the_right_speaker(tmp_path: Path, on_tape: None) -> None:
    recording = sample_path().read_bytes()
    challenge = new_challenge(tmp_path, purpose="voice:linda", owner="k1", scope="own")
    consent = verify_challenge(
        tmp_path,
        challenge.id,
        recording,
        sample_voice().reference,
        name="Linda",
        purpose="voice:linda",
        owner="k1",
        days=30,
    )
    assert (consent.kind, consent.who, consent.scope, consent.owner) == (
        "verified", "Linda", "own", "k1",
    )  # fmt: skip
    assert consent.voice == sample_voice().content_hash
    assert consent.recording_hash == hash_recording(recording)
    assert (consent.statement, consent.challenge) == (challenge.sentence, challenge.id)
    assert consent.expires is not None
    assert set(consent.scores) == {"words", "fit", "speaker", "snr_db"}
    assert Consent.from_json(consent.to_json()) == consent
    with pytest.raises(ConsentError) as caught:
        verify_challenge(
            tmp_path, challenge.id, recording, sample_voice().reference,
            name="Linda", purpose="voice:linda", owner="k1",
        )  # fmt: skip
    assert caught.value.reason == "used_challenge"


@pytest.mark.parametrize("language", ["zh", "en"])
def test_an_earlier_recording_does_not_pass(tmp_path: Path, language: str) -> None:
    number = new_challenge(tmp_path, language=language).id
    with pytest.raises(ConsentError) as caught:
        verify_challenge(
            tmp_path, number, sample_path().read_bytes(), sample_voice().reference, name="x"
        )
    assert caught.value.reason == "wrong_words"


def test_other_random_words_in_the_same_sentence_do_not_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = dict(zip(SPOKEN, random_sentence("en").words, strict=True))
    sentence = " ".join(other.get(word.strip(",."), word) for word in SAMPLE_TRANSCRIPT.split())
    monkeypatch.setattr(words, "pieces_of", lambda _: pieces(sentence, tuple(other.values())))
    assert reason_of(tmp_path, sample_path().read_bytes()) == "wrong_words"


def test_our_own_synthesis_cannot_agree(tmp_path: Path, on_tape: None) -> None:
    audio = load_audio(sample_path(), sample_rate=24_000)
    marked = embed(audio.samples, 24_000, 7, EmbedState(24_000, 7))
    assert reason_of(tmp_path, wav(Audio(marked, 24_000))) == "synthetic"


def test_what_is_no_reading_leaves_the_challenge_open(tmp_path: Path, on_tape: None) -> None:
    number = new_challenge(tmp_path).id
    speech = load_audio(sample_path(), sample_rate=24_000)
    noise = np.random.default_rng(0).normal(0, 0.1, len(speech.samples)).astype(np.float32)
    long = Audio(np.tile(speech.samples, 12), 24_000)
    cases = {
        "unreadable": b"RIFF1234",
        "no_speech": wav(Audio(np.zeros(96_000, np.float32), 24_000)),
        "too_long": wav(long),
        "noisy": wav(Audio(speech.samples + noise, 24_000)),
        "narrow": wav(_telephone(speech)),
    }
    reference = sample_voice().reference
    for reason, recording in cases.items():
        with pytest.raises(ConsentError) as caught:
            verify_challenge(tmp_path, number, recording, reference, name="x")
        assert caught.value.reason == reason
    whole = sample_path().read_bytes()
    assert verify_challenge(tmp_path, number, whole, reference, name="x").kind == "verified"


def _telephone(audio: Audio) -> Audio:
    from kouji.audio.resample import resample

    return resample(audio, 8_000)


def test_words_are_weighed_against_the_list(on_tape: None) -> None:
    found = weigh(hear(load_audio(sample_path())), pieces(SAMPLE_TRANSCRIPT, SPOKEN))
    assert len(found.words) == 6
    assert found.mean > -2.0
    assert all(-8.0 <= each <= 0.0 for each in found.words)


def test_a_sentence_longer_than_the_recording_does_not_fit() -> None:
    heard = hear(load_audio(sample_path()))[:10]
    found = weigh(heard, pieces(SAMPLE_TRANSCRIPT, SPOKEN))
    assert found.mean == -8.0
    assert found.fit == -99.0


def test_sentences_come_in_pieces() -> None:
    for language in ("zh", "en"):
        sentence = random_sentence(language)
        parts = words.pieces_of(sentence)
        assert [len(part.alternatives) for part in parts] == [0, *[63] * 6]
        assert tuple(symbol for part in parts for symbol in part.symbols) == symbols_of(
            sentence.text, language
        )
    assert isinstance(sentence, Sentence)


def clips_of(shared_dir: Path, who: str) -> list[Path]:
    folder = shared_dir / "corpus" / "speech" / LIBRI[who]
    return sorted(folder.rglob("*.ogg"))[:2]


def test_speakers_of_the_corpus(
    tmp_path: Path, shared_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {who: clips_of(shared_dir, who) for who in LIBRI}
    monkeypatch.setattr(
        "kouji.verification.consent._check_words", lambda *_: {"words": 0.0, "fit": 0.0}
    )
    reference = load_audio(found["one"][0], sample_rate=24_000)
    own, foreign = (found[who][1].read_bytes() for who in LIBRI)
    assert verify(tmp_path, own, reference=reference).scores["speaker"] > 0.7
    assert reason_of(tmp_path, foreign, reference=reference) == "other_speaker"
    further = [load_audio(found["two"][0], sample_rate=24_000)]
    assert reason_of(tmp_path, own, reference=reference, others=further) == "other_speaker"
