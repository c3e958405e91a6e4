"""`kouji say` through the whole product, with `mini` at toy widths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

from kouji.audio.labels import read_labels
from kouji.cli import run
from kouji.text import blocks
from kouji.voices import audit
from kouji.voices.sample import sample_path

if TYPE_CHECKING:
    from kouji.api import TTS

TEXT = "你好，这是 Kouji。It speaks in your voice."
CHAPTER = "\n\n".join(
    f"第{number}段。The sea is calm today, and so am I. " * 6 for number in range(3)
)


@pytest.fixture(autouse=True)
def _toy_model(monkeypatch: pytest.MonkeyPatch, tiny_tts: TTS) -> None:
    def load(_: str, **__: Any) -> TTS:
        return tiny_tts

    monkeypatch.setattr("kouji.api.load", load)


def say(*arguments: str) -> int:
    return run(["say", *arguments, "--voice", str(sample_path()), "-q"])


def test_the_command_of_the_issue(tmp_path: Path, home_dir: Path, tiny_tts: TTS) -> None:
    out, timings = tmp_path / "out.wav", tmp_path / "out.json"
    chosen = ["--style", "excited, a bit faster", "--seed", "7", "--subtitles", str(timings)]
    assert say(TEXT, "--out", str(out), *chosen) == 0
    samples, rate = soundfile.read(out, dtype="float32")
    assert rate == tiny_tts.sample_rate
    words = json.loads(timings.read_text(encoding="utf-8"))["words"]
    assert "".join(word["text"] for word in words if word["text"].isascii()).startswith("Kouji")
    assert 0 <= words[0]["start"] < words[-1]["end"] <= len(samples) / rate + 1e-6
    voice = tiny_tts.enroll(sample_path())
    mark = read_labels(out).aigc["ProduceID"]  # label, watermark and audit line share one id
    asked = {"style": "excited, a bit faster", "seed": 7, "produce_id": int(mark, 16)}
    whole = np.concatenate([c.samples for c in tiny_tts.stream(TEXT, voice, **asked)])
    assert np.allclose(samples, whole.clip(-1, 1), atol=2e-4)
    assert mark in (home_dir / "audit.jsonl").read_text(encoding="utf-8")
    assert audit.verify(home_dir / "audit.jsonl") >= 1
    assert "Kouji。" not in (home_dir / "audit.jsonl").read_text(encoding="utf-8")


def test_figures_move_the_style(tmp_path: Path) -> None:
    seconds = {}
    for speed in ("0.5", "1", "2"):
        out = tmp_path / f"{speed}.wav"
        assert say("One two three four five.", "--speed", speed, "--out", str(out)) == 0
        seconds[speed] = soundfile.info(str(out)).duration
    assert seconds["0.5"] > seconds["1"] > seconds["2"]


def test_a_chapter_resumes_to_the_same_sound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_tts: TTS
) -> None:
    source = tmp_path / "chapter.txt"
    source.write_text(CHAPTER, encoding="utf-8")
    monkeypatch.setattr(blocks, "BLOCK_PHONES", 40)
    command = ["--file", str(source), "--out"]
    assert say(*command, str(tmp_path / "whole.wav")) == 0
    stream, calls = tiny_tts.stream, []

    def interrupted(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return stream(*arguments, **options)

    monkeypatch.setattr(tiny_tts, "stream", interrupted)
    assert say(*command, str(tmp_path / "out.wav")) == 130
    assert not (tmp_path / "out.wav").exists()
    monkeypatch.setattr(tiny_tts, "stream", stream)
    assert say(*command, str(tmp_path / "out.wav")) == 0
    assert len(calls) == 2
    whole, _ = soundfile.read(tmp_path / "whole.wav", dtype="int16")
    resumed, _ = soundfile.read(tmp_path / "out.wav", dtype="int16")
    assert np.array_equal(whole, resumed)


@pytest.mark.parametrize("text", ["", "   ", "…", "她[xyz9]干净", "[break 3 weeks]"])
def test_text_that_cannot_be_spoken_is_wrong_use(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str
) -> None:
    assert say(text, "--out", str(tmp_path / "o.wav")) == 2
    assert capfd.readouterr().err.count("\n") == 1
    assert list(tmp_path.glob("o.*")) == []


def test_a_dialect_mini_cannot_speak_is_refused(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert say("你好", "--style", "四川话", "--out", str(tmp_path / "o.wav")) == 2
    told = capfd.readouterr().err
    assert "sichuan" in told
    assert "CosyVoice" in told


def test_the_demo_writes_two_sentences(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--out", str(tmp_path / "demo")]) == 0
    out = capfd.readouterr().out
    for name in ("chinese.wav", "english.wav"):
        assert soundfile.info(str(tmp_path / "demo" / name)).duration > 1.0
        assert name in out
    assert "real-time factor" in out


def test_the_bench_ends_with_a_json_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", "--runs", "1"]) == 0
    record = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert set(record["languages"]) == {"en", "zh"}
    assert record["languages"]["en"]["real_time_factor"] > 0
    assert record["dtype"] == "float32"
    assert record["threads"] >= 1


def test_a_mark_is_found_in_what_was_spoken(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.wav"
    assert (
        say("The sea is calm today, and so am I, as far as anyone can tell.", "-o", str(out)) == 0
    )
    assert run(["watermark", "detect", str(out)]) == 0
    assert json.loads(capfd.readouterr().out)["found"] is True
