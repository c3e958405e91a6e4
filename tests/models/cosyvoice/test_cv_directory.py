"""Model folders: official, linked, incomplete, of other versions, with other files in them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_cosyvoice import Version, make_tiny_cosyvoice, tiny_config, yaml_text

from kouji.errors import ModelError, UsageError
from kouji.models.cosyvoice.files.directory import examine, find_parts, is_model

VERSIONS: tuple[Version, ...] = ("cosyvoice3", "cosyvoice2")
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
NEEDED = (
    "cosyvoice3.yaml",
    "llm.pt",
    "flow.pt",
    "hift.pt",
    "speech_tokenizer_v3.onnx",
    "campplus.onnx",
    "CosyVoice-BlankEN/config.json",
    "CosyVoice-BlankEN/vocab.json",
    "CosyVoice-BlankEN/merges.txt",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    for version in VERSIONS:
        make_tiny_cosyvoice(root / version, version)
    return root


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A version 3 folder of one's own."""
    return shutil.copytree(made / "cosyvoice3", tmp_path / "model")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_folder(made: Path, version: Version) -> None:
    parts = find_parts(made / version)
    assert (parts.version, parts.config) == (version, tiny_config(version))
    assert parts.llm == made / version / "llm.pt"
    assert parts.speech_tokenizer.name == f"speech_tokenizer_v{version[-1]}.onnx"
    assert parts.tokenizer.is_dir()
    assert parts.spk2info is None
    assert parts.extras == ()


def test_other_files_are_left_alone(folder: Path) -> None:
    for name in (
        "README.md",
        "flow.decoder.estimator.fp32.onnx",
        "flow.encoder.fp32.zip",
        "a.plan",
    ):
        (folder / name).write_bytes(b"x")
    (folder / "vllm").mkdir()
    (folder / "CosyVoice-BlankEN" / "model.safetensors").write_bytes(LFS)
    (folder / ".gitattributes").write_bytes(b"x")
    torch.save({}, folder / "spk2info.pt")
    parts = find_parts(folder)
    assert len(parts.extras) == 5
    assert parts.spk2info == folder / "spk2info.pt"


@pytest.mark.parametrize("name", NEEDED)
def test_each_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ModelError, match=rf"no .*{name}.*kouji pull cosyvoice3"):
        find_parts(folder)
    assert not examine(folder).is_speakable


def test_all_missing_files_are_named_at_once(folder: Path) -> None:
    gone = ("llm.pt", "hift.pt", "campplus.onnx", "CosyVoice-BlankEN/merges.txt")
    for name in gone:
        (folder / name).unlink()
    (folder / "flow.pt").write_bytes(LFS)
    (folder / "speech_tokenizer_v3.onnx").write_bytes(b"")
    with pytest.raises(ModelError) as raised:
        find_parts(folder)
    for name in gone:
        assert name in str(raised.value)
    assert "flow.pt is of no use (a Git LFS pointer" in str(raised.value)
    assert "speech_tokenizer_v3.onnx is of no use (it is empty)" in str(raised.value)


def test_pointers_in_the_place_of_small_files(folder: Path) -> None:
    for name in ("cosyvoice3.yaml", "CosyVoice-BlankEN/vocab.json"):
        (folder / name).write_bytes(LFS)
    with pytest.raises(ModelError, match=r"cosyvoice3\.yaml is of no use.*vocab\.json is of no"):
        find_parts(folder)


def test_a_snapshot_of_links(made: Path, tmp_path: Path) -> None:
    """As the Hugging Face cache lays a model out; a link to nothing is a missing file."""
    for path in (made / "cosyvoice3").rglob("*"):
        link = tmp_path / path.relative_to(made / "cosyvoice3")
        link.parent.mkdir(parents=True, exist_ok=True)
        if path.is_file():
            link.symlink_to(path)
    assert find_parts(tmp_path).config == tiny_config()
    (tmp_path / "flow.pt").unlink()
    (tmp_path / "flow.pt").symlink_to(tmp_path / "blobs" / "gone")
    with pytest.raises(ModelError, match=r"no flow\.pt"):
        find_parts(tmp_path)


def test_weights_of_reinforcement_learning(folder: Path) -> None:
    """Named by file, preferred, or alone."""
    shutil.copy(folder / "llm.pt", folder / "llm.rl.pt")
    usual, tuned = folder / "llm.pt", folder / "llm.rl.pt"
    assert find_parts(folder).llm == usual
    assert find_parts(folder).extras == (tuned,)
    assert find_parts(folder, prefers_rl=True).llm == tuned
    assert find_parts(tuned).llm == tuned
    assert find_parts(usual, prefers_rl=True).llm == usual
    usual.unlink()
    assert find_parts(folder).llm == tuned
    assert find_parts(folder / "flow.pt").llm == tuned


def test_models_of_the_first_generation(tmp_path: Path) -> None:
    (tmp_path / "cosyvoice.yaml").write_text("sample_rate: 22050")
    with pytest.raises(ModelError, match="300M"):
        find_parts(tmp_path)
    report = examine(tmp_path)
    assert not report.is_speakable
    assert "300M" in report.findings[0].problem


def test_version_2_needs_its_own_tokenizer(made: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(made / "cosyvoice2", tmp_path / "model")
    (folder / "speech_tokenizer_v2.onnx").rename(folder / "speech_tokenizer_v3.onnx")
    with pytest.raises(ModelError, match=r"no speech_tokenizer_v2\.onnx.*kouji pull cosyvoice2"):
        find_parts(folder)


def test_a_yaml_too_many_is_named(folder: Path) -> None:
    (folder / "cosyvoice2.yaml").write_text(yaml_text("cosyvoice2"))
    with pytest.raises(ModelError, match=r"take cosyvoice2\.yaml away if this is cosyvoice3"):
        find_parts(folder)


def test_no_such_path(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        find_parts(tmp_path / "nothing")
    with pytest.raises(ModelError, match=r"no cosyvoice3\.yaml or cosyvoice2\.yaml"):
        find_parts(tmp_path)


class TestExamine:
    """What `kouji load-check` shows."""

    @pytest.mark.parametrize("version", VERSIONS)
    def test_a_whole_folder(self, made: Path, version: Version) -> None:
        report = examine(made / version)
        assert report.is_speakable
        assert report.version == version
        assert json.loads(json.dumps(report.to_dict()))["missing"] == []
        details = {item.kind: item.detail for item in report.findings}
        assert "M numbers, float32" in details["flow"]

    def test_weights_of_another_model(self, made: Path, folder: Path) -> None:
        shutil.copy(made / "cosyvoice2" / "flow.pt", folder / "flow.pt")
        shutil.copy(folder / "llm.pt", folder / "hift.pt")
        problems = {item.kind: item.problem for item in examine(folder).findings}
        assert "missing: decoder.estimator" in problems["flow"]
        assert "unexpected: decoder.estimator.down_blocks" in problems["flow"]
        assert "the tensors of llm.pt" in problems["hift"]
        assert problems["llm"] == ""

    def test_a_yaml_that_cannot_be_used(self, folder: Path) -> None:
        path = folder / "cosyvoice3.yaml"
        path.write_text(path.read_text().replace("'euler'", "'heun'"))
        report = examine(folder)
        assert not report.is_speakable
        assert "solver is 'heun'" in report.findings[0].problem

    def test_single_files(self, folder: Path, tmp_path: Path) -> None:
        for kind in ("llm", "flow", "hift"):
            (finding,) = examine(folder / f"{kind}.pt").findings
            assert finding.kind == kind
            assert finding.is_usable
        torch.save({"a": torch.ones(1)}, tmp_path / "other.pt")
        (finding,) = examine(tmp_path / "other.pt").findings
        assert "none of llm.pt" in finding.problem

    def test_what_looks_like_a_model(self, folder: Path, tmp_path: Path) -> None:
        assert is_model(folder)
        assert is_model(folder / "llm.pt")
        (folder / "cosyvoice3.yaml").unlink()
        assert is_model(folder)
        assert not is_model(tmp_path)
        assert not is_model(tmp_path / "anna.pth")
