"""`kouji pack`: arguments in, one line out; the work is train.pack."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kouji.cli.boundary import say_to_user

_BYTES_PER_MIB = 1 << 20


def pack(
    store: Annotated[Path, typer.Argument(help="A store that kouji prepare wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the lean store.")],
    fields: Annotated[
        str, typer.Option(help="Arrays to keep, such as mel,f0,wave; all of them by default.")
    ] = "",
    limit_mb: Annotated[
        float | None,
        typer.Option(
            "--limit-mb", min=0, help="Leave clips out, evenly over speakers, beyond so many MiB."
        ),
    ] = None,
    quantise: Annotated[str, typer.Option(help="Arrays to keep in 8 bits, such as mel.")] = "",
) -> None:
    """Copy a prepared store, only what a training run elsewhere needs of it."""
    from kouji.train.pack import pack as pack_store
    from kouji.train.store import Store

    source = Store(store)
    lean = pack_store(
        source,
        out,
        fields=_names(fields) or list(source.arrays),
        limit_bytes=None if limit_mb is None else int(limit_mb * _BYTES_PER_MIB),
        quantise=_names(quantise),
    )
    size = sum(path.stat().st_size for path in out.iterdir()) / _BYTES_PER_MIB
    hours = sum(clip.seconds for clip in lean.clips) / 3600
    say_to_user(f"{out}: {len(lean)} of {len(source)} clips, {hours:.2f} h, {size:.1f} MiB")


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]
