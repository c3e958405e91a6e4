"""Which families there are: from a name or a folder to a loaded one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kouji.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from kouji.models.family import Family
    from kouji.models.precision import DeviceFacts, Precision

NAMES = ("mini", "gpt-sovits", "cosyvoice")
# Under a family's name goes the best of its models that was pulled.
_BEST_FIRST = {
    "gpt-sovits": tuple(f"gpt-sovits-{v}" for v in ("v2proplus", "v2pro", "v2", "v1")),
    "cosyvoice": ("cosyvoice3-rl", "cosyvoice3", "cosyvoice2"),
}
_CURES = {
    "sovits": "fetch it with: kouji pull gpt-sovits-v2proplus",
    "cosy": "fetch it with: kouji pull cosyvoice3",
}
DEFAULT_WEIGHTS_BYTES = 4 << 30
_log = logging.getLogger(__name__)


def open_family(
    model: str,
    *,
    home: Path,
    precision: str | None = None,
    device: str | None = None,
    threads: int | None = None,
    weights_bytes: int = DEFAULT_WEIGHTS_BYTES,
    is_compat: bool = False,
    compile_renderer: Callable[[str], Callable[[Any], Any]] | None = None,
    memory_of: Callable[[str], int] | None = None,
) -> Family:
    """Load a family; arguments as `kouji.load`.

    home:   where `kouji pull` puts models
    weights_bytes: kept in memory at most where voices bring weights of their own
    is_compat: CosyVoice exactly as its official code, oddities included
    compile_renderer: of a device by its name: makes a pure function of tensors faster
    memory_of: of a device by its name: bytes it has, for what streams keep
    raises: UsageError for an unknown name, ModelError for damaged files, ConfigError
    """
    folder = _folder_of(model, home)
    import torch

    from kouji.models.precision import choose_precision, read_device_facts

    if threads:
        torch.set_num_threads(threads)
    if device in (None, "auto"):
        device = "cuda" if torch.cuda.is_available() else "cpu"
    facts = read_device_facts(str(device))
    if folder is None or is_mini(folder):
        choice = choose_precision(facts, precision)
        _log.info("%s on %s in %s: %s", model, device, choice.precision, choice.reason)
        return _open_mini(folder, choice.precision, str(device))
    from kouji.models.decode_precision import choose_decode_precision

    decode = choose_decode_precision(facts, precision)
    _log.info("%s decodes on %s in %s: %s", model, device, decode.precision, decode.reason)
    if is_cosyvoice(folder):
        from kouji.models.cosyvoice.family import open_cosyvoice

        return open_cosyvoice(
            folder,
            decode=decode.precision,
            render=wide_precision(decode.precision),
            device=str(device),
            is_compat=is_compat,
            compile_renderer=compile_renderer(str(device)) if compile_renderer else None,
            device_bytes=memory_of(str(device)) if memory_of else None,
        )
    from kouji.models.gpt_sovits.family import open_gpt_sovits

    return open_gpt_sovits(
        folder,
        decode=decode.precision,
        render=_render_precision(facts, decode.precision, is_asked=precision is not None),
        device=str(device),
        weights_bytes=weights_bytes,
        shared=sorted(home.glob("models/gpt-sovits-*")),
        compile_renderer=compile_renderer(str(device)) if compile_renderer else None,
    )


def _open_mini(folder: Path | None, precision: Precision, device: str) -> Family:
    from kouji.models.mini.family import MiniFamily
    from kouji.models.mini.weights import SHIPPED, load_checkpoint

    if precision == "int8":
        allowed = "float32, bfloat16, float16"
        raise ConfigError("mini has no decode stage for int8", seen="int8", allowed=allowed)
    return MiniFamily(load_checkpoint(folder or SHIPPED), precision=precision, device=device)


def _render_precision(facts: DeviceFacts, decode: Precision, *, is_asked: bool) -> Precision:
    """Only tokens are decoded in int8: what renders is bound by arithmetic, not by weights.

    Where bfloat16 was measured and lost, although the CPU claims it, it is not used here either.
    """
    if decode != "int8":
        return decode
    claims = facts.has_amx or facts.has_avx512_bf16
    return "bfloat16" if claims and is_asked else "float32"


def wide_precision(decode: Precision) -> Precision:
    """What a flow computes in beside int8 decode weights: many rows are bound by arithmetic."""
    if decode != "int8":
        return decode
    import torch

    from kouji.models.layers.packed_linear import wide_dtype

    return "bfloat16" if wide_dtype() == torch.bfloat16 else "float32"


def is_cosyvoice(folder: Path) -> bool:
    """True for a model directory of CosyVoice, of any version, or its language model's file."""
    from kouji.models.cosyvoice.files.directory import is_model

    return is_model(folder)


def is_mini(folder: Path) -> bool:
    """True if a folder holds a checkpoint of `mini` (or an attempt at one)."""
    from kouji.models.mini.weights import CONFIG_FILE, WEIGHTS_FILE

    return (folder / WEIGHTS_FILE).is_file() or (folder / CONFIG_FILE).is_file()


def _folder_of(model: str, home: Path) -> Path | None:
    """Where a model's files lie; None for those that come with the package."""
    if model == "mini":
        return None
    path = Path(model).expanduser()
    for folder in (path, home / "models" / model):
        if folder.is_dir():
            return folder
    if path.suffix == ".pt" and path.is_file():  # a language model of CosyVoice, in its folder
        return path
    pulled = sorted(path.name for path in (home / "models").glob("*/") if path.name[0] != ".")
    mine = [name for name in _BEST_FIRST.get(model, ()) if name in pulled]
    if mine:
        return home / "models" / mine[0]
    raise UsageError(
        "unknown model, or one that is not on this machine",
        seen=model,
        allowed=f"{', '.join((*NAMES, *pulled))}, or a folder",
        cure=next((cure for part, cure in _CURES.items() if part in model.lower()), None),
    )
