"""What a folder is: found by content, missing parts named, the files to speak with chosen."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from gs_files import save, sovits_content, t2s_content, write_networks, write_tree

from kouji.errors import ModelError, UsageError
from kouji.models.gpt_sovits import directory
from kouji.models.gpt_sovits.directory import examine, find_parts


def test_an_official_tree_speaks_all_its_versions(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, "v1", "v2", "v2Pro")
    save({"weight": {"discriminators.0.x": torch.zeros(1)}, "config": {}}, tree / "s2D488k.pth")
    report = examine(tree)
    assert report.is_speakable
    assert report.versions == ("v2Pro", "v2", "v1")
    assert not report.missing
    kinds = [part.kind for part in report.parts if part.is_usable]
    assert sorted(kinds) == ["bert", "eres2net", "hubert", *["sovits"] * 3, *["t2s"] * 3]
    idle = [part for part in report.parts if not part.is_usable]
    assert [part.kind for part in idle] == ["discriminator"]
    assert "train" in idle[0].problem
    assert json.loads(json.dumps(report.to_dict()))["versions"] == ["v2Pro", "v2", "v1"]


@pytest.mark.parametrize(
    ("version", "t2s"),
    [
        ("v1", "s1bert25hz-2kh-longer-epoch=68e-step=50232.ckpt"),
        ("v2", "s1bert25hz-5kh-longer-epoch=12-step=369668.ckpt"),
        ("v2Pro", "s1v3.ckpt"),
        (None, "s1v3.ckpt"),
    ],
)
def test_each_version_gets_the_t2s_made_for_it(
    tmp_path: Path, version: str | None, t2s: str
) -> None:
    tree = write_tree(tmp_path, "v1", "v2", "v2Pro")
    parts = find_parts(tree, version)
    assert parts.version == (version or "v2Pro")
    assert parts.t2s.name == t2s
    # Also with v2: a voice may bring Pro weights of its own.
    assert parts.speaker is not None
    assert parts.speaker.name == "pretrained_eres2netv2w24s4ep4.ckpt"
    assert (parts.hubert.name, parts.bert.name) == (
        "chinese-hubert-base",
        "chinese-roberta-wwm-ext-large",
    )


def test_what_is_missing_is_named_with_a_cure(tmp_path: Path) -> None:
    save(t2s_content(), tmp_path / "anna-e15.ckpt")
    save(sovits_content("v2Pro"), tmp_path / "anna_e8_s200.pth", "05")
    report = examine(tmp_path)
    assert not report.is_speakable
    assert [item.kind for item in report.missing] == ["hubert", "bert", "eres2net"]
    assert "kouji pull gpt-sovits-v2pro" in report.missing[0].cure
    assert "chinese-hubert-base" in report.missing[0].cure
    assert report.missing[1].needed_for == "Chinese text"
    with pytest.raises(ModelError, match="no HuBERT, no BERT, no ERes2NetV2"):
        find_parts(tmp_path)
    write_networks(tmp_path / "elsewhere")
    assert examine(tmp_path).versions == ("v2Pro",)


def test_an_empty_folder_lacks_everything(tmp_path: Path) -> None:
    report = examine(tmp_path)
    assert not report.parts
    assert [item.kind for item in report.missing] == ["t2s", "sovits", "hubert", "bert"]


def test_shared_networks_complete_a_voice(tmp_path: Path) -> None:
    voice, pulled = tmp_path / "voice", tmp_path / "home" / "gpt-sovits-v2"
    t2s = save(t2s_content(), voice / "GPT_weights_v2" / "anna-e15.ckpt")
    sovits = save(sovits_content("v2"), voice / "SoVITS_weights_v2" / "anna_e8_s200.pth")
    write_networks(pulled, with_speaker=False)
    report = examine(voice, shared=[pulled, tmp_path / "nowhere"])
    assert report.versions == ("v2",)
    assert len(report.parts) == 2
    parts = find_parts(voice, shared=[pulled])
    assert (parts.t2s, parts.sovits, parts.speaker) == (t2s, sovits, None)
    assert parts.hubert == pulled / "chinese-hubert-base"
    write_networks(tmp_path / "home" / "gpt-sovits-v2pro")
    parts = find_parts(voice, shared=[pulled, tmp_path / "home" / "gpt-sovits-v2pro"])
    assert parts.version == "v2"
    assert parts.speaker is not None


def test_a_v1_voice_needs_a_v1_t2s(tmp_path: Path) -> None:
    write_networks(tmp_path)
    save(t2s_content(), tmp_path / "x.ckpt")
    save(sovits_content("v1"), tmp_path / "x.pth")
    report = examine(tmp_path)
    assert not report.is_speakable
    assert [item.kind for item in report.missing] == ["t2s"]


def test_several_fine_tunes_must_be_named(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, "v2")
    tuned = save(sovits_content("v2", seed=1), tmp_path / "SoVITS_weights_v2" / "anna.pth")
    assert find_parts(tree).sovits.name == "s2G2333k.pth"
    assert find_parts(tree, sovits=tuned).sovits == tuned
    (tree / "gsv-v2final-pretrained" / "s2G2333k.pth").unlink()
    save(sovits_content("v2", seed=2), tmp_path / "SoVITS_weights_v2" / "bella.pth")
    with pytest.raises(ModelError, match=r"anna\.pth, bella\.pth.*name the one"):
        find_parts(tree)
    with pytest.raises(ModelError, match="swapped"):
        find_parts(tree, t2s=tuned)


def test_hostile_and_broken_files_are_reported_beside_good_ones(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, "v2")
    (tree / "broken.pth").write_bytes(b"PK\x03\x04 no archive")
    (tree / "evil.ckpt").write_bytes(pickle.dumps(os.system))
    state = {"state_dict": t2s_content()["weight"], "epoch": 1}
    save(state, tree / "logs" / "epoch=1-step=2.ckpt")
    save({"weight": {"cfm.x": torch.zeros(1)}, "config": {"a": 1}}, tree / "s2Gv3.pth")
    odd = sovits_content("v2")
    del odd["weight"]["enc_p.proj.bias"]
    save(odd, tree / "odd.pth")
    report = examine(tree)
    assert report.is_speakable
    problems = {part.path.name: part.problem for part in report.parts if part.problem}
    assert set(problems) == {
        "broken.pth", "evil.ckpt", "epoch=1-step=2.ckpt", "s2Gv3.pth", "odd.pth"
    }  # fmt: skip
    assert "system" in problems["evil.ckpt"]
    assert "resume" in problems["epoch=1-step=2.ckpt"]
    assert "v3 is recognised" in problems["s2Gv3.pth"]
    assert "missing: enc_p.proj.bias" in problems["odd.pth"]


def test_incomplete_networks_are_no_parts(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, "v2")
    (tree / "chinese-roberta-wwm-ext-large" / "tokenizer.json").unlink()
    (tree / "chinese-hubert-base" / "config.json").write_text("{", encoding="utf-8")
    report = examine(tree)
    assert [item.kind for item in report.missing] == ["hubert", "bert"]
    problems = " ".join(part.problem for part in report.parts)
    assert "vocab.txt or tokenizer.json" in problems
    assert "config.json cannot be read" in problems


def test_single_files_and_networks_are_examined(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, "v2")
    (part,) = examine(tree / "gsv-v2final-pretrained" / "s2G2333k.pth").parts
    assert (part.kind, part.version, part.is_usable) == ("sovits", "v2", True)
    assert "M numbers, float16, 8epoch_496iteration" in part.detail
    (part,) = examine(tree / "chinese-hubert-base" / "pytorch_model.bin").parts
    assert (part.kind, part.path.name) == ("hubert", "chinese-hubert-base")


def test_wrong_requests_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        examine(tmp_path / "gone")
    with pytest.raises(UsageError, match="allowed: v1, v2, v2Pro, v2ProPlus"):
        find_parts(tmp_path, "v9")


def test_a_huge_folder_is_not_walked_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(directory, "MAX_FILES", 2)
    for number in range(4):
        save(t2s_content(), tmp_path / f"{number}.ckpt")
    report = examine(tmp_path)
    assert report.is_truncated
    assert len(report.parts) == 2
