"""The tab Voices: from a recording over its quality and its consent to a voice that is kept."""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from kouji.errors import ConsentError, UsageError
from kouji.serve.keeping import NewVoice
from kouji.serve.service import SpeakCall
from kouji.serve.ui.desk import Desk, Seat, markup
from kouji.serve.ui.enrolling import Examined, examine_file, keep_voice, new_sentence, read_file
from kouji.serve.ui.messages import reason_of, warning_of
from kouji.serve.ui.speak import begin_take, refresh_voices, voice_choices
from kouji.types import LANGUAGES
from kouji.voices.consent import STATEMENT

_PLAY = "(take) => { window.kouji.play(take, 'preview'); return []; }"


def build(desk: Desk, blocks: gr.Blocks, tab: gr.Tab) -> None:
    """Draw the tab and connect it."""
    say, policy = desk.say, desk.service.settings.consent_policy
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    with gr.Row(elem_classes="kj-columns"):
        with gr.Column(scale=6, min_width=300, elem_classes="kj-steps"):
            markup(_step(1, say("voices.record"), say("voices.record.info")))
            recording = gr.Audio(
                sources=["upload", "microphone"], type="filepath", label=say("voices.recording"),
                elem_id="kj-recording", buttons=[], editable=True,
            )  # fmt: skip
            report = markup("", elem_id="kj-report")
            markup(_step(2, say("voices.describe"), ""))
            with gr.Row(elem_classes="kj-pair"):
                name = gr.Textbox(label=say("voices.name"), max_length=60, elem_id="kj-name",
                                  min_width=140)  # fmt: skip
                language = gr.Dropdown(
                    [(say("language.auto"), "")] + [(say(f"language.{x}"), x) for x in LANGUAGES],
                    value="", label=say("voices.language"), min_width=140,
                )  # fmt: skip
            transcript = gr.Textbox(
                label=say("voices.transcript"), info=say("voices.transcript.info"), lines=2,
                max_length=1000, elem_id="kj-transcript",
            )  # fmt: skip
            markup(_step(3, say("voices.consent"), say(f"voices.consent.{policy}")))  # fmt: skip
            attested = gr.Checkbox(
                label=say("voices.statement", statement=STATEMENT), elem_id="kj-attest",
                visible=policy == "attest",
            )  # fmt: skip
            with gr.Column(visible=policy == "verify"):
                ask = gr.Button(say("voices.challenge"), elem_id="kj-challenge")
                sentence = markup("", elem_id="kj-sentence")
                challenge = gr.Textbox(visible=False)
                reading = gr.Audio(
                    sources=["microphone", "upload"], type="filepath", label=say("voices.reading"),
                    elem_id="kj-reading", buttons=[], editable=False,
                )  # fmt: skip
            keep = gr.Button(say("voices.keep"), variant="primary", elem_id="kj-keep")
            told = markup("", elem_id="kj-kept")
        with gr.Column(scale=5, min_width=300):
            markup(f"<h3>{escape(say('voices.list'))}</h3>")
            chosen = gr.Dropdown([(say("speak.sample"), "sample")], value="sample",
                                 label=say("voices.voice"), elem_id="kj-kept-voice")  # fmt: skip
            card = markup("", elem_id="kj-voice-card")
            sentence_text = gr.Textbox(
                say("voices.preview.text"), label=say("voices.preview"), max_length=300,
                elem_id="kj-preview-text",
            )  # fmt: skip
            hear = gr.Button(say("voices.hear"), elem_id="kj-hear")
            markup('<audio id="kj-preview" controls preload="none" hidden></audio>')  # fmt: skip
            take = gr.JSON(visible="hidden")
            with gr.Accordion(say("voices.delete"), open=False, elem_id="kj-delete-box"):
                sure = gr.Checkbox(label=say("voices.delete.sure"), elem_id="kj-delete-sure")
                delete = gr.Button(say("voices.delete"), variant="stop", elem_id="kj-delete")

    async def examine(seat: Seat, path: str | None) -> str:
        if not path:
            return ""
        file = desk.own_file(seat, path)
        examined = await desk.service.in_thread(examine_file, file, desk.service.settings)
        return report_card(desk, examined)

    async def show_challenge(seat: Seat) -> tuple[str, str]:
        challenge = await new_sentence(desk, seat)
        shown = f'<blockquote class="kj-read">{escape(challenge.sentence)}</blockquote>'
        info = escape(say("voices.challenge.info"))
        return f'{shown}<p class="kj-dim">{info}</p>', challenge.id

    async def keep_it(seat: Seat, *values: Any) -> tuple[Any, ...]:
        path, called, tongue, words, is_attested, number, read = values
        if not path:
            raise UsageError("there is no recording yet", cure="record or upload one first")
        if policy == "attest" and not is_attested:
            raise ConsentError("the statement is not ticked", allowed=repr(STATEMENT))
        new = NewVoice(
            str(called or ""),
            await read_file(desk, seat, path),
            str(words or "").strip() or None,
            tongue or None,
            attestation=STATEMENT if is_attested and policy == "attest" else None,
        )
        spoken = await read_file(desk, seat, read) if read else None
        voice, warnings = await keep_voice(desk, seat, new, str(number or ""), spoken)
        names = await voice_choices(desk, seat.caller)
        message = f'<p class="kj-good" role="status">{escape(say("voices.kept", name=voice.name))}'
        extra = "".join(
            f'<p class="kj-warn">{escape(warning_of(each, desk.language))}</p>' for each in warnings
        )
        return f"{message}</p>{extra}", gr.Dropdown(names, value=voice.id), None, False, None

    async def show(seat: Seat, voice: str) -> str:
        return await _card(desk, seat, voice)

    async def preview(seat: Seat, voice: str, text: str) -> dict[str, Any]:
        found = await desk.service.voice(str(voice), seat.caller)
        return await begin_take(desk, seat, SpeakCall(str(text or ""), found))

    async def forget(seat: Seat, voice: str, is_sure: bool) -> tuple[Any, ...]:
        if not is_sure:
            raise UsageError("deleting a voice must be confirmed", cure="tick the box first")
        seat.caller.require("voices")
        await desk.service.in_thread(desk.service.keeper.remove, voice, seat.caller)
        names = await voice_choices(desk, seat.caller)
        return gr.Dropdown(names, value="sample"), False

    recording.change(desk.told(examine), recording, report, show_progress="minimal",
                     api_visibility="private")  # fmt: skip
    ask.click(desk.told(show_challenge), None, [sentence, challenge], **quiet)
    keep.click(
        desk.told(keep_it), [recording, name, language, transcript, attested, challenge, reading],
        [told, chosen, recording, attested, reading], show_progress="minimal",
        show_progress_on=keep, api_visibility="private",
    )  # fmt: skip
    chosen.change(desk.told(show), chosen, card, **quiet)
    tab.select(desk.told(partial(refresh_voices, desk)), chosen, chosen, **quiet).then(
        desk.told(show), chosen, card, **quiet
    )
    heard = hear.click(desk.told(preview), [chosen, sentence_text], take,
                       show_progress="minimal", show_progress_on=hear,
                       api_visibility="private")  # fmt: skip
    heard.success(None, take, [], js=_PLAY)
    delete.click(desk.told(forget), [chosen, sure], [chosen, sure], **quiet)
    del blocks


def report_card(desk: Desk, examined: Examined) -> str:
    """The quality of a recording: verdict, reasons, figures and a picture."""
    say, report = desk.say, examined.report
    reasons = "".join(
        f"<li>{escape(reason_of(reason, desk.language))}</li>" for reason in report.reasons
    )
    figures = {
        "duration": f"{report.duration:.1f} s",
        "speech": f"{report.speech_seconds:.1f} s",
        "snr": f"{report.snr_db:.0f} dB",
        "clipped": f"{report.clipped_fraction:.2%}",
        "pitch": f"{report.pitch_median_hz:.0f} Hz",
        "band": f"{report.bandwidth_hz / 1000:.1f} kHz",
    }
    rows = "".join(
        f"<div><dt>{escape(say(f'report.{key}'))}</dt><dd>{value}</dd></div>"
        for key, value in figures.items()
    )
    picture = ""
    if examined.picture:
        alt = escape(say("report.picture"))
        picture = f'<img class="kj-picture" src="{examined.picture}" alt="{alt}">'
        picture += f'<p class="kj-dim">{escape(say("report.picture.info"))}</p>'
    verdict = escape(say(f"report.{report.verdict}"))
    return (
        f'<section class="kj-card kj-{report.verdict}"><p class="kj-verdict">{verdict}</p>'
        f"<ul>{reasons}</ul>{picture}<dl class='kj-figures'>{rows}</dl></section>"
    )


async def _card(desk: Desk, seat: Seat, voice_id: str) -> str:
    say = desk.say
    lines = await desk.service.in_thread(desk.service.voices.list, seat.caller)
    line = next((each for each in lines if each.id == voice_id), None)
    if line is None:
        return ""
    rows = {
        "voices.length": f"{line.seconds:.1f} s",
        "voices.language": say(f"language.{line.language}") if line.language else "–",
        "voices.consent": say(f"consent.{line.consent or 'none'}"),
        "voices.created": line.created[:10],
    }
    cells = "".join(
        f"<div><dt>{escape(say(key))}</dt><dd>{escape(value)}</dd></div>"
        for key, value in rows.items()
    )
    return f'<section class="kj-card"><dl class="kj-figures">{cells}</dl></section>'


def _step(number: int, title: str, info: str) -> str:
    more = f'<p class="kj-dim">{escape(info)}</p>' if info else ""
    return f'<h3><span class="kj-number">{number}</span> {escape(title)}</h3>{more}'
