"""From a challenge to a verified consent: what command line and server call.

`new_challenge` gives a sentence to show; `verify_challenge` takes the recording of somebody
reading it and checks, in this order: the challenge, that somebody speaks, that it is not our
own synthesis, the words, the speaker. Thresholds and what they cost stand in docs/consent.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kouji.errors import AudioError, ConsentError
from kouji.types import Audio
from kouji.verification.challenges import LIFETIME_SECONDS, Challenge, ChallengeStore
from kouji.voices.consent import Consent, Scope, expiry, hash_recording, now_text
from kouji.voices.voice import hash_audio

__all__ = ["Challenge", "Limits", "new_challenge", "verify_challenge"]

MIN_SPEECH_SECONDS = 2.0  # nobody reads a statement and six words faster
MAX_SECONDS = 60.0
MIN_RATE = 16_000  # Hz: a telephone's band hides what tells speakers apart
MIN_SNR_DB = 15.0


@dataclass(frozen=True)
class Limits:
    """Above which a recording passes; chosen on the corpus by benchmarks/consent.py.

    words:   mean of `WordScores.words`
    fit:     `WordScores.fit`
    speaker: `speakers.likeness` of reading and reference
    """

    words: float
    fit: float
    speaker: float


# A wrong word scores about -8, a sixth of which is -1.3: in Chinese no word may be wrong. English
# words are less sure (a right one in 16 scores below -4), so one may be.
LIMITS = {
    "zh": Limits(words=-1.2, fit=-4.0, speaker=0.81),
    "en": Limits(words=-2.0, fit=-3.0, speaker=0.81),
}


def new_challenge(
    home: Path,
    *,
    language: str = "en",
    purpose: str = "voice",
    owner: str = "",
    scope: Scope = "any",
    lifetime_seconds: float = LIFETIME_SECONDS,
) -> Challenge:
    """A sentence that somebody is to read aloud now.

    language: zh or en, of the sentence; the voice may speak any
    purpose:  what the consent is for: `voice` for any voice, or `voice:<id>` for one
    owner:    the id of the key that asks; only the same owner can use it
    scope:    of the consent it leads to
    raises:   UsageError, ConsentError (too_many_challenges), VoiceError
    """
    return ChallengeStore(home).add(language, purpose, owner, scope, lifetime_seconds)


def verify_challenge(
    home: Path,
    challenge_id: str,
    recording: bytes,
    reference: Audio,
    *,
    name: str,
    purpose: str = "voice",
    owner: str = "",
    others: Sequence[Audio] = (),
    days: int = 0,
) -> Consent:
    """Check that the speaker of a reference has read a sentence, and write the consent.

    recording: the bytes of an audio file in which the sentence is read
    reference: the cleaned reference as the voice holds it (`Voice.reference`): the consent
               holds for these samples alone
    name:      of the speaker, as given
    others:    further references of the voice (`Voice.others`), each checked likewise
    days:      how long the consent lasts (setting `consent_days`); 0: until it is revoked
    raises:    ConsentError whose `reason` tells: unknown_challenge, expired_challenge,
               used_challenge, other_challenge, unreadable, too_long, no_speech, narrow, noisy,
               synthetic, wrong_words, other_speaker, not_this_voice. From `synthetic` on the
               challenge is used up.
    """
    if len(reference.samples) == 0:
        raise ConsentError(
            "an imported voice has no recording to compare with who agrees",
            reason="not_this_voice",
            cure="add the voice from a recording",
        )
    store = ChallengeStore(home)
    challenge = store.get(challenge_id, purpose=purpose, owner=owner)
    audio = _load_reading(recording)
    scores = {"snr_db": _check_quality(audio)}
    store.use(challenge)
    _require_unmarked(audio)
    scores |= _check_words(audio, challenge)
    scores |= _check_speaker(audio, (reference, *others), challenge)
    return Consent(
        kind="verified",
        statement=challenge.sentence,
        time=now_text(),
        recording_hash=hash_recording(recording),
        who=name,
        scope=challenge.scope,
        policy="verify",
        voice=hash_audio(reference),
        others=tuple(map(hash_audio, others)),
        owner=owner,
        challenge=challenge.id,
        expires=expiry(days),
        scores={key: round(value, 4) for key, value in scores.items()},
    )


def _load_reading(recording: bytes) -> Audio:
    """The recording from its first to its last speech."""
    from kouji.audio.clean import HIGHEST_RATE
    from kouji.audio.load import load_audio
    from kouji.audio.vad import speech_spans

    try:
        audio = load_audio(recording, max_seconds=600.0, highest_rate=HIGHEST_RATE)
    except AudioError as error:
        raise ConsentError(
            "the recording of the sentence cannot be read", reason="unreadable", seen=error
        ) from error
    if audio.duration > MAX_SECONDS:
        raise ConsentError(
            "the recording of the sentence is too long",
            reason="too_long",
            seen=f"{audio.duration:.1f} s",
            allowed=f"{MAX_SECONDS:g} s",
            cure="record the sentence alone",
        )
    spans = speech_spans(audio)
    seconds = sum(end - start for start, end in spans)
    if seconds < MIN_SPEECH_SECONDS:
        raise ConsentError(
            "nobody reads the sentence in the recording",
            reason="no_speech",
            seen=f"{seconds:.2f} s of speech",
            allowed=f"at least {MIN_SPEECH_SECONDS:g} s",
            cure="record the whole sentence, close to the microphone",
        )
    rate = audio.sample_rate
    start, end = max(0.0, spans[0][0] - 0.1), spans[-1][1] + 0.1
    return Audio(audio.samples[round(start * rate) : round(end * rate)], rate)


def _check_quality(audio: Audio) -> float:
    """The SNR in dB of a reading that is good enough to judge by; ConsentError for another."""
    from kouji.audio.clean import check_reference

    if audio.sample_rate < MIN_RATE:
        raise ConsentError(
            "the recording of the sentence is of a telephone's quality",
            reason="narrow",
            seen=f"{audio.sample_rate} Hz",
            allowed=f"at least {MIN_RATE} Hz",
            cure="record it with a microphone",
        )
    snr_db = min(99.0, check_reference(audio).snr_db)
    if snr_db < MIN_SNR_DB:
        raise ConsentError(
            "the recording of the sentence is too noisy to tell who speaks",
            reason="noisy",
            seen=f"{snr_db:.1f} dB",
            allowed=f"at least {MIN_SNR_DB:g} dB",
            cure="record it in a quiet room, close to the microphone",
        )
    return snr_db


def _require_unmarked(audio: Audio) -> None:
    """What Kouji made carries its mark: a cloned voice cannot agree to be cloned."""
    from kouji.audio.watermark import detect

    if detect(audio).found:
        raise ConsentError(
            "the recording of the sentence is synthetic speech",
            reason="synthetic",
            cure="let the speaker read it",
        )


def _check_words(audio: Audio, challenge: Challenge) -> dict[str, float]:
    from kouji.verification.words import hear, pieces_of, weigh

    limits = LIMITS[challenge.language]
    found = weigh(hear(audio), pieces_of(challenge.reading))
    if found.mean < limits.words or found.fit < limits.fit:
        raise ConsentError(
            "the recording does not say the sentence shown",
            reason="wrong_words",
            seen=f"words {found.mean:.2f}, fit {found.fit:.2f}",
            allowed=f"at least {limits.words:g} and {limits.fit:g}",
            cure="ask for a new sentence and read it clearly, word by word, in a quiet room",
        )
    return {"words": found.mean, "fit": found.fit}


def _check_speaker(
    audio: Audio, references: Sequence[Audio], challenge: Challenge
) -> dict[str, float]:
    from kouji.verification.speakers import embed, likeness

    reading, limit = embed(audio), LIMITS[challenge.language].speaker
    lowest = min(likeness(reading, embed(reference)) for reference in references)
    if lowest < limit:
        raise ConsentError(
            "whoever reads the sentence does not sound like the voice",
            reason="other_speaker",
            seen=f"likeness {lowest:.2f}",
            allowed=f"at least {limit:g}",
            cure="the speaker of the reference must read it, best with the same microphone",
        )
    return {"speaker": lowest}
