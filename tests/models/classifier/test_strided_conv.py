"""Gradients of short windows in half precision are those of float32, and nothing left in memory."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.model import make_network
from kouji.models.classifier.strided_conv import StridedConv

LABELS = tuple("abcde")


def leave_rubbish(numbers: int) -> None:
    """Free memory that holds no numbers, where the next tensors will lie."""
    held = [torch.full((size,), torch.nan) for size in (numbers // 2, numbers, 2 * numbers)]
    del held


def gradients(network: nn.Module, mel: Tensor) -> dict[str, Tensor]:
    network.zero_grad(set_to_none=True)
    for parameter in network.parameters():
        leave_rubbish(parameter.numel())
    network(mel).float().square().sum().backward()
    return {n: p.grad.float() for n, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("mels", [1, 2, 5])
def test_the_gradient_in_bfloat16_is_that_in_float32(mels: int, frames: int) -> None:
    torch.manual_seed(0)
    plain = StridedConv(16, 32)
    half = StridedConv(16, 32).to(torch.bfloat16)
    half.load_state_dict(plain.state_dict())
    x = torch.randn(8, 16, mels, frames)
    wanted = gradients(plain, x)
    for _ in range(8):  # what lies in memory is chance
        found = gradients(half, x.bfloat16())
        for name, gradient in found.items():
            torch.testing.assert_close(
                gradient, wanted[name], atol=0.05 * float(wanted[name].abs().max()), rtol=0.05
            )


@pytest.mark.parametrize("architecture", ["resnet18", "convnext"])
def test_a_network_learns_from_short_windows(architecture: str) -> None:
    values = {"labels": LABELS, "architecture": architecture, "width": 16, "num_mels": 16}
    torch.manual_seed(0)
    network = make_network(ClassifierConfig.from_dict(values)).to(torch.bfloat16).train()
    mel = torch.randn(8, 1, 16, 4).bfloat16()
    norms = []
    for _ in range(20):
        found = gradients(network, mel)
        norms.append(float(torch.stack([g.double().norm() for g in found.values()]).norm()))
    assert max(norms) < 1.5 * min(norms)


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_it_is_a_plain_convolution(frames: int) -> None:
    torch.manual_seed(0)
    conv = StridedConv(4, 8, bias=False).train()
    x = torch.randn(2, 4, 5, frames)
    plain = nn.functional.conv2d(x, conv.weight, stride=2, padding=1)
    torch.testing.assert_close(conv(x), plain)
    assert list(conv.state_dict()) == ["weight"]
    assert torch.equal(conv.eval()(x), plain)
