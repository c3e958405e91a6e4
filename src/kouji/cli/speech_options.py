"""Options that several commands have, each written once."""

from __future__ import annotations

from typing import Annotated

import typer

MAX_SEED = 2**63 - 1

VoiceOption = Annotated[
    str, typer.Option("--voice", "-v", help="A recording, the name of a kept voice, or sample.")
]
SeedOption = Annotated[
    int, typer.Option(min=0, max=MAX_SEED, help="The same seed gives the same sound.")
]
SpeedOption = Annotated[float, typer.Option(min=0.5, max=2.0, help="1.25 is a quarter faster.")]
TranscriptOption = Annotated[
    str | None, typer.Option(help="What is said in the recording given as --voice.")
]
PrecisionOption = Annotated[
    str | None, typer.Option(help="float32, bfloat16, float16 or int8; else chosen for you.")
]
ThreadsOption = Annotated[int, typer.Option(min=0, help="CPU threads; 0 is chosen for you.")]
DeviceOption = Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1.")]
DisclosureOption = Annotated[
    str | None, typer.Option(help="Say that this is AI: none, at the start or at the end.")
]
NoticeOption = Annotated[
    str | None, typer.Option(help="How it is said: spoken, or morse for a rhythm.")
]
HaveConsentOption = Annotated[
    bool, typer.Option("--i-have-consent", help="You may use the voice in the recording.")
]
NoWatermarkOption = Annotated[
    bool, typer.Option("--no-watermark", help="Leave the mark out; needs watermark = false.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
