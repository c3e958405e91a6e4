"""Recordings for CosyVoice: the reference a voice is taken from, and speech to be said again.

A reference has 1 to 30 s, which the speech tokenizer was trained with; speech to be converted may
have any length and is cut at its pauses. Judged before any network runs; knows none.
"""

from __future__ import annotations

import numpy as np

from kouji.audio.clean import SILENT_DB, refuse_silence
from kouji.audio.slice import cut_at_pauses, find_best_part
from kouji.audio.vad import frame_levels_db
from kouji.errors import AudioError, ReferenceRefused
from kouji.models.cosyvoice.config import MAX_PROMPT_SECONDS, TOKEN_RATE_HZ
from kouji.types import Audio

MIN_PROMPT_SECONDS = 1.0
# Of a longer reference that may be cut: the prompt's frames cost time in every request.
PART_SECONDS = (3.0, 10.0)
MAX_CUT_SECONDS = 600.0  # a part is looked for in no more than this
MIN_SOURCE_SECONDS = 0.2
MAX_SOURCE_SECONDS = 3600.0
FULL_RATE = 16_000  # Hz; below it the tokenizer misses what it was trained to hear


def choose_prompt(
    reference: Audio, *, has_transcript: bool, recorded_seconds: float = 0.0
) -> Audio:
    """The part of a reference that is given to the networks: all of it, if it may be.

    has_transcript:   its words must stay whole; without one a recording that is too long is cut
                      to its best part, from pause to pause
    recorded_seconds: of the recording that the reference was cut from before, if it was
    raises: ReferenceRefused (too_short, too_long, silent) with the seconds and what to do
    """
    limit = MAX_PROMPT_SECONDS if has_transcript else MAX_CUT_SECONDS
    seconds = max(reference.duration, recorded_seconds if has_transcript else 0.0)
    if seconds > limit:
        raise _wrong_length("long", seconds, limit, has_transcript)
    if reference.duration < MIN_PROMPT_SECONDS:
        raise _wrong_length("short", reference.duration, limit, has_transcript)
    refuse_silence(reference)
    if reference.duration <= MAX_PROMPT_SECONDS:
        return reference
    rate = reference.sample_rate
    first, last = (round(seconds * rate) for seconds in find_best_part(reference, PART_SECONDS))
    part = Audio(np.ascontiguousarray(reference.samples[first:last]), rate)
    refuse_silence(part)
    return part


def cut_source(source: Audio) -> tuple[list[Audio], tuple[str, ...]]:
    """Speech to be converted in pieces of 30 s at most, and warnings; no sample is left out.

    Pieces but the last have a whole number of tokens, so that what is made of them together is as
    long as the source.
    raises: AudioError where there is nothing to convert, or far too much
    """
    if not MIN_SOURCE_SECONDS <= source.duration <= MAX_SOURCE_SECONDS:
        raise AudioError(
            "the speech to be converted has the wrong length",
            seen=f"{source.duration:.2f} s",
            allowed=f"{MIN_SOURCE_SECONDS:g} to {MAX_SOURCE_SECONDS:g} s",
            cure="cut it into several" if source.duration > 1 else "record more",
        )
    loudest = float(frame_levels_db(source).max(initial=-100.0))
    if loudest < SILENT_DB:
        raise AudioError(
            "the speech to be converted is silent",
            seen=f"never above {loudest:.0f} dBFS",
            allowed=f"speech above {SILENT_DB:.0f} dBFS",
            cure="check the microphone and its level",
        )
    warnings: tuple[str, ...] = ()
    if source.sample_rate < FULL_RATE:
        warnings = (
            f"the speech has {source.sample_rate} Hz; at {FULL_RATE} Hz more of it is understood",
        )
    # One token below the limit, which a rounded cut must not pass.
    longest = MAX_PROMPT_SECONDS - 1 / TOKEN_RATE_HZ
    return cut_at_pauses(source, longest, 1 / TOKEN_RATE_HZ), warnings


def _wrong_length(
    kind: str, seconds: float, limit: float, has_transcript: bool
) -> ReferenceRefused:
    if kind == "short":
        cure = "record a longer one"
    elif has_transcript and seconds <= MAX_CUT_SECONDS:
        cure = "cut out a part from pause to pause with its words, or leave the transcript out"
    else:
        cure = "cut out a part, from pause to pause"
    return ReferenceRefused(
        f"too_{kind}",
        f"the reference is too {kind} for CosyVoice",
        seen=f"{seconds:.2f} s",
        allowed=f"{MIN_PROMPT_SECONDS:g} to {limit:g} s",
        cure=cure,
    )
