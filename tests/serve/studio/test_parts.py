"""Parts of the studio without a browser: words, messages, parts of files, pictures, runs."""

from __future__ import annotations

import ast
import io
import json
import re
import string
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kouji.config import Settings
from kouji.errors import ConsentError, ReferenceRefused, TextError, TooLarge, UsageError
from kouji.serve.ui import messages, wording
from kouji.serve.ui.picture import recording_png, spectrogram_png
from kouji.serve.ui.ranges import ranged
from kouji.serve.ui.runs import Runs, read_curves
from kouji.serve.ui.words import language_of, word
from kouji.text.style_words import DIALECTS
from kouji.types import LANGUAGES, Audio

UI = Path(wording.__file__).parent


def test_both_languages_have_every_word_with_the_same_gaps() -> None:
    for key, (english, chinese) in wording.WORDS.items():
        gaps = [{name for _, name, _, _ in string.Formatter().parse(text) if name}
                for text in (english, chinese)]  # fmt: skip
        assert gaps[0] == gaps[1], key
        assert english.strip(), key
        assert chinese.strip(), key


def test_every_word_that_is_asked_for_exists_and_none_is_left_over() -> None:
    asked: set[str] = set()
    for path in UI.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                asked.add(node.value)
    script = "".join(path.read_text("utf-8") for path in (UI / "static").glob("*.js"))
    asked |= {f"js.{name}" for name in re.findall(r'"([\w.]+)"', script)}
    families = ("tab.", "language.", "dialect.", "train.", "voices.consent.", "consent.",
                "report.", "doctor.", "js.state.", "js.service.", "js.file.", "js.")  # fmt: skip
    left = [key for key in wording.WORDS if key not in asked and not key.startswith(families)]
    assert left == []
    for name in re.findall(r'\bsay\("([\w.]+)"', script):
        assert f"js.{name}" in wording.WORDS, name


def test_every_language_and_dialect_that_is_listed_has_its_word() -> None:
    for name in ("auto", *LANGUAGES):
        assert f"language.{name}" in wording.WORDS, name
    for name in DIALECTS:
        assert f"dialect.{name}" in wording.WORDS, name


@pytest.mark.parametrize(
    ("cookie", "accepted", "language"),
    [(None, "zh-CN,zh;q=0.9,en;q=0.8", "zh"), (None, "en-GB,zh;q=0.9", "en"), (None, "fr", "en"),
     (None, None, "en"), ("kouji_language=zh", "en", "zh"), ("kouji_language=xx", "zh", "zh"),
     ("%%%", "zh;q=x, en;q=0.1", "en"), (None, "*;q=0.5", "en")],
)  # fmt: skip
def test_the_language_is_what_was_chosen_or_what_the_browser_likes(
    cookie: str | None, accepted: str | None, language: str
) -> None:
    assert language_of(cookie, accepted) == language


def test_errors_are_told_in_chinese_with_their_figures() -> None:
    error = TooLarge("the text is too long", seen="5000 characters", allowed="4096 characters",
                     cure="send it in parts, or as a job")  # fmt: skip
    assert messages.message_of(error, "zh") == (
        "文本太长（实际：5000 个字符；要求：4096 个字符）。请分段输入，或作为任务提交。"
    )
    assert messages.message_of(error, "en").startswith("The text is too long (seen: 5000")


@pytest.mark.parametrize(
    "error",
    [ReferenceRefused("noisy", "something new"), ConsentError("new", reason="wrong_words"),
     TextError("something nobody has translated"), UsageError("new")],
    ids=repr,
)  # fmt: skip
def test_what_has_no_translation_is_told_by_its_kind(error: Exception) -> None:
    told = messages.message_of(error, "zh")  # type: ignore[arg-type]
    assert re.search("[A-Za-z]", told) is None
    assert told.endswith("。")


def test_no_message_names_a_path_of_this_machine() -> None:
    error = UsageError("no such recipe", seen="/home/anna/secret/recipe.yaml")
    for language in ("en", "zh"):
        assert "anna" not in messages.message_of(error, language)


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [(None, 200, b"0123456789"), ("bytes=0-3", 206, b"0123"), ("bytes=7-", 206, b"789"),
     ("bytes=-2", 206, b"89"), ("bytes=5-99", 206, b"56789"), ("bytes=10-", 416, b""),
     ("bytes=4-2", 416, b""), ("bytes=-", 200, b"0123456789"), ("lines=1-2", 200, b"0123456789"),
     ("bytes=0-1,3-4", 200, b"0123456789"), (f"bytes={'9' * 400}-", 416, b"")],
)  # fmt: skip
def test_players_get_the_part_they_ask_for(wanted: str | None, status: int, content: bytes) -> None:
    answer = ranged(b"0123456789", "audio/wav", wanted, {})
    assert (answer.status_code, answer.body) == (status, content)
    if status == 206:
        first, last = map(int, answer.headers["Content-Range"][6:].split("/")[0].split("-"))
        assert last - first + 1 == len(content)


def test_a_spectrogram_shows_a_tone_where_it_is() -> None:
    times = np.arange(48_000) / 24_000
    tone = Audio((0.5 * np.sin(2 * np.pi * 2000 * times)).astype(np.float32), 24_000)
    picture = np.asarray(Image.open(io.BytesIO(spectrogram_png(tone))).convert("L"))
    row = int(picture[:, picture.shape[1] // 2].argmax())
    expected = (1 - np.log10(1 + 2000 / 700) / np.log10(1 + 8000 / 700)) * len(picture)
    assert abs(row - expected) < 4


@pytest.mark.parametrize("samples", [0, 1, 100, 24_000])
def test_short_silent_and_broken_sounds_are_drawn(samples: int) -> None:
    audio = Audio(np.full(samples, np.nan, np.float32), 24_000)
    for png in (spectrogram_png(audio), recording_png(audio, (0.0, 0.0))):
        assert Image.open(io.BytesIO(png)).width > 0


def test_curves_are_read_while_they_are_written(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    lines = [json.dumps({"step": n, "kind": "train", "loss": 1 / n, "rate": 1}) for n in (1, 2)]
    log.write_text("\n".join([*lines, '{"step": 3, "kind": "valid", "loss_mel": 2.0}', '{"st']))
    assert read_curves(log) == {"train loss": [(1, 1.0), (2, 0.5)], "valid loss_mel": [(3, 2.0)]}
    many = [json.dumps({"step": n, "kind": "train", "loss": n}) for n in range(5001)]
    log.write_text("\n".join(many))
    (points,) = read_curves(log).values()
    assert len(points) <= 1000
    assert points[-1] == (5000, 5000.0)
    assert read_curves(tmp_path / "none") == {}


def test_a_run_is_a_process_that_is_found_again_and_stopped(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    runs = Runs(settings, tmp_path / "elsewhere")
    started = runs.start("server", ["serve", "--port", "0"])
    try:
        assert (started.state, started.command) == ("running", "serve")
        assert Runs(settings).is_running("server")  # another process sees it, too
        with pytest.raises(UsageError, match="under way"):
            runs.start("server", ["serve"])
    finally:
        runs.stop("server")
        runs.wait("server")
    assert not Runs(settings).is_running("server")
    assert [info.state for info in runs.all()] == ["ended"]
    with pytest.raises(UsageError, match="not under way"):
        runs.stop("server")


@pytest.mark.parametrize("name", ["", "..", "a/b", "../x", ".hidden", "x" * 61, "a b", "名"])
def test_a_run_has_a_plain_name(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError):
        Runs(Settings(home=tmp_path)).path(name)


def test_a_word_with_gaps_is_filled() -> None:
    assert word("voices.kept", "zh", name="小明") == "已保存 小明，现在可以使用。"
