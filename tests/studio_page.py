"""Somebody at the studio's page in a real browser, and what they do there."""

from __future__ import annotations

from typing import Any

Page = Any  # of playwright, which the tests skip without


class Visitor:
    """Somebody at a browser; notes what a page must not do."""

    def __init__(self, browser: Any, url: str, **options: Any) -> None:
        self.url, self.faults = url, list[str]()
        self._context = browser.new_context(**options)
        self.page = self._context.new_page()
        self.page.set_default_timeout(30_000)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.faults.append(f"script: {error}"))
        self.page.on("request", self._request)

    def _console(self, message: Any) -> None:
        if message.type == "error":
            self.faults.append(f"console: {message.text}")

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.url + "/", "data:", "blob:")):
            self.faults.append(f"asked elsewhere: {request.url}")

    def visit(self) -> Page:
        """The page, drawn and filled."""
        self.page.goto(self.url)
        self.page.wait_for_selector("#kj-speak")
        self.page.wait_for_selector("#kj-voice input")
        return self.page

    def cookies(self) -> list[Any]:
        """What the server has asked the browser to keep."""
        return list(self._context.cookies())

    def close(self) -> None:
        """Leave; whatever went wrong in the page fails the test."""
        self._context.close()
        assert not self.faults, self.faults


def show_tab(page: Page, name: str) -> None:
    """Open a tab and wait for what is in it."""
    page.click(f"#kj-tab-{name}-button")
    page.wait_for_selector(f"#kj-tab-{name}", state="visible")


def heard(page: Page) -> tuple[float, float]:
    """Duration and loudest sample of what the audio element plays, decoded by the browser."""
    page.wait_for_function("Number.isFinite(document.querySelector('#kj-audio').duration)")
    duration, peak = page.evaluate(
        """async () => {
            const audio = document.querySelector("#kj-audio");
            const bytes = await (await fetch(audio.src)).arrayBuffer();
            const sound = await new OfflineAudioContext(1, 1, 24000).decodeAudioData(bytes);
            const samples = sound.getChannelData(0);
            return [audio.duration, samples.reduce((most, x) => Math.max(most, Math.abs(x)), 0)];
        }"""
    )
    return float(duration), float(peak)
