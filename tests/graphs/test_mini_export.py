"""`mini` as files: what lies beside them, the command, and speaking without Kouji."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from outside_kouji import run_example
from tiny_graphs import make_drawn_checkpoint
from tiny_mini import make_tiny_checkpoint

from kouji.audio.labels import read_labels
from kouji.audio.load import load_audio
from kouji.audio.watermark import detect
from kouji.cli.boundary import run_command
from kouji.graphs.folder import FORMATS
from kouji.graphs.mini import export_mini
from kouji.models.mini.weights import SHIPPED, Checkpoint, save_checkpoint
from kouji.voices import audit

STAGES = ("speaker", "prosody", "plan", "decode", "vocode")
NUMBER = 0x1234ABCD
# Phase sums up over a sentence, so that rounding grows on the way: measured -66 dB and less.
SAME_DB = -50.0


def level_of(difference: np.ndarray[Any, Any], samples: np.ndarray[Any, Any]) -> float:
    """Power of a difference relative to the sound, in dB."""
    return float(10 * np.log10(np.square(difference).mean() / np.square(samples).mean()))


def save(folder: Path, made: Checkpoint) -> Path:
    """A checkpoint as files."""
    states = made.acoustic.state_dict(), made.vocoder.state_dict()
    save_checkpoint(folder, made.acoustic.config, *states, pace=made.pace)
    return folder


def test_the_command_writes_files_and_an_audit_line(
    tmp_path: Path, home_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights, out = save(tmp_path / "tiny", make_drawn_checkpoint()), tmp_path / "graphs"
    arguments = ["export-graphs", str(weights), "--out", str(out), "--format", "torchscript"]
    assert run_command(arguments) == 0, capsys.readouterr().err
    names = {path.name for path in out.iterdir()}
    assert names == {"graphs.json", "demo.npz", *(f"{stage}.torchscript" for stage in STAGES)}
    facts = json.loads((out / "graphs.json").read_text("utf-8"))
    assert list(facts["stages"]) == list(STAGES)
    assert (facts["sample_rate"], facts["hop_samples"]) == (24_000, 480)
    lines = list(audit.find(home_dir / "audit.jsonl", event="graphs.export"))
    assert [line["watermark"] for line in lines] == [facts["watermark"]]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mini", "--out", "{tmp}/x", "--format", "onx"], "unknown graph format"),
        (["{tmp}/nowhere", "--out", "{tmp}/x"], "cannot be read"),
        (["mini", "--out", "{tmp}/file/x", "--format", "onnx"], "cannot write"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    given = [part.format(tmp=tmp_path) for part in arguments]
    assert run_command(["export-graphs", *given]) in (1, 2)
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1


def speak_with(folder: Path, form: str) -> dict[str, torch.Tensor]:
    """All that goes in and comes out where the files of one format speak the demo."""
    facts = json.loads((folder / "graphs.json").read_text("utf-8"))
    demo = np.load(folder / "demo.npz")
    known: dict[str, torch.Tensor] = {}
    for stage, ports in facts["stages"].items():
        given = {name: demo[name] for name in demo if name.startswith(f"{stage}.")}
        known |= {name.split(".")[1]: torch.from_numpy(array) for name, array in given.items()}
        run = FORMATS[form].open_file(folder / ports["files"][form]["file"])
        made = run(tuple(known[port["name"]] for port in ports["inputs"]))
        known |= zip((port["name"] for port in ports["outputs"]), made, strict=True)
    return known


def check_the_demo(folder: Path, form: str) -> None:
    """What the files of a format say is what Kouji says, and is rounded as the page tells."""
    demo, known = np.load(folder / "demo.npz"), speak_with(folder, form)
    samples, said = demo["samples"], known["samples"][0].numpy()
    assert said.shape == samples.shape
    assert level_of(said - samples, samples) < SAME_DB
    facts = json.loads((folder / "graphs.json").read_text("utf-8"))
    frames, symbols = known["frames"][0].numpy(), demo["prosody.symbols"][0]
    assert whole_frames()(frames, symbols, facts).tolist() == demo["plan.durations"][0].tolist()


def whole_frames() -> Any:
    """The rounding as docs/export.md writes it down for whoever builds on the graphs."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "export.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    (block,) = (each for each in blocks if "def whole_frames" in each)
    names: dict[str, Any] = {}
    exec(block, names)
    return names["whole_frames"]


@pytest.mark.parametrize("make", [make_drawn_checkpoint, make_tiny_checkpoint])
def test_the_stages_one_after_the_other_speak_as_kouji_does(make: Any, tmp_path: Path) -> None:
    report = export_mini(
        tmp_path / "graphs", "torchscript", folder=save(tmp_path / "tiny", make()), number=NUMBER
    )
    check_the_demo(report.folder, "torchscript")


def check_the_example(folder: Path, out: Path) -> None:
    """`examples/speak_onnx.py` says what Kouji says, marked and labelled."""
    assert str(out) in run_example("speak_onnx.py", folder, out)
    demo = np.load(folder / "demo.npz")
    audio = load_audio(out)
    assert audio.sample_rate == 24_000
    samples = np.clip(demo["samples"], -1, 1)
    assert level_of(audio.samples - samples, samples) < SAME_DB
    labels = read_labels(out)
    assert labels.is_ai_generated
    assert labels.aigc["ProduceID"] == f"{NUMBER:08x}"


@pytest.mark.slow
def test_every_format_of_the_toy_speaks(tmp_path: Path) -> None:
    weights = save(tmp_path / "tiny", make_drawn_checkpoint())
    folder = export_mini(tmp_path / "graphs", folder=weights, number=NUMBER).folder
    for form in FORMATS:
        check_the_demo(folder, form)
    check_the_example(folder, tmp_path / "out.wav")


@pytest.mark.slow
def test_the_shipped_model_speaks_without_kouji(tmp_path: Path) -> None:
    folder = export_mini(tmp_path / "graphs", "onnx", folder=SHIPPED, number=NUMBER).folder
    check_the_example(folder, tmp_path / "out.wav")
    found = detect(load_audio(tmp_path / "out.wav"))
    assert found.found
    assert found.payload == NUMBER
