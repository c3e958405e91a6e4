"""Opens the pretrained networks around GPT-SoVITS: `transformers` directories and bare checkpoints.

Nothing of a directory is executed and nothing is fetched: the config is read as data, pickles
are read by our own machine (`torch_files`), tensors are put one by one into a network that was
built without drawing initial values. Does not know what the networks compute.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from kouji.errors import ModelError
from kouji.models.archives.torch_files import load_torch_file

CONFIG_FILE = "config.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")  # in order of preference
_SHOWN = 6  # key names in a message

Rename = Callable[[str], str | None]


def read_config(folder: Path) -> dict[str, Any]:
    """The record in config.json of a directory; ModelError where there is none."""
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _unreadable(path, error, f"a directory with {CONFIG_FILE} and weights") from error
    if not isinstance(config, dict):
        raise _unreadable(path, type(config).__name__, "one JSON object")
    return config


def make_config(config_class: Any, values: Mapping[str, Any]) -> Any:
    """An instance of a `transformers` config class; what it refuses becomes a ModelError."""
    try:
        return config_class.from_dict(dict(values))
    except Exception as error:  # every release of transformers has its own classes of them
        raise ModelError(f"{CONFIG_FILE} holds a wrong value", seen=_in_one_line(error)) from error


def read_folder_tensors(folder: Path, rename: Rename) -> Iterator[tuple[str, Tensor]]:
    """Yield (our name, tensor) of the weights of a directory; see `read_tensors`."""
    for name in WEIGHT_FILES:
        if (folder / name).is_file():
            return read_tensors(folder / name, rename)
    allowed = " or ".join(WEIGHT_FILES)
    raise ModelError("a model directory has no weights", seen=str(folder), allowed=allowed)


def read_tensors(path: Path, rename: Rename) -> Iterator[tuple[str, Tensor]]:
    """Yield (our name, tensor) of one weights file, reading only what is wanted.

    path:   .safetensors, or a pickle of a plain state dict
    rename: file's name to ours; None leaves the tensor on the disk
    raises: ModelError for what is damaged or holds more than tensors
    """
    if path.suffix == ".safetensors":
        yield from _read_safetensors(path, rename)
        return
    for name, tensor in _load_pickle(path).items():
        if (wanted := rename(name)) is not None:
            yield wanted, tensor


def _read_safetensors(path: Path, rename: Rename) -> Iterator[tuple[str, Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as content:
            for name in content.keys():  # noqa: SIM118 (not a mapping)
                if (wanted := rename(name)) is not None:
                    yield wanted, content.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error, "a whole safetensors file") from error


def _load_pickle(path: Path) -> dict[str, Tensor]:
    """A state dict as views of the mapped file."""
    content = load_torch_file(path).content
    is_state = isinstance(content, dict) and all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items()
    )
    if not is_state:
        raise _unreadable(path, type(content).__name__, "a state dict: names and tensors only")
    return dict(content)


def fill(network: nn.Module, tensors: Iterator[tuple[str, Tensor]], label: str) -> None:
    """Put tensors into a network, in its own number formats; every one must find its place.

    tensors: names as `canonical` has them
    label:   of the network, for the report
    raises:  ModelError naming what is missing, unknown or of another shape
    """
    places = {canonical(name): name for name in network.state_dict()}
    own = network.state_dict()
    state: dict[str, Tensor] = {}
    unknown, misshapen = [], []
    for name, tensor in tensors:
        place = places.pop(name, None)
        if place is None:
            unknown.append(name)
        elif tensor.shape != own[place].shape:
            misshapen.append(f"{name} {tuple(tensor.shape)} for {tuple(own[place].shape)}")
        else:
            # Always a copy: a mapped file that somebody shortens later would kill the process.
            state[place] = tensor.to(own[place].dtype, copy=True)
    if places or unknown or misshapen:
        lists = {"missing": sorted(places), "unknown": unknown, "other shape": misshapen}
        raise ModelError(
            f"the weights do not fit the {label}",
            seen="; ".join(f"{what} {_some(names)}" for what, names in lists.items() if names),
            allowed=f"exactly the tensors of its {CONFIG_FILE}",
            cure="take weights and config from the same publisher",
        )
    network.load_state_dict(state, strict=False, assign=True)  # strictness is above
    network.eval().requires_grad_(False)


def canonical(name: str) -> str:
    """One spelling of what torch and its models called differently over the years."""
    for new, old in _SPELLINGS:
        name = name.replace(new, old)
    return name


_SPELLINGS = (
    (".parametrizations.weight.original0", ".weight_g"),
    (".parametrizations.weight.original1", ".weight_v"),
    ("LayerNorm.gamma", "LayerNorm.weight"),
    ("LayerNorm.beta", "LayerNorm.bias"),
)


def _unreadable(path: Path, seen: object, allowed: str) -> ModelError:
    cure = "check the path, or download it again"
    seen = _in_one_line(seen) if isinstance(seen, Exception) else seen
    return ModelError(f"cannot read {path}", seen=seen, allowed=allowed, cure=cure)


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
