"""Checkpoints are read as data: everything torch writes, and nothing that runs code."""

from __future__ import annotations

import io
import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from kouji.errors import ModelError
from kouji.models.archives import torch_files
from kouji.models.archives.torch_files import load_torch_file


class HParams:
    """As upstream's bag of attributes; pickled under the name `utils.HParams`."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, HParams(**value) if isinstance(value, dict) else value)


@pytest.fixture(params=["utils", "GPT_SoVITS.utils"])
def params_class(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type[HParams]:
    """The class as a foreign file names it, while the file is written."""
    module = ModuleType(request.param)
    module.HParams = HParams  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, request.param.partition(".")[0], module)
    monkeypatch.setitem(sys.modules, request.param, module)
    monkeypatch.setattr(HParams, "__module__", request.param)
    return HParams


def content(seed: int = 0) -> dict[str, Any]:
    """What checkpoints hold, and a few tensors that are views, empty or numbers."""
    drawn = torch.Generator().manual_seed(seed)
    network = torch.nn.Linear(4, 3)
    return {
        "state": network.state_dict(),  # carries _metadata
        "parameter": network.weight,
        "half": OrderedDict(a=torch.randn(3, 5, generator=drawn).half()),
        "view": torch.randn(5, 6, generator=drawn)[1:3, ::2],
        "number": torch.tensor(3.5, dtype=torch.float64),
        "whole": torch.arange(7),
        "flags": torch.tensor([True, False]),
        "brain": torch.randn(9, generator=drawn).bfloat16(),
        "empty": torch.zeros(0, 3),
        "info": "8epoch_496iteration",
        "text": "语音",
        "mixed": [1, 2.5, None, True, (1, "x"), {2, 3}, b"ab\xff", 1 << 70],
        "path": Path("/data/x"),
        "windows": PureWindowsPath("c:/data/x"),
        "scalars": [np.float64(2.5), np.int64(-7), np.bool_(True), np.float32(0.5)],
        "default": defaultdict(dict, a={"b": 1}),
        "dtype": torch.float16,
        "size": torch.Size([2, 3]),
    }


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_reads_what_torch_writes(
    tmp_path: Path, params_class: type[HParams], protocol: int, is_zip: bool
) -> None:
    wanted = content()
    wanted["config"] = params_class(model={"rates": [10, 8]}, name="anna", version="v2")
    path = tmp_path / "x.pth"
    torch.save(wanted, path, pickle_protocol=protocol, _use_new_zipfile_serialization=is_zip)
    read = load_torch_file(path).content
    for name in ("parameter", "view", "number", "whole", "flags", "brain", "empty"):
        assert read[name].dtype == wanted[name].dtype
        assert torch.equal(read[name], wanted[name].detach())
        assert read[name].shape == wanted[name].shape
    assert torch.equal(read["half"]["a"], wanted["half"]["a"])
    assert torch.equal(read["state"]["bias"], wanted["state"]["bias"])
    assert read["mixed"] == [sorted(x) if isinstance(x, set) else x for x in wanted["mixed"]]
    assert (read["info"], read["text"]) == (wanted["info"], wanted["text"])
    assert (read["path"], read["windows"]) == ("/data/x", "c:\\data\\x")
    assert read["scalars"] == [2.5, -7, True, 0.5]
    assert read["default"] == {"a": {"b": 1}}
    assert (read["dtype"], read["size"]) == ("torch.float16", (2, 3))
    assert read["config"] == {"model": {"rates": [10, 8]}, "name": "anna", "version": "v2"}
    assert type(read["config"]) is dict


def test_the_tag_in_place_of_pk_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a": torch.arange(3)}, path)
    assert load_torch_file(path).tag is None
    path.write_bytes(b"06" + path.read_bytes()[2:])
    opened = load_torch_file(path)
    assert opened.tag == "06"
    assert opened.content["a"].tolist() == [0, 1, 2]


def test_tensors_survive_their_file_and_never_reach_it(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    torch.save({"a": torch.arange(4.0)}, path)
    before = path.read_bytes()
    tensor = load_torch_file(path).content["a"]
    tensor.add_(1)
    assert path.read_bytes() == before
    path.unlink()
    assert tensor.tolist() == [1, 2, 3, 4]


def test_misaligned_storages_are_copied(tmp_path: Path) -> None:
    path, other = tmp_path / "x.pth", tmp_path / "y.pth"
    torch.save({"a": torch.arange(5.0), "b": torch.arange(3)}, path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for entry in source.infolist():
            target.writestr(entry.filename, source.read(entry))
    read = load_torch_file(other).content
    assert read["a"].tolist() == [0, 1, 2, 3, 4]
    assert read["b"].tolist() == [0, 1, 2]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_opening_costs_no_memory(tmp_path: Path) -> None:
    """A file of 80 MB is opened and one tensor read; far less than the file becomes resident."""
    path = tmp_path / "x.pth"
    torch.save({str(index): torch.ones(1 << 20).half() for index in range(40)}, path)
    program = (
        "import resource, sys\n"
        "from kouji.models.archives.torch_files import load_torch_file\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "content = load_torch_file(sys.argv[1]).content\n"
        "assert content['7'].float().sum() == 1 << 20\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert resource.RUSAGE_SELF == 0
    assert int(done.stdout) < 30_000  # kB; the tensor in float32 is 4 MB


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.function, self.arguments


def hostile_stream(text: bytes) -> Callable[[Path], None]:
    """A writer of a torch zip around a hand-made pickle."""
    return lambda path: write_zip(path, text)


def write_zip(path: Path, pickled: bytes, **storages: bytes) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickled)
        for name, data in storages.items():
            archive.writestr(f"x/data/{name}", data)


MARKER = "kouji-was-here"
ATTACKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "system": (lambda: pickle.dumps(Call(os.system, f"touch {MARKER}")), r"(posix|nt)\.system"),
    "eval": (lambda: pickle.dumps(Call(eval, f"open({MARKER!r}, 'w')")), r"builtins\.eval"),
    "exec": (lambda: pickle.dumps(Call(exec, f"open({MARKER!r}, 'w')"), 2), r"builtin.*\.exec"),
    "open": (lambda: pickle.dumps(Call(open, MARKER, "w")), r"io\.open|_io\.open"),
    "getattr": (
        lambda: b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93\x8c\x02os\x8c\x06system\x86R.",
        r"builtins\.getattr",
    ),
    "torch.load": (lambda: pickle.dumps(Call(torch.load, MARKER)), r"torch\.serialization\.load"),
    "nested pickle": (
        lambda: b"ctorch.storage\n_load_from_bytes\n(C\x04abcdtR.", r"_load_from_bytes"
    ),
    "dotted name": (
        lambda: b"\x80\x04\x8c\x05torch\x8c\x0cos.system.xx\x93.", r"torch\.os\.system"
    ),
    "subprocess": (lambda: pickle.dumps(Call(subprocess.Popen, ["touch", MARKER])), r"Popen"),
    "old instance": (lambda: b"(S'touch x'\nios\nsystem\n.", r"os\.system"),
    "object": (lambda: b"(cos\nsystem\nS'touch x'\no.", r"os\.system"),
    "extension": (lambda: b"\x80\x02\x82\x01.", r"extension 1"),
    "buffer": (lambda: b"\x80\x05\x97.", r"buffer"),
    "state of a class": (lambda: b"\x80\x02cutils\nHParams\n}X\x01\x00\x00\x00aK\x01sb.",
                         r"utils\.HParams"),
    "state of text": (lambda: b"\x80\x02X\x01\x00\x00\x00a}b.", r"changes"),
    "call of a number": (lambda: b"\x80\x02K\x01)R.", r"no name"),
    "keywords": (lambda: b"\x80\x04cutils\nHParams\n)}\x8c\x01aK\x01s\x92.", r"keywords"),
    "outside reference": (lambda: b"\x80\x02X\x03\x00\x00\x00abcQ.", r"storage"),
    "nested reference": (
        lambda: b"\x80\x02(X\x07\x00\x00\x00storageX\x01\x00\x00\x00aQQ.", r"storage"
    ),
    "reference by text": (lambda: b"Pabc\n.", r"storage"),
    "huge number": (lambda: b"\x80\x02\x8b\xe8\x03\x00\x00" + b"\x01" * 1000 + b".", r"7993 bits"),
    "list as key": (lambda: b"\x80\x02}]K\x01s.", r"key"),
    "deep tuple as key": (
        lambda: b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.", r"key"
    ),
    "deep list": (lambda: b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", r"nested"),
    "list of itself": (lambda: b"\x80\x02]q\x00h\x00a.", r"nested"),
    "laughs": (
        lambda: b"\x80\x02]q\x00" + b"".join(
            b"](" + b"h" + bytes([step]) + b"h" + bytes([step]) + b"eq" + bytes([step + 1])
            for step in range(40)
        ) + b".",
        r"repeated",
    ),
    "numpy object": (lambda: b"cnumpy\ndtype\n(S'O8'\ntR.", r"numpy"),
    "numpy array": (lambda: b"cnumpy.core.multiarray\n_reconstruct\n.", r"_reconstruct"),
    "terminal codes": (
        lambda: b"\x80\x04\x8c\x02os\x8c\x07\x1b[2Jabc\x93.", "os.\N{REPLACEMENT CHARACTER}"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_hostile_pickles_are_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_zip: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    make, message = ATTACKS[name]
    path = tmp_path / "evil.pth"
    if is_zip:
        write_zip(path, make())
    else:
        heads = (torch_files.LEGACY_MAGIC, torch_files.LEGACY_PROTOCOL, {})
        rest = make() + pickle.dumps([])
        path.write_bytes(b"".join(pickle.dumps(head, 2) for head in heads) + rest)
    with pytest.raises(ModelError, match=message) as caught:
        load_torch_file(path)
    assert str(path) in str(caught.value)
    assert not (tmp_path / MARKER).exists()


def tensor_pickle(
    offset: object = 0, size: object = (2,), stride: object = (1,), count: object = 4,
    key: object = "0", kind: str = "FloatStorage",
) -> bytes:  # fmt: skip
    """The pickle of one tensor with whatever numbers an attacker likes."""

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            storage = getattr(torch, kind)
            return ("storage", storage, key, "cpu", count) if value is MARKER else None

    rebuild = torch._utils._rebuild_tensor_v2
    buffer = io.BytesIO()
    Pickler(buffer, 2).dump(Call(rebuild, MARKER, offset, size, stride, False, OrderedDict()))
    return buffer.getvalue()


@pytest.mark.parametrize(
    "wrong",
    [
        {"offset": 3},
        {"offset": -1},
        {"size": (1 << 40,), "stride": (0,)},
        {"size": (1 << 47, 1 << 47), "stride": (1, 1)},
        {"size": (2, 3), "stride": (1, 1)},
        {"size": (2,), "stride": (-1,)},
        {"size": (2,), "stride": (1 << 62,)},
        {"size": (2,), "stride": ()},
        {"size": (1,) * 99, "stride": (1,) * 99},
        {"size": "ab", "stride": "cd"},
        {"size": ("a",), "stride": (1,)},
        {"count": 5},
        {"count": 1 << 60},
        {"count": True},
        {"key": "1"},
        {"key": 7},
        {"kind": "DoubleStorage"},
        {"kind": "float32"},
        {"kind": "Tensor"},
    ],
)
def test_absurd_tensors_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    path = tmp_path / "evil.pth"
    write_zip(path, tensor_pickle(), **{"0": struct.pack("<4f", 1, 2, 3, 4)})
    assert load_torch_file(path).content.tolist() == [1, 2]
    write_zip(path, tensor_pickle(**wrong), **{"0": struct.pack("<4f", 1, 2, 3, 4)})
    with pytest.raises(ModelError, match="not read"):
        load_torch_file(path)


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    """A bomb would be one: torch never compresses."""
    path = tmp_path / "bomb.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/data.pkl", tensor_pickle(count=1 << 22))
        archive.writestr("x/data/0", bytes(1 << 24))
    with pytest.raises(ModelError, match="compressed"):
        load_torch_file(path)


def test_an_oversized_pickle_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big.pth"
    write_zip(path, pickle.dumps(["x"] * 5000))
    monkeypatch.setattr(torch_files, "MAX_PICKLE_BYTES", 1000)
    with pytest.raises(ModelError, match="absurdly large"):
        load_torch_file(path)


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_a_cut_file_is_refused_wherever_it_ends(tmp_path: Path, is_zip: bool) -> None:
    path = tmp_path / "x.pth"
    torch.save(content(), path, _use_new_zipfile_serialization=is_zip)
    whole = path.read_bytes()
    for length in [1, 2, 3, 4, 8, *range(16, len(whole), len(whole) // 40)]:
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"x\.pth"):
            load_torch_file(path)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")  # pickletools
def test_a_damaged_file_never_crashes(tmp_path: Path) -> None:
    """Flipped bytes end in a ModelError or in other numbers, never in anything else."""
    path = tmp_path / "x.pth"
    torch.save(content(), path)
    whole = bytearray(path.read_bytes())
    drawn = np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(whole)
        for place in drawn.integers(0, min(len(whole), 6000), 3):
            changed[place] = drawn.integers(256)
        path.write_bytes(changed)
        try:
            load_torch_file(path)
        except ModelError:
            continue


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "web page"),
        (struct.pack("<Q", 8) + b'{"a": 1}', "safetensors"),
        (b"\x7fELF\x02\x01", "7f 45 4c 46"),
        (pickle.dumps({"a": 1}), "bare pickle"),
    ],
)
def test_other_files_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(data)
    with pytest.raises(ModelError, match=message):
        load_torch_file(path)


def test_other_archives_are_named(tmp_path: Path) -> None:
    path = tmp_path / "x.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(ModelError, match=r"readme\.txt"):
        load_torch_file(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(1))
        archive.writestr("x/constants.pkl", pickle.dumps(()))
    with pytest.raises(ModelError, match="TorchScript"):
        load_torch_file(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "gone.pth", tmp_path):
        with pytest.raises(ModelError, match=path.name):
            load_torch_file(path)
