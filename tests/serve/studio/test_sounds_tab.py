"""The tab Sounds in a real browser: a file and the example, on a phone, by keyboard, refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from changing_sound import changing_sound
from live_server import Live
from studio_page import Visitor, show_tab
from tiny_classifier import LABELS, make_tiny_classifier

from kouji.audio.encode import save_audio
from kouji.audio.load import load_audio
from kouji.serve.keys import KeyRing
from kouji.serve.ui.example import example_wav
from kouji.types import Audio

PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_classifier(tmp_path_factory.mktemp("models") / "tiny-ears")


@pytest.fixture(scope="module")
def live(start: Callable[..., Live], classifier: Path) -> Live:
    """A server that hears, with toy networks."""
    return start(classifier=str(classifier), max_classify_seconds=20.0)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.wav"
    save_audio(changing_sound(6.0), path)
    return path


def hear(page: Any, sound: Path) -> None:
    """Upload a sound and have it heard."""
    page.set_input_files("#kj-sound input[type=file]", sound)
    page.wait_for_selector("#kj-sound .waveform-container")
    page.click("#kj-hear-sound")
    page.wait_for_selector("#kj-heard[data-state=heard]")


def test_a_file_is_heard_and_its_moments_reached_by_keyboard(
    live: Live, visitor: Callable[..., Visitor], sound: Path
) -> None:
    somebody = visitor(live)
    page = somebody.visit()
    show_tab(page, "sounds")
    hear(page, sound)
    with httpx.Client(base_url=live.url, timeout=60) as client:
        files = {"file": sound.read_bytes()}
        answer = client.post("/v1/audio/classifications", files=files).json()
    assert page.inner_text("#kj-heard .kj-verdict") in ("dog", "rain", "saw")
    widths = page.eval_on_selector_all(
        ".kj-bars .kj-track",
        "all => all.map((each) => each.firstChild.offsetWidth / each.offsetWidth)",
    )
    shown = [each["probability"] for each in answer["probabilities"]]
    assert widths == pytest.approx(shown, abs=0.03)
    assert 1 <= page.locator(".kj-lane").count() <= len(LABELS)
    assert page.locator(".kj-lane path").first.get_attribute("d").count("L") == 11 + 3
    assert page.evaluate(
        """() => {
            const { width, height } = document.querySelector(".kj-timeline canvas");
            const pen = document.querySelector(".kj-timeline canvas").getContext("2d");
            return pen.getImageData(0, 0, width, height).data.some((each) => each > 0);
        }"""
    )
    page.focus(".kj-timeline")
    before = page.inner_text(".kj-moment")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    assert page.get_attribute(".kj-timeline", "aria-valuenow") == "2.00"
    assert page.inner_text(".kj-moment") != before
    assert page.get_attribute(".kj-timeline", "aria-valuetext").startswith("At 2.0 s: ")
    page.keyboard.press("End")
    assert page.get_attribute(".kj-timeline", "aria-valuenow") == "6.00"
    page.wait_for_function("document.querySelector('#kj-heard-audio').duration > 5.9")
    box = page.locator(".kj-timeline").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    assert float(page.get_attribute(".kj-timeline", "aria-valuenow")) == pytest.approx(3, abs=0.1)
    assert somebody.faults == []
    assert live.service.gate.num_inside == 0


def test_the_example_is_heard_in_chinese_on_a_phone(
    live: Live, visitor: Callable[..., Visitor]
) -> None:
    somebody = visitor(live, locale="zh-CN", **PHONE)
    page = somebody.visit()
    show_tab(page, "sounds")
    page.click("#kj-hear-sound")  # with nothing to hear
    told = page.wait_for_selector(".toast-body").inner_text()
    assert "还没有声音" in told
    assert re.search("[A-Za-z]{3,}", told) is None, told
    page.click("#kj-hear-example")
    page.wait_for_selector("#kj-heard[data-state=heard]")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    drawn = page.inner_text("#kj-heard")
    known = re.compile("tiny-ears|saw")  # names, of the model and of a class nobody has translated
    assert re.search("[A-Za-z]{3,}", known.sub("", drawn)) is None, drawn
    page.wait_for_function("document.querySelector('#kj-heard-audio').duration > 9.9")
    assert somebody.faults == []


def test_what_cannot_be_heard_is_one_sentence(
    live: Live, visitor: Callable[..., Visitor], tmp_path: Path
) -> None:
    page = visitor(live, locale="zh-CN").visit()
    show_tab(page, "sounds")
    path = tmp_path / "long.wav"
    save_audio(changing_sound(20.5), path)
    page.set_input_files("#kj-sound input[type=file]", path)
    page.wait_for_selector("#kj-sound .waveform-container")
    page.click("#kj-hear-sound")
    told = page.wait_for_selector(".toast-body").inner_text()
    assert "声音太长" in told
    assert "20 s" in told
    assert "long.wav" not in told


def test_a_key_that_may_not_hear_is_told_and_no_other_session_gets_the_file(
    start: Callable[..., Live],
    visitor: Callable[..., Visitor],
    classifier: Path,
    sound: Path,
    tmp_path_factory: Any,
) -> None:
    home = tmp_path_factory.mktemp("keyed-home")
    ring = KeyRing(home)
    keys = {scope: ring.add(scope, [scope])[1] for scope in ("classify", "jobs")}
    live = start(home=home, classifier=str(classifier))
    pages = {}
    for scope, key in keys.items():
        page = visitor(live).page
        page.goto(live.url)
        page.fill("#key", key)
        page.press("#key", "Enter")
        page.wait_for_selector("#kj-speak")
        show_tab(page, "sounds")
        pages[scope] = page
    hear(pages["classify"], sound)
    heard = pages["classify"].eval_on_selector("#kj-heard-audio", "each => each.src")
    assert pages["classify"].request.get(heard).status == 200
    assert pages["jobs"].request.get(heard).status == 404
    pages["jobs"].click("#kj-hear-example")
    told = pages["jobs"].wait_for_selector(".toast-body").inner_text()
    assert "scope classify" in told


def test_without_a_classifier_the_tab_says_so(
    start: Callable[..., Live], visitor: Callable[..., Visitor]
) -> None:
    page = visitor(start(classifier="")).visit()
    show_tab(page, "sounds")
    assert "classifies no sounds" in page.inner_text("#kj-no-classifier")
    assert not page.is_visible("#kj-sound")


def test_the_example_is_sound() -> None:
    audio = load_audio(example_wav())
    assert isinstance(audio, Audio)
    assert audio.duration == pytest.approx(10, abs=0.01)
    half = len(audio.samples) // 2
    for part in (audio.samples[:half], audio.samples[half:]):
        assert 0.01 < abs(part).max() <= 1
