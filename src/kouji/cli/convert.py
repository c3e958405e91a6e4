"""`kouji convert`: a recording in, the same words in another voice out."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from kouji.cli.boundary import say_to_user
from kouji.cli.say import MAX_SEED, check_folder, chosen_watermark, describe
from kouji.cli.sources import require_file


def convert(
    source: Annotated[Path, typer.Argument(help="The recording to be said again.")],
    voice: Annotated[
        str, typer.Option("--voice", "-v", help="A recording, the name of a kept voice, or sample.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="wav, flac, mp3, opus, aac or pcm.")],
    model: Annotated[
        str, typer.Option(help="A model that can, or its folder; the best CosyVoice there is.")
    ] = "cosyvoice",
    seed: Annotated[
        int, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same sound.")
    ] = 0,
    speed: Annotated[float, typer.Option(min=0.5, max=2.0, help="1.25 is a quarter faster.")] = 1.0,
    transcript: Annotated[
        str | None, typer.Option(help="What is said in the recording given as --voice.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, bfloat16, float16 or int8; else chosen for you.")
    ] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 is chosen for you.")] = 0,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1.")] = None,
    disclosure: Annotated[
        str | None, typer.Option(help="Say that this is AI: none, at the start or at the end.")
    ] = None,
    notice: Annotated[
        str | None, typer.Option(help="How it is said: spoken, or morse for a rhythm.")
    ] = None,
    i_have_consent: Annotated[
        bool, typer.Option("--i-have-consent", help="You may use the voice in the recording.")
    ] = False,
    no_watermark: Annotated[
        bool, typer.Option("--no-watermark", help="Leave the mark out; needs watermark = false.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")] = False,
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
