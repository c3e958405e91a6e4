"""From a recording to a voice: the operator's rules, the quality report, the cleaned reference.

Nothing here needs a model: what a model computes from a voice comes later and is cached.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from kouji.config import Settings
from kouji.errors import ConsentError, VoiceError
from kouji.voices.consent import Consent
from kouji.voices.voice import Voice, VoiceWeights, WeightsFile

if TYPE_CHECKING:
    from kouji.audio.clean import QualityReport, ReferenceRules

SLACK_SECONDS = 0.5  # by which two counts of the same speech may differ; a word is longer
MIN_CONSENT_SECONDS = 1.0  # of speech: enough for "I agree"
MAX_CONSENT_SECONDS = 600.0


def reference_rules(settings: Settings) -> ReferenceRules:
    """The operator's demands on a reference recording, as `audio.clean` takes them."""
    from kouji.audio.clean import ReferenceRules

    return ReferenceRules(
        min_speech_seconds=settings.min_reference_seconds,
        max_seconds=settings.max_reference_seconds,
        max_clipped=settings.max_clipped_fraction,
        min_snr_db=settings.min_snr_db,
    )


def enroll(
    source: Path,
    settings: Settings,
    *,
    name: str,
    transcript: str | None = None,
    language: str | None = None,
    consent: Consent | None = None,
    others: Sequence[Path] = (),
    weights: VoiceWeights | None = None,
) -> Voice:
    """Make a voice of a recording.

    others: further recordings of the same speaker
    raises: ReferenceRefused with the figure, UnreadableAudio, VoiceError for the name
    """
    from kouji.audio.clean import prepare_reference

    rules = reference_rules(settings)
    reference, report = prepare_reference(source, rules, has_words=bool(transcript))
    return Voice.from_reference(
        reference,
        name=name,
        transcript=transcript,
        language=language,
        consent=consent,
        report=report,
        others=[prepare_reference(path, rules)[0] for path in others],
        weights=weights,
    )


def warn_of_transcript(voice: Voice) -> str | None:
    """Tell where a voice's transcript has words of speech that its reference lost to a cut.

    Models that continue the reference then read the lost words out, or swallow new ones.
    """
    from kouji.audio.clean import WHOLE_SECONDS
    from kouji.audio.vad import speech_spans

    if float(voice.report.get("duration") or 0.0) <= WHOLE_SECONDS:
        return None  # with words it was not cut
    heard = float(voice.report.get("speech_seconds") or 0.0)
    if not voice.transcript or not heard:
        return None
    kept = sum(end - start for start, end in speech_spans(voice.reference))
    if heard - kept <= SLACK_SECONDS:
        return None
    start, end = (float(voice.report.get(f"best_{edge}") or 0.0) for edge in ("start", "end"))
    return (
        f"only {start:.1f} to {end:.1f} s of the recording were kept; "
        "the transcript must have the words of that part and no others: add the voice again"
    )


def weights_file(path: Path) -> WeightsFile:
    """A checkpoint by its place and content; VoiceError if it cannot be read."""
    try:
        with path.open("rb") as file:
            return WeightsFile(str(path.resolve()), hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise VoiceError("cannot read the weights", seen=f"{path}: {error.strerror}") from error


def examine(source: Path, settings: Settings) -> QualityReport:
    """The quality report of a recording, good or bad; an AudioError if none can be made."""
    from kouji.audio.clean import check_reference, load_reference

    rules = reference_rules(settings)
    return check_reference(load_reference(source, rules), rules)


def require_speech(recording: bytes, origin: str) -> None:
    """Raise ConsentError if nobody speaks in a consent recording."""
    from kouji.audio.clean import HIGHEST_RATE
    from kouji.audio.load import load_audio
    from kouji.audio.vad import speech_spans

    audio = load_audio(recording, max_seconds=MAX_CONSENT_SECONDS, highest_rate=HIGHEST_RATE)
    seconds = sum(end - start for start, end in speech_spans(audio))
    if seconds < MIN_CONSENT_SECONDS:
        raise ConsentError(
            f"nobody speaks in the consent recording {origin}",
            seen=f"{seconds:.2f} s of speech",
            allowed=f"at least {MIN_CONSENT_SECONDS:g} s in which the speaker agrees",
        )
