"""Several processes as one: who I am, what all agree on, how they are started.

Gradients are summed by `Update`, one all-reduce a step, not by DistributedDataParallel: shares of
a batch may then weigh differently or be empty, which DDP's averaging cannot express. The small
agreements between hosts go over gloo, so that they never wait for a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from kouji.errors import ConfigError


@dataclass
class World:
    """This process among `size`; all methods are collective and trivial for one process."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    _hosts: Any = field(default=None, repr=False)  # gloo group for host-side agreements
    _owned: bool = field(default=False, repr=False)

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sum a tensor on the training device over processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor)
        return tensor

    def sum_counts(self, counts: list[int]) -> list[int]:
        """Sum small integers held by the hosts."""
        if self.size == 1:
            return counts
        tensor = torch.tensor(counts, dtype=torch.int64)
        dist.all_reduce(tensor, group=self._hosts)
        return [int(value) for value in tensor]

    def gather(self, value: Any) -> list[Any]:
        """Every process's `value` (plain Python), by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self._hosts)
        return values

    def share_weights(self, tensors: list[Tensor]) -> None:
        """Give every process the tensors of process 0."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def close(self) -> None:
        """Leave the process group if `join` made it."""
        if self._owned:
            dist.destroy_process_group()
            self._owned = False


def join(device: str) -> World:
    """Join the processes torchrun (or `spawn`) started; alone when there are none."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    owned = not dist.is_initialized()
    if owned:
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    hosts = dist.new_group(backend="gloo") if device.startswith("cuda") else None
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    return World(dist.get_rank(), dist.get_world_size(), local_rank, hosts, owned)


def pick_device(device: str, world: World) -> torch.device:
    """The device of this process; "cuda" means one GPU a local process."""
    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            raise ConfigError(
                "run.device asks for CUDA, which is not there", seen=device, allowed="cpu"
            )
        if device == "cuda":
            return torch.device("cuda", world.local_rank)
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise ConfigError(
            "run.device is unknown", seen=device, allowed="cpu, cuda, cuda:N"
        ) from error


def spawn(target: Callable[..., None], args: tuple[Any, ...], num_processes: int) -> None:
    """Run `target(*args)` in `num_processes` local processes that can `join` each other.

    target: a module-level function; raises what torch.multiprocessing raises when one fails.
    """
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.start_processes(  # type: ignore[attr-defined, no-untyped-call]
        _enter, args=(num_processes, port, target, args), nprocs=num_processes, start_method="spawn"
    )


def _enter(
    rank: int, size: int, port: int, target: Callable[..., None], args: tuple[Any, ...]
) -> None:
    """Set what torchrun would set, in the child only."""
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    target(*args)
