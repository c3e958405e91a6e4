"""From a recording to a voice: the operator's rules, the quality report, the cleaned reference.

Nothing here needs a model: what a model computes from a voice comes later and is cached.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from kouji.config import Settings
from kouji.errors import ConsentError
from kouji.types import Language
from kouji.voices.consent import Consent
from kouji.voices.voice import Voice

if TYPE_CHECKING:
    from kouji.audio.clean import QualityReport, ReferenceRules

MIN_CONSENT_SECONDS = 1.0  # of speech: enough for "I agree"


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
) -> Voice:
    """Make a voice of a recording.

    raises: ReferenceRefused with the figure, UnreadableAudio, VoiceError for the name
    """
    from kouji.audio.clean import prepare_reference

    reference, report = prepare_reference(source, reference_rules(settings))
    return Voice.from_reference(
        reference,
        name=name,
        transcript=transcript,
        language=cast(Language | None, language),
        consent=consent,
        report=report,
    )


def examine(source: Path, settings: Settings) -> QualityReport:
    """The quality report of a recording, good or bad; an AudioError if none can be made."""
    from kouji.audio.clean import check_reference, load_reference

    rules = reference_rules(settings)
    return check_reference(load_reference(source, rules), rules)


def require_speech(recording: bytes, origin: str) -> None:
    """Raise ConsentError if nobody speaks in a consent recording."""
    from kouji.audio.load import load_audio
    from kouji.audio.vad import speech_spans

    seconds = sum(end - start for start, end in speech_spans(load_audio(recording)))
    if seconds < MIN_CONSENT_SECONDS:
        raise ConsentError(
            f"nobody speaks in the consent recording {origin}",
            seen=f"{seconds:.2f} s of speech",
            allowed=f"at least {MIN_CONSENT_SECONDS:g} s in which the speaker agrees",
        )
