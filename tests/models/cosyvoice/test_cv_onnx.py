"""The ONNX networks: what they give, and every file that is not one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from tiny_cosyvoice import CODEBOOK, write_campplus, write_speech_tokenizer

from kouji.errors import ModelError
from kouji.models.cosyvoice.hearing.onnx_models import CampPlus, SpeechTokenizer


def mel(num_frames: int = 40) -> torch.Tensor:
    return torch.randn(1, 128, num_frames, generator=torch.Generator().manual_seed(0))


def fbank(num_frames: int = 40) -> torch.Tensor:
    return torch.randn(1, num_frames, 80, generator=torch.Generator().manual_seed(0))


def write_graph(
    path: Path, node: Any, inputs: list[Any], outputs: list[Any], constants: tuple[Any, ...] = ()
) -> Path:
    """A graph of one node; inputs and outputs are (name, type, shape)."""
    infos = [[helper.make_tensor_value_info(*port) for port in each] for each in (inputs, outputs)]
    graph = helper.make_graph([node], "made up", *infos, list(constants))
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def write_constant_tokens(path: Path, ids: list[int]) -> Path:
    """A tokenizer that gives the same ids whatever it hears; its inputs have other names."""
    value = helper.make_tensor("value", TensorProto.INT64, [1, len(ids)], ids)
    return write_graph(
        path,
        helper.make_node("Constant", [], ["y"], value=value),
        [("a", TensorProto.FLOAT, ["n", 128, "t"]), ("b", TensorProto.INT32, ["n"])],
        [("y", TensorProto.INT64, [1, "tokens"])],
    )


def test_tokens_are_of_the_codebook_and_25_a_second(tmp_path: Path) -> None:
    tokenizer = SpeechTokenizer(write_speech_tokenizer(tmp_path / "t.onnx"), CODEBOOK)
    tokens = tokenizer(mel(101))
    assert tokens.shape == (25,)
    assert tokens.dtype == torch.int64
    assert 0 <= tokens.min() <= tokens.max() < CODEBOOK
    assert len(set(tokens.tolist())) > 3
    assert torch.equal(tokenizer(mel(101)), tokens)


def test_a_speaker_is_192_numbers(tmp_path: Path) -> None:
    speaker = CampPlus(write_campplus(tmp_path / "c.onnx"))
    vector = speaker(fbank())
    assert vector.shape == (192,)
    assert vector.dtype == torch.float32
    assert vector.norm() > 1.1  # as it came, not normalised
    assert not torch.equal(speaker(2 * fbank()), vector)


def test_inputs_are_given_by_position(tmp_path: Path) -> None:
    path = write_constant_tokens(tmp_path / "t.onnx", [3, 1, 2])
    assert SpeechTokenizer(path, CODEBOOK)(mel(12)).tolist() == [3, 1, 2]


def test_threads_are_bounded_and_do_not_spin(tmp_path: Path) -> None:
    path = write_campplus(tmp_path / "c.onnx")
    options = CampPlus(path, threads=3).network.open().get_session_options()
    assert options.intra_op_num_threads == 3
    assert options.inter_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    options = CampPlus(path).network.open().get_session_options()
    assert options.intra_op_num_threads == torch.get_num_threads()


def test_a_file_is_opened_at_the_first_call_and_a_failure_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "c.onnx"
    speaker = CampPlus(path)
    with pytest.raises(ModelError, match=r"speaker network CAM\+\+ is missing"):
        speaker(fbank())
    write_campplus(path)
    session = speaker.network.open()
    assert speaker(fbank()).shape == (192,)
    assert speaker.network.open() is session


@pytest.mark.parametrize("kept", [0, 100, 0.9])
def test_a_cut_file_is_told(tmp_path: Path, kept: float) -> None:
    path = write_speech_tokenizer(tmp_path / "t.onnx")
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ModelError, match=r"cannot open the speech tokenizer.*t\.onnx"):
        SpeechTokenizer(path, CODEBOOK)(mel())


def test_a_folder_and_text_are_told(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    (tmp_path / "text.onnx").write_text("this is no network")
    for name in ("folder.onnx", "text.onnx"):
        with pytest.raises(ModelError):
            CampPlus(tmp_path / name)(fbank())


def test_other_bands_are_told_before_anything_runs(tmp_path: Path) -> None:
    path = write_speech_tokenizer(tmp_path / "t.onnx", num_bands=80)
    with pytest.raises(ModelError) as caught:
        SpeechTokenizer(path, CODEBOOK).network.open()
    assert "t.onnx" in str(caught.value)
    assert "input 0: tensor(float) [1, 80, any]" in str(caught.value)
    assert "input 0: tensor(float) [1, 128, any]" in str(caught.value)


def test_another_width_of_the_speaker_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"output 0: .*\[1, 512\].*\[1, 192\]"):
        CampPlus(write_campplus(tmp_path / "c.onnx", width=512)).network.open()


def test_networks_in_each_others_place_are_told(tmp_path: Path) -> None:
    tokenizer, speaker = tmp_path / "t.onnx", tmp_path / "c.onnx"
    write_speech_tokenizer(tokenizer)
    write_campplus(speaker)
    with pytest.raises(ModelError, match="inputs: 1; allowed: inputs: 2"):
        SpeechTokenizer(speaker, CODEBOOK).network.open()
    with pytest.raises(ModelError, match="inputs: 2; allowed: inputs: 1"):
        CampPlus(tokenizer).network.open()


def test_another_number_format_is_told(tmp_path: Path) -> None:
    path = write_graph(
        tmp_path / "half.onnx",
        helper.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0),
        [("x", TensorProto.DOUBLE, [1, "t", 80])],
        [("y", TensorProto.DOUBLE, [1, 80])],
    )
    with pytest.raises(ModelError, match=r"tensor\(double\)"):
        CampPlus(path).network.open()


def test_tokens_of_another_codebook_are_told(tmp_path: Path) -> None:
    path = write_constant_tokens(tmp_path / "t.onnx", [3, CODEBOOK, 2])
    with pytest.raises(ModelError, match=f"seen: 2 to {CODEBOOK}; allowed: 0 to {CODEBOOK - 1}"):
        SpeechTokenizer(path, CODEBOOK)(mel(12))


def test_another_rate_of_tokens_is_told(tmp_path: Path) -> None:
    path = write_constant_tokens(tmp_path / "t.onnx", [1] * 50)
    with pytest.raises(ModelError, match=r"seen: 50 for 1 s; allowed: 25 a second"):
        SpeechTokenizer(path, CODEBOOK)(mel(100))


def test_a_speaker_that_is_not_finite_is_told(tmp_path: Path) -> None:
    broken = torch.full((1, 40, 80), float("nan"))
    with pytest.raises(ModelError, match="makes no voice"):
        CampPlus(write_campplus(tmp_path / "c.onnx"))(broken)


def test_a_network_that_fails_is_told(tmp_path: Path) -> None:
    speaker = CampPlus(write_campplus(tmp_path / "c.onnx"))
    with pytest.raises(ModelError, match=r"CAM\+\+ failed"):
        speaker.network.run([np.zeros((1, 40, 79), np.float32)])


def test_a_gpu_is_used_where_this_onnxruntime_can(monkeypatch: pytest.MonkeyPatch) -> None:
    import onnxruntime

    from kouji.models.cosyvoice.hearing import onnx_models

    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    assert onnx_models._providers("cuda:0") in ([cpu], [cuda, cpu])
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [cuda, cpu])
    assert onnx_models._providers("cuda:0") == [cuda, cpu]
    assert onnx_models._providers("cpu") == [cpu]
