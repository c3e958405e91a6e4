"""`kouji load-check`: what a path is, what it lacks, and an exit code for scripts."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
from gs_files import save, sovits_content, t2s_content, write_tree
from tiny_cosyvoice import Version, make_tiny_cosyvoice

from kouji.cli.boundary import run_command
from kouji.models.mini.weights import SHIPPED


def check(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and standard output."""
    code = run_command(["load-check", *map(str, arguments)])
    return code, capsys.readouterr().out


def test_a_complete_folder_speaks(
    tmp_path: Path, home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = write_tree(tmp_path / "tree", "v1", "v2Pro")
    code, out = check(capsys, tree)
    assert code == 0
    assert f"{tree}: speaks v2Pro, v1" in out
    assert "T2S v2: s1v3.ckpt (" in out
    assert "SoVITS v2Pro: v2Pro/s2Gv2Pro.pth" in out
    assert "the official code takes it for v2, by size of" in out
    assert "HuBERT: chinese-hubert-base" in out


def test_an_incomplete_folder_says_what_is_missing(
    tmp_path: Path, home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(t2s_content(), tmp_path / "anna-e15.ckpt")
    save(sovits_content(), tmp_path / "anna_e8_s200.pth")
    (tmp_path / "evil.pth").write_bytes(pickle.dumps(os.system))
    code, out = check(capsys, tmp_path)
    assert code == 1
    assert "cannot speak yet" in out
    assert "missing HuBERT, for hearing the reference voice: kouji pull gpt-sovits-v2," in out
    assert "not used: evil.pth" in out
    assert "system" in out


def test_pulled_models_complete_a_voice(
    tmp_path: Path,
    home_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    tree = write_tree(home_dir / "models" / "gpt-sovits-v2", "v2")
    monkeypatch.setattr("kouji.hub.pull.installed", lambda _: [tree])
    save(t2s_content(), tmp_path / "voice" / "anna-e15.ckpt")
    save(sovits_content(), tmp_path / "voice" / "anna_e8_s200.pth")
    assert check(capsys, tmp_path / "voice")[0] == 0
    code, out = check(capsys, "gpt-sovits-v2")
    assert code == 0
    assert str(tree) in out


def test_files_are_good_or_not(
    tmp_path: Path, home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    t2s = save(t2s_content(), tmp_path / "anna-e15.ckpt")
    sovits = save(sovits_content("v2Pro"), tmp_path / "anna.pth", "05")
    code, out = check(capsys, t2s, sovits)
    assert code == 0
    assert "GPT-e15" in out
    assert "SoVITS v2Pro" in out
    later = {
        "weight": {"cfm.x": t2s_content()["weight"]["model.bert_proj.bias"]},
        "config": {"a": 1},
    }
    code, out = check(capsys, t2s, save(later, tmp_path / "s2Gv3.pth"))
    assert code == 1
    assert "v3 is recognised but not spoken yet" in out


def test_json_is_for_scripts(
    tmp_path: Path, home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    t2s = save(t2s_content(), tmp_path / "anna-e15.ckpt")
    code, out = check(capsys, "--json", t2s, tmp_path, SHIPPED)
    file, folder, mini = json.loads(out)
    assert code == 1
    assert (file["ok"], folder["ok"], mini["ok"]) == (True, False, True)
    assert file["parts"][0]["version"] == "v2"
    assert {item["kind"] for item in folder["missing"]} == {"sovits", "hubert", "bert"}
    assert (mini["family"], len(mini["weights_hash"])) == ("mini", 16)


def test_mini_checkpoints_are_known(
    tmp_path: Path, home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out = check(capsys, SHIPPED)
    assert code == 0
    assert "a mini checkpoint" in out
    broken = tmp_path / "broken"
    broken.mkdir()
    shutil.copy(SHIPPED / "mini.json", broken)
    code, out = check(capsys, broken)
    assert code == 1
    assert "cannot be read" in out


@pytest.mark.parametrize("version", ["cosyvoice3", "cosyvoice2"])
def test_cosyvoice_folders_are_known(
    tmp_path: Path, home_dir: Path, capsys: pytest.CaptureFixture[str], version: Version
) -> None:
    folder = make_tiny_cosyvoice(tmp_path / "model", version)
    (folder / "README.md").write_text("words")
    code, out = check(capsys, folder)
    assert code == 0
    assert f"{folder}: speaks {version}" in out
    assert "flow: flow.pt (" in out
    assert "M numbers, float32)" in out
    assert "not needed: README.md" in out
    assert check(capsys, folder / "llm.pt")[0] == 0


def test_incomplete_cosyvoice_folders_say_what_is_missing(
    tmp_path: Path, home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = make_tiny_cosyvoice(tmp_path / "model")
    (folder / "campplus.onnx").unlink()
    (folder / "flow.pt").write_bytes((folder / "flow.pt").read_bytes()[:5000])
    code, out = check(capsys, folder)
    assert code == 1
    assert "cannot speak yet" in out
    assert "missing campplus.onnx, for hearing who speaks: kouji pull cosyvoice3" in out
    assert "not used: flow.pt: this checkpoint is not read" in out
    code, out = check(capsys, "--json", folder, folder / "flow.pt")
    whole, file = json.loads(out)
    assert (whole["family"], whole["ok"], whole["version"]) == ("cosyvoice", False, "cosyvoice3")
    assert [item["kind"] for item in whole["missing"]] == ["campplus"]
    assert (file["ok"], len(file["parts"])) == (False, 1)


def test_a_pulled_cosyvoice_model_is_found_by_name(
    home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_tiny_cosyvoice(home_dir / "models" / "cosyvoice3")
    code, out = check(capsys, "cosyvoice3")
    assert code == 0
    assert "speaks cosyvoice3" in out


def test_a_missing_path_is_wrong_use(home_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["load-check", "/nowhere/at/all"]) == 2
    assert "no such file or folder" in capsys.readouterr().err
