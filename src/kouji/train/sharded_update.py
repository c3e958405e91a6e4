"""ZeRO stage 2: an optimiser of which every process steps only its own slices.

Each gradient moves into its bucket the moment it is complete and is freed; full buckets are
summed while the backward pass goes on, in an order that is the same everywhere, and each process
keeps its slice (Rajbhandari et al., 2020).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from kouji.errors import ConfigError, TrainingError
from kouji.train.distributed import World, reaching_others
from kouji.train.precision import MemoryBytes, Update, num_bytes
from kouji.train.sharded_weights import ShardedWeights
from kouji.train.sharding import Bucket, on_masters_device, start_reduce

_MOST_IN_FLIGHT = 1  # sums under way while the next bucket fills
_MOST_WHOLE = 1 / 12  # of all gradients; a sum is waited for before more of them are whole
_ELEMENTWISE = tuple("SGD Adam AdamW NAdam RAdam Adamax Adagrad RMSprop Adadelta Rprop".split())
_COUNTERS = ("step", "mu_product")  # one number a parameter; the same for all of a group


class ShardedUpdate(Update):
    """An `Update` over slices; `optimizer` is left with them in place of its parameters.

    raises: ConfigError for an optimiser that looks at more than one element at a time
    """

    def __init__(
        self,
        optimizer: Optimizer,
        weights: ShardedWeights,
        scaler: torch.amp.GradScaler,
        world: World,
        clip_norm: float,
        *,
        is_only: bool = True,
        is_joint: bool = False,
    ) -> None:
        _check_elementwise(optimizer)
        self._full_groups = [list(group["params"]) for group in optimizer.param_groups]
        state = optimizer.state_dict()["state"]  # some begin with one
        self.buckets = _split_groups(optimizer, weights)
        self._place: dict[int, tuple[Bucket, int, int]] = {
            id(param): (bucket, start, end)
            for bucket in self.buckets
            for param, (start, end) in zip(bucket.params, bucket.spans, strict=True)
        }
        self._flat: dict[int, Tensor] = {}  # by bucket: gradients of the pass under way
        self._missing: dict[int, int] = {}  # by bucket: gradients that have not come yet
        self._in_flight: deque[tuple[Any, Bucket, Tensor, Tensor]] = deque()
        self._is_open = False
        self._num_launched = 0
        self._order = list(self.buckets)  # of sums; a guess until a pass has shown it
        self._filled: list[int] = []  # buckets in the order the first pass fills them
        self._is_order_known = False
        self._spare: Tensor | None = None
        self._room = 4 * sum(bucket.num_all for bucket in self.buckets) * _MOST_WHOLE
        self._bytes = self._most_bytes = 0
        super().__init__(
            optimizer, weights, scaler, world, clip_norm, is_only=is_only, is_joint=is_joint
        )
        for param in self.working:
            param.register_post_accumulate_grad_hook(self._take)  # type: ignore[no-untyped-call]
        self._kept = [
            on_masters_device(torch.zeros_like(b.master), b.master.device) for b in self.buckets
        ]
        if state:
            self.load_state_dict({"state": state, "param_groups": self._numbered_groups()}, "")

    def _find_params(self) -> tuple[list[Tensor], list[Tensor]]:
        params = [param for bucket in self.buckets for param in bucket.params]
        return [bucket.master for bucket in self.buckets], params

    # --- a pass

    def _begin_pass(self) -> None:
        self._weights.begin_pass(self)
        self._is_open, self._num_launched = True, 0
        self._missing = {id(bucket): len(bucket.params) for bucket in self.buckets}

    def _take(self, param: Tensor) -> None:
        """Move a complete gradient to its bucket; called by autograd."""
        if not self._is_open or param.grad is None:
            return
        bucket, start, end = self._place[id(param)]
        key = id(bucket)
        if self._missing[key] <= 0:
            raise TrainingError(
                "a gradient came twice in one backward pass",
                cure="strategy ddp, or checkpointing with use_reentrant=False in the model",
            )
        grad, param.grad = param.grad, None
        flat = self._flat.get(key)
        if flat is None:
            flat = self._flat[key] = self._new_flat(bucket)
        with torch.no_grad():
            flat[start:end].view(param.shape).copy_(grad.to_dense() if grad.is_sparse else grad)
        self._most_bytes = max(self._most_bytes, self._bytes + num_bytes([grad]))
        self._missing[key] -= 1
        if not self._missing[key] and not self._is_order_known:
            self._filled.append(self.buckets.index(bucket))
        self._weights.gradient_came(param)
        if not self._weights.has_rounds:
            self.launch(self.num_ready)

    @property
    def num_ready(self) -> int:
        """How many buckets, in their fixed order, can be summed or have been."""
        count = self._num_launched
        while count < len(self._order) and not self._missing[id(self._order[count])]:
            count += 1
        return count

    @torch.no_grad()
    def launch(self, count: int) -> None:
        """Begin to sum the first `count` buckets, as far as that is not done. Collective."""
        for bucket in self._order[self._num_launched : count]:
            while len(self._in_flight) >= _MOST_IN_FLIGHT:
                self._land()
            flat = self._flat.pop(id(bucket), None)
            if flat is None:
                flat = self._new_flat(bucket)  # nobody's gradient here
            elif self._reference is not None:
                flat.mul_(self._reference)
            own = self._place_to_land(bucket, flat.device)
            work = start_reduce(own, flat, self.world)
            self._in_flight.append((work, bucket, flat, own))
            self._num_launched += 1

    def _land(self) -> None:
        """Wait for the oldest sum and add its slice to the master's gradient."""
        work, bucket, flat, own = self._in_flight.popleft()
        if work is not None:
            with reaching_others():
                work.wait()
        place = self.buckets.index(bucket)
        kept = self._kept[place]
        if bucket.master.grad is None:
            bucket.master.grad = kept if own is kept else kept.copy_(own)
        else:
            bucket.master.grad.add_(own.to(kept.device))
        self._bytes -= 0 if own is kept else num_bytes([own])
        self._drop_spare()
        self._spare = flat

    def _place_to_land(self, bucket: Bucket, device: torch.device) -> Tensor:
        """The kept gradient slice itself where nothing was added to it yet, else a new one."""
        kept = self._kept[self.buckets.index(bucket)]
        if bucket.master.grad is None and kept.device == device:
            return kept
        self._bytes += num_bytes([kept])
        return torch.empty(bucket.num_own, device=device)

    def _new_flat(self, bucket: Bucket) -> Tensor:
        """Zeros for a bucket; memory that was used before costs no page faults."""
        device = self._weights.device
        while self._in_flight and self._bytes + 4 * bucket.num_all > self._room:
            self._land()
        if self._spare is not None and self._spare.numel() == bucket.num_all:
            flat, self._spare = self._spare.zero_(), None
            return flat
        self._drop_spare()
        flat = torch.zeros(bucket.num_all, device=device)
        self._bytes += num_bytes([flat])
        self._most_bytes = max(self._most_bytes, self._bytes)
        return flat

    def _drop_spare(self) -> None:
        if self._spare is not None:
            self._bytes -= num_bytes([self._spare])
            self._spare = None

    @torch.no_grad()
    def _end_pass(self) -> None:
        for key in self._missing:
            self._missing[key] = 0  # what has not come by now has no gradient
        self._weights.finish_pass()
        self.launch(len(self.buckets))
        while self._in_flight:
            self._land()
        self._is_open = False
        if not self._is_order_known:
            self._learn_order()

    def _learn_order(self) -> None:
        """Sum from now on as buckets fill; those that stayed open, last: they hold up the others.

        Collective; some processes may have had nothing to learn from.
        """
        filled = next((seen for seen in self.world.gather(self._filled) if seen), None)
        if filled is None:
            return
        rest = [place for place in range(len(self.buckets)) if place not in filled]
        self._order = [self.buckets[place] for place in (*filled, *rest)]
        self._is_order_known = True
        self._most_bytes = 0  # of the passes to come

    def skip_pass(self) -> None:
        """Take part in the sums of a pass this process has no examples of."""
        self._begin_pass()
        self._end_pass()

    # --- the step

    def _averaged(self) -> list[Tensor]:
        device = self.masters[0].device
        for place, master in enumerate(self.masters):
            if master.grad is None:
                master.grad = self._kept[place].zero_()
        grads = [master.grad for master in self.masters if master.grad is not None]
        own = self._gathered
        if own is None:
            own = torch.zeros(2, device=self._weights.device)
        self._total = self.world.sum_(own.clone()).to(device)
        if self.scaler.is_enabled():
            self.scaler.unscale_(self.optimizer)
        torch._foreach_mul_(grads, 1 / self._total[1].clamp_min(1e-6))
        return grads

    def _norm(self, grads: list[Tensor]) -> Tensor:
        """Of all gradients: each process knows its own slices; padding is zero."""
        squares = torch.stack(torch._foreach_norm(grads)).square().sum()
        device = squares.device
        norm = self.world.sum_(squares.to(self._weights.device)).sqrt().to(device)
        if self.scaler.is_enabled():
            self._agree_on_overflow(norm)
        return norm

    def _agree_on_overflow(self, norm: Tensor) -> None:
        """A slice may be finite where another one is not: all skip the step, or none."""
        found = (~torch.isfinite(norm)).float()
        state = self.scaler._per_optimizer_states[id(self.optimizer)]
        for device, flag in state["found_inf_per_device"].items():
            flag.copy_(found.to(device))

    def _publish(self) -> None:
        self._weights.publish(self.buckets)

    # --- saving

    def _numbered_groups(self) -> list[dict[str, Any]]:
        """The optimiser's groups with the full parameters numbered as torch numbers them."""
        groups, first = [], 0
        for group, params in zip(self.optimizer.param_groups, self._full_groups, strict=True):
            hyper = {key: value for key, value in group.items() if key != "params"}
            groups.append({**hyper, "params": list(range(first, first + len(params)))})
            first += len(params)
        return groups

    def state_dict(self) -> dict[str, Any]:
        """As the unsharded optimiser's, on the CPU of process 0; others get no tensors.

        Collective.
        """
        number = {
            id(param): place
            for place, param in enumerate(p for group in self._full_groups for p in group)
        }
        state: dict[int, dict[str, Any]] = {}
        for bucket in self.buckets:
            kept = self.optimizer.state.get(bucket.master, {})
            for key in sorted(kept):
                value = kept[key]
                is_slice = isinstance(value, Tensor) and value.shape == bucket.master.shape
                parts = self._weights.whole_params(bucket, value) if is_slice else None
                for place, param in enumerate(bucket.params):
                    entry = state.setdefault(number[id(param)], {})
                    if parts is None:
                        entry[key] = value.clone() if isinstance(value, Tensor) else value
                    elif parts:
                        entry[key] = parts[place]
        return {"state": dict(sorted(state.items())), "param_groups": self._numbered_groups()}

    def load_state_dict(self, saved: Any, source: str) -> None:
        """Take over the moments of an unsharded optimiser, not its hyperparameters."""
        try:
            groups = saved["param_groups"]
            if [len(g["params"]) for g in groups] != [len(g) for g in self._full_groups]:
                raise ValueError("other groups of parameters")
            numbers = [n for group in groups for n in group["params"]]
            params = [p for group in self._full_groups for p in group]
            by_param = {
                id(param): saved["state"].get(n, {})
                for n, param in zip(numbers, params, strict=True)
            }
            state = {
                place: _cut_state(bucket, [by_param[id(p)] for p in bucket.params])
                for place, bucket in enumerate(self.buckets)
            }
            packed = self.optimizer.state_dict()["param_groups"]
            places = {id(b.master): place for place, b in enumerate(self.buckets)}
            numbering = {
                n: places[id(master)]
                for group, own in zip(packed, self.optimizer.param_groups, strict=True)
                for n, master in zip(group["params"], own["params"], strict=True)
            }
            renamed = {n: state[place] for n, place in numbering.items() if state[place]}
            self.optimizer.load_state_dict({"state": renamed, "param_groups": packed})
        except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
            raise TrainingError(f"{source} was written by another optimiser", seen=error) from error

    def memory_bytes(self) -> MemoryBytes:
        """Bytes this process holds for the update; of gradients the most, since the first pass."""
        return MemoryBytes(
            masters=num_bytes(self.masters),
            gradients=num_bytes(self._kept) + self._most_bytes,
            moments=num_bytes(
                v
                for s in self.optimizer.state.values()
                for v in s.values()
                if isinstance(v, Tensor)
            ),
        )


def _check_elementwise(optimizer: Optimizer) -> None:
    names = [cls.__name__ for cls in type(optimizer).__mro__]
    if getattr(optimizer, "is_elementwise", False) or any(name in _ELEMENTWISE for name in names):
        return
    raise ConfigError(
        "this optimiser cannot be sharded: it may look at whole matrices",
        seen=names[0],
        allowed=f"{', '.join(_ELEMENTWISE)}, or one with is_elementwise = True",
        cure="strategy: ddp",
    )


def _split_groups(optimizer: Optimizer, weights: ShardedWeights) -> list[Bucket]:
    """Put slices in place of the parameters of each group."""
    buckets: list[Bucket] = []
    for group in optimizer.param_groups:
        made = weights.shard(group["params"])
        group["params"] = [bucket.master for bucket in made]
        buckets += made
    optimizer.state.clear()
    return weights.in_order(buckets)


def _cut_state(bucket: Bucket, states: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The state of a slice out of those of the bucket's parameters."""
    own: dict[str, Any] = {}
    for key in {key: None for state in states for key in state}:
        values = [state.get(key) for state in states]
        first = next(value for value in values if value is not None)
        if key in _COUNTERS or not isinstance(first, Tensor):
            own[key] = first.clone() if isinstance(first, Tensor) else first
            continue
        for value, param in zip(values, bucket.params, strict=True):
            if value is not None and value.shape != param.shape:
                raise ValueError(f"{key} has another shape than its parameter")
        full = [
            torch.zeros(param.shape) if value is None else value
            for value, param in zip(values, bucket.params, strict=True)
        ]
        own[key] = bucket.cut(full)
    return own
