"""Which numbers the network computes with while the optimiser keeps float32.

Half precision casts a working copy of the model once and keeps float32 masters, instead of
autocast, which spent a quarter of a CPU step in casts. An `Update` is one optimiser with its
parameters: it gathers gradients over passes and processes, clips, steps, and skips a step whose
gradients are not finite without asking the device (no synchronisation on CUDA).
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kouji.train.distributed import World

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Weights:
    """The float32 `master` model and the `working` model the loss is computed with.

    They are one object in float32; otherwise `working` is a cast copy, buffers included.
    """

    def __init__(self, model: nn.Module, precision: str) -> None:
        self.dtype = DTYPES[precision]
        self.master = model
        self.is_split = self.dtype is not torch.float32
        self.working = copy.deepcopy(model).to(self.dtype) if self.is_split else model
        if self.is_split:
            model.zero_grad(set_to_none=True)

    @torch.no_grad()
    def publish(self) -> None:
        """Copy all masters, buffers included, to the working model (after loading)."""
        if self.is_split:
            self.working.load_state_dict(self.master.state_dict())

    @torch.no_grad()
    def collect_buffers(self) -> None:
        """Bring buffers that training moved (running statistics) to the master (before saving)."""
        if self.is_split:
            for kept, used in zip(self.master.buffers(), self.working.buffers(), strict=True):
                kept.copy_(used)

    def cast(
        self, batch: dict[str, Any], device: torch.device, keep_float32: Collection[str]
    ) -> dict[str, Any]:
        """The batch on the device, floating tensors in the working precision unless named."""
        moved: dict[str, Any] = {}
        for name, value in batch.items():
            if isinstance(value, Tensor):
                halve = value.is_floating_point() and name not in keep_float32
                dtype = self.dtype if halve else value.dtype
                value = value.to(device=device, dtype=dtype, non_blocking=True)
            moved[name] = value
        return moved


@dataclass(frozen=True)
class Applied:
    """What one update did over all processes, as 0-dim tensors on the device.

    loss: weighted mean; norm: of the gradients before clipping; is_empty: nothing was gathered.
    """

    loss: Tensor
    norm: Tensor
    is_finite: Tensor
    is_empty: Tensor
    was_left_out: bool = False  # known to the host: no optimiser was asked

    @classmethod
    def left_out(cls, device: torch.device) -> Applied:
        """The outcome of a batch without usable clips."""
        zero = torch.zeros((), device=device)
        return cls(zero, zero, zero, zero + 1, was_left_out=True)


class Update:
    """One optimiser: `backward` any number of times, then `apply` once."""

    def __init__(
        self,
        optimizer: Optimizer,
        weights: Weights,
        scaler: torch.amp.GradScaler,
        world: World,
        clip_norm: float,
        *,
        is_only: bool = True,
    ) -> None:
        self.optimizer, self.scaler, self.world, self.clip_norm = (
            optimizer,
            scaler,
            world,
            clip_norm,
        )
        self.masters: list[Tensor] = [p for g in optimizer.param_groups for p in g["params"]]
        working = dict(
            zip(map(id, weights.master.parameters()), weights.working.parameters(), strict=True)
        )
        self.working: list[Tensor] = [working[id(p)] for p in self.masters]
        self._is_split, self._is_only = weights.is_split, is_only
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self._kept_grads: list[Tensor | None] = [None] * len(self.masters)
        self.zero()

    def zero(self) -> None:
        """Forget gathered gradients."""
        self._passes = 0
        self._gathered: Tensor | None = None  # (2,) sums of loss x weight and of weight
        self._reference: Tensor | None = None
        for param in [*self.working, *self.masters]:
            param.grad = None

    def backward(self, loss: Tensor, weight: float | Tensor) -> None:
        """Add the gradients of a mean `loss` over `weight` units (frames, examples).

        Weights are taken relative to the first pass, so float16 does not overflow.
        """
        heft = torch.as_tensor(weight, dtype=torch.float32, device=loss.device).detach()
        loss = loss.float()
        gathered = torch.stack((loss.detach() * heft, heft))
        if self._reference is None or self._gathered is None:
            self._reference, self._gathered, self._passes = heft.clamp_min(1e-6), gathered, 1
        else:
            self._gathered, self._passes = self._gathered + gathered, self._passes + 1
        share = heft / self._reference
        scaled = self.scaler.scale(loss * share)
        scaled.backward(inputs=None if self._is_only else self.working)  # type: ignore[no-untyped-call]
        if self._is_split:
            self._pull()

    @torch.no_grad()
    def _pull(self) -> None:
        """Move the working gradients of one pass to the float32 masters.

        The master gradients are kept from step to step: fresh memory each time costs more in
        page faults than the copy itself.
        """
        for place, (master, used) in enumerate(zip(self.masters, self.working, strict=True)):
            if used.grad is None:
                continue
            if master.grad is not None:
                master.grad.add_(used.grad)
            else:
                kept = self._kept_grads[place]
                master.grad = used.grad.float() if kept is None else kept.copy_(used.grad)
                self._kept_grads[place] = master.grad
            used.grad = None

    @torch.no_grad()
    def apply(self, factor: float) -> Applied:
        """Average the gradients over all passes and processes, clip, step at lr x factor."""
        grads = self._averaged()
        norm = torch.nn.utils.get_total_norm(grads)
        if self.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.masters, self.clip_norm, norm)
        loss_sum, weight = self._total.unbind()
        is_finite = torch.isfinite(norm) & torch.isfinite(loss_sum)
        is_empty = weight == 0
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        self._step(is_finite & ~is_empty)
        if self._is_split:
            torch._foreach_copy_(self.working, self.masters)
        self.zero()
        return Applied(loss_sum / weight, norm, is_finite, is_empty)

    def _averaged(self) -> list[Tensor]:
        """Gradients summed over processes and divided by the total weight; sets `_total`."""
        device = self.masters[0].device
        for param in self.masters:
            if param.grad is None:
                param.grad = torch.zeros_like(param)
        grads = [param.grad for param in self.masters if param.grad is not None]
        is_plain = self.world.size == 1 and self._passes == 1  # already its own mean
        own = torch.zeros(2, device=device) if self._gathered is None else self._gathered
        reference = torch.ones((), device=device) if self._reference is None else self._reference
        self._total = self.world.sum_(own.clone())
        if self.world.size > 1:
            flat = torch.cat([grad.flatten() for grad in grads]).mul_(reference)
            self.world.sum_(flat)
            pieces = torch.split(flat, [grad.numel() for grad in grads])
            torch._foreach_copy_(grads, [p.view_as(g) for p, g in zip(pieces, grads, strict=True)])
            reference = torch.ones_like(reference)
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        if not is_plain:
            torch._foreach_mul_(grads, reference / self._total[1].clamp_min(1e-6))
        return grads

    def _step(self, is_finite: Tensor) -> None:
        if self.scaler.is_enabled():
            self.scaler.step(self.optimizer)  # looks for overflow itself
        elif getattr(self.optimizer, "_step_supports_amp_scaling", False):
            device_flags: Any = self.optimizer  # the protocol GradScaler uses for fused optimisers
            device_flags.grad_scale, device_flags.found_inf = None, (~is_finite).float()
            self.optimizer.step()
            del device_flags.grad_scale, device_flags.found_inf
        elif bool(is_finite):
            self.optimizer.step()
