"""A vocoder checkpoint's tensors as our networks hold them: folded, laid out, checked."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from kouji.models.cosyvoice.config import HiftConfig
from kouji.models.cosyvoice.files.keys import G, V, expected_hift, require_tensors
from kouji.models.cosyvoice.vocoder.hift_body import Body
from kouji.models.cosyvoice.vocoder.hift_f0 import F0Predictor
from kouji.models.cosyvoice.vocoder.hift_source import HarmonicSource
from kouji.models.unfilled import without_initial_values

_LEAST_ALPHA = 1e-6


class HiftNetworks(nn.Module):
    """The three networks of one checkpoint, without gradients."""

    def __init__(self, config: HiftConfig) -> None:
        super().__init__()
        self.f0_predictor = F0Predictor(config)
        self.m_source = HarmonicSource(config)
        self.body = Body(config)

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        return sum(value.nbytes for value in self.state_dict().values())


def load_hift(config: HiftConfig, state: Mapping[str, Tensor]) -> HiftNetworks:
    """Networks of a checkpoint: version 3's f0 predictor in float64, all else float32, on the CPU.

    raises: ModelError naming what is missing, unknown or of another shape
    """
    require_tensors(state, expected_hift(config), "hift.pt")
    folded = fold_snakes(fold_weight_norm(state))
    with without_initial_values():
        networks = HiftNetworks(config)
    if config.version == "cosyvoice3":
        networks.f0_predictor.double()
    own = {}
    for stem, module in networks.named_modules():
        for ending, empty in module.named_parameters(recurse=False):
            name = _official_stem(stem)
            value = folded[f"{name}.{ending}"]
            convert = getattr(module, "from_official", None)
            if ending == "weight" and convert is not None:
                value = convert(value.reshape(module.official_shape))
            own[f"{stem}.{ending}"] = value.to(empty.dtype)
    for name in own:  # the mean over blocks, see `hift_body`
        is_behind_blocks = name.startswith(("body.ups", "body.conv_post"))
        if is_behind_blocks and name.endswith(".weight") and name != "body.ups.0.weight":
            own[name] = own[name] / len(config.resblock_kernels)
    networks.load_state_dict(own, assign=True)  # a copy would lose the layout of convolutions
    return networks.requires_grad_(False).eval()


def fold_weight_norm(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Replace each length and direction by their weight, in float64.

    weight = g * v / |v|, the norm over all axes but the first.
    """
    folded = {}
    for name, value in weights.items():
        if name.endswith(f".{G}"):
            continue
        if name.endswith(f".{V}"):
            stem, direction = name.removesuffix(f".{V}"), value.double()
            norm = direction.flatten(1).norm(dim=1).reshape(-1, 1, 1)
            name, value = f"{stem}.weight", weights[f"{stem}.{G}"].double() * direction / norm
        folded[name] = value.double()
    return folded


def fold_snakes(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Move the factors of Snakes into the convolutions beside them, see `hift_body`.

    A pair's first convolution takes in alpha1 times what it did and gives out alpha2 times; its
    second takes that in. Official code adds 1e-9 where it divides; a smaller alpha counts as
    `_LEAST_ALPHA`, which no ear or float32 tells from a straight line.
    """
    folded = dict(weights)
    for name, given in weights.items():
        stem, half, rest = name.rpartition(".activations1.")
        if not half:
            continue
        number = rest.removesuffix(".alpha")
        first, second = f"{stem}.convs1.{number}", f"{stem}.convs2.{number}"
        taken = _away_from_zero(given)
        inner = _away_from_zero(folded.pop(f"{stem}.activations2.{number}.alpha"))
        folded[name] = taken
        folded[f"{first}.weight"] = (
            weights[f"{first}.weight"] / taken[:, None] * inner[:, None, None]
        )
        folded[f"{first}.bias"] = weights[f"{first}.bias"] * inner
        folded[f"{second}.weight"] = weights[f"{second}.weight"] / inner[:, None]
    return folded


def _away_from_zero(alpha: Tensor) -> Tensor:
    least = torch.full_like(alpha, _LEAST_ALPHA)
    return torch.where(alpha.abs() < _LEAST_ALPHA, torch.copysign(least, alpha), alpha)


def _official_stem(own: str) -> str:
    """f0_predictor.layers.1 is their f0_predictor.condnet.2; all else but `body` is named alike."""
    parts = own.removeprefix("body.").split(".")
    if parts[:2] == ["f0_predictor", "layers"]:
        parts = ["f0_predictor", "condnet", str(2 * int(parts[2]))]
    return ".".join(parts)


def body_dtype(precision: str) -> torch.dtype:
    """The dtype of a precision; int8 is for the language model, so the body stays in bfloat16."""
    return torch.bfloat16 if precision == "int8" else getattr(torch, precision)
