"""The few CUDA calls the engine makes, behind an interface that tests can stand in for.

Holds no decisions: when to record, what to keep and what an error means is decided elsewhere,
in code that runs on any machine.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor

from kouji.engine.budget import Memory


class Graph(Protocol):
    """Recorded work that can be run again over the same addresses."""

    def replay(self) -> None: ...


class CudaApi(Protocol):
    """What a CUDA card offers; see `TorchCuda` for the meanings."""

    def warm_up(self, function: Callable[[], Any]) -> None: ...
    def new_graph(self) -> Graph: ...
    def capture(self, graph: Any) -> AbstractContextManager[Any]: ...
    def pin(self, tensor: Tensor) -> Tensor: ...
    def compile(self, function: Any) -> Any: ...
    def memory(self) -> Memory: ...
    def empty_cache(self) -> None: ...


class TorchCuda:
    """CUDA by way of torch."""

    WARM_UPS = 3  # libraries choose kernels and workspaces in their first calls

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._pool: Any = None
        self._stream: torch.cuda.Stream | None = None

    def warm_up(self, function: Callable[[], Any]) -> None:
        """Call a few times beside the main stream, as a capture demands."""
        stream = self._side_stream()
        stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(stream):
            for _ in range(self.WARM_UPS):
                function()
        torch.cuda.current_stream(self._device).wait_stream(stream)

    def new_graph(self) -> Graph:
        """An empty graph; all graphs share one pool of memory, for they never run together."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        return torch.cuda.CUDAGraph()

    def capture(self, graph: torch.cuda.CUDAGraph) -> AbstractContextManager[Any]:
        """Record what is launched inside; other threads may go on using the card."""
        return torch.cuda.graph(
            graph,
            pool=self._pool,
            stream=self._side_stream(),
            capture_error_mode="thread_local",
        )

    def pin(self, tensor: Tensor) -> Tensor:
        """A copy in page-locked memory; torch keeps it until pending transfers are done."""
        return tensor.pin_memory()

    def compile(self, function: Any) -> Any:
        """Compile for shapes that vary."""
        return torch.compile(function, dynamic=True)

    def memory(self) -> Memory:
        """What the card has, and what is free or merely cached by torch."""
        free, total = torch.cuda.mem_get_info(self._device)
        held = torch.cuda.memory_reserved(self._device)
        cached = held - torch.cuda.memory_allocated(self._device)
        return Memory(total=total, available=free + cached)

    def empty_cache(self) -> None:
        """Hand memory torch keeps for later back to the driver."""
        torch.cuda.empty_cache()

    def _side_stream(self) -> torch.cuda.Stream:
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        return self._stream
