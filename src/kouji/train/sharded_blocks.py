"""ZeRO stage 3: blocks whose working parameters are whole only while they are used.

A block is gathered when its forward begins, when any of its parameters is looked at, and when
the backward pass asks for one that autograd saved; it is freed after its forward, and in the
backward pass once all its gradients have come. Processes need not ask for the same: what to
exchange next is agreed on in small rounds between the hosts, so shares may be empty and recipes
may call their model as they like.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from kouji.errors import TrainingError
from kouji.train.distributed import World
from kouji.train.sharding import Bucket, all_gather, gather_into


class Reduction(Protocol):
    """The update whose backward pass is under way, as far as rounds go with it."""

    @property
    def num_ready(self) -> int: ...
    def launch(self, count: int) -> None: ...


class ShardedBlock:
    """One block: the working memory of its buckets, and whether it is there."""

    def __init__(self, number: int, module: nn.Module, buckets: Sequence[Bucket]) -> None:
        self.number, self.module, self.buckets = number, module, list(buckets)
        self.flats: list[Tensor] = []
        self.num_params = sum(len(bucket.params) for bucket in buckets)
        self.num_came = 0  # gradients of this pass
        self.depth = 0  # forward calls under way
        self.is_here = self.is_kept = False

    def move_in(self, device: torch.device, dtype: torch.dtype) -> None:
        """Point the parameters at the block's own memory, and free it."""
        for bucket in self.buckets:
            flat = torch.empty(bucket.num_all, dtype=dtype, device=device)
            for param, view in bucket.views(flat):
                param.data = view
            self.flats.append(flat)
        self.free()

    def gather(self, world: World, *, is_wanted: bool = True) -> None:
        """Take part in gathering the block, and keep the result if it is wanted. Collective."""
        with torch.no_grad():
            for bucket, flat in zip(self.buckets, self.flats, strict=True):
                assert bucket.shard is not None
                whole = (
                    flat
                    if is_wanted
                    else torch.empty(flat.shape, dtype=flat.dtype, device=flat.device)
                )
                if is_wanted:
                    flat.untyped_storage().resize_(flat.numel() * flat.element_size())
                gather_into(whole, bucket.shard, world)
        self.is_here = self.is_here or is_wanted

    def free(self) -> None:
        """Give the memory back; the tensors that lie in it stay, without content."""
        for flat in self.flats:
            flat.untyped_storage().resize_(0)
        self.is_here = False


class ShardedBlocks:
    """All sharded blocks of a model; `passing` surrounds every use in training."""

    def __init__(self, blocks: list[ShardedBlock], world: World) -> None:
        self._blocks, self._world = blocks, world
        self._block_of = {
            id(param): block
            for block in blocks
            for bucket in block.buckets
            for param in bucket.params
        }
        self._places: dict[int, ShardedBlock] = {}  # by address of the memory, while it is there
        self._is_open = False
        self._reduction: Reduction | None = None
        for block in blocks:
            block.module.forward = GatheredForward(self, block)
            for module in block.module.modules():
                if any(id(param) in self._block_of for param in module._parameters.values()):
                    module._parameters = _Parameters(module._parameters, self)

    # --- use

    def need(self, block: ShardedBlock) -> None:
        """Have the block's parameters here; may wait for the other processes."""
        while not block.is_here:
            if not self._is_open:
                raise TrainingError(
                    "sharded parameters were used outside of a training step",
                    cure="use the model within the recipe's loss, evaluate or samples",
                )
            self._round(block)

    def look(self, param: Any) -> None:
        """A parameter is looked at from anywhere."""
        block = self._block_of.get(id(param))
        if block is None or block.is_here or not self._is_open:
            return
        self.need(block)

    def leave(self, block: ShardedBlock) -> None:
        """The block is not in use now."""
        if block.is_here and not block.is_kept and not block.depth:
            for flat in block.flats:
                self._places.pop(flat.untyped_storage().data_ptr(), None)
            block.free()

    def gradient_came(self, param: Tensor) -> None:
        """The gradient of a parameter is complete; with its last one a block is left."""
        block = self._block_of.get(id(param))
        if block is None:
            return
        block.num_came += 1
        if block.num_came == block.num_params:
            self.leave(block)

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Within, the model may be used in any way, forward and backward."""
        self._is_open = True
        try:
            with torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack):
                yield
        finally:
            self._is_open = False

    @contextmanager
    def gathered(self) -> Iterator[None]:
        """Within, all blocks are whole. Collective."""
        for block in self._blocks:
            block.gather(self._world)
            block.is_kept = True
        try:
            yield
        finally:
            for block in self._blocks:
                block.is_kept = False
                block.free()

    def blocks(self) -> list[ShardedBlock]:
        """All of them, by number."""
        return self._blocks

    # --- what autograd keeps

    def _pack(self, tensor: Tensor) -> Any:
        if tensor.layout is not torch.strided or tensor.device.type == "meta":
            return tensor
        block = self._places.get(tensor.untyped_storage().data_ptr())
        return tensor if block is None else (block, tensor)

    def _unpack(self, packed: Any) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        block, tensor = packed
        self.need(block)
        assert isinstance(tensor, Tensor)
        return tensor

    # --- rounds

    def begin_pass(self, reduction: Reduction) -> None:
        """A backward pass begins; its sums go with the rounds."""
        self._reduction = reduction
        for block in self._blocks:
            block.num_came = 0

    def finish_pass(self) -> None:
        """Serve the others until all have ended their pass. Collective."""
        while not self._round(None):
            pass
        self._reduction = None
        for block in self._blocks:
            self.leave(block)

    def _round(self, wanted: ShardedBlock | None) -> bool:
        """One agreement and what it says; whether all processes have ended their pass."""
        posts = self._post(-1 if wanted is None else wanted.number)
        if self._reduction is not None:
            self._reduction.launch(min(ready for _, ready in posts))
        wishes = [number for number, _ in posts if number >= 0]
        if not wishes:
            return True
        block = self._blocks[wishes[0]]
        is_wanted = block is wanted
        block.gather(self._world, is_wanted=is_wanted)
        if is_wanted:
            self._places.update({f.untyped_storage().data_ptr(): block for f in block.flats})
        return False

    def _post(self, number: int) -> list[tuple[int, int]]:
        """(wanted block or -1, buckets ready to be summed) of each process."""
        ready = 0 if self._reduction is None else self._reduction.num_ready
        if self._world.size == 1:
            return [(number, ready)]
        own = torch.tensor([number, ready])
        everybody = torch.empty(2 * self._world.size, dtype=own.dtype)
        all_gather(everybody, own, self._world.hosts)
        pairs = everybody.view(-1, 2).tolist()
        return [(int(wish), int(count)) for wish, count in pairs]


class GatheredForward:
    """Stands in for the `forward` of a block, in its instance: hooks and names stay."""

    def __init__(self, blocks: ShardedBlocks, block: ShardedBlock) -> None:
        self.blocks, self.block = blocks, block
        self.inner: Callable[..., Any] | None = block.module.__dict__.get("forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        block, module = self.block, self.block.module
        self.blocks.need(block)
        block.depth += 1
        try:
            if self.inner is not None:
                return self.inner(*args, **kwargs)
            return type(module).forward(module, *args, **kwargs)
        finally:
            block.depth -= 1
            # A forward inside a backward pass is a recomputation: backward comes next.
            if torch._C._current_graph_task_id() == -1:
                self.blocks.leave(block)


class _Parameters(dict[str, Any]):
    """A module's parameters, gathered when they are looked at in a pass."""

    def __init__(self, params: dict[str, Any], blocks: ShardedBlocks) -> None:
        super().__init__(params)
        self._blocks = blocks

    def __getitem__(self, name: str) -> Any:
        param = super().__getitem__(name)
        self._blocks.look(param)
        return param

    def items(self) -> Any:
        for param in super().values():
            self._blocks.look(param)
        return super().items()

    def values(self) -> Any:
        return dict(self.items()).values()
