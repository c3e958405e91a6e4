"""What every command that speaks does first: settings, logging, the model, the voice.

Decides what a `--voice` means (a kept voice, a recording, the packaged sample) and tells the
user what the consent policy asks. Synthesis and the audit line are `kouji.api`'s.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kouji.config import Settings, load_settings
from kouji.errors import UsageError

if TYPE_CHECKING:
    from kouji.voices import Voice

_AUDIO_SUFFIXES = {
    ".aac", ".flac", ".m4a", ".mp3", ".mp4", ".oga", ".ogg", ".opus", ".wav", ".webm", ".wma"
}  # fmt: skip


@dataclass(frozen=True)
class ModelChoice:
    """Which model to load and how; None and 0 leave the choice to the settings."""

    model: str = "mini"
    precision: str | None = None
    threads: int | None = None
    device: str | None = None


def start() -> Settings:
    """Read the settings and set up logging on stderr."""
    settings = load_settings()
    logging.basicConfig(level=settings.log_level.upper(), format="kouji: %(message)s")
    return settings


def load_model(choice: ModelChoice, settings: Settings) -> Any:
    """The synthesiser, with the caller's options before the operator's settings."""
    calm_where_cores_are_shared(choice.threads or settings.threads)
    from kouji.api import load

    return load(
        choice.model,
        precision=choice.precision,
        threads=choice.threads or settings.threads or None,
        device=choice.device,
        settings=settings,
    )


def calm_where_cores_are_shared(wanted_threads: int) -> None:
    """Let waiting threads sleep where other programs want the cores; before torch is imported."""
    from kouji.engine.openmp import calm_openmp
    from kouji.engine.threads import choose_threads

    choice = choose_threads(wanted_threads)
    if choice.count < choice.most:
        logging.getLogger(__name__).info("%s: %s", choice.reason, calm_openmp().reason)


@dataclass(frozen=True)
class VoiceChoice:
    """What stands behind a `--voice`: a kept voice (by its name) or a recording (by its path)."""

    name: str | None = None
    path: Path | None = None


def choose_voice(wanted: str, settings: Settings) -> VoiceChoice:
    """Decide what `wanted` means before any model is loaded.

    A plain word is a kept voice if there is one, else a file; what looks like a path is a file.
    raises: UsageError if it is neither, naming the kept voices
    """
    from kouji.voices import VoiceStore
    from kouji.voices.sample import SAMPLE

    store, path = VoiceStore(settings.home), Path(wanted).expanduser()
    looks_like_a_file = "/" in wanted or path.suffix.lower() in _AUDIO_SUFFIXES
    if wanted == SAMPLE or (not looks_like_a_file and wanted in store):
        return VoiceChoice(name=wanted)
    if path.is_file():
        return VoiceChoice(path=path)
    if path.is_dir():
        raise UsageError("a voice cannot be a folder", seen=wanted, allowed="a recording")
    if wanted in store:
        return VoiceChoice(name=wanted)
    if looks_like_a_file:
        raise UsageError("no such voice file", seen=wanted, cure="check the path")
    kept = [SAMPLE, *(str(values["name"]) for values in store.list())]
    raise UsageError(
        "no such voice or file", seen=wanted, allowed=f"a recording, or one of {', '.join(kept)}"
    )


def model_of(choice: VoiceChoice, settings: Settings) -> str:
    """The model a voice was kept or imported for, or mini."""
    from kouji.voices import VoiceStore
    from kouji.voices.sample import SAMPLE

    if choice.name is None or choice.name == SAMPLE:
        return "mini"
    return VoiceStore(settings.home).get(choice.name).model or "mini"


def open_voice(
    tts: Any,
    choice: VoiceChoice,
    settings: Settings,
    *,
    is_attested: bool,
    transcript: str | None,
    tell: Callable[[str], None],
) -> Voice:
    """The voice to speak with, after the consent policy agreed.

    is_attested: the caller gave --i-have-consent
    tell:        prints one line to the user
    raises:      ConsentError, VoiceError, and what a bad recording raises
    """
    from kouji.voices import VoiceStore
    from kouji.voices.consent import FILE_STATEMENT, attest, require_for_file
    from kouji.voices.enroll import warn_of_transcript
    from kouji.voices.leave import Leave
    from kouji.voices.sample import SAMPLE, sample_voice

    if choice.name == SAMPLE:
        return sample_voice()
    if choice.path is None:
        kept = VoiceStore(settings.home).get(str(choice.name))
        Leave(settings.home, settings.consent_policy).require(kept)
        return kept
    if require_for_file(settings.consent_policy, is_attested=is_attested):
        tell(FILE_STATEMENT)
    consent = attest() if is_attested else None
    voice: Voice = tts.enroll(choice.path, transcript=transcript, consent=consent)
    if warning := warn_of_transcript(voice):
        tell(f"warning: {warning}")
    return voice
