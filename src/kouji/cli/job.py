"""`kouji job`: hand files in, watch them being spoken, pause, resume; the work is `kouji.jobs`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kouji.cli.boundary import EXIT_INTERRUPTED, say_to_user
from kouji.cli.sources import require_file
from kouji.cli.speech_options import QuietOption, SeedOption
from kouji.errors import JobError, UsageError

if TYPE_CHECKING:
    from kouji.cli.job_speakers import LocalSpeakers
    from kouji.config import Settings
    from kouji.jobs.centre import JobCentre
    from kouji.jobs.job import JobInfo, JobOptions

MAX_FILE_BYTES = 512 << 20  # an EPUB may hold pictures; its text is bounded where it is read

job_app = typer.Typer(help="Speak whole files in the background, and lose nothing.")
JobId = Annotated[str, typer.Argument(metavar="JOB", help="Its id, or the beginning of it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Wait = Annotated[
    bool, typer.Option("--wait/--no-wait", help="Watch it, or let it run in the background.")
]


@job_app.command("run")
def run(
    file: Annotated[Path, typer.Argument(help="Text, Markdown, EPUB, SRT, VTT, CSV or JSONL.")],
    voice: Annotated[
        str, typer.Option("--voice", "-v", help="A kept voice, or sample.")
    ] = "sample",
    style: Annotated[
        str | None, typer.Option("--style", "-s", help='Plain words: "excited, a bit faster".')
    ] = None,
    seed: SeedOption = 0,
    language: Annotated[
        str | None, typer.Option(help="Where the text alone does not tell; as for say.")
    ] = None,
    format: Annotated[
        str, typer.Option("--format", help="wav, flac, mp3, opus, aac or pcm.")
    ] = "wav",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The folder of the result; else in the home.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model or a folder; else that of the voice, or mini.")
    ] = None,
    kind: Annotated[
        str | None, typer.Option(help="How to read the file, where its name does not say.")
    ] = None,
    with_text: Annotated[
        bool, typer.Option("--with-text", help="Keep the text of each line in the manifest.")
    ] = False,
    wait: Wait = True,
    quiet: QuietOption = False,
) -> None:
    """Speak every line of FILE; the same command again goes on with what is unfinished."""
    from kouji.cli import session
    from kouji.jobs.job import JobOptions

    require_file(file)
    settings = session.start()
    options = JobOptions(
        voice=voice,
        model=model or session.model_of(session.VoiceChoice(name=voice), settings),
        style=style,
        seed=seed,
        language=language,
        format=format,
        kind=kind,
        with_text=with_text,
        out=out.expanduser().resolve() if out else None,
    )
    with _opened(settings) as (centre, speakers):
        info = centre.submit(file.name, _read(file), options, is_begun=False)
        _tell(quiet, f"job {info.id}: {info.num_lines} lines of {info.name}")
        _go_on(centre, speakers, info, options, wait=wait, quiet=quiet)


@job_app.command("resume")
def resume(job: JobId, wait: Wait = True, quiet: QuietOption = False) -> None:
    """Go on with a job that was paused or interrupted, and try failed lines again."""
    from kouji.cli import session

    with _opened(session.start()) as (centre, speakers):
        info = _find(centre, job)
        _go_on(centre, speakers, info, info.options, wait=wait, quiet=quiet)


@job_app.command("list")
def list_jobs(as_json: AsJson = False) -> None:
    """List all jobs, the newest first."""
    with _looking() as centre:
        jobs = centre.list()
    if as_json:
        typer.echo(json.dumps([info.to_json() for info in jobs], ensure_ascii=False, indent=1))
        return
    for info in jobs:
        done = f"{info.num_done + info.num_failed}/{info.num_lines}"
        typer.echo(f"{info.id}  {info.state.value:<21}{done:>13}  {_left(info):<9}{info.name}")


@job_app.command("show")
def show(job: JobId, as_json: AsJson = False) -> None:
    """Show how a job stands and where its result lies."""
    with _looking() as centre:
        info = _find(centre, job)
        result = centre.result(info.id)
    values = info.to_json() | {
        "folder": str(result.folder),
        "joined": str(result.joined) if result.joined else None,
        "manifest": str(result.manifest) if result.manifest else None,
        "subtitles": {name: str(path) for name, path in result.subtitles.items()},
    }
    if as_json:
        typer.echo(json.dumps(values, ensure_ascii=False, indent=1))
        return
    for name, value in values.items():
        if value not in (None, {}, ""):
            typer.echo(f"{name}: {', '.join(value.values()) if name == 'subtitles' else value}")


@job_app.command("pause")
def pause(job: JobId) -> None:
    """Stop a job after the line being spoken, whoever runs it."""
    with _looking() as centre:
        info = centre.pause(_find(centre, job).id)
    say_to_user(f"job {info.id} pauses; go on with: kouji job resume {info.id}")


@job_app.command("cancel")
def cancel(job: JobId) -> None:
    """Stop a job for good; what was spoken stays."""
    with _looking() as centre:
        info = centre.cancel(_find(centre, job).id)
    say_to_user(f"job {info.id} is cancelled")


@job_app.command("remove")
def remove(job: JobId) -> None:
    """Forget a job with its result, unless --out put that elsewhere."""
    with _looking() as centre:
        info = _find(centre, job)
        centre.remove(info.id)
    say_to_user(f"removed job {info.id}")


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[JobCentre, LocalSpeakers]]:
    """A centre that can run jobs."""
    from kouji.cli.job_speakers import LocalSpeakers
    from kouji.jobs.centre import JobCentre

    with closing(LocalSpeakers(settings)) as speakers, JobCentre(settings, speakers) as centre:
        yield centre, speakers


@contextmanager
def _looking() -> Iterator[JobCentre]:
    """A centre that only looks, pauses and cancels."""
    from kouji.cli import session
    from kouji.jobs.centre import JobCentre

    with JobCentre(session.start()) as centre:
        yield centre


def _find(centre: JobCentre, wanted: str) -> JobInfo:
    """The job whose id this is, or begins with. raises: UsageError"""
    found = [info for info in centre.list() if info.id.startswith(wanted)]
    if len(found) != 1:
        kind = "no such job" if not found else "more than one job begins like this"
        raise UsageError(kind, seen=wanted, cure="see: kouji job list")
    return found[0]


def _read(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise UsageError("cannot read the file", seen=f"{file}: {error.strerror}") from error
    if len(content) > MAX_FILE_BYTES:
        raise UsageError("the file is too large", seen=file, allowed=f"{MAX_FILE_BYTES >> 20} MiB")
    return content


def _go_on(
    centre: JobCentre,
    speakers: LocalSpeakers,
    info: JobInfo,
    options: JobOptions,
    *,
    wait: bool,
    quiet: bool,
) -> None:
    """Run a job here and watch it, or have another process run it."""
    from kouji.jobs.job import JobState

    if not wait:
        _leave_to_another(info, quiet)
        return
    is_ours = False
    if info.state is not JobState.RUNNING:
        speakers.load(options.model)  # what is wrong with it is told before a run begins
        try:
            centre.resume(info.id)
            is_ours = True
        except JobError:
            if centre.get(info.id).state.is_over:
                raise
    if not is_ours:
        _tell(quiet, f"job {info.id} is spoken by another process already; watching it")
    try:
        last = _watch(centre, info, quiet)
    except KeyboardInterrupt:
        if is_ours:
            centre.pause(info.id)
            last = centre.wait(info.id)
            told = f"paused after {last.num_done} of {last.num_lines} lines; go on with"
            say_to_user(f"{told}: kouji job resume {info.id}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    _report(centre, last, quiet)


def _watch(centre: JobCentre, info: JobInfo, quiet: bool) -> JobInfo:
    """Draw the bar until the job is over."""
    from kouji.cli.progress import progress_bar

    moved = 0
    with progress_bar(info.num_lines, not quiet) as move:
        for last in centre.events(info.id):
            now = last.num_done + last.num_failed
            move(now - moved)
            moved = now
    return last


def _report(centre: JobCentre, info: JobInfo, quiet: bool) -> None:
    """Say how it ended. raises: JobError unless every line has its sound"""
    from kouji.jobs.job import JobState

    again = f"kouji job resume {info.id}"
    if info.state is JobState.FINISHED:
        result = centre.result(info.id)
        _tell(quiet, f"{info.num_done} lines spoken")
        print(result.folder)
        return
    if info.state is JobState.FINISHED_WITH_ERRORS:
        manifest = centre.result(info.id).manifest
        told = f"{info.num_failed} of {info.num_lines} lines could not be spoken"
        raise JobError(told, cure=f"see why in {manifest}; try them again with: {again}")
    why = info.error or "somebody wanted it so"
    raise JobError(f"job {info.id} is {info.state.value}", seen=why, cure=f"go on with: {again}")


def _leave_to_another(info: JobInfo, quiet: bool) -> None:
    """Start a process of its own, which outlives this one and its terminal."""
    command = [sys.executable, "-m", "kouji", "job", "resume", info.id, "--quiet"]
    subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    _tell(quiet, f"job {info.id} runs in the background; see: kouji job show {info.id}")


def _left(info: JobInfo) -> str:
    """The time left, in a few characters."""
    if info.eta_seconds is None:
        return ""
    minutes, seconds = divmod(round(info.eta_seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


def _tell(quiet: bool, message: str) -> None:
    tell: Callable[[str], None] = (lambda _: None) if quiet else say_to_user
    tell(message)
