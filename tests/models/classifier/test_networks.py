"""The four networks: shapes, any number of frames, rows apart, what makes them what they are."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from kouji.models.classifier.config import ARCHITECTURES, ClassifierConfig
from kouji.models.classifier.model import make_network
from kouji.models.classifier.resnet import ResNet18

LABELS = tuple("abcde")


def config(architecture: str, **changes: object) -> ClassifierConfig:
    return ClassifierConfig.from_dict({"labels": LABELS, "architecture": architecture, **changes})


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("frames", [9, 64, 216])
def test_any_number_of_frames(architecture: str, frames: int) -> None:
    network = make_network(config(architecture, width=8)).eval()
    assert network(torch.randn(3, 1, 64, frames)).shape == (3, len(LABELS))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_rows_do_not_see_each_other(architecture: str) -> None:
    """Also while training, but for the statistics of a batch: what makes shares add up."""
    torch.manual_seed(0)
    network = make_network(config(architecture, width=8))
    network.train(architecture != "resnet18")
    for parameter in network.parameters():  # zeros at the start would hide a norm
        nn.init.normal_(parameter, std=0.2)
    mel = torch.randn(4, 1, 64, 40)
    assert torch.allclose(network(mel)[1:2], network(mel[1:2]), atol=1e-5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_last_layer_is_the_only_one_that_knows_the_labels(architecture: str) -> None:
    shapes = {n: p.shape for n, p in make_network(config(architecture)).named_parameters()}
    other = ClassifierConfig.from_dict({"labels": ("x", "y"), "architecture": architecture})
    differing = [n for n, p in make_network(other).named_parameters() if p.shape != shapes[n]]
    assert differing == ["head.weight", "head.bias"]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_parameter_learns(architecture: str) -> None:
    torch.manual_seed(0)
    network = make_network(config(architecture, width=8))
    network(torch.randn(2, 1, 64, 64)).square().sum().backward()
    silent = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_resnet_is_resnet_18() -> None:
    network = ResNet18(config("resnet18"))
    assert [block.conv2.out_channels for block in network.blocks] == [
        64, 64, 128, 128, 256, 256, 512, 512,
    ]  # fmt: skip
    weighted = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    shortcuts = [m for m in weighted if isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1)]
    assert len(weighted) - len(shortcuts) == 18


@pytest.mark.parametrize("architecture", ["convnext", "tdnn"])
def test_the_small_ones_fit_into_six_megabytes(architecture: str) -> None:
    count = sum(p.numel() for p in make_network(config(architecture)).parameters())
    assert 2 * count < 6e6


def test_baseline_at_64_by_64_is_not_pooled_further() -> None:
    network = make_network(config("two-conv"))
    body = network.body(torch.randn(1, 1, 64, 64))
    assert torch.equal(network.pool(body), body)
