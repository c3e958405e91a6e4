"""Which numbers the network computes with while the optimiser keeps float32.

Half precision casts a working copy of the model once and keeps float32 masters, instead of
autocast, which spent a quarter of a CPU step in casts. An `Update` is one optimiser with its
parameters: it gathers gradients over passes and processes, clips, steps, and skips a step whose
gradients are not finite without asking the device (no synchronisation on CUDA).
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from kouji.errors import TrainingError
from kouji.train.distributed import World

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Weights:
    """The float32 `master` model and the `working` model the loss is computed with.

    They are one object in float32; otherwise, or when the master is kept on the CPU
    (`is_offloaded`), `working` is a cast copy on the model's device, buffers included.
    """

    def __init__(self, model: nn.Module, precision: str, *, is_offloaded: bool = False) -> None:
        self.dtype = DTYPES[precision]
        self.master = model
        self.is_split = is_offloaded or self.dtype is not torch.float32
        self.working = copy.deepcopy(model).to(self.dtype) if self.is_split else model
        if self.is_split:
            model.zero_grad(set_to_none=True)
        if is_offloaded:
            for param in model.parameters():
                param.data = offloaded(param.data)
            model.to("cpu")  # buffers

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
        return moved_batch(batch, device, self.dtype, keep_float32)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Surrounds every use of the working model in training."""
        yield

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Surrounds every other use; the working model is whole anyhow."""
        yield

    def working_bytes(self) -> int:
        """Of the working parameters."""
        return num_bytes(self.working.parameters())

    def state_dict(self) -> dict[str, Tensor]:
        """The float32 weights by name."""
        self.collect_buffers()
        return dict(self.master.state_dict())

    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        """Take over weights whose names and shapes fit."""
        self.master.load_state_dict(saved)
        self.publish()


def moved_batch(
    batch: dict[str, Any], device: torch.device, dtype: torch.dtype, keep: Collection[str]
) -> dict[str, Any]:
    """The batch on the device, floating tensors in `dtype` unless their names are in `keep`."""
    moved: dict[str, Any] = {}
    for name, value in batch.items():
        if isinstance(value, Tensor):
            is_cast = value.is_floating_point() and name not in keep
            kind = dtype if is_cast else value.dtype
            value = value.to(device=device, dtype=kind, non_blocking=True)
        moved[name] = value
    return moved


def offloaded(tensor: Tensor) -> Tensor:
    """`tensor` on the CPU, pinned where there is an accelerator to reach it."""
    moved = tensor.to("cpu")
    return moved.pin_memory() if torch.cuda.is_available() else moved


def num_bytes(tensors: Iterable[Tensor]) -> int:
    """Of the elements of all tensors."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@dataclass(frozen=True)
class MemoryBytes:
    """Bytes one process holds for an update; of gradients, the most at any time so far.

    masters: float32 weights the optimiser steps (in float32 on one process: the weights themselves)
    """

    masters: int
    gradients: int
    moments: int


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
        weights: Any,
        scaler: torch.amp.GradScaler,
        world: World,
        clip_norm: float,
        *,
        is_only: bool = True,
        is_joint: bool = False,
    ) -> None:
        """is_joint: the loss of one process reaches into the others, so all keep one scale."""
        self.optimizer, self.scaler, self.world, self.clip_norm = (
            optimizer,
            scaler,
            world,
            clip_norm,
        )
        self._weights, self._is_only, self._is_joint = weights, is_only, is_joint
        self.masters, self.working = self._find_params()
        self._grad_bytes = 0
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self._kept_grads: list[Tensor | None] = [None] * len(self.masters)
        self.zero()

    def _find_params(self) -> tuple[list[Tensor], list[Tensor]]:
        """What the optimiser steps, and what the loss is computed with."""
        masters = [p for group in self.optimizer.param_groups for p in group["params"]]
        pairs = zip(
            self._weights.master.parameters(), self._weights.working.parameters(), strict=True
        )
        working = {id(master): used for master, used in pairs}
        return masters, [working[id(p)] for p in masters]

    def zero(self) -> None:
        """Forget gathered gradients."""
        self._passes = 0
        self._gathered: Tensor | None = None  # (2,) sums of loss x weight and of weight
        self._reference: Tensor | None = None
        for param in [*self.working, *self.masters]:
            param.grad = None

    def backward(self, loss: Tensor, weight: float | Tensor) -> None:
        """Add the gradients of a mean `loss` over `weight` units (frames, examples).

        Weights are taken relative to the first pass, so float16 does not overflow, or as they are
        where losses reach over processes.
        """
        heft = torch.as_tensor(weight, dtype=torch.float32, device=loss.device).detach()
        loss = loss.float()
        gathered = torch.stack((loss.detach() * heft, heft))
        if self._reference is None or self._gathered is None:
            reference = torch.ones_like(heft) if self._is_joint else heft.clamp_min(1e-6)
            self._reference, self._gathered, self._passes = reference, gathered, 1
        else:
            self._gathered, self._passes = self._gathered + gathered, self._passes + 1
        share = heft / self._reference
        scaled = self.scaler.scale(loss * share)
        self._begin_pass()
        scaled.backward(inputs=None if self._is_only else self.working)  # type: ignore[no-untyped-call]
        self._end_pass()

    def skip_pass(self) -> None:
        """This process has no examples of a pass that others may have."""

    def _begin_pass(self) -> None:
        """Before a backward pass."""

    def _end_pass(self) -> None:
        """After a backward pass."""
        if not self._grad_bytes:
            self._grad_bytes = num_bytes(p.grad for p in self.working if p.grad is not None)
            if self._weights.is_split:
                self._grad_bytes += num_bytes(self.masters)
        if self._weights.is_split:
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
                if kept is None:
                    kept = self._kept_grads[place] = torch.empty_like(
                        master, pin_memory=master.is_pinned()
                    )
                master.grad = kept.copy_(used.grad)
            used.grad = None

    @torch.no_grad()
    def apply(self, factor: float) -> Applied:
        """Average the gradients over all passes and processes, clip, step at lr x factor."""
        grads = self._averaged()
        norm = self._norm(grads)
        if self.clip_norm:
            torch.nn.utils.clip_grads_with_norm_(self.masters, self.clip_norm, norm)
        loss_sum, weight = self._total.unbind()
        is_finite = torch.isfinite(norm) & torch.isfinite(loss_sum)
        is_empty = weight == 0
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor
        self._step(is_finite & ~is_empty)
        self._publish()
        self.zero()
        return Applied(loss_sum / weight, norm, is_finite, is_empty)

    def _norm(self, grads: list[Tensor]) -> Tensor:
        return torch.nn.utils.get_total_norm(grads)

    def _publish(self) -> None:
        """Bring the masters to the working copy."""
        if self._weights.is_split:
            torch._foreach_copy_(self.working, self.masters)

    def _averaged(self) -> list[Tensor]:
        """Gradients summed over processes and divided by the total weight; sets `_total`."""
        device = self.masters[0].device
        for param in self.masters:
            if param.grad is None:
                param.grad = torch.zeros_like(param)
        grads = [param.grad for param in self.masters if param.grad is not None]
        # Already its own mean?
        is_plain = self.world.size == 1 and self._passes == 1 and not self._is_joint
        own = torch.zeros(2, device=device) if self._gathered is None else self._gathered
        reference = torch.ones((), device=device) if self._reference is None else self._reference
        reference = reference.to(device)
        self._total = self.world.sum_(own.clone()).to(device)
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

    # --- saving

    def state_dict(self) -> dict[str, Any]:
        """Moments by parameter, as torch numbers them."""
        return dict(self.optimizer.state_dict())

    def load_state_dict(self, saved: Any, source: str) -> None:
        """Take over moments, not hyperparameters: those may be changed between two runs."""
        groups = self.optimizer.param_groups
        hyper = [{k: v for k, v in g.items() if k != "params"} for g in groups]
        try:
            self.optimizer.load_state_dict(saved)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise TrainingError(f"{source} was written by another optimiser", seen=error) from error
        for group, values in zip(self.optimizer.param_groups, hyper, strict=True):
            group.update(values)

    def memory_bytes(self) -> MemoryBytes:
        """What this process holds for the update."""
        states = self.optimizer.state.values()
        moments = num_bytes(v for s in states for v in s.values() if isinstance(v, Tensor))
        return MemoryBytes(num_bytes(self.masters), self._grad_bytes, moments)
