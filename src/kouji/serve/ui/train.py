"""The tab Train: start `kouji prepare`, `align` and `train`, and watch their losses.

The list and the curves are the script's; only callers with the scope admin see or start runs.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from kouji.errors import UsageError
from kouji.serve.ui.desk import Desk, Seat, markup
from kouji.serve.ui.runs import COMMANDS, Runs

LAYOUTS = ("auto", "manifest", "gpt-sovits", "ljspeech", "aishell3", "librispeech", "pairs")
DEVICES = ("cpu", "cuda")
_SHOW = "() => { window.kouji.showRuns(); return []; }"


def build(desk: Desk, blocks: gr.Blocks, tab: gr.Tab) -> None:
    """Draw the tab and connect it."""
    say, runs = desk.say, desk.runs
    with gr.Row(elem_classes="kj-columns"):
        with gr.Column(scale=4, min_width=300):
            markup(f'<p class="kj-dim">{escape(say("train.info"))}</p>')
            command = gr.Radio(
                [(say(f"train.{each}"), each) for each in COMMANDS], value="train",
                label=say("train.command"), elem_id="kj-run-command",
            )  # fmt: skip
            name = gr.Textbox(label=say("train.name"), info=say("train.name.info"), max_length=60,
                              elem_id="kj-run-name")  # fmt: skip
            data = gr.Textbox(label=say("train.data"), info=say("train.data.info"), visible=False,
                              elem_id="kj-run-data")  # fmt: skip
            layout = gr.Dropdown(list(LAYOUTS), value="auto", label=say("train.layout"),
                                 visible=False)  # fmt: skip
            recipe = gr.Dropdown([], label=say("train.recipe"), info=say("train.recipe.info"),
                                 allow_custom_value=True, elem_id="kj-run-recipe")  # fmt: skip
            with gr.Row(elem_classes="kj-pair") as numbers:
                steps = gr.Number(None, label=say("train.steps"), precision=0,
                                  min_width=110)  # fmt: skip
                device = gr.Dropdown(list(DEVICES), value="cpu", label=say("train.device"),
                                     min_width=110)  # fmt: skip
            weights = gr.Textbox(label=say("train.init"), info=say("train.init.info"),
                                 elem_id="kj-run-init")  # fmt: skip
            start = gr.Button(say("train.start"), variant="primary", elem_id="kj-run-start")
        with gr.Column(scale=7, min_width=300):
            markup(
                f'<section id="kj-runs"><h3>{escape(say("train.list"))}</h3>'
                f'<p class="kj-dim">{escape(say("train.empty"))}</p><ol></ol></section>'
                '<section id="kj-run" hidden></section>',
            )

    def shape(chosen: str) -> tuple[Any, ...]:
        is_training = chosen == "train"
        return (
            gr.Textbox(visible=not is_training),
            gr.Dropdown(visible=chosen == "prepare"),
            gr.Dropdown(visible=is_training),
            gr.Row(visible=is_training),
            gr.Textbox(visible=is_training),
        )

    async def begin(seat: Seat, *values: Any) -> None:
        seat.caller.require("admin")
        await desk.service.in_thread(_start, runs, *values)

    async def fill(seat: Seat) -> Any:
        if not seat.caller.may("admin"):
            return gr.Dropdown([])
        paths = await desk.service.in_thread(runs.recipes)
        recipes = [(path.stem, str(path)) for path in paths]
        return gr.Dropdown(recipes, value=recipes[0][1] if recipes else None)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    command.change(shape, command, [data, layout, recipe, numbers, weights], **quiet)
    begun = start.click(
        desk.told(begin), [command, name, data, layout, recipe, steps, device, weights], None,
        show_progress="minimal", show_progress_on=start, api_visibility="private",
    )  # fmt: skip
    begun.success(None, None, [], js=_SHOW)
    tab.select(desk.told(fill), None, recipe, js="() => { kouji.showRuns(); }", **quiet)
    del blocks


def _start(
    runs: Runs, command: str, name: str, data: str, layout: str, recipe: str | None,
    steps: float | None, device: str, weights: str,
) -> None:  # fmt: skip
    """The command line a form stands for, begun; raises UsageError for what is missing."""
    folder = runs.path(str(name or ""))
    if command == "train":
        if not recipe or not Path(recipe).is_file():
            raise UsageError("no such recipe", seen=recipe or "", allowed="a file of YAML")
        arguments = ["train", str(recipe), "--device", str(device), "--set", f"out={folder}"]
        if steps and steps < 1:
            raise UsageError("too few steps", seen=steps, allowed="1 or more")
        if steps:
            arguments += ["--set", f"steps={int(steps)}"]
        if weights:
            arguments += ["--set", f"init_from={weights}"]
    elif not data or not Path(data).is_dir():
        raise UsageError("no such folder", seen=data or "", allowed="a folder of this machine")
    elif command == "prepare":
        arguments = ["prepare", data, "--out", str(folder / "store"), "--layout", str(layout)]
    elif command == "align":
        arguments = ["align", data]
    else:
        raise UsageError("unknown command", seen=command, allowed=", ".join(COMMANDS))
    runs.start(str(name), arguments)
