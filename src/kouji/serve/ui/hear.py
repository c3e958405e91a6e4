"""The tab Sounds: a file or a recording in, what is heard in it out; drawn by the page's script."""

from __future__ import annotations

from html import escape
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import gradio as gr
import numpy as np

from kouji.errors import UsageError
from kouji.serve.heard import USUAL_CLASSES, ranked, whole_values
from kouji.serve.hearing import ClassifyCall
from kouji.serve.ui.desk import Desk, Seat, markup
from kouji.serve.ui.enrolling import read_file
from kouji.serve.ui.example import example_wav
from kouji.serve.ui.messages import warning_of
from kouji.serve.ui.words import Say

if TYPE_CHECKING:
    from kouji.classification import Classification
    from kouji.types import Samples

_HOP_SECONDS = 0.5
_MOST_WINDOWS = 120  # a wider hop where there would be more: no screen shows them
_PEAKS = 600
_LIKELY = 0.05  # of a class that has a lane
_SHOW = "(found) => { window.kouji.showSound(found); return []; }"


def build(desk: Desk, blocks: gr.Blocks, tab: gr.Tab) -> None:
    """Draw the tab and connect it."""
    say = desk.say
    if not desk.service.settings.classifier:
        markup(f'<p class="kj-dim" id="kj-no-classifier">{escape(say("sounds.none"))}</p>')
        return
    with gr.Row(elem_classes="kj-columns"):
        with gr.Column(scale=4, min_width=300):
            markup(f'<p class="kj-dim">{escape(say("sounds.info"))}</p>')
            sound = gr.Audio(
                sources=["upload", "microphone"], type="filepath", label=say("sounds.file"),
                elem_id="kj-sound", buttons=[], editable=True,
            )  # fmt: skip
            with gr.Row(elem_classes="kj-pair"):
                go = gr.Button(say("sounds.go"), variant="primary", elem_id="kj-hear-sound",
                               min_width=140)  # fmt: skip
                example = gr.Button(say("sounds.example"), elem_id="kj-hear-example",
                                    min_width=140)  # fmt: skip
            found = gr.JSON(visible="hidden", elem_id="kj-heard-value")
        with gr.Column(scale=7, min_width=300):
            markup(_card(say))

    async def hear(seat: Seat, path: str | None) -> dict[str, Any]:
        if not path:
            raise UsageError("there is no sound yet", cure="record or upload one first")
        recording = await read_file(desk, seat, path)
        return await _heard(desk, seat, recording, "./gradio_api/file=" + quote(path))

    async def hear_example(seat: Seat) -> dict[str, Any]:
        recording = await desk.service.in_thread(example_wav)
        return await _heard(desk, seat, recording, "./studio/example.wav")

    for button, handler, inputs in ((go, hear, sound), (example, hear_example, None)):
        begun = button.click(
            desk.told(handler), inputs, found, show_progress="minimal", show_progress_on=button,
            api_visibility="private",
        )  # fmt: skip
        begun.success(None, found, [], js=_SHOW)
    tab.select(None, None, None, js="() => { window.kouji.drawSound(); }")
    del blocks


async def _heard(desk: Desk, seat: Seat, recording: bytes, sound: str) -> dict[str, Any]:
    """Classify for a page; what its script draws. `sound` is where the page hears it."""
    desk.service.admission.quotas.count_request(seat.caller)
    return await seat.session.wait_for(seat.page, _classify(desk, seat, recording, sound))


async def _classify(desk: Desk, seat: Seat, recording: bytes, sound: str) -> dict[str, Any]:
    hearing = desk.service.hearing
    audio = await hearing.read(recording, seat.caller)
    hop_seconds = max(_HOP_SECONDS, audio.duration / _MOST_WINDOWS)
    listener = await hearing.listen(ClassifyCall(audio, hop_seconds=hop_seconds), seat.caller)
    found = await listener.whole()
    return {
        **whole_values(found, listener.name, USUAL_CLASSES),
        "labels": list(found.labels),
        "sound": sound,
        "warnings": [warning_of(each, desk.language) for each in found.warnings],
        "peaks": _peaks(audio.samples),
        **_over_time(found),
    }


def _over_time(found: Classification) -> dict[str, Any]:
    """Windows with what is likeliest in each, and the classes that are likely anywhere."""
    windows = [
        {"start": round(each.start, 3), "end": round(each.end, 3),
         **ranked(found.labels, each.probabilities, 1)[0]}
        for each in found.windows
    ]  # fmt: skip
    over_time = np.stack([each.probabilities for each in found.windows])
    likeliest = over_time.max(axis=0)
    order = np.argsort(-likeliest, kind="stable")[:USUAL_CLASSES]
    order = order[: max(1, int((likeliest >= _LIKELY).sum()))]
    lanes = [
        {"label": found.labels[place], "values": [round(float(p), 4) for p in over_time[:, place]]}
        for place in order
    ]
    return {"windows": windows, "lanes": lanes}


def _peaks(samples: Samples) -> list[int]:
    """The waveform in at most 600 loudest samples, 0 to 100."""
    edges = np.linspace(0, len(samples), min(_PEAKS, len(samples)) + 1).astype(int)
    loudest = [float(np.abs(samples[a:b]).max(initial=0.0)) for a, b in pairwise(edges)]
    return [round(100 * min(1.0, peak)) for peak in loudest]


def _card(say: Say) -> str:
    """Where the classes are seen; the script fills it."""
    return f"""<section id="kj-heard" class="kj-card" aria-label="{escape(say("sounds.found"))}">
<div class="kj-empty"><p>{escape(say("sounds.empty"))}</p></div>
<div class="kj-found" hidden>
<p class="kj-verdict" role="status" aria-live="polite"></p>
<p class="kj-facts"></p>
<ul class="kj-warnings"></ul>
<h3>{escape(say("sounds.whole"))}</h3>
<ol class="kj-bars"></ol>
<h3>{escape(say("sounds.time"))}</h3>
<div class="kj-timeline" role="slider" tabindex="0" aria-valuemin="0" aria-valuenow="0"
 aria-label="{escape(say("sounds.position"))}"><canvas></canvas><div class="kj-lanes"></div>
<i class="kj-cursor"></i></div>
<p class="kj-moment kj-dim"></p>
<audio id="kj-heard-audio" controls preload="metadata"></audio>
</div></section>"""
