"""Several processes as one: who I am, what all agree on, how they are started.

Gradients are summed by `Update`, one all-reduce a step, not by DistributedDataParallel: shares of
a batch may then weigh differently or be empty, which DDP's averaging cannot express. The small
agreements between hosts go over gloo, so that they never wait for a GPU.
"""

from __future__ import annotations

import os
import pickle
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import ProcessException, start_processes

from kouji.errors import ConfigError, KoujiError, TrainingError

_PATIENCE = timedelta(hours=2)  # the others wait while process 0 evaluates


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


def is_launched() -> bool:
    """Whether torchrun (or `spawn`) started this process as one of several."""
    return "WORLD_SIZE" in os.environ


def join(device: str) -> World:
    """Join the processes torchrun (or `spawn`) started; alone when there are none."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        return World()
    owned = not dist.is_initialized()
    if owned:
        backend = "nccl" if device.startswith("cuda") else "gloo"
        dist.init_process_group(backend, timeout=_PATIENCE)
    hosts = None
    if device.startswith("cuda"):
        hosts = dist.new_group(backend="gloo", timeout=_PATIENCE)
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


def spawn(target: Callable[..., Any], args: tuple[Any, ...], num_processes: int) -> Any:
    """Run `target(*args)` in local processes that can `join` each other; process 0's result.

    target: a module-level function; it and `args` must pickle. A KoujiError of a process is
    raised here. SIGINT and SIGTERM are passed on as SIGTERM; the children ignore SIGINT, which a
    terminal sends to all of them at once.
    """
    with tempfile.TemporaryDirectory() as folder, _free_port() as port:
        context = start_processes(  # type: ignore[no-untyped-call]
            _enter, (num_processes, port, folder, target, args), num_processes, join=False
        )
        if context is None:  # only with join=True
            raise TrainingError("processes did not start")
        with _passed_on(context.processes):
            try:
                while not context.join():
                    pass
            except ProcessException as error:
                if not any(Path(folder).iterdir()):
                    raise TrainingError("a process of the run failed", seen=error) from error
        outcomes = [pickle.loads(path.read_bytes()) for path in sorted(Path(folder).iterdir())]
    for outcome in outcomes:
        if isinstance(outcome, KoujiError):
            raise outcome
    return outcomes[0]


def _enter(
    rank: int,
    size: int,
    port: int,
    folder: str,
    target: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    """Set what torchrun would set, in the child only, and leave the outcome in `folder`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(size),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    outcome_file = Path(folder) / f"{rank:05d}"
    try:
        outcome_file.write_bytes(pickle.dumps(target(*args)))
    except KoujiError as error:
        outcome_file.write_bytes(pickle.dumps(error))
        raise


@contextmanager
def _free_port() -> Iterator[int]:
    """A port nobody listens on, found by asking the system for one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    yield port


@contextmanager
def _passed_on(processes: Sequence[Any]) -> Iterator[None]:
    """Send SIGTERM to `processes` when this one is told to stop."""

    def tell(_number: int, _frame: Any) -> None:
        for process in processes:
            if process.is_alive():
                process.terminate()

    usual = {number: signal.signal(number, tell) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
