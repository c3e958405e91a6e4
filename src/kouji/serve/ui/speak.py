"""The tab Speak: a text, a voice and a manner in; sound, timings and files out.

The handler only begins to speak; the page's script then listens to the take (`sounds`).
"""

from __future__ import annotations

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from kouji.errors import KoujiError, StyleError, UsageError
from kouji.serve.caller import Caller
from kouji.serve.service import Service, SpeakCall
from kouji.serve.ui.desk import Desk, Seat, markup
from kouji.serve.ui.takes import Take
from kouji.serve.ui.words import Say
from kouji.text.style import Style
from kouji.text.style_words import DIALECTS
from kouji.types import LANGUAGES

SPEED_RANGE = (0.5, 2.0)
MAX_SEED = 2**31 - 1
_MINI_LANGUAGES = ("zh", "en")
_ROLL = f"() => Math.floor(Math.random() * {MAX_SEED})"
_PLAY = "(take) => { window.kouji.play(take, 'speak'); return []; }"


def build(desk: Desk, blocks: gr.Blocks, tab: gr.Tab) -> None:
    """Draw the tab and connect it."""
    say = desk.say
    with gr.Row(elem_classes="kj-columns"):
        with gr.Column(scale=5, min_width=300):
            text = gr.Textbox(
                label=say("speak.text"), placeholder=say("speak.text.hint"), lines=6,
                max_lines=14, elem_id="kj-text", max_length=None,
            )  # fmt: skip
            with gr.Row(elem_classes="kj-pair"):
                voice = gr.Dropdown(
                    [("sample", "sample")], value="sample", label=say("speak.voice"),
                    elem_id="kj-voice", min_width=140,
                )  # fmt: skip
                model = gr.Dropdown(label=say("speak.model"), elem_id="kj-model", min_width=140)
            style = gr.Textbox(
                label=say("speak.style"), placeholder=say("speak.style.hint"), lines=1,
                elem_id="kj-style", max_length=500,
            )  # fmt: skip
            markup(_chips(say))
            with gr.Accordion(say("speak.more"), open=False, elem_id="kj-more"):
                with gr.Row(elem_classes="kj-pair"):
                    language = gr.Dropdown(
                        label=say("speak.language"), elem_id="kj-spoken-language", min_width=140
                    )
                    dialect = gr.Dropdown(
                        label=say("speak.dialect"), elem_id="kj-dialect", min_width=140
                    )
                speed = gr.Slider(
                    *SPEED_RANGE, value=1.0, step=0.05, label=say("speak.speed"),
                    elem_id="kj-speed",
                )  # fmt: skip
                with gr.Row(elem_classes="kj-seed"):
                    seed = gr.Number(
                        0,
                        label=say("speak.seed"),
                        info=say("speak.seed.info"),
                        precision=0,
                        elem_id="kj-seed",
                        min_width=120,
                    )
                    dice = gr.Button(say("speak.dice"), elem_id="kj-dice", scale=0, min_width=110)
            with gr.Row(elem_classes="kj-actions"):
                go = gr.Button(say("speak.go"), variant="primary", elem_id="kj-speak")
                halt = gr.Button(say("speak.stop"), elem_id="kj-stop", scale=0, min_width=96)
            take = gr.JSON(visible="hidden", elem_id="kj-take-value")
        with gr.Column(scale=6, min_width=300):
            markup(player(say), elem_id="kj-player-block")

    async def begin(seat: Seat, *values: Any) -> dict[str, Any]:
        return await _begin(desk, seat, *values)

    async def stop(seat: Seat) -> None:
        seat.session.stop(seat.page)

    async def fill(seat: Seat) -> tuple[Any, ...]:
        return await _choices(desk, seat.caller)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    inputs = [text, voice, model, style, language, dialect, speed, seed]
    spoken = go.click(
        desk.told(begin), inputs, take, show_progress="minimal", show_progress_on=go,
        api_visibility="private",
    )  # fmt: skip
    spoken.success(None, take, [], js=_PLAY)
    halt.click(desk.told(stop), None, None, js="() => window.kouji.halt()", **quiet)
    dice.click(None, None, seed, js=_ROLL)
    choices = [voice, model, language, dialect]
    blocks.load(desk.told(fill), None, choices, **quiet)
    tab.select(desk.told(partial(refresh_voices, desk)), voice, voice, **quiet)


async def refresh_voices(desk: Desk, seat: Seat, chosen: str) -> Any:
    """The list of voices as it is now; the chosen one stays chosen while there is one."""
    names = await voice_choices(desk, seat.caller)
    known = [value for _, value in names]
    return gr.Dropdown(names, value=chosen if chosen in known else known[0])


async def _begin(
    desk: Desk, seat: Seat, text: str, voice: str, model: str | None, style: str,
    language: str | None, dialect: str | None, speed: float, seed: float | None,
) -> dict[str, Any]:  # fmt: skip
    """Begin to speak; returns what the script needs to listen."""
    number = check_seed(seed)
    if not SPEED_RANGE[0] <= float(speed) <= SPEED_RANGE[1]:
        allowed = f"{SPEED_RANGE[0]} to {SPEED_RANGE[1]}"
        raise UsageError("a speed out of range", seen=speed, allowed=allowed)
    wishes = ", ".join(word for word in (str(style or "").strip(), dialect or "") if word)
    call = SpeakCall(
        str(text or ""),
        await desk.service.voice(str(voice), seat.caller),
        model=model or None,
        style=wishes or None,
        speed=float(speed),
        is_style_strict=False,
        seed=number,
        language=language or None,
    )
    return await begin_take(desk, seat, call)


def check_seed(seed: float | None) -> int:
    """A seed as a form gives it; UsageError for what is none."""
    number = float(seed or 0)
    if not (number.is_integer() and 0 <= number <= MAX_SEED):
        raise UsageError("a seed is a whole number", seen=seed, allowed=f"0 to {MAX_SEED}")
    return int(number)


async def begin_take(desk: Desk, seat: Seat, call: SpeakCall) -> dict[str, Any]:
    """Speak for a page; the take is the session's. Returns when the first sound is there."""
    desk.service.admission.quotas.count_request(seat.caller)
    seat.session.stop(seat.page)  # one at a time for each page
    utterance = await seat.session.wait_for(seat.page, desk.service.speak(call, seat.caller))
    take = Take(utterance, call.text, seat.page)
    desk.sessions.keep(seat.session, take)
    return {"id": take.id}


async def voice_choices(desk: Desk, caller: Caller) -> list[tuple[str, str]]:
    """Voices as a list shows them: (label, id)."""
    lines = await desk.service.in_thread(desk.service.voices.list, caller)
    return [(desk.say("speak.sample") if each.id == "sample" else each.name, each.id)
            for each in lines]  # fmt: skip


async def _choices(desk: Desk, caller: Caller) -> tuple[Any, ...]:
    """The lists as they are for this caller and the loaded models."""
    say, names = desk.say, await voice_choices(desk, caller)
    try:
        models = list(desk.service.models.names)
    except KoujiError:
        models = []  # being loaded
    first = models[0] if models else None
    dialects = await desk.service.in_thread(dialects_of, desk.service)
    spoken = [(say("dialect.none"), "")] + [(say(f"dialect.{name}"), name) for name in dialects]
    languages = [(say("language.auto"), "")] + [
        (say(f"language.{name}"), name) for name in _languages(desk.service)
    ]
    lacking = None if dialects else say("speak.dialect.none", models=", ".join(models))
    default = desk.service.settings.default_voice
    known = [value for _, value in names]
    return (
        gr.Dropdown(names, value=default if default in known else known[0]),
        gr.Dropdown(models, value=first, visible=len(models) > 1),
        gr.Dropdown(languages, value=""),
        gr.Dropdown(spoken, value="", interactive=bool(dialects), info=lacking),
    )


def dialects_of(service: Service) -> list[str]:
    """Dialects that one of the loaded models speaks."""
    try:
        families = [service.models.get(name).family for name in service.models.names]
    except KoujiError:
        return []
    found = []
    for dialect in DIALECTS:
        for family in families:
            try:
                family.check_style(Style(dialect=dialect, text=dialect))
            except StyleError:
                continue
            found.append(dialect)
            break
    return found


def _languages(service: Service) -> tuple[str, ...]:
    try:
        is_mini = all(service.models.get(name).family.name == "mini"
                      for name in service.models.names)  # fmt: skip
    except KoujiError:
        is_mini = True
    return _MINI_LANGUAGES if is_mini else LANGUAGES


def _chips(say: Say) -> str:
    chips = "".join(
        f'<button type="button" class="kj-chip" data-fill="kj-style">{escape(each)}</button>'
        for each in say("speak.style.examples").split("|")
    )
    label = escape(say("speak.style"))
    return f'<div class="kj-chips" role="group" aria-label="{label}">{chips}</div>'


def player(say: Say) -> str:
    """Where a take is heard and seen; the script fills it."""
    formats = "".join(
        f'<a data-format="{name}" download>{name.upper()}</a>'
        for name in ("wav", "mp3", "flac", "opus", "aac")
    )
    subtitles = "".join(
        f'<a data-subtitles="{name}" download>{name.upper()}</a>' for name in ("srt", "vtt", "json")
    )
    return f"""<section id="kj-player" class="kj-card" aria-label="{escape(say("player.title"))}">
<div class="kj-empty"><p>{escape(say("player.empty"))}</p><p><kbd>Ctrl</kbd> <kbd>Enter</kbd>
 {escape(say("player.shortcut"))}</p></div>
<div class="kj-take" hidden>
<p class="kj-status" role="status" aria-live="polite"></p>
<div class="kj-scope">
<div class="kj-wave" role="slider" tabindex="0" aria-valuemin="0" aria-valuenow="0"
 aria-label="{escape(say("player.position"))}"><canvas></canvas><i class="kj-cursor"></i></div>
<img class="kj-spectrum" alt="{escape(say("player.spectrogram"))}" hidden>
</div>
<audio id="kj-audio" controls preload="auto"></audio>
<h3>{escape(say("player.words"))}</h3>
<p class="kj-words"></p>
<ul class="kj-warnings"></ul>
<p class="kj-facts"></p>
<h3>{escape(say("player.download"))}</h3>
<p class="kj-downloads"><span>{formats}</span><span>{subtitles}</span></p>
</div></section>
<section id="kj-history" class="kj-card" aria-label="{escape(say("history.title"))}">
<h3>{escape(say("history.title"))}</h3><p class="kj-dim">{escape(say("history.empty"))}</p><ol></ol>
</section>"""
