"""`kouji finetune`: a kept voice that mini learned from a minute of it; see train.mini_adapt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kouji.cli import consents
from kouji.cli.boundary import say_to_user
from kouji.cli.sources import require_file
from kouji.errors import UsageError, VoiceError

if TYPE_CHECKING:
    from kouji.models.mini.weights import Checkpoint
    from kouji.train.mini_adapt import Adapted
    from kouji.voices import Voice, VoiceStore

_MAX_SECONDS = 600.0


def finetune(
    model: Annotated[str, typer.Argument(help="mini, or the folder of a checkpoint of it.")],
    data: Annotated[Path, typer.Option(help="A minute of speech of one person.")],
    out: Annotated[str, typer.Option("--out", "-o", help="What to call the voice.")],
    transcript: Annotated[
        str | None, typer.Option(help="What is said in it; else a .txt beside it is read.")
    ] = None,
    language: Annotated[str | None, typer.Option(help="Of the speech: zh or en.")] = None,
    challenge: consents.ChallengeId = None,
    consent_file: consents.ConsentFile = None,
    attest: consents.Attest = False,
    who: consents.Who = None,
) -> None:
    """Learn a voice from a minute of it, in minutes, and keep it."""
    from kouji.cli import session
    from kouji.models.mini.weights import SHIPPED, load_checkpoint
    from kouji.voices import VoiceStore
    from kouji.voices.consent import require_for_enrolment
    from kouji.voices.enroll import enroll
    from kouji.voices.leave import Leave
    from kouji.voices.voice import voice_id

    settings = session.start()
    if language not in (None, "zh", "en"):
        raise UsageError("mini does not speak this language", seen=language, allowed="zh, en")
    voice_id(out)  # an unusable name is told before anything is read
    require_file(data)
    given = consents.Given(consent_file, attest, challenge, who or "")
    consent, evidence = given.read()
    if challenge is None:
        require_for_enrolment(consent, settings.consent_policy)
    store, leave = VoiceStore(settings.home), Leave(settings.home, settings.consent_policy)
    if out in store:
        raise VoiceError(f"a voice named {out!r} exists already", cure="take another name")
    voice = enroll(data, settings, name=out, language=language, consent=consent)
    voice = given.check(voice, evidence, settings)
    leave.require(voice)
    checkpoint = load_checkpoint(SHIPPED if model == "mini" else Path(model))
    learned = _learn(checkpoint, data, _transcript(data, transcript), language, settings.threads)
    voice = _keep(store, voice, checkpoint, learned, evidence)
    consents.write_down(settings, "voice.add", voice)
    say_to_user(
        f"kept voice {voice.name!r}: on the speech held back the error fell from "
        f"{learned.error_before:.3f} to {learned.error_after:.3f}, "
        f"{consents.describe(voice.consent)}"
    )
    if warning := leave.warning(voice):
        say_to_user(f"warning: {warning}")


def _transcript(data: Path, given: str | None) -> str | None:
    """What was given, else what a .txt of the same name says."""
    beside = data.with_suffix(".txt")
    if given is not None or not beside.is_file():
        return given
    from kouji.cli.sources import read_text

    return read_text(None, beside)


def _learn(
    checkpoint: Checkpoint, data: Path, transcript: str | None, language: str | None, threads: int
) -> Adapted:
    import torch

    from kouji.audio.features import MINI_MEL
    from kouji.audio.load import load_audio
    from kouji.cli.progress import progress_bar
    from kouji.train.mini_adapt import AdaptSettings, adapt, measure_recording, read_minute
    from kouji.train.transcript import transcript_phones
    from kouji.voices.voice import guess_language

    if threads:
        torch.set_num_threads(threads)
    audio = load_audio(data, sample_rate=MINI_MEL.sample_rate, max_seconds=_MAX_SECONDS)
    phones = None
    if transcript is not None:
        phones = transcript_phones(transcript, language or guess_language(transcript) or "en")
    else:
        say_to_user(
            "warning: no transcript (--transcript, or a .txt beside the recording): phones are "
            "taken as a recogniser hears them, and the voice will be less clear"
        )
    minute = read_minute(checkpoint.acoustic, measure_recording(audio), phones, language)
    settings = AdaptSettings()
    with progress_bar(settings.steps, doing="learning") as advance:
        return adapt(checkpoint.acoustic, minute, settings, advance)


def _keep(
    store: VoiceStore,
    voice: Voice,
    checkpoint: Checkpoint,
    learned: Adapted,
    evidence: bytes | None,
) -> Voice:
    """The voice in the store with what was learned beside it: both or neither."""
    from kouji.models.mini.voice import pack_conditioning
    from kouji.voices.voice import Adaptation, hash_arrays

    arrays = pack_conditioning(learned.voice)
    digest = hash_arrays("mini", arrays)
    voice = replace(voice, adapted=Adaptation("mini", checkpoint.weights_hash, digest))
    store.add(voice, consent_recording=evidence)
    try:
        store.save_conditioning(voice.id, "mini", checkpoint.weights_hash, arrays)
    except VoiceError:
        store.remove(voice.id)
        raise
    return voice
