"""The picture of a quality report is a PNG of sane size, or a named error."""

from __future__ import annotations

import builtins
from pathlib import Path

import numpy as np
import pytest

from kouji.audio.clean import check_reference
from kouji.audio.quality_plot import plot_quality
from kouji.errors import AudioError
from kouji.types import Audio

PNG = b"\x89PNG\r\n\x1a\n"


def test_picture_of_speech_and_of_silence(make_speech, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    silence = Audio(np.zeros(2400, np.float32), 24000)
    for name, audio in (("speech", make_speech(2.0)), ("silence", silence)):
        path = plot_quality(audio, check_reference(audio), tmp_path / f"{name}.png")
        assert path.read_bytes().startswith(PNG)
        assert path.stat().st_size > 5000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["silence.png", "speech.png"]


def test_missing_matplotlib_is_named(make_speech, tmp_path: Path, monkeypatch) -> None:
    audio = make_speech(1.5)
    report = check_reference(audio)
    real_import = builtins.__import__

    def without_matplotlib(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(AudioError, match="pip install matplotlib"):
        plot_quality(audio, report, tmp_path / "x.png")


def test_empty_recording_is_named(tmp_path: Path) -> None:
    empty = Audio(np.zeros(0, np.float32), 24000)
    with pytest.raises(AudioError, match="empty"):
        plot_quality(empty, check_reference(empty), tmp_path / "x.png")
