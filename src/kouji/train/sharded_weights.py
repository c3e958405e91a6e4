"""A model whose float32 masters are cut into slices, as the loop, checkpoints and average see it.

What leaves a run is always whole and named as in a run of one process, gathered piece by piece to
process 0; so a checkpoint knows nothing of strategies.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from kouji.errors import ConfigError
from kouji.train.blocks import find_blocks
from kouji.train.distributed import World
from kouji.train.ema import Ema
from kouji.train.precision import DTYPES, moved_batch
from kouji.train.sharded_blocks import Reduction, ShardedBlock, ShardedBlocks
from kouji.train.sharding import Bucket, make_buckets


class ShardedWeights:
    """`model` (float32, on any device) until `begin`; from then on in the working precision.

    First `shard` the parameters of every optimiser, then `begin`.
    """

    def __init__(
        self,
        model: nn.Module,
        precision: str,
        world: World,
        device: torch.device,
        *,
        is_offloaded: bool = False,
        has_blocks: bool = False,
    ) -> None:
        self.master = self.working = model
        self.world, self.device, self.dtype = world, device, DTYPES[precision]
        self.is_split = True
        self._master_device = torch.device("cpu") if is_offloaded else device
        self._dtypes = {name: value.dtype for name, value in model.state_dict().items()}
        self._places = {id(p): place for place, p in enumerate(model.parameters())}
        self._modules = [module for _, module in find_blocks(model)] if has_blocks else []
        self._block_of = {
            id(param): number
            for number, module in enumerate(self._modules)
            for param in module.parameters()
        }
        self._total_bytes = sum(4 * param.numel() for param in model.parameters())
        self.buckets: list[Bucket] = []
        self._blocks: ShardedBlocks | None = None

    # --- preparation

    def shard(self, params: Sequence[Tensor]) -> list[Bucket]:
        """Buckets of the parameters of an optimiser's group."""
        held = {id(param) for bucket in self.buckets for param in bucket.params}
        if any(id(param) in held for param in params):
            raise ConfigError(
                "two optimisers step the same parameter", cure="strategy: ddp, which allows that"
            )
        made = make_buckets(
            params, self._block_of, self.world, self._master_device, self._total_bytes
        )
        self.buckets += made
        return made

    def in_order(self, buckets: list[Bucket]) -> list[Bucket]:
        """Sorted as a backward pass most likely fills them: last parameters first."""
        return sorted(buckets, key=lambda b: -min(self._places[id(p)] for p in b.params))

    @torch.no_grad()
    def begin(self) -> None:
        """Let go of the full float32 weights: from here on the model is a working copy."""
        by_block: dict[int, list[Bucket]] = {}
        for bucket in self.buckets:
            number = self._block_of.get(id(bucket.params[0]))
            if number is not None:
                by_block.setdefault(number, []).append(bucket)
        blocks = [
            ShardedBlock(place, self._modules[number], by_block[number])
            for place, number in enumerate(sorted(by_block))
        ]
        for block in blocks:
            for bucket in block.buckets:
                own = bucket.master.detach()
                is_same = own.dtype is self.dtype and own.device == self.device
                bucket.shard = own if is_same else own.to(self.device, self.dtype)
            block.move_in(self.device, self.dtype)
        in_blocks = {id(p) for block in blocks for b in block.buckets for p in b.params}
        for param in self.working.parameters():
            if id(param) not in in_blocks:
                param.data = param.data.to(self.device, self.dtype)
        for module in self.working.modules():
            if module._buffers:  # by the module's own way: some keep theirs in float32
                module._apply(self._moved_buffer, recurse=False)  # type: ignore[no-untyped-call]
        if blocks:
            self._blocks = ShardedBlocks(blocks, self.world)

    def _moved_buffer(self, tensor: Tensor) -> Tensor:
        """A buffer as the working copy has it; a parameter as it is."""
        if isinstance(tensor, nn.Parameter):
            return tensor
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)

    # --- training

    @property
    def has_rounds(self) -> bool:
        """Whether exchanges are agreed on in rounds."""
        return self._blocks is not None

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Surrounds every use of the working model in training."""
        with self._blocks.passing() if self._blocks else nullcontext():
            yield

    def begin_pass(self, update: Reduction) -> None:
        """A backward pass of `update` begins."""
        if self._blocks:
            self._blocks.begin_pass(update)

    def finish_pass(self) -> None:
        """A backward pass has ended here; returns when it has everywhere. Collective."""
        if self._blocks:
            self._blocks.finish_pass()

    def gradient_came(self, param: Tensor) -> None:
        """The gradient of `param` is complete and was taken."""
        if self._blocks:
            self._blocks.gradient_came(param)

    @torch.no_grad()
    def publish(self, buckets: Sequence[Bucket], sources: Sequence[Tensor] | None = None) -> None:
        """Bring masters (or other slices) to the working copy. Collective."""
        for place, bucket in enumerate(buckets):
            own = bucket.master.detach() if sources is None else sources[place]
            if bucket.shard is not None:
                if bucket.shard.data_ptr() != own.data_ptr():
                    bucket.shard.copy_(own)
                continue
            whole = bucket.whole(own, self.device, self.dtype)
            pairs = list(bucket.views(whole))
            torch._foreach_copy_([p.detach() for p, _ in pairs], [view for _, view in pairs])

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Within, the working model is whole on every process. Collective."""
        with self._blocks.gathered() if self._blocks else nullcontext():
            yield

    def cast(
        self, batch: dict[str, Any], device: torch.device, keep_float32: Collection[str]
    ) -> dict[str, Any]:
        """The batch on the device, floating tensors in the working precision unless named."""
        return moved_batch(batch, device, self.dtype, keep_float32)

    def working_bytes(self) -> int:
        """Of the working parameters, as far as they are here."""
        storages = {
            s.data_ptr(): s.nbytes()
            for s in (p.untyped_storage() for p in self.working.parameters())
        }
        shards = [b.shard for b in self.buckets if b.shard is not None]
        return sum(storages.values()) + sum(s.numel() * s.element_size() for s in shards)

    # --- saving

    def whole_params(self, bucket: Bucket, own: Tensor) -> list[Tensor]:
        """Everybody's slices as full tensors on process 0's CPU; nothing elsewhere. Collective."""
        whole = bucket.whole(own, self.device, own.dtype)
        if not self.world.is_main:
            return []
        return [view.cpu().clone() for _, view in bucket.views(whole)]

    def state_dict(self, sources: Sequence[Tensor] | None = None) -> dict[str, Tensor]:
        """The float32 weights (or `sources`, slices by bucket) by name on process 0. Collective."""
        full: dict[int, Tensor] = {}
        for place, bucket in enumerate(self.buckets):
            own = bucket.master.detach() if sources is None else sources[place]
            parts = self.whole_params(bucket, own)
            full.update(zip(map(id, bucket.params), parts, strict=False))
        if not self.world.is_main:
            return {}
        state = self.working.state_dict(keep_vars=True)
        return {
            name: full[id(value)]
            if id(value) in full
            else value.detach().to("cpu", self._dtypes[name])
            for name, value in state.items()
        }

    @torch.no_grad()
    def load_state_dict(self, saved: Mapping[str, Tensor]) -> None:
        """Take over full weights whose names and shapes fit. Collective."""
        for bucket, own in zip(self.buckets, self.slices(saved), strict=True):
            bucket.master.copy_(own)
        held = {id(param) for bucket in self.buckets for param in bucket.params}
        for name, value in self.working.state_dict(keep_vars=True).items():
            if id(value) not in held:
                value.detach().copy_(saved[name])
        self.publish(self.buckets)

    def slices(self, saved: Mapping[str, Tensor]) -> Iterator[Tensor]:
        """This process's slices of full weights by name, by bucket."""
        state = self.working.state_dict(keep_vars=True)
        names = {id(value): name for name, value in state.items()}
        for bucket in self.buckets:
            yield bucket.cut([saved[names[id(param)]] for param in bucket.params])


class ShardedEma(Ema):
    """An average of which each process keeps its slices."""

    def __init__(self, weights: ShardedWeights, decay: float, every: int) -> None:
        self._weights = weights
        params = [bucket.master for bucket in weights.buckets]
        super().__init__(weights.working, decay, every, params)

    def state_dict(self) -> dict[str, Tensor]:
        """As the unsharded average's, on process 0. Collective."""
        return self._weights.state_dict(self._averages)

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take averages saved by `state_dict`."""
        for average, own in zip(self._averages, self._weights.slices(state), strict=True):
            average.copy_(own)

    @contextmanager
    def applied_to(self, _model: nn.Module, /) -> Iterator[None]:
        """Within, the working model holds the averages. Collective."""
        weights = self._weights
        aliased = {
            place: bucket.shard
            for place, bucket in enumerate(weights.buckets)
            if bucket.shard is not None and bucket.shard.data_ptr() == bucket.master.data_ptr()
        }
        for place in aliased:  # a master must not be overwritten
            weights.buckets[place].shard = self._averages[place].clone()
        weights.publish(weights.buckets, self._averages)
        try:
            yield
        finally:
            for place, shard in aliased.items():
                weights.buckets[place].shard = shard
            weights.publish(weights.buckets)
