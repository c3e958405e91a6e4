"""`kouji slice`: cut a long recording into utterances, with a list of when each was said."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kouji.cli.boundary import say_to_user
from kouji.cli.sources import require_file
from kouji.errors import UsageError


def slice_recording(
    recording: Annotated[Path, typer.Argument(help="A long recording of speech.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the pieces.")],
    format: Annotated[str, typer.Option(help="wav or flac.")] = "flac",
) -> None:
    """Cut a recording at its silences into 2 to 12 s pieces; slices.csv lists them."""
    from kouji.audio.encode import save_audio
    from kouji.audio.load import load_audio
    from kouji.audio.slice import slice_recording as cut
    from kouji.cli import session

    session.start()
    require_file(recording)
    if format not in ("wav", "flac"):
        raise UsageError("unknown format of slices", seen=format, allowed="wav, flac")
    slices = cut(load_audio(recording, max_seconds=24 * 3600.0))
    out.mkdir(parents=True, exist_ok=True)
    lines = ["file,start,end"]
    for number, piece in enumerate(slices, start=1):
        name = f"{recording.stem}-{number:05}.{format}"
        save_audio(piece.audio, out / name)
        lines.append(f"{name},{piece.start:.3f},{piece.end:.3f}")
    (out / "slices.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    say_to_user(f"{len(slices)} pieces in {out}, listed in {out / 'slices.csv'}")
