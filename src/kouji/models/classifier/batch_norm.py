"""BatchNorm (Ioffe and Szegedy 2015) over the whole batch, also where processes share it.

Each process holds a share; in training the sums behind mean and variance are added up over all of
them, forward and backward, so any number of processes learns what one would. The losses they
start backward from must be on one scale (`is_joint` of a training recipe). Running statistics stay
float32 in a model that is cast to half precision.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F


class BatchNorm(nn.BatchNorm2d):
    """(batch, channels, mels, frames) to the same, each channel with mean 0 and variance 1."""

    running_mean: Tensor
    running_var: Tensor

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Follow the model to its device and precision, but for the running statistics."""
        kept = self.running_mean.clone(), self.running_var.clone()
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        device = self.running_mean.device
        self.running_mean, self.running_var = (statistic.to(device) for statistic in kept)
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Normalise by the statistics of the batch in training, by the running ones else."""
        weight, bias = self.weight.float(), self.bias.float()
        if self.training and is_shared():
            normal: Tensor = self._normalise_jointly(x, weight, bias)
            return normal
        is_batch = self.training and x.numel() > x.shape[1]  # one value a channel has no variance
        momentum = self.momentum or 0.0
        return F.batch_norm(
            x, self.running_mean, self.running_var, weight, bias, is_batch, momentum, self.eps
        )

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # it talks to other processes
    def _normalise_jointly(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        # Around the running mean, so that the difference of squares below loses no digits.
        centre = self.running_mean.clone()[:, None, None]
        centred = x.float() - centre
        count = x.new_full((1,), x.numel() / x.shape[1], dtype=torch.float32)
        own = torch.cat([centred.sum((0, 2, 3)), centred.square().sum((0, 2, 3)), count])
        total = _SumOverProcesses.apply(own)  # type: ignore[no-untyped-call]
        mean, square = total[:-1].view(2, -1) / total[-1]
        variance = (square - mean.square()).clamp(min=0.0)
        with torch.no_grad():
            momentum, number = self.momentum or 0.0, total[-1]
            unbiased = variance * number / (number - 1).clamp(min=1)
            self.running_mean.lerp_(mean + centre.flatten(), momentum)
            self.running_var.lerp_(unbiased, momentum)
        scale = weight * torch.rsqrt(variance + self.eps)
        shift = bias - mean * scale
        normal: Tensor = centred * scale[:, None, None] + shift[:, None, None]
        return normal.to(x.dtype)


def is_shared() -> bool:
    """Whether several processes train on shares of one batch."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


class _SumOverProcesses(torch.autograd.Function):
    """The sum of every process's tensor; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        del ctx
        total = own.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total
