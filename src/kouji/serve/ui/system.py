"""The tab System: load as it is now (the script's), what this machine can do, the settings."""

from __future__ import annotations

from dataclasses import fields
from html import escape
from typing import Any

import gradio as gr

from kouji.serve.ui.desk import Desk, Seat, markup

# Addresses may hold a password, files lead to keys.
_SECRET = ("jobs_database", "c2pa_key", "c2pa_certificate", "hub_endpoint")


def build(desk: Desk, blocks: gr.Blocks, tab: gr.Tab) -> None:
    """Draw the tab and connect it."""
    say = desk.say
    markup(
        f'<section id="kj-system"><h3>{escape(say("system.load"))}</h3>'
        '<dl class="kj-figures"></dl></section>',
    )
    examine = gr.Button(say("system.doctor"), elem_id="kj-doctor")
    report = markup("", elem_id="kj-doctor-report")
    with gr.Accordion(say("system.settings"), open=False, elem_id="kj-settings"):
        table = markup("")

    async def diagnose(seat: Seat) -> str:
        seat.caller.require("admin")
        return str(await desk.service.in_thread(_doctor, desk))

    async def settings(seat: Seat) -> str:
        if not seat.caller.may("admin"):
            return f'<p class="kj-dim">{escape(say("system.admin"))}</p>'
        return _settings(desk)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    examine.click(desk.told(diagnose), None, report, show_progress="minimal",
                  show_progress_on=examine, api_visibility="private")  # fmt: skip
    tab.select(desk.told(settings), None, table, js="() => { kouji.showSystem(); }", **quiet)
    del blocks


def _doctor(desk: Desk) -> str:
    from kouji.doctor import LIBRARIES, diagnose
    from kouji.machine import read_machine

    settings = desk.service.settings
    facts = read_machine(settings.home, tuple(library.name for library in LIBRARIES))
    diagnosis = diagnose(facts)
    say = desk.say
    rows = "".join(
        f'<tr class="kj-{finding.level}"><td><b>{escape(say(f"doctor.{finding.level}"))}</b></td>'
        f"<td>{escape(finding.topic)}</td><td>{escape(finding.value)}"
        + (f'<br><span class="kj-dim">{escape(finding.cure)}</span>' if finding.cure else "")
        + "</td></tr>"
        for finding in diagnosis.findings
    )
    verdict = say("doctor.ready") if not diagnosis.blockers else say("doctor.blocked")
    precision, reason = diagnosis.precision
    return (
        f'<p class="kj-verdict">{escape(verdict)}</p>'
        f"<p>{escape(say('doctor.precision', device=diagnosis.device, precision=precision))} "
        f'<span class="kj-dim">{escape(reason)}</span></p>'
        f'<div class="kj-table"><table>{rows}</table></div>'
    )


def _settings(desk: Desk) -> str:
    settings, say = desk.service.settings, desk.say
    rows = []
    for item in fields(settings):
        value = getattr(settings, item.name)
        shown = escape(str(value)) if value != "" else "–"
        if item.name in _SECRET and value != "":
            shown = f'<span class="kj-dim">{escape(say("system.hidden"))}</span>'
        rows.append(f"<tr><td><code>{item.name}</code></td><td>{shown}</td></tr>")
    return f'<div class="kj-table"><table>{"".join(rows)}</table></div>'
