"""The frame of the studio: head, tabs, colours. What is in a tab is its own module's."""

from __future__ import annotations

from html import escape

import gradio as gr

import kouji.serve.ui.hear as hear_tab
import kouji.serve.ui.jobs as jobs_tab
import kouji.serve.ui.speak as speak_tab
import kouji.serve.ui.system as system_tab
import kouji.serve.ui.train as train_tab
import kouji.serve.ui.voices as voices_tab
from kouji.serve.ui.desk import Desk, markup

_FONT = ("system-ui", "-apple-system", "Segoe UI", "PingFang SC", "Microsoft YaHei",
         "Noto Sans CJK SC", "sans-serif")  # fmt: skip
_MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")
TABS = (
    ("speak", speak_tab.build),
    ("voices", voices_tab.build),
    ("sounds", hear_tab.build),
    ("jobs", jobs_tab.build),
    ("train", train_tab.build),
    ("system", system_tab.build),
)


def theme() -> gr.themes.Base:
    """Fonts of the system, one accent, quiet greys."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        font=_FONT,
        font_mono=_MONO,
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        block_background_fill="white",
        block_background_fill_dark="*neutral_900",
        block_label_background_fill="transparent",
        block_label_background_fill_dark="transparent",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        slider_color="*primary_700",
        slider_color_dark="*primary_500",
    )


def build(desk: Desk) -> gr.Blocks:
    """The whole studio in one language."""
    say = desk.say
    with gr.Blocks(
        title=say("title"), analytics_enabled=False, fill_width=True, delete_cache=(600, 3600)
    ) as blocks:
        markup(_head(desk), elem_id="kj-head")
        gr.State(None)  # a page with a state tells the server when it leaves
        with gr.Tabs(elem_id="kj-tabs"):
            for name, draw in TABS:
                with gr.Tab(say(f"tab.{name}"), id=name, elem_id=f"kj-tab-{name}") as tab:
                    draw(desk, blocks, tab)
    blocks.queue(default_concurrency_limit=None, api_open=False)  # the gate decides who waits
    return blocks  # type: ignore[no-any-return]


def _head(desk: Desk) -> str:
    say = desk.say
    other = "zh" if desk.language == "en" else "en"
    return f"""<header class="kj-bar">
<h1><span class="kj-mark">口技</span> Kouji <small>{escape(say("motto"))}</small></h1>
<nav>
<form method="post" action="./studio/language"><button class="kj-quiet" id="kj-language"
 name="language" value="{other}" lang="{other}">{escape(say("switch"))}</button></form>
<form method="post" action="./studio/logout" class="kj-only-keys"><button class="kj-quiet"
 id="kj-logout">{escape(say("logout"))}</button></form>
</nav></header>"""
