"""CosyVoice from the hub to the ear: pulled by name, judged, and spoken with."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import soundfile
from local_hub import running_hub
from tiny_cosyvoice import make_tiny_cosyvoice

from kouji.cli.boundary import run_command


def test_a_pulled_model_speaks_by_name(
    tmp_path: Path,
    home_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source, out = make_tiny_cosyvoice(tmp_path / "source"), tmp_path / "out.wav"
    shutil.copy(source / "llm.pt", source / "llm.rl.pt")
    say = ["say", "--model", "cosyvoice", "--style", "用四川话，兴奋一点", "你好。", "-o", str(out)]
    assert run_command(say) == 2
    assert "kouji pull cosyvoice3" in capsys.readouterr().err
    with running_hub() as hub:
        files = [path for path in source.rglob("*") if path.is_file()]
        hub.files = {path.relative_to(source).as_posix(): path.read_bytes() for path in files}
        monkeypatch.setenv("KOUJI_HUB_ENDPOINT", hub.endpoint)
        assert run_command(["pull", "cosyvoice3"]) == 0
    capsys.readouterr()
    assert run_command(["load-check", "cosyvoice3"]) == 0
    assert "speaks cosyvoice3" in capsys.readouterr().out
    assert run_command(say) == 0
    assert soundfile.info(out).samplerate == 24_000
