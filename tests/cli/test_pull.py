"""`kouji pull`: the list, a model fetched for real from this machine, wrong use in one line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_hub import FILES, Hub, listing, running_hub, use

from kouji.cli.boundary import run_command
from kouji.cli.progress import DownloadBar


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, home_dir: Path) -> Iterator[Hub]:
    """A hub on this machine, named as a mirror of Hugging Face."""
    use(monkeypatch, listing())
    monkeypatch.setattr("kouji.hub.download.time.sleep", lambda _: None)
    with running_hub() as state:
        monkeypatch.setenv("HF_ENDPOINT", state.endpoint)
        yield state


def test_a_model_is_fetched_and_its_folder_printed(
    hub: Hub, home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["pull", "big"]) == 0
    out, err = capsys.readouterr()
    folder = home_dir / "models" / "big"
    assert out.strip() == str(folder)
    assert "fetching s1=v3.ckpt" in err
    assert f"big: {len(FILES)} files fetched" in err
    assert (folder / "v2Pro/s2G.pth").read_bytes() == FILES["v2Pro/s2G.pth"]
    assert run_command(["pull", "big", "small"]) == 0
    out, err = capsys.readouterr()
    assert "big: complete, every file checked" in err
    assert out.split() == [str(folder), str(home_dir / "models" / "small")]


def test_the_list_says_what_is_here(
    hub: Hub, home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del hub.files["hubert/config.json"]
    assert run_command(["pull", "big"]) == 1
    assert "does not have this file" in capsys.readouterr().err
    assert run_command(["pull", "--list"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [(row[0], row[3]) for row in rows] == [("big", "begun"), ("small", "absent")]
    assert run_command(["pull", "--list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed[0]["state"] == "begun"
    assert listed[0]["files"][0]["path"] == "s1=v3.ckpt"
    assert listed[0]["places"]["modelscope"]["repo"] == "other/voices"


def test_the_packaged_list_needs_no_network(
    home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["pull", "--list"]) == 0
    out = capsys.readouterr().out
    assert "gpt-sovits-v2proplus" in out
    assert "cosyvoice3            size unknown" in out
    assert "absent" in out


def test_another_hub_is_asked_at_its_own_address(
    hub: Hub, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["pull", "big", "--hub", "modelscope", "--endpoint", hub.endpoint]
    assert run_command(command) == 0
    assert all(path.startswith("/models/other/voices/") for _, path, _ in hub.asked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no model was named; see: kouji pull --list"),
        (["huge"], "allowed: big, small"),
        (["big", "--hub", "elsewhere"], "allowed: huggingface, modelscope"),
        (["big", "--endpoint", "nowhere"], "no address"),
    ],
)
def test_wrong_use_is_one_line(
    hub: Hub, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run_command(["pull", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_offline_is_said(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run_command(["pull", "big"]) == 2
    assert "stay offline" in capsys.readouterr().err
    assert not hub.asked


def test_the_bar_draws_where_somebody_watches(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    lines: list[str] = []
    bar = DownloadBar(lines.append)
    bar.begin(1000)
    bar.file("v2Pro/s2G.pth")
    bar.advance(400)
    bar.advance(-100)
    bar.close()
    assert not lines
    assert "s2G.pth" in capsys.readouterr().err
