"""docs/api.md says the truth: its Python runs, and every field it should know is on it."""

from __future__ import annotations

import re
import shutil
import warnings
from pathlib import Path
from typing import get_args

import pytest
from live_server import Live

from kouji.serve.routes.speech_body import Language, SpeechBody
from kouji.serve.routes.speech_socket import MESSAGES
from kouji.serve.routes.voices import NewVoiceBody
from kouji.types import LANGUAGE_MODES, LANGUAGES
from kouji.voices.sample import sample_path


def test_the_python_of_the_page_runs(
    root_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    live: Live,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("reference.wav", "agreement.wav"):
        shutil.copy(sample_path(), name)
    page = (root_dir / "docs" / "api.md").read_text("utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, object] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # examples do not close what they open
        for block in blocks:
            code = block.replace("127.0.0.1:7860", live.url.removeprefix("http://"))
            exec(compile(code, "docs/api.md", "exec"), names)
        names["client"].close()  # type: ignore[attr-defined]
        names.clear()
    printed = capsys.readouterr().out
    assert "seconds" in printed
    assert printed.count(" 200 ") == 3
    assert "finished 2 of 2" in printed
    assert (tmp_path / "out.mp3").stat().st_size > 1000
    assert (tmp_path / "joined.mp3").stat().st_size > 1000


def test_every_route_is_on_the_page(root_dir: Path, live: Live) -> None:
    """Or, those for the operator, on the page of the server."""
    pages = [(root_dir / "docs" / name).read_text("utf-8") for name in ("api.md", "server.md")]
    told = "".join(pages)
    with live.client() as client:
        paths = client.get("/openapi.json").json()["paths"]
    missing = [path for path in paths if path.rstrip("/") not in told]
    assert not missing


def test_every_field_and_message_is_on_the_page(root_dir: Path) -> None:
    page = (root_dir / "docs" / "api.md").read_text("utf-8")
    for name in (*SpeechBody.model_fields, *MESSAGES):
        assert f"`{name}`" in page, name


def test_every_language_of_every_family_may_be_asked_for(root_dir: Path) -> None:
    assert get_args(Language) == LANGUAGE_MODES
    for language in LANGUAGES:
        assert NewVoiceBody(name="a", language=language).language == language  # type: ignore[arg-type]
    page = (root_dir / "docs" / "api.md").read_text("utf-8")
    line = next(line for line in page.splitlines() if line.startswith("| `language` |"))
    assert all(f"`{language}`" in line for language in LANGUAGES)
