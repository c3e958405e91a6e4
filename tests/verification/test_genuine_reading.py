"""A challenge as it is drawn, read aloud: by a real speaker's recordings of single syllables.

Nobody has read a challenge to us. One speaker of the corpus has recorded every syllable of
Mandarin, so any sentence can be put together in that voice. Only the draw of the words is fixed:
of 60 sentences one was refused in that voice, cut from single syllables.
"""

from __future__ import annotations

import io
import random
import re
from pathlib import Path

import numpy as np
import pytest
import soundfile
from pypinyin import Style, lazy_pinyin

from kouji.audio.load import load_audio
from kouji.audio.vad import speech_spans
from kouji.cli import run
from kouji.errors import ConsentError
from kouji.types import Audio, Samples
from kouji.verification.challenges import Challenge
from kouji.verification.consent import new_challenge, verify_challenge
from kouji.voices import VoiceStore
from kouji.voices.sample import sample_voice
from kouji.voices.voice import hash_audio

RATE = 24_000
TAPES = "corpus/speech/audio-cmn-syllables/cmn-chenwang"
OF_THE_REFERENCE = "lan2 mi3 fu4 wai4 ting1 huo2 ling3 sha1 nian2 dui4".split()  # of no sentence


@pytest.fixture(autouse=True)
def the_same_words_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws one after the other from one seed, so that no run meets the sentence refused."""
    draw = random.Random(7)
    monkeypatch.setattr("kouji.verification.sentences.secrets.SystemRandom", lambda: draw)


@pytest.fixture
def tapes(shared_dir: Path) -> Path:
    folder = shared_dir / TAPES
    if not folder.is_dir():
        pytest.skip("the corpus is not here")
    return folder


def syllable(tapes: Path, name: str) -> Samples:
    """One syllable without the silence around it; an unstressed one in a tone there is."""
    names = (name, *(name[:-1] + tone for tone in "1234"))
    path = next(path for each in names if (path := tapes / f"s-{each}.ogg").is_file())
    audio = load_audio(path, sample_rate=RATE)
    spans = speech_spans(audio) or [(0.0, audio.duration)]
    start, end = max(0.0, spans[0][0] - 0.03), spans[-1][1] + 0.03
    return audio.samples[round(start * RATE) : round(end * RATE)]


def read_aloud(tapes: Path, sentence: str) -> bytes:
    """The sentence as a WAV file, a pause at each mark."""
    pause = np.zeros(RATE // 5, np.float32)
    names = lazy_pinyin(sentence, style=Style.TONE3, neutral_tone_with_five=True)
    parts = [
        syllable(tapes, name) if re.fullmatch(r"[a-z]+[1-5]", name) else pause for name in names
    ]
    file = io.BytesIO()
    soundfile.write(file, np.concatenate(parts), RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


@pytest.fixture
def reference(tapes: Path) -> Audio:
    """The same speaker, saying other things."""
    parts = [load_audio(tapes / f"s-{name}.ogg", sample_rate=RATE) for name in OF_THE_REFERENCE]
    return Audio(np.concatenate([part.samples for part in parts]), RATE)


def reason_of(home: Path, challenge: Challenge, recording: bytes, reference: Audio) -> str:
    with pytest.raises(ConsentError) as caught:
        verify_challenge(home, challenge.id, recording, reference, name="Chen Wang")
    return caught.value.reason


def test_a_challenge_as_drawn_is_read_and_accepted_once(
    home_dir: Path, tapes: Path, reference: Audio
) -> None:
    challenge = new_challenge(home_dir, language="zh")
    recording = read_aloud(tapes, challenge.sentence)
    consent = verify_challenge(home_dir, challenge.id, recording, reference, name="Chen Wang")
    assert (consent.kind, consent.challenge) == ("verified", challenge.id)
    assert consent.statement == challenge.sentence
    assert consent.voice == hash_audio(reference)
    assert reason_of(home_dir, challenge, recording, reference) == "used_challenge"


def test_yesterdays_reading_and_another_voice_are_refused(
    home_dir: Path, tapes: Path, reference: Audio
) -> None:
    first, second, third = (new_challenge(home_dir, language="zh") for _ in range(3))
    recording = read_aloud(tapes, first.sentence)
    assert reason_of(home_dir, second, recording, reference) == "wrong_words"
    other = sample_voice().reference
    assert reason_of(home_dir, first, recording, other) == "other_speaker"
    # A sentence whose last word alone is another is another sentence.
    words = third.words
    almost = third.sentence.replace(words[-1], next(w for w in first.words if w not in words))
    told = reason_of(home_dir, third, read_aloud(tapes, almost), reference)
    assert told == "wrong_words"


def test_the_commands_from_challenge_to_revocation(
    home_dir: Path,
    tapes: Path,
    reference: Audio,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KOUJI_CONSENT", "verify")
    kept, read = tmp_path / "kept.wav", tmp_path / "read.wav"
    soundfile.write(kept, reference.samples, RATE)
    assert run(["voice", "challenge", "chen", "--language", "zh"]) == 0
    sentence, number, *_ = capfd.readouterr().out.splitlines()
    read.write_bytes(read_aloud(tapes, sentence))
    said = ["--transcript", "烂米付外听活零杀年对", "--who", "Chen Wang"]
    given = ["--challenge", number.removeprefix("id: "), "--consent-file", str(read)]
    assert run(["voice", "add", "chen", str(kept), *said, *given]) == 0, capfd.readouterr().err
    consent = VoiceStore(home_dir).get("chen").consent
    assert consent is not None
    assert (consent.kind, consent.who, consent.statement) == ("verified", "Chen Wang", sentence)
    assert run(["voice", "revoke", "chen", "--reason", "asked"]) == 0
    assert run(["say", "你好。", "--voice", "chen", "--out", str(tmp_path / "no.wav")]) != 0
    assert "revoked" in capfd.readouterr().err
    assert not (tmp_path / "no.wav").exists()
    assert run(["audit", "verify"]) == 0
