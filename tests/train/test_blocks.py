"""Blocks are found by structure: in every recipe's kind of network, never overlapping."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from kouji.models.layers.shift_block import ShiftBlock, ShiftStack
from kouji.models.mini.config import MiniConfig
from kouji.models.recogniser import Recogniser, RecogniserConfig
from kouji.train.blocks import find_blocks
from kouji.train.mini_acoustic import AcousticTrainer
from kouji.train.mini_sharpen import SharpenTrainer
from kouji.train.mini_vocoder_sharpen import JudgedVocoder


class Residual(nn.Module):
    """A block of a ResNet, with a Sequential inside that is not another block."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels // stride, channels, 3, stride, 1)
        self.norm = nn.BatchNorm2d(channels)
        self.shortcut = nn.Sequential(
            nn.Conv2d(channels // stride, channels, 1, stride), nn.BatchNorm2d(channels)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + torch.relu(self.norm(self.first(x)))


class Tied(nn.Module):
    """Layers of which two hold the same weight as something else does."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.ReLU()) for _ in range(3))
        self.layers[1][0].weight = self.layers[0][0].weight
        self.repeated = nn.ModuleList([self.layers[2]])


def names(model: nn.Module) -> list[str]:
    found = find_blocks(model)
    modules = dict(model.named_modules())
    assert all(modules[name] is module for name, module in found)
    inside = [id(module) for _, block in found for module in block.modules()]
    assert len(inside) == len(set(inside)), "blocks overlap"
    return [name for name, _ in found]


def share(model: nn.Module) -> float:
    held = sum(p.numel() for _, block in find_blocks(model) for p in block.parameters())
    return held / sum(p.numel() for p in model.parameters())


def test_mini_and_the_recogniser_are_mostly_blocks() -> None:
    config = MiniConfig(prosody_width=128)
    models = (
        AcousticTrainer(MiniConfig(), 4),
        SharpenTrainer(config, 4),
        JudgedVocoder(MiniConfig(), 16),
        Recogniser(RecogniserConfig()),
    )
    for model in models:
        assert share(model) > 0.9, type(model).__name__
        assert sum(isinstance(m, ShiftBlock) for _, m in find_blocks(model)) == sum(
            isinstance(m, ShiftBlock) for m in model.modules()
        )
    assert names(models[2])[-3:] == ["critics.0", "critics.1", "critics.2"]


def test_resnet_gives_its_residual_blocks_not_its_stages() -> None:
    stages = [
        nn.Sequential(Residual(8 * wide, 2 if wide > 1 else 1), Residual(8 * wide, 1))
        for wide in (1, 2, 4, 8, 16, 32)
    ]
    listed = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Sequential(*stages), nn.Linear(256, 10))
    assert names(listed) == [f"1.{stage}.{block}" for stage in range(6) for block in range(2)]
    # The first ones hold a thousandth of the weights, but as much of the activations as any.
    assert sum(p.numel() for p in stages[0][0].parameters()) < 0.002 * sum(
        p.numel() for p in listed.parameters()
    )


def test_transformer_layers_are_blocks_and_single_layers_are_not() -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
    model = nn.Sequential(nn.Embedding(50, 16), encoder, nn.Linear(16, 50))
    assert names(model) == [f"1.layers.{number}" for number in range(3)]
    assert names(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))) == []
    assert names(nn.Linear(4, 4)) == []
    normed = nn.ModuleList(nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)) for _ in "ab")
    assert names(normed) == []


def test_a_mixture_is_one_block_however_many_experts_it_holds() -> None:
    def expert() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))

    layers = [nn.ModuleDict({"experts": nn.ModuleList([expert(), expert()])}) for _ in range(2)]
    assert names(nn.ModuleList(layers)) == ["0", "1"]


def test_shared_parameters_keep_a_module_from_being_a_block() -> None:
    assert names(Tied()) == ["layers.2"]  # its second place is the same module


def test_lists_of_lists_and_light_extras() -> None:
    stacks = nn.ModuleList(
        nn.ModuleList(ShiftStack(16, 32, (1, 2)).blocks for _ in range(2)) for _ in range(2)
    )
    small = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    model = nn.ModuleDict({"stacks": stacks, "gates": nn.ModuleList([small])})
    assert names(model) == [f"stacks.{a}.{b}.{c}" for a in (0, 1) for b in (0, 1) for c in (0, 1)]
