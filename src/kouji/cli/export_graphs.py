"""`kouji export-graphs`: `mini` as ONNX, TorchScript and torch.export; the work is graphs.mini."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kouji.cli.boundary import say_to_user


def export_graphs(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the files.")],
    model: Annotated[
        str, typer.Argument(help="mini, or the folder of a checkpoint that kouji export wrote.")
    ] = "mini",
    formats: Annotated[
        str, typer.Option("--format", help="all, or some of onnx,torchscript,program.")
    ] = "all",
) -> None:
    """Write the stages of mini as files for other runtimes, each compared with the model."""
    from kouji.cli.session import start
    from kouji.graphs.mini import export_mini, read_number
    from kouji.models.mini.weights import SHIPPED
    from kouji.voices import audit

    settings = start()
    folder = SHIPPED if model == "mini" else Path(model)
    report = export_mini(out, formats, folder=folder, tell=say_to_user)
    number = read_number(report)
    # Whoever finds the mark in a sound finds here which export said it.
    audit.append(settings.audit_file, "graphs.export", watermark=number)
    say_to_user(f"{report.list_path}: {len(report.files)} files; what they say carries {number}")
