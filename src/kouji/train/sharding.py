"""Parameters laid end to end in buckets, of which every process owns an even slice.

The layout of ZeRO (Rajbhandari et al., 2020) and the two exchanges it needs: gather a whole
bucket from its slices, and sum a bucket so that each process keeps its own slice. Knows no
optimiser and no model.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kouji.errors import ConfigError
from kouji.train.distributed import World, reaching_others
from kouji.train.settings import RunSettings

MOST_BUCKET_BYTES = 25 * 2**20  # float32; large enough that starting an exchange costs nothing
_LEAST_BUCKET_BYTES = 2**15
_BUCKETS = 48  # a small model is cut into about so many: few are whole at any time
SHARDED = ("zero2", "zero3")


def pick_strategy(settings: RunSettings, world: World) -> str:
    """The strategy of a run in this world: single, ddp, zero2 or zero3; ConfigError if it cannot be
    followed."""
    if settings.strategy == "auto":
        return "ddp" if world.size > 1 else "single"
    if settings.strategy == "single" and world.size > 1:
        raise ConfigError(
            "run.strategy single means one process",
            seen=f"{world.size} processes",
            allowed="auto, ddp, zero2, zero3",
        )
    return settings.strategy


class Bucket:
    """Parameters laid end to end, padded to a multiple of the world's size.

    params: full-shaped parameters, in the order they lie in
    master: (shard,) float32, this process's slice of them: what the optimiser steps
    shard:  (shard,) the same slice in the working precision on the device, where it is kept
    """

    def __init__(self, params: Sequence[Tensor], world: World, master_device: torch.device) -> None:
        self.params, self.world = list(params), world
        self.spans: list[tuple[int, int]] = []
        end = 0
        for param in params:
            self.spans.append((end, end + param.numel()))
            end += param.numel()
        self.num_own = -(-end // world.size)
        self.num_all = self.num_own * world.size
        own = self.cut([param.detach() for param in params])
        self.master = nn.Parameter(on_masters_device(own, master_device))
        self.shard: Tensor | None = None

    def cut(self, tensors: Sequence[Tensor]) -> Tensor:
        """This process's slice (shard,) float32 of full tensors laid end to end."""
        low = self.world.rank * self.num_own
        own = torch.zeros(self.num_own, dtype=torch.float32, device=tensors[0].device)
        for tensor, (start, end) in zip(tensors, self.spans, strict=True):
            first, last = max(start, low), min(end, low + self.num_own)
            if first < last:
                own[first - low : last - low] = tensor.reshape(-1)[first - start : last - start]
        return own

    def views(self, whole: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """(parameter, its part of `whole` in its own shape)."""
        for param, (start, end) in zip(self.params, self.spans, strict=True):
            yield param, whole[start:end].view(param.shape)

    def whole(self, own: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
        """(all,) gathered from everybody's slice `own`. Collective."""
        whole = torch.empty(self.num_all, dtype=dtype, device=device)
        gather_into(whole, own.detach().to(device=device, dtype=dtype), self.world)
        return whole


def on_masters_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` there; in pinned memory when it leaves an accelerator that can reach such."""
    moved = tensor.to(device)
    is_offloaded = device.type == "cpu" and torch.cuda.is_available()
    return moved.pin_memory() if is_offloaded else moved


def make_buckets(
    params: Sequence[Tensor],
    block_of: dict[int, int],
    world: World,
    master_device: torch.device,
    total_bytes: int,
) -> list[Bucket]:
    """Buckets of the parameters of one optimiser group, last parameters first.

    block_of:    id(parameter) to number of its block; a block's parameters stay together
    total_bytes: of all gradients in float32, to keep a bucket a small part of them
    """
    limit = min(MOST_BUCKET_BYTES, max(_LEAST_BUCKET_BYTES, total_bytes // _BUCKETS))
    by_block: dict[int | None, list[list[Tensor]]] = {}
    filled: dict[int | None, int] = {}
    for param in reversed(params):
        block = block_of.get(id(param))
        num_bytes = 4 * param.numel()
        pieces = by_block.setdefault(block, [])
        is_full = filled.get(block, 0) + num_bytes > limit
        if not pieces or is_full:
            pieces.append([])
            filled[block] = 0
        pieces[-1].append(param)
        filled[block] += num_bytes
    return [Bucket(piece, world, master_device) for pieces in by_block.values() for piece in pieces]


def gather_into(whole: Tensor, own: Tensor, world: World) -> None:
    """Everybody's `own` (shard,) end to end into `whole` (all,). Collective."""
    if world.size == 1:
        whole.copy_(own)
        return
    # As bytes: older gloo does not know bfloat16, and nothing is computed here.
    all_gather(whole.view(torch.uint8), own.contiguous().view(torch.uint8))


def start_reduce(own: Tensor, whole: Tensor, world: World) -> Any:
    """Begin to sum `whole` (all,) over processes into everybody's slice `own`; wait() ends it.

    Collective; `whole` must stay as it is meanwhile. None: it is done already.
    """
    if world.size == 1:
        own.copy_(whole)
        return None
    # Renamed in torch 2.13, where the old name warns.
    reduce = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
    with reaching_others():
        return reduce(own, whole, async_op=True)


def all_gather(whole: Tensor, own: Tensor, group: Any = None) -> None:
    """torch's all-gather under the name it has in this release."""
    gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    with reaching_others():
        gather(whole, own, group=group)
