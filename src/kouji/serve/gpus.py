"""Figures of graphics cards by NVML, where there is one: load, memory, temperature.

NVML needs a driver, not a CUDA build of torch. A card that does not tell a figure (some tell no
temperature, slices of a card no load) is listed without it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GpuFigures:
    """A card now; None: not told.

    load:        fraction of the last moments in which it computed
    memory_used, memory_total: bytes
    temperature: degrees Celsius
    """

    index: int
    name: str
    load: float | None = None
    memory_used: int | None = None
    memory_total: int | None = None
    temperature: int | None = None


class Gpus:
    """Asks NVML; without a driver there are no cards."""

    def __init__(self, nvml: Any = None) -> None:
        """Open NVML.

        nvml: a module like pynvml; None imports it
        """
        self._nvml = nvml
        if nvml is None:
            try:
                import pynvml  # type: ignore[import-untyped]
            except ImportError:  # of the extra kouji[serve]
                return
            self._nvml = pynvml
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLError as error:
            _log.debug("no figures of graphics cards: %s", error)
            self._nvml = None

    def read(self) -> list[GpuFigures]:
        """All cards as they are now."""
        if self._nvml is None:
            return []
        count = self._ask(self._nvml.nvmlDeviceGetCount) or 0
        return [figures for index in range(count) if (figures := self._read(index)) is not None]

    def _read(self, index: int) -> GpuFigures | None:
        nvml = self._nvml
        handle = self._ask(nvml.nvmlDeviceGetHandleByIndex, index)
        if handle is None:
            return None
        name = self._ask(nvml.nvmlDeviceGetName, handle) or ""
        load = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        return GpuFigures(
            index,
            name.decode() if isinstance(name, bytes) else name,
            load.gpu / 100 if load is not None else None,
            int(memory.used) if memory is not None else None,
            int(memory.total) if memory is not None else None,
            self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
        )

    def _ask(self, question: Callable[..., T], *arguments: Any) -> T | None:
        try:
            return question(*arguments)
        except self._nvml.NVMLError:
            return None
