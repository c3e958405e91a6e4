"""A SoVITS checkpoint's tensors as our networks hold them: folded, renamed, laid out, checked.

Strict: what the sizes call for must be there, and nothing else but what only training uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from kouji.errors import ModelError
from kouji.models.gpt_sovits.config import SoVITSConfig
from kouji.models.layers.time_conv import TimeConv, UpsamplingConv

_CODEBOOK = "quantizer.vq.layers.0._codebook."
IGNORED = ("enc_q.", *(f"{_CODEBOOK}{name}" for name in ("inited", "cluster_size", "embed_avg")))


def version_of(weights: Mapping[str, Tensor]) -> str:
    """Tell the version by content: what the tensors show and nothing else."""
    if "sv_emb.weight" in weights:
        first = weights.get("dec.conv_pre.weight")
        return "v2ProPlus" if first is not None and first.shape[0] > 512 else "v2Pro"
    table = weights.get("enc_p.text_embedding.weight")
    return "v1" if table is not None and table.shape[0] < 732 else "v2"


def fold_weight_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each `weight_g` and `weight_v` by their `weight`, in float32.

    weight = g * v / |v|, the norm over all axes but the first.
    """
    folded = {}
    for name, value in weights.items():
        stem, _, ending = name.rpartition(".")
        if name.startswith(IGNORED) or (ending == "weight_g" and f"{stem}.weight_v" in weights):
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
    _check_names({entry[0]: entry[1] for entry in wanted.values()}, weights)
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


def _check_names(wanted: Mapping[str, Sequence[int]], weights: Mapping[str, Tensor]) -> None:
    missing = sorted(wanted.keys() - weights)
    unknown = sorted(weights.keys() - wanted)
    shapes = [
        f"{name} {tuple(weights[name].shape)} instead of {tuple(shape)}"
        for name, shape in wanted.items()
        if name in weights and not _fits(weights[name].shape, shape)
    ]
    if not (missing or unknown or shapes):
        return
    found = {"missing": missing, "unknown": unknown, "other shapes": shapes}
    seen = "; ".join(
        f"{len(some)} {what}: {', '.join(some[:4])}" for what, some in found.items() if some
    )
    raise ModelError(
        "a SoVITS checkpoint does not fit its config",
        seen=seen,
        allowed="exactly the tensors of v1, v2, v2Pro or v2ProPlus",
        cure="check which version the file is, or fetch an official one with kouji pull",
    )


def _fits(seen: Sequence[int], wanted: Sequence[int]) -> bool:
    """Equal but for axes of length one: a linear layer may be stored as a convolution."""
    return [size for size in seen if size != 1] == [size for size in wanted if size != 1]
