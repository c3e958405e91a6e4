"""`kouji convert`: what a user types, with a family that stands in for one that converts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from converting_mini import ConvertingMini
from tiny_mini import make_tiny_checkpoint

from kouji.api import TTS
from kouji.audio.labels import read_labels
from kouji.audio.load import load_audio
from kouji.cli import run, session
from kouji.config import Settings
from kouji.voices import Voice, VoiceStore
from kouji.voices.consent import attest
from kouji.voices.sample import sample_path, sample_voice

pytestmark = pytest.mark.usefixtures("home_dir")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[session.ModelChoice]:
    """Which models were loaded."""
    choices: list[session.ModelChoice] = []

    def load(choice: session.ModelChoice, settings: Settings) -> TTS:
        choices.append(choice)
        family: Any = ConvertingMini(make_tiny_checkpoint(), precision="float32")
        return TTS(family, settings)

    monkeypatch.setattr(session, "load_model", load)
    return choices


def convert(*arguments: str | Path) -> int:
    return run(["convert", *map(str, arguments)])


def test_a_recording_is_said_again(
    asked: list[session.ModelChoice], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.flac"
    assert convert(sample_path(), "--voice", "sample", "--out", out, "--seed", "3") == 0
    told = capfd.readouterr()
    assert told.out == ""
    assert "warning: heard" in told.err
    assert "s of speech in" in told.err
    assert asked == [session.ModelChoice("cosyvoice")]
    assert load_audio(out).duration > 1.0
    assert read_labels(out).is_ai_generated


def test_it_can_be_quiet_and_take_another_model(
    asked: list[session.ModelChoice], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = ("--model", "cosyvoice2", "--threads", "1", "--quiet")
    assert convert(sample_path(), "-v", "sample", "-o", tmp_path / "out.wav", *chosen) == 0
    assert capfd.readouterr().err == ""
    assert asked == [session.ModelChoice("cosyvoice2", threads=1)]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["absent.wav", "--voice", "sample", "--out", "out.wav"], "absent.wav"),
        (["{sample}", "--voice", "nobody", "--out", "out.wav"], "no such voice"),
        (["{sample}", "--voice", "sample", "--out", "nowhere/out.wav"], "no such folder"),
        (["{sample}", "--voice", "sample", "--out", "out.txt"], "txt"),
        (["{sample}", "--voice", "sample", "--out", "out.wav", "--no-watermark"], "watermark"),
        (["{sample}", "--voice", "sample", "--out", "out.wav", "--notice", "song"], "notice"),
        (["{sample}", "--out", "out.wav"], "--voice"),
    ],
)
def test_what_is_wrong_is_told_before_a_model_is_loaded(
    asked: list[session.ModelChoice],
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert convert(*(part.format(sample=sample_path()) for part in arguments)) == 2
    assert told in capfd.readouterr().err
    assert asked == []
    assert not list(tmp_path.iterdir())


def test_a_voice_without_consent_leaves_no_file(
    asked: list[session.ModelChoice], home_dir: Path, tmp_path: Path
) -> None:
    store, reference = VoiceStore(home_dir), sample_voice().reference
    store.add(Voice.from_reference(reference, name="unowned"))
    store.add(Voice.from_reference(reference, name="owned", consent=attest()))
    out = tmp_path / "out.wav"
    assert convert(sample_path(), "--voice", "unowned", "--out", out) == 1
    assert not out.exists()
    assert convert(sample_path(), "--voice", "owned", "--out", out) == 0
    assert out.exists()


def test_mini_does_not_convert(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.wav"
    assert convert(sample_path(), "--voice", "sample", "--model", "mini", "--out", out) == 2
    assert "allowed: cosyvoice3, cosyvoice2" in capfd.readouterr().err
    assert not out.exists()
