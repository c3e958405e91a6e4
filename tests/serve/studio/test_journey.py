"""A person's way through the studio with the shipped model, in a real browser."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import soundfile
from live_server import Live
from studio_page import Visitor, heard, show_tab

from kouji.audio.labels import read_labels
from kouji.serve.models import open_models


@pytest.fixture(scope="module")
def speaking(start: Callable[..., Live]) -> Live:
    """A server that speaks with the shipped weights."""
    return start(open_models)


def test_a_voice_is_cloned_heard_and_used_in_a_job(
    speaking: Live, visitor: Callable[..., Visitor], recording: Path, tmp_path: Path
) -> None:
    somebody = visitor(speaking)
    page = somebody.visit()
    clone(page, recording)
    speak(page)
    listen(page, somebody)
    work(page, tmp_path, somebody)
    assert speaking.service.gate.num_inside == 0


def clone(page: Any, recording: Path) -> None:
    """Upload, read the report, be refused without consent, give it, keep the voice."""
    show_tab(page, "voices")
    page.set_input_files("#kj-recording input[type=file]", recording)
    page.wait_for_selector("#kj-report img.kj-picture")
    assert page.inner_text("#kj-report .kj-verdict") in ("Good", "Usable")
    page.fill("#kj-name input, #kj-name textarea", "Reader")
    page.click("#kj-keep")
    told = page.wait_for_selector(".toast-body")
    assert "The statement is not ticked" in told.inner_text()
    page.check("#kj-attest input")
    page.click("#kj-keep")
    page.wait_for_selector("#kj-kept:has-text('Reader is kept')")


def speak(page: Any) -> None:
    """Choose the voice and speak with the keyboard alone."""
    show_tab(page, "speak")
    page.click("#kj-voice input")
    page.click("[role=option]:has-text('Reader')")
    page.fill("#kj-text textarea", "This is a test of the studio. 今天天气很好。")
    page.press("#kj-text textarea", "Control+Enter")
    page.wait_for_selector("#kj-player[data-state=speaking], #kj-player[data-state=finished]")
    page.wait_for_function("document.querySelector('#kj-audio').currentTime > 0")
    page.wait_for_selector("#kj-player[data-state=finished]")


def listen(page: Any, somebody: Visitor) -> None:
    """Hear it, see it, wind it, take it home."""
    page.evaluate("document.querySelector('#kj-audio').pause()")
    page.click(".kj-word:has-text('studio')")
    page.wait_for_function("document.querySelector('#kj-audio').src.endsWith('sound.wav')")
    duration, peak = heard(page)
    assert duration > 1.5
    assert peak > 0.05
    page.wait_for_function("document.querySelector('#kj-audio').currentTime > 0.3")
    page.wait_for_function("document.querySelector('.kj-spectrum').naturalWidth > 100")
    words = page.eval_on_selector_all(".kj-word", "all => all.map(each => each.textContent)")
    assert words[:2] == ["This", "is"]
    assert "今天" in "".join(words)
    assert page.locator("#kj-history li").count() == 1
    for name in ("mp3", "flac"):
        link = page.eval_on_selector(f"[data-format={name}]", "each => each.href")
        sound = page.request.get(link)
        assert read_labels(sound.body()).is_ai_generated
        seconds = soundfile.info(io.BytesIO(sound.body())).duration
        assert abs(seconds - duration) < 0.2
    subtitles = page.request.get(page.eval_on_selector("[data-subtitles=srt]", "each => each.href"))
    assert "studio" in subtitles.text()
    stranger = httpx.get(page.eval_on_selector("[data-format=wav]", "each => each.href"))
    assert stranger.status_code == 401
    assert somebody.faults == []


def work(page: Any, folder: Path, somebody: Visitor) -> None:
    """A job from a file to its end."""
    file = folder / "lines.txt"
    file.write_text("First line.\n\nSecond line.\n", encoding="utf-8")
    show_tab(page, "jobs")
    page.set_input_files("#kj-job-file input[type=file]", file)
    page.wait_for_selector("#kj-job-file:has-text('lines')")
    page.click("#kj-job-start")
    page.wait_for_selector("#kj-jobs li[data-state=finished]", timeout=60_000)
    link = page.get_attribute("#kj-jobs li a", "href")
    sound = page.request.get(link)
    assert sound.status == 200
    assert sound.headers["x-ai-generated"] == "true"
    assert soundfile.info(io.BytesIO(sound.body())).duration > 1
    assert somebody.faults == []
