"""The voice `sample`, which comes with the package: a recording in the public domain."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from kouji.voices.consent import Consent
from kouji.voices.voice import Voice

SAMPLE = "sample"
SAMPLE_TRANSCRIPT = (
    "his letter is admirably clear and regular, but at least as beautiful as any other Roman type."
)
SAMPLE_CONSENT = Consent("public", "LJ Speech is in the public domain", "2017-07-05", id="sample")


def sample_path() -> Path:
    """The recording behind it."""
    return Path(str(files("kouji") / "data" / "sample_voice.ogg"))


@lru_cache(maxsize=1)
def sample_voice() -> Voice:
    """The voice, cleaned as every reference is; made once."""
    from kouji.audio.clean import ReferenceRules, prepare_reference

    reference, report = prepare_reference(sample_path(), ReferenceRules())
    return Voice.from_reference(
        reference,
        name=SAMPLE,
        transcript=SAMPLE_TRANSCRIPT,
        language="en",
        consent=SAMPLE_CONSENT,
        report=report,
    )
