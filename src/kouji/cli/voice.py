"""`kouji voice`: keep, list, show, remove and check voices; `consents`, `voice_files`: the rest."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kouji.cli import consents, voice_files
from kouji.cli.boundary import say_to_user
from kouji.cli.sources import require_file
from kouji.errors import UsageError, VoiceError

if TYPE_CHECKING:
    from kouji.audio.clean import QualityReport
    from kouji.voices import Voice, VoiceWeights

voice_app = typer.Typer(help="Keep and check voices.", no_args_is_help=True, rich_markup_mode=None)
Name = Annotated[str, typer.Argument(help="The name of a kept voice.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON value instead.")]


@voice_app.command("add")
def add(
    name: Annotated[str, typer.Argument(help="What to call the voice.")],
    recording: Annotated[Path, typer.Argument(help="Speech of one person, best 3 to 30 s.")],
    transcript: Annotated[str | None, typer.Option(help="What is said in it.")] = None,
    language: Annotated[
        str | None, typer.Option(help="Of the transcript: zh, en, ja, ko, yue, de, es, fr, it, ru.")
    ] = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(help="A further recording of the same person; may be repeated."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The family of the weights below: gpt-sovits.")
    ] = None,
    t2s: Annotated[
        Path | None, typer.Option(help="The voice's own GPT-SoVITS T2S weights (.ckpt).")
    ] = None,
    sovits: Annotated[
        Path | None, typer.Option(help="The voice's own SoVITS weights (.pth).")
    ] = None,
    challenge: consents.ChallengeId = None,
    consent_file: consents.ConsentFile = None,
    attest: consents.Attest = False,
    who: consents.Who = None,
) -> None:
    """Check a recording and keep it as a voice."""
    from kouji.cli import session
    from kouji.types import LANGUAGES
    from kouji.voices import VoiceStore
    from kouji.voices.consent import require_for_enrolment
    from kouji.voices.enroll import enroll, warn_of_transcript
    from kouji.voices.leave import Leave
    from kouji.voices.voice import voice_id

    settings = session.start()
    if language not in (None, *LANGUAGES):
        raise UsageError("unknown language", seen=language, allowed=", ".join(LANGUAGES))
    voice_id(name)  # an unusable name is told before the recording is read
    for path in (recording, *(also or [])):
        require_file(path)
    weights = _read_weights(model, t2s, sovits)
    given = consents.Given(consent_file, attest, challenge, who or "")
    consent, evidence = given.read()
    if challenge is None:
        require_for_enrolment(consent, settings.consent_policy)
    voice = enroll(
        recording,
        settings,
        name=name,
        transcript=transcript,
        language=language,
        consent=consent,
        others=also or [],
        weights=weights,
    )
    if weights is not None:
        _require_length(voice)
    store, leave = VoiceStore(settings.home), Leave(settings.home, settings.consent_policy)
    if challenge is not None and name in store:
        raise VoiceError(f"a voice named {name!r} exists already", cure="take another name")
    voice = given.check(voice, evidence, settings)
    leave.require(voice)
    store.add(voice, consent_recording=evidence)
    consents.write_down(settings, "voice.add", voice)
    told = consents.describe(voice.consent)
    say_to_user(f"kept voice {voice.name!r}: {voice.reference.duration:.1f} s, {told}")
    for warning in filter(None, (leave.warning(voice), warn_of_transcript(voice))):
        say_to_user(f"warning: {warning}")


@voice_app.command("list")
def list_voices(as_json: AsJson = False) -> None:
    """List the kept voices."""
    from kouji.cli import session
    from kouji.voices import VoiceStore
    from kouji.voices.leave import Leave

    settings = session.start()
    leave = Leave(settings.home, settings.consent_policy)
    voices = [
        values if "damaged" in values else values | {"consent_state": leave.state(values)}
        for values in VoiceStore(settings.home).list()
    ]
    if as_json:
        typer.echo(json.dumps(voices, ensure_ascii=False, indent=1))
        return
    for values in voices:
        if "damaged" in values:
            say_to_user(str(values["damaged"]))
            continue
        expires = (values.get("consent") or {}).get("expires")
        consent = values["consent_state"] + (f" until {expires[:10]}" if expires else "")
        imported = values.get("imported")
        heard = f"for {imported}" if imported else f"{values.get('duration', 0):.1f} s"
        typer.echo(
            f"{values['name']}\t{values.get('language') or '-'}\t"
            f"{heard}\tconsent: {consent}\t{values.get('created', '')}"
        )
    if not voices:
        say_to_user("no voice is kept yet; add one with: kouji voice add NAME RECORDING --attest")


@voice_app.command("show")
def show(name: Name, as_json: AsJson = False) -> None:
    """Print what is known of a voice."""
    from kouji.cli import session
    from kouji.voices import VoiceStore
    from kouji.voices.leave import Leave

    settings = session.start()
    store = VoiceStore(settings.home)
    voice = store.get(name)
    state = Leave(settings.home, settings.consent_policy).state(store.describe(name))
    values: dict[str, Any] = {
        "name": voice.name,
        "id": voice.id,
        "duration": round(voice.reference.duration, 3),
        "language": voice.language,
        "transcript": voice.transcript,
        "created": voice.created,
        "content_hash": voice.content_hash,
        "consent_state": state,
        "consent": voice.consent.to_json() if voice.consent else None,
        "report": dict(voice.report),
        "others": len(voice.others),
        "weights": asdict(voice.weights) if voice.weights else None,
        "imported": voice.imported.model if voice.imported else None,
        "adapted": asdict(voice.adapted) if voice.adapted else None,
    }
    typer.echo(json.dumps(values, ensure_ascii=False, indent=1) if as_json else _lines(values))


@voice_app.command("remove")
def remove(name: Name) -> None:
    """Forget a voice: its recording, its consent and all that was computed from it."""
    from kouji.cli import session
    from kouji.voices import VoiceStore, audit

    settings = session.start()
    store = VoiceStore(settings.home)
    values = next((each for each in store.list() if name in (each["name"], each["id"])), {})
    store.remove(name)
    # A name is the user's text: the line has the hash of the recording alone.
    audit.append(settings.audit_file, "voice.remove", voice=values.get("content_hash"))
    say_to_user(f"removed voice {name!r}")


@voice_app.command("check")
def check(
    recording: Annotated[Path, typer.Argument(help="The recording to judge.")],
    as_json: AsJson = False,
) -> None:
    """Judge a recording as a reference; exit code 1 if it would be refused."""
    from kouji.cli import session
    from kouji.voices.enroll import examine
    from kouji.voices.voice import to_plain

    require_file(recording)
    report = examine(recording, session.start())
    if as_json:
        typer.echo(json.dumps(to_plain(report), ensure_ascii=False, indent=1))
    else:
        typer.echo(_lines(_describe(report)))
    if report.verdict == "refused":
        raise typer.Exit(1)


def _read_weights(model: str | None, t2s: Path | None, sovits: Path | None) -> VoiceWeights | None:
    """The weights given on the command line, each opened to see that it is whole and they fit.

    raises: UsageError for a family without weights of a voice, ModelError for a wrong file
    """
    from kouji.voices import VoiceWeights
    from kouji.voices.enroll import weights_file

    if model is None and t2s is None and sovits is None:
        return None
    if model not in (None, "gpt-sovits"):
        raise UsageError("voices of this family have no weights of their own", seen=model,
                         allowed="gpt-sovits")  # fmt: skip
    if t2s is None and sovits is None:
        raise UsageError("no weights given", cure="add --t2s FILE.ckpt, --sovits FILE.pth or both")
    from kouji.models.gpt_sovits.containers import read_checkpoint, require_pair
    from kouji.models.gpt_sovits.weights import sovits_config, t2s_config

    symbols = []
    for path, kind, check in ((t2s, "t2s", t2s_config), (sovits, "sovits", sovits_config)):
        if path is not None:
            require_file(path)
            checkpoint = read_checkpoint(path, kind)
            check(checkpoint)
            symbols.append(checkpoint.symbols)
    if t2s and sovits:
        require_pair(symbols[0], symbols[1], f"{t2s.name}, {sovits.name}")
    return VoiceWeights(
        "gpt-sovits",
        weights_file(t2s) if t2s else None,
        weights_file(sovits) if sovits else None,
    )


def _require_length(voice: Voice) -> None:
    """Refuse now what GPT-SoVITS, the only family for these weights, would refuse at each request.

    raises: ReferenceRefused
    """
    from kouji.models.gpt_sovits.reference import load_first

    load_first(voice.reference, cut_long=not voice.transcript)


def _describe(report: QualityReport) -> dict[str, Any]:
    """The figures with their units, the reasons of the verdict last."""
    low, high = report.pitch_range
    values = {
        "duration": f"{report.duration:.2f} s, {report.speech_seconds:.2f} s of it speech",
        "SNR": f"{report.snr_db:.1f} dB",
        "clipping": f"{report.clipped_fraction:.2%} of the samples",
        "loudness": f"{report.loudness_lufs:.1f} LUFS, peak {report.peak:.3f}",
        "pitch": f"{report.pitch_median_hz:.0f} Hz, mostly {low:.0f} to {high:.0f} Hz",
        "bandwidth": f"{report.bandwidth_hz:.0f} Hz",
        "best part": f"{report.best_start:.2f} to {report.best_end:.2f} s",
        "verdict": report.verdict,
    }
    return values | {reason.code: reason.message for reason in report.reasons}


def _lines(values: dict[str, Any]) -> str:
    """Values as aligned lines; a nested mapping follows its key, indented."""
    width = max(len(key) for key in values) + 1
    lines = []
    for key, value in values.items():
        if isinstance(value, dict) and value:
            lines.append(f"{key}:")
            lines += [f"  {line}" for line in _lines(value).splitlines()]
        else:
            shown = "-" if value is None or value == {} else value
            lines.append(f"{key + ':':<{width}} {shown}")
    return "\n".join(lines)


voice_app.command("import")(voice_files.import_voices)
voice_app.command("export")(voice_files.export_voices)
voice_app.command("challenge")(consents.challenge)
voice_app.command("consent")(consents.consent)
voice_app.command("revoke")(consents.revoke)
