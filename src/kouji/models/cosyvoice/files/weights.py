"""The tensors of `llm.pt`, `flow.pt` and `hift.pt`: read without running anything, and checked.

What comes back views the mapped file, under the official names and in one spelling of weight norm,
whoever wrote it; the networks copy and fold what they keep (`hift_weights` folds the norms).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.archives.key_report import compare_keys, group_names
from kouji.models.archives.pickles import printable
from kouji.models.archives.torch_files import load_torch_file
from kouji.models.cosyvoice.config import CosyVoiceConfig
from kouji.models.cosyvoice.files.keys import (
    LM_HEAD,
    TRAINER_ENTRIES,
    G,
    Kind,
    V,
    expected_shapes,
)

_SPELLINGS = {".weight_g": f".{G}", ".weight_v": f".{V}"}  # before torch's parametrisations
_TRAINED_INSIDE = "generator."  # of a vocoder that was saved in its adversarial trainer
_FORMATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_MOST_NAMES = 6  # in an error
_hashes: dict[tuple[str, int, int], str] = {}


def read_state(
    path: str | Path, kind: Kind, config: CosyVoiceConfig | None = None
) -> dict[str, Tensor]:
    """The tensors of one file, by their official names.

    config: of the model: every tensor is then checked against it (`require_state`)
    returns: views of the mapped file, in the formats it has; without `lm_head`, which is the text
             embedding once more, and without the trainer's entries
    raises: ModelError for what is no such file, is cut off or hostile, or does not fit
    """
    path = Path(path)
    content = load_torch_file(path).content
    if not isinstance(content, dict):
        raise _unfit(path, f"holds {type(content).__name__}", "names and tensors")
    state: dict[str, Tensor] = {}
    strangers = []
    for key, value in content.items():
        if key in TRAINER_ENTRIES:
            continue
        if not isinstance(key, str) or not isinstance(value, Tensor):
            strangers.append(f"{printable(str(key), 60)} is {type(value).__name__}")
            continue
        name = _official_name(key, kind)
        if name in state:
            raise _unfit(path, f"{printable(name)} is there twice", "one tensor of each name")
        state[name] = value
    if strangers:
        raise _unfit(path, _some(strangers), "tensors only")
    state.pop(LM_HEAD, None)
    if config is not None:
        require_state(state, config, kind, path)
    return state


def require_state(
    state: Mapping[str, Tensor], config: CosyVoiceConfig, kind: Kind, source: object
) -> None:
    """Raise ModelError unless names, shapes and numbers are a network's of these sizes.

    Every number is looked at: the file is read from the disk as far as it was not yet.
    """
    require_keys(state, config, kind, source)
    odd = [name for name, value in state.items() if value.dtype not in _FORMATS]
    if odd:
        dtype = str(state[odd[0]].dtype).removeprefix("torch.")
        raise _unfit(source, f"{_some(group_names(odd))}: {dtype}", "floating point numbers")
    broken = [name for name, value in state.items() if not _is_finite(value)]
    if broken:
        raise _unfit(source, f"not finite: {_some(group_names(broken))}", "finite numbers")
    flat = [name for name, value in state.items() if name.endswith(V) and _has_no_direction(value)]
    if flat:
        raise _unfit(source, f"zero: {_some(group_names(flat))}", "directions of some length")


def require_keys(
    state: Mapping[str, Tensor], config: CosyVoiceConfig, kind: Kind, source: object
) -> None:
    """Raise ModelError unless names and shapes are those of these sizes; reads no numbers."""
    expected = expected_shapes(config, kind)
    report = compare_keys(state, expected, lambda name: name == LM_HEAD)
    if report.is_fitting:
        return
    found = tell_kind(state)
    if found not in (None, kind):
        raise ModelError(
            "a file of another part was given",
            seen=f"{source}: the tensors of {found}.pt",
            allowed=f"those of {kind}.pt",
            cure="put the files back under their own names, or run: kouji pull cosyvoice3",
        )
    raise ModelError(
        "the tensors of a checkpoint do not fit the sizes of its model",
        seen=f"{source}: {report}",
        allowed=f"the {len(expected)} tensors of a {config.version} {kind}.pt of these sizes",
        cure=f"take the YAML and the weights of one release, or run: kouji pull {config.version}",
    )


def tell_kind(state: Mapping[str, Any]) -> Kind | None:
    """Which of the three files has tensors of these names; None for none of them."""
    if "speech_embedding.weight" in state:
        return "llm"
    if "input_embedding.weight" in state and "spk_embed_affine_layer.weight" in state:
        return "flow"
    return "hift" if any("m_source.l_linear" in str(name) for name in state) else None


def content_hash(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal digits; read once while size and time of it stay."""
    path = Path(path).resolve()
    try:
        facts = path.stat()
        key = (str(path), facts.st_size, facts.st_mtime_ns)
        if key not in _hashes:
            with path.open("rb") as file:
                _hashes[key] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        seen = f"{path}: {error.strerror}"
        raise ModelError("a checkpoint cannot be read", seen=seen, cure="check the path") from error
    return _hashes[key]


def _official_name(name: str, kind: Kind) -> str:
    if kind != "hift":
        return name
    name = name.replace(_TRAINED_INSIDE, "")
    for old, new in _SPELLINGS.items():
        if name.endswith(old):
            return name.removesuffix(old) + new
    return name


def _is_finite(value: Tensor) -> bool:
    # The extremes carry every NaN and infinity with them, without a mask as large as the tensor.
    low, high = torch.aminmax(value)
    return bool(torch.isfinite(low) & torch.isfinite(high))


def _has_no_direction(value: Tensor) -> bool:
    return not bool(value.flatten(1).any(dim=1).all())


def _some(names: list[str] | tuple[str, ...]) -> str:
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _unfit(source: object, seen: str, allowed: str) -> ModelError:
    return ModelError(
        "this is no checkpoint of CosyVoice",
        seen=f"{source}: {seen}",
        allowed=allowed,
        cure="get the file again, for instance with kouji pull cosyvoice3",
    )
