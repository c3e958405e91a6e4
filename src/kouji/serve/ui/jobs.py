"""The tab Jobs: a file in, many lines spoken in the background; the list is the script's."""

from __future__ import annotations

from functools import partial
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from kouji.errors import UsageError
from kouji.jobs.job import JobOptions
from kouji.serve.caller import Caller
from kouji.serve.ui.desk import Desk, Seat, markup
from kouji.serve.ui.speak import check_seed, refresh_voices

KINDS = (".txt", ".md", ".epub", ".srt", ".vtt", ".csv", ".jsonl")
FORMATS = ("wav", "flac", "mp3", "opus", "aac")
_SHOW = "() => { window.kouji.showJobs(); return []; }"


def build(desk: Desk, blocks: gr.Blocks, tab: gr.Tab) -> None:
    """Draw the tab and connect it."""
    say = desk.say
    with gr.Row(elem_classes="kj-columns"):
        with gr.Column(scale=4, min_width=300):
            markup(f'<p class="kj-dim">{escape(say("jobs.info"))}</p>')
            file = gr.File(
                label=say("jobs.file"), file_types=list(KINDS), type="filepath", height=120,
                elem_id="kj-job-file",
            )  # fmt: skip
            with gr.Row(elem_classes="kj-pair"):
                voice = gr.Dropdown([(say("speak.sample"), "sample")], value="sample",
                                    label=say("speak.voice"), min_width=140,
                                    elem_id="kj-job-voice")  # fmt: skip
                format = gr.Dropdown(list(FORMATS), value="wav", label=say("jobs.format"),
                                     min_width=110)  # fmt: skip
            with gr.Row(elem_classes="kj-pair"):
                style = gr.Textbox(label=say("speak.style"), max_length=500, min_width=140)
                seed = gr.Number(0, label=say("speak.seed"), precision=0, min_width=110)
            start = gr.Button(say("jobs.start"), variant="primary", elem_id="kj-job-start")
        with gr.Column(scale=7, min_width=300):
            markup(
                f'<section id="kj-jobs" aria-live="polite"><h3>{escape(say("jobs.list"))}</h3>'
                f'<p class="kj-dim">{escape(say("jobs.empty"))}</p><ol></ol></section>',
            )

    async def submit(seat: Seat, path: str | None, *values: Any) -> None:
        if not path:
            raise UsageError("there is no file yet", cure="choose one first")
        seat.caller.require("jobs")
        desk.service.admission.quotas.count_request(seat.caller)
        name, kind, manner, number = values
        options = JobOptions(
            voice=str(name), format=str(kind), style=str(manner or "").strip() or None,
            seed=check_seed(number), model=desk.service.models.default,
        )  # fmt: skip
        source = Path(desk.own_file(seat, path))
        await desk.service.in_thread(_hand_in, desk, source, options, seat.caller)

    begun = start.click(
        desk.told(submit), [file, voice, format, style, seed], None, show_progress="minimal",
        show_progress_on=start, api_visibility="private",
    )  # fmt: skip
    begun.success(None, None, [], js=_SHOW)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    tab.select(
        desk.told(partial(refresh_voices, desk)),
        voice,
        voice,
        js="(v) => { kouji.showJobs(); return v; }",
        **quiet,
    )
    del blocks


def _hand_in(desk: Desk, source: Path, options: JobOptions, caller: Caller) -> None:
    desk.service.jobs.hand_in(source.name, source.read_bytes(), options, caller)
