"""Files: written whole or not at all, verified by their runtimes, run without Kouji."""

from __future__ import annotations

import ast
import json
import re
import struct
import sys
import wave
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from outside_kouji import refuse_by_example, run_example, run_script
from torch import Tensor, nn

from kouji.errors import ModelError, UsageError
from kouji.graphs.classifier import export_classifier
from kouji.graphs.folder import FORMATS, Report, choose_formats, export_stages, open_folder
from kouji.graphs.stage import Port, Sizes, Stage
from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.model import SoundModel
from kouji.models.classifier.weights import load_classifier, save_classifier

LABELS = ("dog", "rain", "羊")


class Doubler(nn.Module):
    """Twice its input, or what a test makes of it."""

    def __init__(self, factor: float = 2.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def make_stage(factor: float = 2.0) -> Stage:
    """A stage that doubles; another factor makes a graph that disagrees with its model."""

    def make_inputs(sizes: Sizes) -> tuple[Tensor, ...]:
        return (torch.ones(sizes["batch"], sizes["frames"]),)

    port = Port("x", ("batch", "frames"))
    return Stage(
        "doubler", Doubler(factor).eval(), lambda x: (2 * x,), (port,), (replace(port, name="y"),),
        make_inputs, {"batch": 2, "frames": 5}, ({"batch": 1, "frames": 3},), 1e-6,
    )  # fmt: skip


@pytest.mark.parametrize("name", list(FORMATS))
def test_a_file_of_each_format_runs_on_other_shapes(name: str, tmp_path: Path) -> None:
    report = export_stages([make_stage()], tmp_path, [name], {"model": "toy"})
    (file,) = report.files
    assert file.agreement.max_abs_error == 0.0
    (made,) = FORMATS[name].open_file(file.path)((torch.ones(7, 1),))
    assert made.tolist() == [[2.0]] * 7
    document = json.loads(report.list_path.read_text("utf-8"))
    entry = document["stages"]["doubler"]
    assert entry["inputs"][0]["axes"] == ["batch", "frames"]
    assert entry["files"][name]["tried_with"] == [{"batch": 1, "frames": 3}]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [file.path.name, "graphs.json"]
    )


@pytest.mark.parametrize("factor", [2.001, float("nan")])
def test_a_graph_that_disagrees_is_an_error_and_leaves_no_file(
    factor: float, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="does not agree"):
        export_stages([make_stage(factor)], tmp_path, ["torchscript"], {})
    assert not list(tmp_path.iterdir())


def test_an_older_file_stays_when_a_new_one_disagrees(tmp_path: Path) -> None:
    kept = tmp_path / "doubler.torchscript"
    kept.write_bytes(b"older")
    with pytest.raises(ModelError):
        export_stages([make_stage(3.0)], tmp_path, ["torchscript"], {})
    assert kept.read_bytes() == b"older"


def test_a_graph_of_fixed_length_is_found_out(tmp_path: Path) -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(2, 5) * 2

    with pytest.raises(ModelError, match="does not agree"):
        export_stages([replace(make_stage(), graph=Fixed())], tmp_path, ["torchscript"], {})


def test_formats_are_chosen_by_name() -> None:
    assert choose_formats("all") == tuple(FORMATS)
    assert choose_formats(" onnx, program ,onnx") == ("onnx", "program")
    for wrong in ("", "onx", "onnx,pt", []):
        with pytest.raises(UsageError, match="unknown graph format"):
            choose_formats(wrong)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        open_folder(tmp_path / "file" / "graphs")


def test_a_missing_library_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UsageError, match=r"kouji\[export\]"):
        export_stages([make_stage()], tmp_path, ["onnx"], {})
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy classifier's folder."""
    config = ClassifierConfig(
        labels=LABELS, architecture="two-conv", width=4, sample_rate=8000, n_fft=256,
        hop_length=128, num_mels=32, window_seconds=0.5,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = SoundModel(config).eval()
    return save_classifier(tmp_path_factory.mktemp("toy"), model)


@pytest.fixture(scope="module")
def exported(classifier: Path, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The toy classifier in every format."""
    return export_classifier(classifier, tmp_path_factory.mktemp("graphs"))


def test_a_classifier_is_written_in_every_format(exported: Report) -> None:
    names = {path.name for path in exported.folder.iterdir()}
    assert names == {
        "classifier.onnx", "classifier.torchscript", "classifier.pt2", "labels.json", "graphs.json",
    }  # fmt: skip
    assert all(file.agreement.max_abs_error < 1e-5 for file in exported.files)


def test_its_labels_stand_inside_every_file(exported: Report) -> None:
    session = onnxruntime.InferenceSession(str(exported.folder / "classifier.onnx"))
    inside = session.get_modelmeta().custom_metadata_map
    assert json.loads(inside["labels"]) == list(LABELS)
    assert session.get_inputs()[0].shape == ["batch", 4000]
    assert session.get_outputs()[0].name == "probabilities"
    extra: dict[str, Any] = {"metadata.json": ""}
    torch.export.load(exported.folder / "classifier.pt2", extra_files=extra)
    assert json.loads(extra["metadata.json"])["labels"] == list(LABELS)
    beside = json.loads((exported.folder / "labels.json").read_text("utf-8"))
    assert beside["labels"] == list(LABELS)


def test_the_example_names_a_sound_without_kouji(
    classifier: Path, exported: Report, tmp_path: Path
) -> None:
    sound = (np.random.default_rng(0).normal(size=8000) * 3000).astype("<i2")
    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(sound.tobytes())
    said = run_example("classify_onnx.py", exported.folder, tmp_path / "sound.wav")
    lines = [line.split(" ", 1) for line in said.splitlines()]
    windows = torch.from_numpy(sound.astype(np.float32) / 32768).unflatten(0, (2, 4000))
    with torch.no_grad():
        model = load_classifier(classifier).model
        wanted = torch.softmax(model(windows), -1).mean(0)
    for value, label in lines:
        assert float(value) == pytest.approx(float(wanted[LABELS.index(label)]), abs=2e-4)
    assert lines[0][1] == LABELS[int(wanted.argmax())]
    assert len(lines) == len(LABELS)


def wav_bytes(bits: int, num_samples: int, kind: int = 1) -> bytes:
    """A WAV file of silence; kind 1 is PCM, 3 float, 0xFFFE extensible around PCM."""
    form = struct.pack("<HHIIHH", kind, 1, 8000, 1000 * bits, bits // 8, bits)
    if kind == 0xFFFE:
        form += struct.pack("<HHIH", 22, bits, 4, 1) + bytes.fromhex("000000001000800000aa00389b71")
    data = bytes(num_samples * bits // 8)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("recording", "told"),
    [
        (None, "No such file"),
        (b"", "it breaks off"),
        (b"OggS" + bytes(60), "RIFF"),
        (wav_bytes(16, 0), "16-bit, 0 bytes of sound"),
        (wav_bytes(24, 50), "24-bit, 150 bytes of sound"),
        (wav_bytes(32, 50, 3), "unknown format: 3"),
        (wav_bytes(16, 50)[:44], "16-bit, 0 bytes of sound"),
        (wav_bytes(16, 50)[:51], ""),
    ],
)
def test_the_example_says_in_a_line_what_is_wrong(
    exported: Report, tmp_path: Path, recording: bytes | None, told: str
) -> None:
    sound = tmp_path / "sound.wav"
    if recording is not None:
        sound.write_bytes(recording)
    said = refuse_by_example("classify_onnx.py", exported.folder, sound)
    assert len(said.splitlines()) == 1
    assert said.startswith(f"{sound}: ")
    assert told in said
    assert "give a WAV file of 16-bit PCM" in said


def test_the_example_reads_or_refuses_an_extensible_wav(exported: Report, tmp_path: Path) -> None:
    """Python reads it since 3.12."""
    (tmp_path / "sound.wav").write_bytes(wav_bytes(16, 50, 0xFFFE))
    if sys.version_info >= (3, 12):
        said = run_example("classify_onnx.py", exported.folder, tmp_path / "sound.wav")
        assert len(said.splitlines()) == len(LABELS)
    else:
        said = refuse_by_example("classify_onnx.py", exported.folder, tmp_path / "sound.wav")
        assert "unknown format: 65534; give a WAV file of 16-bit PCM" in said


@pytest.mark.parametrize("name", ["classify_onnx", "speak_onnx"])
def test_an_example_is_about_twenty_lines(name: str, root_dir: Path) -> None:
    """Lines of code: without the docstring, blank lines and comments."""
    text = (root_dir / "examples" / f"{name}.py").read_text("utf-8")
    body = text.splitlines()[ast.parse(text).body[0].end_lineno :]
    assert len([line for line in body if line.strip() and not line.startswith("#")]) <= 23


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["two-conv", "resnet18", "convnext"])
@pytest.mark.parametrize("window_seconds", [5.0, 1.0])
def test_every_architecture_is_written_at_its_own_size(
    architecture: Any, window_seconds: float, tmp_path: Path
) -> None:
    config = ClassifierConfig(
        labels=LABELS, architecture=architecture, window_seconds=window_seconds
    )
    folder = save_classifier(tmp_path / "model", SoundModel(config).eval())
    report = export_classifier(folder, tmp_path / "graphs")
    assert {file.format for file in report.files} == set(FORMATS)


def snippets(page: Path) -> list[str]:
    """Blocks of Python on a page that run a graph by PyTorch, without Kouji."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), flags=re.DOTALL)
    return [block for block in blocks if "import torch" in block and "kouji" not in block]


def test_the_snippets_of_the_page_run_without_kouji(
    exported: Report, root_dir: Path, tmp_path: Path
) -> None:
    blocks = snippets(root_dir / "docs" / "export.md")
    assert ["torch.jit.load" in block for block in blocks] == [True, False]
    (tmp_path / "classifier").symlink_to(exported.folder)
    script = tmp_path / "snippet.py"
    script.write_text("\n".join(blocks), "utf-8")
    label, numbers = run_script(script, folder=tmp_path).splitlines()
    assert label in LABELS
    values = [float(value) for value in re.findall(r"\d\.\d+", numbers)]
    assert sum(values) == pytest.approx(1.0, abs=1e-3)
