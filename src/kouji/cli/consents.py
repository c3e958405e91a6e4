"""`kouji voice challenge | consent | revoke`: ask for leave to use a voice, and take it back.

Also reads the consent that `kouji voice add` was given. What counts is decided below:
`kouji.verification` checks a reading, `kouji.voices` knows the policies.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kouji.cli.boundary import say_to_user
from kouji.config import Settings
from kouji.errors import ConsentError, UsageError

if TYPE_CHECKING:
    from kouji.voices import Consent, Voice

ConsentFile = Annotated[
    Path | None,
    typer.Option(help="A recording in which the speaker agrees, or reads the challenge."),
]
Attest = Annotated[
    bool, typer.Option("--attest", help='State: "I have the right to use this voice".')
]
ChallengeId = Annotated[
    str | None,
    typer.Option("--challenge", help="Whose sentence is read: kouji voice challenge."),
]
Who = Annotated[str | None, typer.Option(help="The speaker's name, kept with the consent.")]


@dataclass(frozen=True)
class Given:
    """What was given on the command line as consent, not yet judged."""

    file: Path | None = None
    is_attested: bool = False
    challenge: str | None = None
    who: str = ""

    def read(self) -> tuple[Consent | None, bytes | None]:
        """The consent as far as it needs no voice, and the recording that proves it.

        raises: ConsentError for a file without speech, UsageError for a challenge without file
        """
        from kouji.voices.consent import attest, from_recording
        from kouji.voices.enroll import require_speech

        if self.file is None:
            if self.challenge is not None:
                raise UsageError(
                    "a challenge needs the recording of its sentence", cure="add --consent-file"
                )
            return (attest(who=self.who) if self.is_attested else None), None
        try:
            evidence = self.file.read_bytes()
        except OSError as error:
            raise ConsentError(
                "cannot read the consent recording",
                reason="unreadable",
                seen=f"{self.file}: {error.strerror}",
            ) from error
        if self.challenge is not None:
            return None, evidence  # judged against the voice
        require_speech(evidence, str(self.file))
        return from_recording(evidence, who=self.who), evidence

    def check(self, voice: Voice, evidence: bytes | None, settings: Settings) -> Voice:
        """The voice with the consent that its speaker read; as it is where no challenge was given.

        raises: ConsentError with what failed
        """
        if self.challenge is None or evidence is None:
            return voice
        from kouji.verification.consent import verify_challenge

        consent = verify_challenge(
            settings.home,
            self.challenge,
            evidence,
            voice.reference,
            name=self.who or voice.name,
            purpose=f"voice:{voice.id}",
            others=voice.others,
            days=settings.consent_days,
        )
        return replace(voice, consent=consent)


def challenge(
    name: Annotated[
        str | None, typer.Argument(help="The voice it is for; without it, any one.")
    ] = None,
    language: Annotated[str, typer.Option(help="Of the sentence: en or zh.")] = "en",
    scope: Annotated[
        str, typer.Option(help="any use, or own: only by whoever adds the voice.")
    ] = "any",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON value instead.")] = False,
) -> None:
    """Print a sentence for the speaker to read aloud, and its id; it holds for ten minutes."""
    from kouji.cli import session
    from kouji.verification.consent import new_challenge
    from kouji.voices.consent import SCOPES
    from kouji.voices.voice import voice_id

    settings = session.start()
    if scope not in SCOPES:
        raise UsageError("unknown scope", seen=scope, allowed=", ".join(SCOPES))
    purpose = f"voice:{voice_id(name)}" if name is not None else "voice"
    made = new_challenge(
        settings.home,
        language=language,
        purpose=purpose,
        scope="own" if scope == "own" else "any",
    )
    if as_json:
        typer.echo(json.dumps(asdict(made), ensure_ascii=False, indent=1))
        return
    typer.echo(made.sentence)
    typer.echo(f"id: {made.id}")
    say_to_user(
        "let the speaker read it, then: "
        f"kouji voice add NAME RECORDING --challenge {made.id} --consent-file READ.wav"
    )


def consent(
    name: Annotated[str, typer.Argument(help="The name of a kept voice.")],
    challenge_id: ChallengeId = None,
    consent_file: ConsentFile = None,
    attest: Attest = False,
    who: Who = None,
) -> None:
    """Give a kept voice a new consent, where it has none, an expired or a revoked one."""
    from kouji.cli import session
    from kouji.voices import VoiceStore
    from kouji.voices.consent import require_for_enrolment
    from kouji.voices.leave import Leave

    settings = session.start()
    store = VoiceStore(settings.home)
    voice = store.get(name)
    given = Given(consent_file, attest, challenge_id, who or "")
    plain, evidence = given.read()
    if challenge_id is None:
        if plain is None:
            raise ConsentError(
                "no consent was given", cure="add --challenge ID --consent-file READ.wav, "
                "--consent-file FILE or --attest"
            )  # fmt: skip
        require_for_enrolment(plain, settings.consent_policy)
    voice = given.check(replace(voice, consent=plain), evidence, settings)
    leave = Leave(settings.home, settings.consent_policy)
    leave.require(voice)
    assert voice.consent is not None  # one of the two branches above made it
    store.set_consent(name, voice.consent, recording=evidence)
    write_down(settings, "consent.give", voice)
    say_to_user(f"voice {voice.name!r}: {describe(voice.consent)}")
    if warning := leave.warning(voice):
        say_to_user(f"warning: {warning}")


def revoke(
    name: Annotated[str, typer.Argument(help="The name of a kept voice.")],
    reason: Annotated[str, typer.Option(help="Why; written into the receipt only.")] = "",
) -> None:
    """Take a consent back: nothing speaks in the voice any more. Prints the receipt."""
    from kouji.cli import session
    from kouji.voices import receipt

    settings = session.start()
    made = receipt.revoke(settings.home, name, audit_file=settings.audit_file, reason=reason)
    typer.echo(made.to_json(), nl=False)
    say_to_user(
        f"nobody speaks in {name!r} any more; its recording stays until: kouji voice remove {name}"
    )


def describe(consent: Consent | None) -> str:
    """A consent in a few words, for lists."""
    if consent is None:
        return "consent: policy off"
    until = f", until {consent.expires[:10]}" if consent.expires else ""
    return f"consent: {consent.kind}{until}"


def write_down(settings: Settings, event: str, voice: Voice) -> None:
    """The audit line of a consent given to a voice."""
    from kouji.voices import audit

    consent = voice.consent
    audit.append(
        settings.audit_file,
        event,
        voice=voice.content_hash,
        consent=consent.kind if consent else "policy off",
        record=consent.id if consent else "",
    )
