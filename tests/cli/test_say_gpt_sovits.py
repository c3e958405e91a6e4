"""A fine-tuned GPT-SoVITS voice from the command line, as the issue writes it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("transformers", reason="the extra gpt-sovits is not installed")

from tiny_gpt_sovits import write_directory, write_sovits, write_t2s

from kouji.cli import run


@pytest.fixture
def recording(shared_dir: Path, tmp_path: Path) -> Path:
    """Four seconds of real speech."""
    from kouji.audio.load import load_audio
    from kouji.voices.sample import sample_path

    audio = load_audio(sample_path(), sample_rate=24_000)
    path = tmp_path / "ref.wav"
    soundfile.write(path, audio.samples[: 5 * 24_000], 24_000)
    return path


def test_a_voice_brings_its_weights(
    tmp_path: Path, home_dir: Path, recording: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_directory(home_dir / "models" / "gpt-sovits-v2")
    t2s = write_t2s(tmp_path / "anna-e15.ckpt", 7)
    sovits = write_sovits(tmp_path / "anna_e8_s200.pth", 8)
    added = run(
        ["voice", "add", "anna", str(recording), "--transcript", "今天天气很好。", "--attest",
         "--model", "gpt-sovits", "--t2s", str(t2s), "--sovits", str(sovits)]
    )  # fmt: skip
    assert added == 0, capfd.readouterr().err
    out = tmp_path / "out.wav"
    said = ["say", "你好，世界。", "--voice", "anna", "--out", str(out), "--no-guard"]
    assert run([*said, "--precision", "float32"]) == 0, capfd.readouterr().err
    samples, rate = soundfile.read(out)
    assert rate == 32_000
    assert np.abs(samples).max() > 0.01
    capfd.readouterr()
    assert run([*said, "--top-p", "1.5"]) == 2


def test_what_the_model_would_refuse_is_told_when_the_voice_is_added(
    tmp_path: Path, home_dir: Path, recording: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    t2s = write_t2s(tmp_path / "anna-e15.ckpt", 7)
    old = write_sovits(tmp_path / "old.pth", 8, "v1")
    base = ["voice", "add", "anna", "--attest", "--model", "gpt-sovits", "--t2s", str(t2s)]
    assert run([*base, str(recording), "--sovits", str(old)]) == 1
    assert "T2S of v2, SoVITS of v1" in capfd.readouterr().err

    samples, rate = soundfile.read(recording)
    short = tmp_path / "short.wav"
    soundfile.write(short, samples[: round(2.5 * rate)], rate)
    assert run([*base, str(short)]) == 1
    assert "3 to 10 s" in capfd.readouterr().err
    assert run(["voice", "show", "anna"]) == 1


def test_a_transcript_longer_than_what_was_kept_is_told(
    tmp_path: Path, home_dir: Path, recording: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    samples, rate = soundfile.read(recording)
    long = tmp_path / "long.wav"
    soundfile.write(long, np.tile(samples, 7), rate)
    base = ["voice", "add", "anna", "--attest"]
    assert run([*base, str(long), "--transcript", "说得很长"]) == 0
    assert "of the recording were kept" in capfd.readouterr().err
    assert run(["voice", "remove", "anna"]) == 0
    assert run([*base, str(long)]) == 0
    assert "were kept" not in capfd.readouterr().err
    assert run(["voice", "remove", "anna"]) == 0
    assert run([*base, str(recording), "--transcript", "不长"]) == 0
    assert "were kept" not in capfd.readouterr().err


def test_words_of_more_than_10_seconds_are_refused_when_the_voice_is_added(
    tmp_path: Path, home_dir: Path, recording: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    samples, rate = soundfile.read(recording)
    long, t2s = tmp_path / "long.wav", write_t2s(tmp_path / "anna-e15.ckpt", 7)
    soundfile.write(long, np.tile(samples, 4), rate)
    base = ["voice", "add", "anna", str(long), "--attest", "--model", "gpt-sovits"]
    assert run([*base, "--t2s", str(t2s), "--transcript", "说得很长"]) == 1
    assert "3 to 10 s" in capfd.readouterr().err
    assert run([*base, "--t2s", str(t2s)]) == 0


def test_wrong_files_are_told_when_the_voice_is_added(
    tmp_path: Path, home_dir: Path, recording: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    t2s = write_t2s(tmp_path / "anna-e15.ckpt", 7)
    base = ["voice", "add", "anna", str(recording), "--attest", "--model", "gpt-sovits"]
    assert run([*base, "--sovits", str(t2s)]) == 1
    assert "T2S" in capfd.readouterr().err
    assert run([*base]) == 2
    assert run([*base[:-1], "mini", "--t2s", str(t2s)]) == 2
    assert run(["voice", "show", "anna"]) == 1
