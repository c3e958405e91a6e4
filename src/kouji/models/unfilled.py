"""Networks built without drawing initial values, for their weights are on the way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.overrides import TorchFunctionMode

# By name: transformers puts wrappers of its own in the place of torch's functions.
_DRAWN = ("kaiming_uniform_", "kaiming_normal_", "normal_", "uniform_", "trunc_normal_")


@contextmanager
def without_initial_values() -> Iterator[None]:
    """Networks built inside hold whatever was in memory, or nothing on the meta device.

    In this thread only. Drawing the 300 million values of a BERT would take seconds, and drawing
    on meta would import torch._dynamo, a second of every cold start.
    """
    with _LeftUnfilled():
        yield


class _LeftUnfilled(TorchFunctionMode):
    def __torch_function__(
        self,
        func: Any,
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", None) in _DRAWN:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)
