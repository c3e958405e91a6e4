"""A running average of the weights, smoother than the weights themselves.

Averaging every few steps with decay ** steps costs a fraction of averaging at each step (both are
bound by memory) and ends within a percent of the same place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Ema:
    """Averages of a model's parameters in float32; buffers are taken from the model as they are."""

    def __init__(
        self,
        model: nn.Module,
        decay: float,
        every: int,
        params: Sequence[Tensor] | None = None,
    ) -> None:
        """params: what is averaged in place of the model's parameters (slices of them)."""
        self.model, self.decay, self.every = model, decay, every
        self._params: list[Tensor] = list(model.parameters()) if params is None else list(params)
        self._averages = [param.detach().clone() for param in self._params]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Call after each step (0-based); the decay is lower early on, to forget the start."""
        if (step + 1) % self.every:
            return
        decay = min(self.decay, (1 + step) / (10 + step)) ** self.every
        torch._foreach_lerp_(self._averages, self._params, 1.0 - decay)

    def num_bytes(self) -> int:
        """Of the averages kept here."""
        return sum(average.numel() * average.element_size() for average in self._averages)

    def state_dict(self) -> dict[str, Tensor]:
        """Like the model's own state dict with the averages in place of the parameters."""
        by_id = {id(p): average for p, average in zip(self._params, self._averages, strict=True)}
        state = self.model.state_dict(keep_vars=True)
        return {name: by_id.get(id(value), value.detach()) for name, value in state.items()}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take averages saved by `state_dict` (names already checked against the model)."""
        by_id = {id(p): average for p, average in zip(self._params, self._averages, strict=True)}
        for name, value in self.model.state_dict(keep_vars=True).items():
            if id(value) in by_id:
                by_id[id(value)].copy_(state[name])

    @contextmanager
    def applied_to(self, model: nn.Module, /) -> Iterator[None]:
        """Within the context `model` (a cast copy, or the model itself) holds the averages."""
        params = [param.detach() for param in model.parameters()]
        kept = [param.clone() for param in params]
        torch._foreach_copy_(params, self._averages)
        try:
            yield
        finally:
            torch._foreach_copy_(params, kept)
