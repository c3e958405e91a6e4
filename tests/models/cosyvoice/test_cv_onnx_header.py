"""What ONNX files take and give is read off them, and told before anything is computed."""

from __future__ import annotations

import mmap
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_cosyvoice import make_tiny_cosyvoice, write_campplus, write_speech_tokenizer

from kouji.errors import ModelError
from kouji.models.cosyvoice.files.directory import examine, find_parts
from kouji.models.cosyvoice.files.onnx_header import (
    CAMPPLUS,
    SPEECH_TOKENIZER,
    Ports,
    _read_model,
    require_ports,
)


def _write(path: Path, kind: int = TensorProto.FLOAT, *, is_old: bool = False) -> Path:
    """A network of the form of CAM++; an old one lists its weights among the inputs."""
    import numpy as np

    weight = numpy_helper.from_array(np.zeros((80, 192), np.float32), "weight")
    inputs = [helper.make_tensor_value_info("x", kind, ["batch", "frames", 80])]
    if is_old:
        inputs.insert(0, helper.make_tensor_value_info("weight", TensorProto.FLOAT, [80, 192]))
    output = helper.make_tensor_value_info("y", kind, ["batch", 192])
    node = helper.make_node("MatMul", ["x", "weight"], ["y"])
    graph = helper.make_graph([node], "any", inputs, [output], [weight])
    onnx.save(helper.make_model(graph), path)
    return path


def test_a_graph_is_read_as_the_library_reads_it(tmp_path: Path) -> None:
    import onnxruntime

    for path in (write_campplus(tmp_path / "a"), write_speech_tokenizer(tmp_path / "b")):
        session = onnxruntime.InferenceSession(str(path))
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            found = _read_model(data)
        for ours, theirs in zip(found, (session.get_inputs(), session.get_outputs()), strict=True):
            assert [each.dtype for each in ours] == [each.type for each in theirs]
            for one, other in zip(ours, theirs, strict=True):
                assert one.shape is not None
                whole = [each if isinstance(each, int) else None for each in other.shape]
                assert list(one.shape) == whole


def test_open_lengths_and_old_exports_are_taken(tmp_path: Path) -> None:
    require_ports(_write(tmp_path / "new.onnx"), CAMPPLUS)
    require_ports(_write(tmp_path / "old.onnx", is_old=True), CAMPPLUS)


def test_what_is_no_such_network_is_named(tmp_path: Path) -> None:
    whole = write_campplus(tmp_path / "campplus.onnx").read_bytes()
    cases: list[tuple[str, bytes, Ports, str]] = [
        ("half", whole[: len(whole) // 2], CAMPPLUS, "cut off or damaged"),
        ("nearly", whole[:-1], CAMPPLUS, "cut off or damaged"),
        ("garbage", b"garbage" * 100, CAMPPLUS, "cannot open"),
        ("zeros", bytes(1000), CAMPPLUS, "no ONNX"),
        ("empty", b"", CAMPPLUS, "cannot open"),
        ("other", whole, SPEECH_TOKENIZER, "inputs: 1"),
        ("wide", write_campplus(tmp_path / "w", width=512).read_bytes(), CAMPPLUS, "512"),
        ("half precision", _write(tmp_path / "h", TensorProto.FLOAT16).read_bytes(), CAMPPLUS,
         "float16"),
        ("bands", write_speech_tokenizer(tmp_path / "b", num_bands=80).read_bytes(),
         SPEECH_TOKENIZER, "80, any"),
    ]  # fmt: skip
    for name, content, ports, words in cases:
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=words) as caught:
            require_ports(path, ports)
        assert "take the file" in str(caught.value), name


def test_a_folder_is_judged_by_what_its_files_hold(tmp_path: Path) -> None:
    folder = make_tiny_cosyvoice(tmp_path / "model")
    assert examine(folder).is_speakable
    write_speech_tokenizer(folder / "speech_tokenizer_v3.onnx", num_bands=80)
    (folder / "CosyVoice-BlankEN" / "merges.txt").write_bytes(b"\xff\xfe")
    report = examine(folder)
    assert not report.is_speakable
    broken = {item.path.name for item in report.findings if item.path and item.problem}
    assert broken == {"speech_tokenizer_v3.onnx", "merges.txt"}
    with pytest.raises(ModelError, match="is not the speech tokenizer"):
        find_parts(folder)
