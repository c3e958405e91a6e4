"""Voices on their way into the store: a recording examined, a sentence to read, a voice kept.

Says in the service's words what the tab Voices has gathered.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kouji.config import Settings
from kouji.errors import ConsentError, KoujiError
from kouji.serve.caller import Caller
from kouji.serve.consentbook import PURPOSE
from kouji.serve.keeping import NewVoice
from kouji.serve.service import Service
from kouji.serve.ui.desk import Desk, Seat
from kouji.voices import Voice

if TYPE_CHECKING:
    from kouji.audio.clean import QualityReport
    from kouji.verification.consent import Challenge


@dataclass(frozen=True)
class Examined:
    """What a recording is like.

    picture: a PNG as a data URL; None where there is nothing to draw
    """

    report: QualityReport
    picture: str | None


def examine_file(path: str, settings: Settings) -> Examined:
    """Judge a recording and draw it; computes, so call it in a thread.

    raises: UnreadableAudio, ReferenceRefused for what is far too long or holds no sound
    """
    from kouji.audio.clean import check_reference, load_reference
    from kouji.serve.ui.picture import recording_png
    from kouji.voices.enroll import reference_rules

    rules = reference_rules(settings)
    audio = load_reference(Path(path), rules)
    report = check_reference(audio, rules)
    if len(audio.samples) == 0:
        return Examined(report, None)
    png = recording_png(audio, (report.best_start, report.best_end))
    return Examined(report, "data:image/png;base64," + base64.b64encode(png).decode())


async def read_file(desk: Desk, seat: Seat, path: str) -> bytes:
    """The bytes of a file this very browser has sent."""
    file = Path(desk.own_file(seat, path))
    data: bytes = await desk.service.in_thread(file.read_bytes)
    return data


async def new_sentence(desk: Desk, seat: Seat) -> Challenge:
    """A sentence to read aloud now, in the language of the page.

    raises: NotAllowed, ConsentError if too many were asked for
    """
    from kouji.verification.consent import new_challenge

    seat.caller.require("voices")

    def ask() -> Challenge:
        home = desk.service.settings.home
        return new_challenge(home, language=desk.language, purpose=PURPOSE, owner=seat.caller.id)

    challenge: Challenge = await desk.service.in_thread(ask)
    return challenge


async def keep_voice(
    desk: Desk, seat: Seat, new: NewVoice, challenge: str, reading: bytes | None
) -> tuple[Voice, tuple[str, ...]]:
    """Keep a voice, under the policy verify with the sentence its speaker has read.

    raises: what `Service.keep_voice` raises
    """
    service, caller = desk.service, seat.caller
    service.admission.quotas.count_request(caller)
    if service.settings.consent_policy != "verify":
        return await service.keep_voice(new, caller)
    if not challenge or reading is None:
        raise ConsentError(
            "there is no reading yet", reason="unverified", cure="read the sentence aloud first"
        )
    caller.require("voices")

    def bring() -> str:
        record = service.consents.add(
            reading, caller, name=new.name, language=desk.language, challenge=challenge
        )
        return record.id

    number: str = await service.seated(caller, bring)
    try:
        return await service.keep_voice(replace(new, consent=number), caller)
    except KoujiError:
        await service.in_thread(_withdraw, service, number, caller)
        raise


def _withdraw(service: Service, number: str, caller: Caller) -> None:
    """No voice came of it, so its recording is not kept either."""
    service.consents.remove(number, caller)
