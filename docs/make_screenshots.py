"""Take the pictures of the studio that docs/studio.md shows.

Starts a server of its own with the shipped model, lets a browser use it, and writes
docs/images/studio-*.png. Needs the extras serve and dev, pillow and /usr/bin/chromium:

    python docs/make_screenshots.py
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from typing import Any

from PIL import Image

from kouji.audio.encode import save_audio
from kouji.models.mini.weights import SHIPPED
from kouji.voices.sample import sample_voice

IMAGES = Path(__file__).with_name("images")
CHROMIUM = "/usr/bin/chromium"
SIZES = {"desktop": (1280, 860), "phone": (390, 844)}
COLOURS = 64  # enough for a calm page; keeps a picture under 150 kB
TEXT = {
    "en": "It was a quiet evening by the river. 远处传来一阵笛声，风也停了下来。",
    "zh": "夜已经深了，河边很安静。Somebody played a flute far away, and the wind stood still.",
}
LINES = "Chapter one.\n\nThe lamps were lit along the water.\n\n“Who is there?” she asked.\n"


def main() -> None:
    """Every tab at both widths, and one page in Chinese by night."""
    from playwright.sync_api import sync_playwright

    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        home = Path(folder)
        write_run(home)
        save_audio(sample_voice().reference, home / "reading.wav")
        (home / "story.txt").write_text(LINES, encoding="utf-8")
        server, url = start(home)
        flags = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        try:
            for name, size in SIZES.items():
                draw(browser, url, home, name, size, "en", "light")
            draw(browser, url, home, "chinese", SIZES["desktop"], "zh", "dark", only_speak=True)
        finally:
            browser.close()
            server.terminate()
            server.wait(60)


def start(home: Path) -> tuple[subprocess.Popen[str], str]:
    """A server with a home of its own, and where it answers."""
    port = "7997"
    server = subprocess.Popen(
        [sys.executable, "-m", "kouji", "serve", "--port", port],
        cwd=home, env={**os.environ, "KOUJI_HOME": str(home)}, text=True,
    )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    while True:
        try:
            urllib.request.urlopen(f"{url}/readyz").close()
        except OSError:
            try:
                server.wait(0.5)
            except subprocess.TimeoutExpired:
                continue
            raise SystemExit("the server did not start") from None
        return server, url


def draw(
    browser: Any, url: str, home: Path, name: str, size: tuple[int, int], language: str,
    scheme: str, *, only_speak: bool = False,
) -> None:  # fmt: skip
    """Use the studio at one width, and keep a picture of each tab."""
    page = browser.new_page(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme,
        locale={"en": "en-US", "zh": "zh-CN"}[language],
    )  # fmt: skip
    page.goto(url)
    page.wait_for_selector("#kj-speak")
    page.wait_for_selector("#kj-voice input")
    page.fill("#kj-text textarea", TEXT[language])
    page.press("#kj-text textarea", "Control+Enter")
    page.wait_for_selector("#kj-player[data-state=finished]")
    page.wait_for_function("document.querySelector('#kj-audio').src.endsWith('sound.wav')")
    page.wait_for_function("document.querySelector('.kj-spectrum').naturalWidth > 0")
    page.evaluate("document.querySelector('#kj-audio').pause()")
    keep(page, f"speak-{name}")
    if not only_speak:
        for tab, use in (("voices", use_voices), ("sounds", use_sounds), ("jobs", use_jobs),
                         ("train", use_train), ("system", use_system)):  # fmt: skip
            page.click(f"#kj-tab-{tab}-button")
            use(page, home)
            keep(page, f"{tab}-{name}")
    page.close()


def use_voices(page: Any, home: Path) -> None:
    """A recording, judged."""
    page.set_input_files("#kj-recording input[type=file]", home / "reading.wav")
    page.wait_for_selector("#kj-report img.kj-picture")
    page.fill("#kj-name input, #kj-name textarea", "Anna")


def use_sounds(page: Any, _: Path) -> None:
    """The example, heard, at a moment in its second half."""
    page.click("#kj-hear-example")
    page.wait_for_selector("#kj-heard[data-state=heard]", timeout=120_000)
    page.focus("#kj-heard .kj-timeline")
    for _ in range(14):
        page.keyboard.press("ArrowRight")


def use_jobs(page: Any, home: Path) -> None:
    """A job, finished."""
    page.set_input_files("#kj-job-file input[type=file]", home / "story.txt")
    page.wait_for_selector("#kj-job-file:has-text('story')")
    page.click("#kj-job-start")
    page.wait_for_selector("#kj-jobs li[data-state=finished]", timeout=120_000)


def use_train(page: Any, _: Path) -> None:
    """The curve of a run."""
    page.wait_for_selector("#kj-run polyline")


def use_system(page: Any, _: Path) -> None:
    """The load."""
    page.wait_for_selector("#kj-system dd:has-text('mini')")


def keep(page: Any, name: str) -> None:
    """A picture of the whole page with few colours."""
    page.mouse.move(0, 0)
    shot = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
    path = IMAGES / f"studio-{name}.png"
    shot.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    print(path, f"{path.stat().st_size / 1000:.0f} kB")


def write_run(home: Path) -> None:
    """The run the shipped acoustic model came from, by the log that lies beside its weights."""
    recipes = home / "recipes"
    recipes.mkdir()
    (recipes / "mini-acoustic.yaml").write_text("recipe: mini-acoustic\n")
    folder = home / "runs" / "mini-acoustic"
    folder.mkdir(parents=True)
    shutil.copy(SHIPPED / "acoustic.log.jsonl", folder / "log.jsonl")


if __name__ == "__main__":
    main()
