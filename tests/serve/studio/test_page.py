"""The page itself in a real browser: languages, keys, phones, keyboards, training runs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from live_server import Live
from studio_page import Visitor, show_tab

from kouji.serve.keys import KeyRing
from kouji.serve.ui.sessions import COOKIE

TABS = ("speak", "voices", "sounds", "jobs", "train", "system")
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}


@pytest.fixture(scope="module")
def live(start: Callable[..., Live]) -> Live:
    """A server with something to hide."""
    return start(hub_endpoint="https://user:hunter2@hub.invalid")


def test_chinese_on_a_phone_fits_and_switches_to_english(
    live: Live, visitor: Callable[..., Visitor]
) -> None:
    page = visitor(live, locale="zh-CN", **PHONE).visit()
    assert page.inner_text("#kj-speak") == "开始合成"
    for name in TABS:
        show_tab(page, name)
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, name
    show_tab(page, "speak")
    page.click("#kj-speak")  # with no text
    told = page.wait_for_selector(".toast-body").inner_text()
    assert "文本是空的" in told
    assert re.search("[A-Za-z]{3,}", told) is None, told
    page.click("#kj-language")
    page.wait_for_selector("#kj-speak:has-text('Speak')")
    assert page.inner_text("#kj-tab-jobs-button") == "Jobs"


def test_no_word_is_left_in_the_other_language(
    live: Live,
    visitor: Callable[..., Visitor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of all that is drawn in Chinese, only names and formats are in Latin letters."""
    monkeypatch.chdir(tmp_path)  # runs of the working folder are listed too
    page = visitor(live, locale="zh-CN").visit()
    known = re.compile(
        r"Kouji|English|mini|Ctrl|Enter|WAV|MP3|FLAC|OPUS|AAC|SRT|VTT|JSON|TXT|Markdown|EPUB|CSV|"
        r"JSONL|YAML|CosyVoice|GPT-SoVITS|I have the right to use this voice|cpu|wav|auto|"
        r"kHz|Hz|dB|MB|ms|bfloat16|float32|int8",
        re.IGNORECASE,
    )
    for name in TABS:
        show_tab(page, name)
        drawn = page.inner_text(f"#kj-tab-{name}")
        for given in page.locator("#kj-run, #kj-runs b").all_inner_texts():
            drawn = drawn.replace(given, "")  # by whoever started the run
        assert re.search("[a-zA-Z]{3,}", known.sub("", drawn)) is None, (name, drawn)


def test_a_key_signs_in_and_its_end_is_seen(
    start: Callable[..., Live], visitor: Callable[..., Visitor], tmp_path_factory: Any
) -> None:
    home = tmp_path_factory.mktemp("keyed-home")
    ring = KeyRing(home)
    record, key = ring.add("anna", ("speak",))
    somebody = visitor(start(home=home))
    page = somebody.page
    page.goto(somebody.url)
    page.fill("#key", "kouji_wrong")
    page.press("#key", "Enter")
    page.wait_for_selector(".kj-problem")
    page.fill("#key", key)
    page.press("#key", "Enter")
    page.wait_for_selector("#kj-speak")
    page.wait_for_selector("#kj-voice input")
    assert page.is_visible("#kj-logout")
    kept = json.dumps(somebody.cookies()) + page.evaluate(
        "JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.cookie"
    )
    assert key not in kept
    assert COOKIE in kept
    assert [each for each in somebody.faults if "401" not in each] == []
    page.fill("#kj-text textarea", "One more.")
    ring.revoke(record.id)
    # One event, not a click that waits: the page may see the end by itself and be gone.
    page.evaluate("document.querySelector('#kj-speak')?.click()")
    page.wait_for_selector("#key")
    somebody.faults = []  # of calls that were cut off with the session


def test_the_keyboard_reaches_everything_in_order(
    live: Live, visitor: Callable[..., Visitor]
) -> None:
    page = visitor(live).visit()
    page.focus("#kj-text textarea")
    reached = []
    for _ in range(16):
        page.keyboard.press("Tab")
        reached.append(page.evaluate(
            "document.activeElement.closest('[id^=kj-]')?.id + ' ' "
            "+ (document.activeElement.className.match(/kj-chip/) || '')"
        ).strip())  # fmt: skip
        if reached[-1] == "kj-speak":
            break
    places = [reached.index(each) for each in ("kj-voice", "kj-style", "kj-speak")]
    assert places == sorted(places)
    assert any("kj-chip" in each for each in reached)
    page.fill("#kj-text textarea", "Hello.")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector("#kj-player[data-state=finished]")
    page.focus(".kj-wave")
    page.keyboard.press("ArrowRight")
    unlabelled = page.evaluate(
        """[...document.querySelectorAll("#kj-tab-speak input, #kj-tab-speak textarea")]
        .filter((each) => each.offsetParent && !each.labels?.length
            && !each.getAttribute("aria-label")).map((each) => each.outerHTML)"""
    )
    assert unlabelled == []


def test_a_run_is_started_watched_and_its_curve_drawn(
    live: Live, visitor: Callable[..., Visitor]
) -> None:
    folder = live.service.settings.home / "runs" / "earlier"
    folder.mkdir(parents=True)
    log = [{"step": step, "kind": "train", "loss": 3.0 / step} for step in range(1, 40)]
    (folder / "log.jsonl").write_text("".join(json.dumps(each) + "\n" for each in log))
    page = visitor(live).visit()
    show_tab(page, "train")
    page.click("#kj-runs li[data-key=earlier] button")
    page.wait_for_selector("#kj-run h3:has-text('earlier')")
    page.wait_for_selector("#kj-run polyline")
    assert "train loss 0.07692" in page.inner_text("#kj-run figcaption")
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps({"step": 40, "kind": "train", "loss": 0.5}) + "\n")
    page.wait_for_selector("#kj-run figcaption:has-text('train loss 0.5')")
    page.check("#kj-run-command input[value=align]")
    page.fill("#kj-run-name input, #kj-run-name textarea", "nothing")
    page.fill("#kj-run-data input, #kj-run-data textarea", str(folder))
    page.click("#kj-run-start")
    page.wait_for_selector("#kj-runs li[data-key=nothing]")
    page.wait_for_selector("#kj-runs li[data-key=nothing][data-state=ended]", timeout=60_000)
    page.click("#kj-runs li[data-key=nothing] button")
    page.wait_for_selector("#kj-run pre:has-text('no prepared store here')")


def test_under_verify_a_sentence_is_shown_and_asked_for(
    start: Callable[..., Live], visitor: Callable[..., Visitor], recording: Path
) -> None:
    live = start(consent="verify")
    page = visitor(live).visit()
    show_tab(page, "voices")
    assert not page.is_visible("#kj-attest")
    page.set_input_files("#kj-recording input[type=file]", recording)
    page.wait_for_selector("#kj-report img.kj-picture")
    page.fill("#kj-name input, #kj-name textarea", "Nobody")
    page.click("#kj-keep")
    assert "no reading yet" in page.wait_for_selector(".toast-body").inner_text()
    page.click(".toast-close, [data-testid=toast-close]")
    page.click("#kj-challenge")
    page.wait_for_selector("#kj-sentence .kj-read")
    page.click("#kj-reading button[aria-label='Upload file']")
    page.set_input_files("#kj-reading input[type=file]", recording)
    page.wait_for_selector("#kj-reading .waveform-container")
    page.click("#kj-keep")
    told = page.wait_for_selector(".toast-body", timeout=60_000).inner_text()
    assert "does not say the sentence shown" in told
    caller = live.service.identify(None)
    assert [line.id for line in live.service.voices.list(caller)] == ["sample"]
    assert live.service.consents.list(caller) == []


def test_the_system_is_shown_without_secrets(live: Live, visitor: Callable[..., Visitor]) -> None:
    page = visitor(live, color_scheme="dark").visit()
    show_tab(page, "system")
    page.wait_for_selector("#kj-system dd:has-text('mini')")
    page.click("#kj-doctor")
    page.wait_for_selector("#kj-doctor-report td:has-text('torch')")
    page.click("#kj-settings button")
    page.wait_for_selector("#kj-settings td:has-text('max_text_characters')")
    assert "hunter2" not in page.content()
