"""Where stages compute: the one place in the engine that tells CPU, CUDA and Metal apart.

A device runs decode steps, moves small lists to where the computing is, compiles renderers,
knows how much memory there is and what an error means. On CUDA, decode steps are replayed from
recorded graphs (`cuda_graphs`) and renderers are compiled; elsewhere both are called plainly.
Owned by one thread. Knows no requests and no families.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from kouji.engine.budget import read_memory
from kouji.engine.cuda_api import CudaApi, TorchCuda
from kouji.engine.cuda_graphs import GraphRunner
from kouji.models.out_of_memory import is_out_of_memory
from kouji.models.precision import read_device_facts
from kouji.models.stages import Decoder, KVCache

F = TypeVar("F", bound=Callable[..., Any])

_log = logging.getLogger(__name__)

# Words in the messages of plain RuntimeErrors; allocators and libraries have no class for it.
# After these every later CUDA call of the process fails as well...
_FATAL = (
    "CUDA error",
    "CUBLAS_STATUS_EXECUTION_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
    "CUDNN_STATUS_EXECUTION_FAILED",
)
# ...but not after these: a call was refused, or a recording broke off.
_PASSING = ("invalid argument", "invalid configuration argument", "captur")


class Device:
    """Computes plainly on any torch device; what CUDA does better is in `CudaDevice`."""

    def __init__(self, torch_device: torch.device) -> None:
        self.torch_device = torch_device

    @property
    def name(self) -> str:
        """As `open_device` takes it."""
        return str(self.torch_device)

    @property
    def total_memory(self) -> int:
        """Bytes this process could have at most."""
        return read_memory().total

    @property
    def free_memory(self) -> int:
        """Bytes it can have now."""
        return read_memory().available

    @torch.inference_mode()
    def run_step(
        self,
        decoder: Decoder,
        tokens: Tensor,
        positions: Tensor,
        lengths: Tensor,
        slots: Tensor,
        cache: KVCache,
    ) -> Tensor:
        """`Decoder.step` with tensors from anywhere; any number of rows.

        tokens, positions, lengths, slots: (rows,) int64, usually on the CPU
        returns: (rows, vocabulary) float32 logits on this device, the caller's to keep
        """
        where = self.torch_device
        return decoder.step(
            tokens.to(where), positions.to(where), lengths.to(where), slots.to(where), cache
        )

    def upload(self, values: Sequence[Any], dtype: torch.dtype = torch.int64) -> Tensor:
        """A small list as a tensor on this device."""
        return torch.tensor(values, dtype=dtype).to(self.torch_device)

    def compile_renderer(self, function: F) -> F:
        """The fastest form of a pure function of tensors this device knows: here the same."""
        return function

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether a smaller batch may succeed where this error was raised."""
        return isinstance(error, torch.OutOfMemoryError) or is_out_of_memory(error)

    def is_fatal(self, error: BaseException) -> bool:
        """Whether the device is of no use any more in this process; a CPU never gets there."""
        del error
        return False

    def release_memory(self) -> None:
        """Give back what is kept for speed alone."""


class CudaDevice(Device):
    """Replays decode steps from graphs and compiles renderers, on an NVIDIA card."""

    def __init__(self, torch_device: torch.device, api: CudaApi | None = None) -> None:
        """api: stands in for CUDA, for tests"""
        super().__init__(torch_device)
        self._api = api or TorchCuda(torch_device)
        self._graphs = GraphRunner(self._api, torch_device, self._is_hopeless)

    @property
    def total_memory(self) -> int:
        return self._api.memory().total

    @property
    def free_memory(self) -> int:
        return self._api.memory().available

    @torch.inference_mode()
    def run_step(
        self,
        decoder: Decoder,
        tokens: Tensor,
        positions: Tensor,
        lengths: Tensor,
        slots: Tensor,
        cache: KVCache,
    ) -> Tensor:
        """As `Device.run_step`, in graphs of 1, 2, 4, 8, 16 and 32 rows."""
        rows = torch.stack([tensor.cpu() for tensor in (tokens, positions, lengths, slots)])
        return self._graphs.run(decoder, rows, cache)

    def upload(self, values: Sequence[Any], dtype: torch.dtype = torch.int64) -> Tensor:
        """From pinned memory, so that the copy waits for nothing."""
        pinned = self._api.pin(torch.tensor(values, dtype=dtype))
        return pinned.to(self.torch_device, non_blocking=True)

    def compile_renderer(self, function: F) -> F:
        """Compiled; where compiling fails, plain from then on, which the log says once."""
        compiled: F = self._api.compile(function)
        return _with_fallback(compiled, function, self._is_hopeless)

    def is_fatal(self, error: BaseException) -> bool:
        """CUDA errors stick to the process; running out of memory does not."""
        if self.is_out_of_memory(error):
            return False
        # torch.AcceleratorError of newer versions is a RuntimeError with the same words.
        return (
            isinstance(error, RuntimeError)
            and _names(error, _FATAL)
            and not _names(error, _PASSING)
        )

    def release_memory(self) -> None:
        """Forget graphs and hand cached memory back to the driver."""
        self._graphs.clear()
        self._api.empty_cache()

    def _is_hopeless(self, error: BaseException) -> bool:
        """Doing the same plainly would fail as well."""
        return self.is_out_of_memory(error) or self.is_fatal(error)


def open_device(name: str = "auto") -> Device:
    """The device of a name.

    name:   cpu, cuda, cuda:1, mps; auto takes a CUDA card if there is one
    raises: ConfigError for a device that torch or this machine does not have
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    kind = read_device_facts(name).device
    return CudaDevice(torch.device(name)) if kind == "cuda" else Device(torch.device(name))


def _names(error: BaseException, words: Sequence[str]) -> bool:
    message = str(error)
    return any(word in message for word in words)


def _with_fallback(compiled: F, plain: F, is_hopeless: Callable[[BaseException], bool]) -> F:
    """`compiled` until it fails for a reason of its own, `plain` from then on."""
    current: Callable[..., Any] = compiled

    def call(*arguments: Any, **options: Any) -> Any:
        nonlocal current
        try:
            return current(*arguments, **options)
        except Exception as error:
            if current is plain or is_hopeless(error):
                raise
            result = plain(*arguments, **options)  # raises again if the arguments are at fault
            _log.warning("a renderer runs uncompiled: %s", error)
            current = plain
            return result

    return cast(F, call)
