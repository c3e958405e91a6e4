"""`kouji convert`: a recording in, the same words in another voice out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from kouji.cli.boundary import say_to_user
from kouji.cli.say import check_folder, chosen_watermark, describe
from kouji.cli.sources import require_file
from kouji.cli.speech_options import (
    DeviceOption,
    DisclosureOption,
    HaveConsentOption,
    NoticeOption,
    NoWatermarkOption,
    PrecisionOption,
    QuietOption,
    SeedOption,
    SpeedOption,
    ThreadsOption,
    TranscriptOption,
    VoiceOption,
)


def convert(
    source: Annotated[Path, typer.Argument(help="The recording to be said again.")],
    voice: VoiceOption,
    out: Annotated[Path, typer.Option("--out", "-o", help="wav, flac, mp3, opus, aac or pcm.")],
    model: Annotated[
        str, typer.Option(help="A model that can, or its folder; the best CosyVoice there is.")
    ] = "cosyvoice",
    seed: SeedOption = 0,
    speed: SpeedOption = 1.0,
    transcript: TranscriptOption = None,
    precision: PrecisionOption = None,
    threads: ThreadsOption = 0,
    device: DeviceOption = None,
    disclosure: DisclosureOption = None,
    notice: NoticeOption = None,
    i_have_consent: HaveConsentOption = False,
    no_watermark: NoWatermarkOption = False,
    quiet: QuietOption = False,
) -> None:
    """Say a recording again in another voice: its words and timing, that voice's timbre."""
    from kouji.audio.encode import format_of
    from kouji.cli import session
    from kouji.notice import settle_notice
    from kouji.speaking import SpeakOptions

    began = time.perf_counter()
    settings = session.start()
    tell: Callable[[str], None] = (lambda _: None) if quiet else say_to_user
    require_file(source)
    out = out.expanduser()
    check_folder(out)
    format_of(out, None)
    is_marked = chosen_watermark(no_watermark, settings)
    settle_notice(settings, disclosure, notice)
    voice_choice = session.choose_voice(voice, settings)
    tts = session.load_model(
        session.ModelChoice(model, precision, threads or None, device), settings
    )
    heard = session.open_voice(
        tts,
        voice_choice,
        settings,
        is_attested=i_have_consent,
        transcript=transcript,
        tell=tell,
    )
    options = SpeakOptions(client="cli", disclosure=disclosure, notice=notice)
    speech = tts.convert(source, heard, seed, speed=speed, watermark=is_marked, options=options)
    speech.save(out)
    for warning in speech.warnings:
        tell(f"warning: {warning}")
    tell(describe(str(out), speech.audio.duration, time.perf_counter() - began))
