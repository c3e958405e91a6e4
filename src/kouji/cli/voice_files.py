"""`kouji voice import | export`: voices to and from the file CosyVoice keeps its speakers in.

Such a `spk2info.pt` holds what the networks heard, never a recording. A voice that comes from one
is kept, asked for consent and written down as every other; only its own model can speak it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kouji.cli import consents
from kouji.cli.boundary import say_to_user
from kouji.cli.sources import require_file
from kouji.errors import UsageError, VoiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kouji.voices import Voice
    from kouji.voices.voice import Imported

MODELS = ("cosyvoice3", "cosyvoice2")


def import_voices(
    file: Annotated[Path, typer.Argument(help="A spk2info.pt of CosyVoice.")],
    model: Annotated[
        str, typer.Option(help="The model that wrote it: cosyvoice3 or cosyvoice2.")
    ] = MODELS[0],
    only: Annotated[
        list[str] | None, typer.Option(help="Take this speaker alone; may be repeated.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="What to call the voice, where one is taken.")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="Of the speakers: zh, en, ja, ko, yue, de, es, fr, it, ru.")
    ] = None,
    consent_file: consents.ConsentFile = None,
    attest: consents.Attest = False,
    who: consents.Who = None,
) -> None:
    """Keep the speakers of a CosyVoice file as voices."""
    from kouji.cli import session
    from kouji.types import LANGUAGES
    from kouji.voices import Voice, VoiceStore
    from kouji.voices.consent import require_for_enrolment
    from kouji.voices.leave import Leave

    settings = session.start()
    if model not in MODELS:
        raise UsageError("no such model writes speakers", seen=model, allowed=", ".join(MODELS))
    if language not in (None, *LANGUAGES):
        raise UsageError("unknown language", seen=language, allowed=", ".join(LANGUAGES))
    require_file(file)
    consent, evidence = consents.Given(consent_file, attest, None, who or "").read()
    require_for_enrolment(consent, settings.consent_policy)
    speakers = _chosen(_read(file, model), only or [], name)
    voices = [
        Voice.from_import(speaker, name=called, language=language, consent=consent)
        for called, speaker in speakers.items()
    ]
    store, leave = VoiceStore(settings.home), Leave(settings.home, settings.consent_policy)
    _require_free(voices, store)
    for voice in voices:
        leave.require(voice)
        store.add(voice, consent_recording=evidence)
        consents.write_down(settings, "voice.import", voice)
        say_to_user(f"kept voice {voice.name!r} for {model}, {consents.describe(consent)}")
        if warning := leave.warning(voice):
            say_to_user(f"warning: {warning}")


def export_voices(
    names: Annotated[list[str], typer.Argument(help="Kept voices, or sample.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The spk2info.pt to write.")],
    model: Annotated[
        str | None, typer.Option(help="The model that hears them, or its folder.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 is chosen for you.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1.")] = None,
) -> None:
    """Write kept voices into a file CosyVoice reads; their consent does not travel with them."""
    from kouji.cli import session
    from kouji.cli.say import check_folder

    settings = session.start()
    check_folder(out.expanduser())
    choices = [session.choose_voice(name, settings) for name in names]
    if files := [str(choice.path) for choice in choices if choice.path is not None]:
        raise UsageError("only kept voices are exported", seen=", ".join(files),
                         cure="keep it first: kouji voice add NAME RECORDING")  # fmt: skip
    own = {session.model_of(choice, settings) for choice in choices} & set(MODELS)
    wanted = model or (own.pop() if len(own) == 1 else "cosyvoice")
    tts = session.load_model(session.ModelChoice(wanted, None, threads or None, device), settings)
    voices = [
        session.open_voice(
            tts, choice, settings, is_attested=False, transcript=None, tell=say_to_user
        )
        for choice in choices
    ]
    tts.export_voices(voices, out.expanduser())
    say_to_user(f"{out}: {len(voices)} voices")


def _read(file: Path, model: str) -> dict[str, Imported]:
    """The speakers of a file by their ids."""
    from kouji.models.cosyvoice.config import CosyVoiceConfig
    from kouji.models.cosyvoice.files.spk2info import import_speakers
    from kouji.models.cosyvoice.hearing.voice import pack_conditioning
    from kouji.voices.voice import Imported

    # Ids are held to the official sizes here, and to the model's own when it is spoken with.
    speakers = import_speakers(file, CosyVoiceConfig())
    return {
        name: Imported(model, pack_conditioning(each.conditioning, each.prompt_text))
        for name, each in speakers.items()
    }


def _chosen(
    speakers: Mapping[str, Imported], only: list[str], name: str | None
) -> dict[str, Imported]:
    """Those asked for, under the names they are kept by.

    raises: UsageError
    """
    shown = ", ".join(list(speakers)[:20]) or "none"
    if missing := [wanted for wanted in only if wanted not in speakers]:
        raise UsageError("the file has no such speaker", seen=", ".join(missing), allowed=shown)
    chosen = {wanted: speakers[wanted] for wanted in (only or speakers)}
    if not chosen:
        raise UsageError("the file holds no speakers", cure="check which file it is")
    if name is None:
        return chosen
    if len(chosen) > 1:
        raise UsageError("one name for several speakers", seen=shown, cure="choose with --only")
    return {name: next(iter(chosen.values()))}


def _require_free(voices: list[Voice], store: object) -> None:
    """VoiceError if a name is taken, before the first voice is kept."""
    from kouji.voices import VoiceStore

    assert isinstance(store, VoiceStore)
    ids = [voice.id for voice in voices]
    taken = [v.name for v in voices if v.name in store or ids.count(v.id) > 1]
    if taken:
        raise VoiceError(
            "voices of these names exist already, or twice in the file",
            seen=", ".join(taken),
            cure="take one with --only ID --name NAME",
        )
