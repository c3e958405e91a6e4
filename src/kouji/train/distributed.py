"""Several processes as one: who I am, what all agree on, how they are started.

Gradients are summed by `Update`, one all-reduce a step, not by DistributedDataParallel: shares of
a batch may then weigh differently or be empty, which DDP's averaging cannot express. The small
agreements between hosts go over gloo, so that they never wait for a GPU.
"""

from __future__ import annotations

import atexit
import os
import pickle
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous
from torch.multiprocessing.spawn import ProcessException, start_processes

from kouji.errors import ConfigError, KoujiError, TrainingError
from kouji.train.orphans import end_with_parent

_PATIENCE = timedelta(hours=2)  # the others wait while process 0 evaluates
_GRACE_SECONDS = 20.0  # for the rest of the processes, when one has failed
_GONE = "another process of the run is gone"
_ATTEMPT = "TORCHELASTIC_RESTART_COUNT"  # set by torchrun for its processes


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

    @property
    def hosts(self) -> Any:
        """The group for what lies on the CPU; None: the only one there is."""
        return self._hosts

    def sum_(self, tensor: Tensor) -> Tensor:
        """Sum a tensor over processes, in place."""
        if self.size > 1:
            with reaching_others():
                dist.all_reduce(tensor, group=self._hosts if tensor.device.type == "cpu" else None)
        return tensor

    def sum_counts(self, counts: list[int]) -> list[int]:
        """Sum small integers held by the hosts."""
        if self.size == 1:
            return counts
        tensor = torch.tensor(counts, dtype=torch.int64)
        with reaching_others():
            dist.all_reduce(tensor, group=self._hosts)
        return [int(value) for value in tensor]

    def gather(self, value: Any) -> list[Any]:
        """Every process's `value` (plain Python), by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with reaching_others():
            dist.all_gather_object(values, value, group=self._hosts)
        return values

    def share_weights(self, tensors: Iterable[Tensor], device: torch.device) -> None:
        """Give every process the tensors of process 0, one after another over `device`."""
        if self.size == 1:
            return
        with reaching_others():
            for tensor in tensors:
                moved = tensor.detach().to(device)
                dist.broadcast(moved, 0)
                tensor.detach().copy_(moved)

    def close(self) -> None:
        """Leave the process group if `join` made it."""
        if self._owned:
            dist.destroy_process_group()
            self._owned = False


@contextmanager
def reaching_others() -> Iterator[None]:
    """Turn what a backend says when a process is gone into a TrainingError."""
    try:
        yield
    except RuntimeError as error:  # of gloo, and DistBackendError of NCCL
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise TrainingError(
            _GONE,
            seen=reason[0][:200],
            cure="the last checkpoint is whole: the same line goes on from it",
        ) from error


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
        _join_group(backend)
    hosts = None
    if device.startswith("cuda"):
        hosts = dist.new_group(backend="gloo", timeout=_PATIENCE)
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    return World(dist.get_rank(), dist.get_world_size(), local_rank, hosts, owned)


def _join_group(backend: str) -> None:
    if _ATTEMPT not in os.environ:
        dist.init_process_group(backend, timeout=_PATIENCE)
        return
    store, rank, size = next(iter(rendezvous("env://", timeout=_PATIENCE)))
    fresh = PrefixStore(_agree_on_attempt(store, rank, size), store)
    dist.init_process_group(backend, store=fresh, rank=rank, world_size=size, timeout=_PATIENCE)


def _agree_on_attempt(store: Any, rank: int, size: int) -> str:
    """A name for this start of the processes that no earlier one had.

    torchrun hands restarted processes the store of those before them (torch 2.13), with the
    addresses of the dead in it; its count of restarts differs between machines. So process 0
    makes up a name and gives it to whoever lives to confirm it.
    """
    if rank:
        token = uuid.uuid4().hex
        store.set(f"kouji/here/{rank}", token)
        store.wait([f"kouji/name/{token}"], _PATIENCE)
        name: str = store.get(f"kouji/name/{token}").decode()
        store.set(f"kouji/confirmed/{name}/{rank}", "")
        return name
    name, missing = uuid.uuid4().hex, set(range(1, size))
    while missing:
        for other in sorted(missing):
            if store.check([f"kouji/confirmed/{name}/{other}"]):
                missing.discard(other)
            elif store.check([f"kouji/here/{other}"]):  # perhaps left by one that is gone
                token = store.get(f"kouji/here/{other}").decode()
                store.set(f"kouji/name/{token}", name)
        time.sleep(0.02)  # a store cannot wait for a value to change
    return name


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
            _enter,
            (os.getpid(), num_processes, port, folder, target, args),
            num_processes,
            join=False,
        )
        if context is None:  # only with join=True
            raise TrainingError("processes did not start")
        with _passed_on(context.processes):
            exit_codes = _wait_for_all(context.processes)
            fault = None
            try:
                context.join()
            except ProcessException as error:
                fault = error
        _raise_killed(exit_codes)
        outcomes = [pickle.loads(path.read_bytes()) for path in sorted(Path(folder).iterdir())]
    errors = [outcome for outcome in outcomes if isinstance(outcome, KoujiError)]
    if errors:
        raise min(errors, key=lambda fault: fault.what == _GONE)  # others only suffered from it
    if fault is not None:
        raise TrainingError("a process of the run failed", seen=fault) from fault
    return outcomes[0]


def leave(code: int) -> NoReturn:
    """End this process without unwinding the C++ libraries; everything must be saved by now.

    Seen once in some thirty runs: torch's threads for talking to the other processes aborted the
    interpreter on its way out, and a whole finished run was taken for a failed one.
    """
    atexit._run_exitfuncs()  # what Python itself has to give back
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _wait_for_all(processes: Sequence[Any]) -> list[int | None]:
    """Wait until all have ended; when one fails, the others have `_GRACE_SECONDS` to do so.

    They may wait for the lost one in a collective, where they hear no signal.
    returns: exit codes by rank; None for a process that had to be killed here
    """
    running = {process.sentinel: rank for rank, process in enumerate(processes)}
    codes: list[int | None] = [None] * len(processes)
    deadline: float | None = None
    while running:
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        ended = [running.pop(sentinel) for sentinel in wait(list(running), left)]
        for rank in ended:
            processes[rank].join()  # its files are closed a moment before it can be waited for
            codes[rank] = processes[rank].exitcode
        if deadline is None and any(codes):
            deadline = time.monotonic() + _GRACE_SECONDS
            for rank in running.values():
                processes[rank].terminate()
        elif not ended:
            for rank in running.values():
                processes[rank].kill()
                processes[rank].join()
            break
    return codes


def _raise_killed(exit_codes: Sequence[int | None]) -> None:
    """Name the process that was ended from outside; the others only lost it."""
    for rank, code in enumerate(exit_codes):
        if code is not None and code < 0 and code != -signal.SIGTERM:
            name = signal.Signals(-code).name
            raise TrainingError(
                f"process {rank} of the run was ended by {name}",
                seen="too little memory, or somebody's kill" if name == "SIGKILL" else name,
                cure="the last checkpoint is whole: the same line goes on from it",
            )


def _enter(
    rank: int,
    parent: int,
    size: int,
    port: int,
    folder: str,
    target: Callable[..., Any],
    args: tuple[Any, ...],
) -> None:
    """Set what torchrun would set, in the child only, and leave the outcome in `folder`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(parent)  # torch asks for SIGINT, which these processes ignore
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
        leave(1)
    leave(0)


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
