"""The table of commands. Their modules import nothing heavy, so that --help answers at once."""

from __future__ import annotations

from typing import Annotated

import typer

import kouji
from kouji.cli.align import align, export, export_recogniser
from kouji.cli.audit_trail import audit_app
from kouji.cli.bench import bench
from kouji.cli.check_machine import doctor
from kouji.cli.classify import classify_app
from kouji.cli.convert import convert
from kouji.cli.cut import slice_recording
from kouji.cli.demo import demo
from kouji.cli.export_graphs import export_graphs
from kouji.cli.finetune import finetune
from kouji.cli.job import job_app
from kouji.cli.judge import evaluate
from kouji.cli.key import key_app
from kouji.cli.load_check import load_check
from kouji.cli.marks import watermark_app
from kouji.cli.pack import pack
from kouji.cli.prepare import prepare
from kouji.cli.pull import pull
from kouji.cli.say import say
from kouji.cli.serve import serve
from kouji.cli.teach import train
from kouji.cli.voice import voice_app

app = typer.Typer(
    name="kouji",
    help="Speak Chinese and English text in a voice heard for seconds, offline.",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would cost more than the rest of --help
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"kouji {kouji.__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback on errors; allowed anywhere.")
    ] = False,
) -> None:
    del version, debug  # --debug was taken out by the boundary; it is declared for the help


app.command("say")(say)
app.command("convert")(convert)
app.add_typer(voice_app, name="voice")
app.add_typer(classify_app, name="classify")
app.add_typer(job_app, name="job")
app.command("demo")(demo)
app.command("pull")(pull)
app.command("load-check")(load_check)
app.command("serve")(serve)
app.add_typer(key_app, name="key")
app.command("doctor")(doctor)
app.command("slice")(slice_recording)
app.add_typer(watermark_app, name="watermark")
app.add_typer(audit_app, name="audit")
app.command("prepare")(prepare)
app.command("train")(train)
app.command("finetune")(finetune)
app.command("align")(align)
app.command("export")(export)
app.command("export-recogniser")(export_recogniser)
app.command("export-graphs")(export_graphs)
app.command("pack")(pack)
app.command("evaluate")(evaluate)
app.command("bench", context_settings={"ignore_unknown_options": True})(bench)
