"""A SoVITS checkpoint's tensors as our networks hold them: folded, renamed, laid out, checked.

Strict: what the sizes call for must be there, and nothing else but what only training uses.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from kouji.models.gpt_sovits.config import SoVITSConfig
from kouji.models.gpt_sovits.keys import is_training_only, require_keys
from kouji.models.layers.time_conv import TimeConv, UpsamplingConv

_CODEBOOK = "quantizer.vq.layers.0._codebook."


def fold_weight_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each `weight_g` and `weight_v` by their `weight`, in float32.

    weight = g * v / |v|, the norm over all axes but the first.
    """
    folded = {}
    for name, value in weights.items():
        stem, _, ending = name.rpartition(".")
        if is_training_only(name) or (ending == "weight_g" and f"{stem}.weight_v" in weights):
            continue
        if ending == "weight_v" and f"{stem}.weight_g" in weights:
            gain, direction = weights[f"{stem}.weight_g"].float(), value.float()
            norm = direction.flatten(1).norm(dim=1).reshape(-1, *[1] * (direction.ndim - 1))
            name, value = f"{stem}.weight", gain.reshape(norm.shape) * direction / norm
        folded[name] = value.float()
    return folded


def own_state(
    networks: nn.Module, config: SoVITSConfig, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Official tensors under our names and in our layouts.

    networks: an empty `SoVITS` of these sizes
    weights:  without weight norm
    raises:   ModelError naming what is missing, unknown or of another shape
    """
    modules = dict(networks.named_modules())
    wanted = {}
    for own, empty in networks.state_dict().items():
        stem, _, ending = own.rpartition(".")
        module = modules[stem] if ending == "weight" else None
        convolution = module if isinstance(module, TimeConv | UpsamplingConv) else None
        shape = tuple(empty.shape) if convolution is None else convolution.official_shape
        wanted[own] = (official_name(own, config), shape, convolution)
    # Axes of length one do not count: a linear layer may be stored as a convolution.
    shapes = {
        name: tuple(size for size in shape if size != 1) for name, shape, _ in wanted.values()
    }
    require_keys({name: each.squeeze() for name, each in weights.items()}, shapes, "SoVITS weights")
    state = {}
    for own, (name, shape, convolution) in wanted.items():
        value = weights[name].reshape(shape)
        state[own] = value if convolution is None else convolution.from_official(value)
    blocks = len(config.resblock_kernels)
    for own in state:  # the mean over blocks, see `generator`
        is_behind_blocks = own == "dec.conv_post.weight" or own.endswith(".up.weight")
        if is_behind_blocks and own != "dec.stages.0.up.weight":
            state[own] = state[own] / blocks
    return state


def official_name(own: str, config: SoVITSConfig) -> str:
    """The name of one of our parameters in a checkpoint."""
    parts = own.split(".")
    if parts[:2] == ["dec", "stages"]:
        stage, rest = int(parts[2]), parts[3:]
        if rest[0] == "up":
            return ".".join(["dec.ups", str(stage), *rest[1:]])
        block = stage * len(config.resblock_kernels) + int(rest[1])
        return ".".join(["dec.resblocks", str(block), *rest[2:]])
    moved = {
        "quantizer.project_weight": "ssl_proj.weight",
        "quantizer.project_bias": "ssl_proj.bias",
        "quantizer.embed": f"{_CODEBOOK}embed",
        "speaker.slope": "prelu.weight",
    }
    return moved.get(own, own.removeprefix("speaker."))
