"""`kouji demo`: the first thing a newcomer hears, in the voice of the packaged sample."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from kouji.cli.boundary import say_to_user

SENTENCES = {
    "chinese": "你好，这是口技。它只听了六秒钟，就学会了这个声音。",
    "english": "Hello, this is Kouji. It heard this voice for six seconds, and now it reads.",
}


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the recordings.")] = Path(
        "demo"
    ),
    voice: Annotated[
        Path | None, typer.Option("--voice", "-v", help="A recording to imitate instead.")
    ] = None,
) -> None:
    """Clone a voice and let it speak a Chinese and an English sentence."""
    from kouji.cli import session
    from kouji.voices.sample import SAMPLE

    settings = session.start()
    out.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    tts = session.load_model(session.ModelChoice(), settings)
    choice = session.choose_voice(str(voice) if voice else SAMPLE, settings)
    heard = session.open_voice(
        tts, choice, settings, is_attested=False, transcript=None, tell=say_to_user
    )
    typer.echo(f"heard {heard.reference.duration:.1f} s of the voice, ready after "
               f"{time.perf_counter() - began:.1f} s")  # fmt: skip
    for name, text in SENTENCES.items():
        began = time.perf_counter()
        speech = tts.speak(text, heard)
        seconds = time.perf_counter() - began
        path = out / f"{name}.wav"
        speech.save(path)
        typer.echo(
            f"{path}: {speech.audio.duration:.1f} s of speech in {seconds:.2f} s "
            f"(real-time factor {seconds / speech.audio.duration:.3f})"
        )
        typer.echo(f"  {text}")
    typer.echo(f"Listen to them in {out.resolve()}, then try:")
    typer.echo('  kouji say "Any text, 任何文字。" --voice your-recording.wav --out out.wav')
