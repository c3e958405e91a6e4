"""torch.compile of the heavy regions of a model, with a way back where it cannot be done.

Compiled are its blocks and the networks without blocks, region by region: what lies between them
(Python that differs from recipe to recipe) stays as it is. A machine without a C++ compiler or a
region that does not compile costs speed, never the run.
"""

from __future__ import annotations

import copy
import functools
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.utils._pytree as pytree
from torch import Tensor, nn

from kouji.train.blocks import find_blocks
from kouji.train.recompute import Recomputed
from kouji.train.sharded_blocks import GatheredForward

Say = Callable[[str], None]

_LEAST_SHARE = 0.002  # of the model's parameters; lighter networks are not worth the wait
_VARIANTS = 16  # compiled forms of one forward: shapes, widths, dilations, precisions
# Random numbers as without compilation: dropout must not depend on it.
_OPTIONS: dict[str, Any] = {"fallback_random": True}
# What torch's compiler says of its own ways, at every new size; a user can do nothing about it.
_CHATTER = (
    r"The \.grad attribute of a Tensor that is not a leaf",
    "Torchinductor does not support code generation for complex",
)


def tell(line: str) -> None:
    """Say it on stderr."""
    print(line, file=sys.stderr, flush=True)


def compile_blocks(model: nn.Module, *, dynamic: bool | None = None, say: Say = tell) -> str:
    """Compile the regions of `model` on their first use; a line that says what was done.

    Call it on the model that computes, after it was copied or cast; before or after
    `checkpoint_blocks`. Gradient-free calls stay uncompiled, so that evaluation compiles nothing.
    dynamic: True where sizes differ from step to step; None finds out on the second size
    say:     told of a region that does not compile, later, and why
    """
    regions = find_regions(model)
    if not regions:
        return "compile: the model has no region to compile; it stays as it is"
    fault = find_fault(next(model.parameters()).device)
    if fault:
        return f"compile: cannot be done here, the run goes on uncompiled ({fault})"
    _allow_variants(_VARIANTS * len(regions))
    for message in _CHATTER:
        warnings.filterwarnings("ignore", message, UserWarning)
    for name, region in regions:
        _compile_innermost(name, region, dynamic, say)
    return f"compile: {len(regions)} regions, each on its first use"


def _compile_innermost(name: str, region: nn.Module, dynamic: bool | None, say: Say) -> None:
    """Put `Compiled` below what else stands in for the forward: that talks to other processes."""
    outer, held = None, region.__dict__.get("forward")
    while isinstance(held, Recomputed | GatheredForward):
        outer, held = held, held.inner
    if isinstance(held, Compiled):
        return
    compiled = Compiled(name, region, held, dynamic, say)
    if outer is None:
        region.forward = compiled
    else:
        outer.inner = compiled


def find_regions(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The blocks of `model`, and the outermost networks of some weight that hold no block."""
    blocks = find_blocks(model)
    least = _LEAST_SHARE * sum(param.numel() for param in model.parameters())
    taken = {id(block) for _, block in blocks}
    return blocks + [
        (name, module)
        for name, module in _without_blocks(model, "", taken)
        if sum(param.numel() for param in module.parameters()) >= least
    ]


def _without_blocks(
    module: nn.Module, name: str, blocks: set[int]
) -> Iterator[tuple[str, nn.Module]]:
    if id(module) in blocks:
        return
    children = list(module.named_children())
    has_forward = getattr(type(module).forward, "__name__", "") != "_forward_unimplemented"
    holds_blocks = any(id(inner) in blocks for inner in module.modules())
    if (
        children
        and has_forward
        and not holds_blocks
        and next(module.parameters(), None) is not None
    ):
        yield name, module
        return
    for key, child in children:
        yield from _without_blocks(child, f"{name}.{key}" if name else key, blocks)


def find_fault(device: torch.device) -> str | None:
    """Why nothing can be compiled for `device`, with a cure, or None; takes seconds."""

    def probe(x: Tensor) -> Tensor:
        return (x.sin() * x).sum()

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            x = torch.ones(4, device=device, requires_grad=True)
            torch.autograd.grad(torch.compile(probe, options=_OPTIONS)(x), x)
    except Exception as error:
        reason = _first_line(error)
        needed = "a C++ compiler such as g++" if device.type == "cpu" else "triton and gcc"
        return f"{reason}; {needed} must be installed"
    return None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0][:160] if lines else 'no reason given'}"


def _allow_variants(count: int) -> None:
    """Let one forward be compiled for as many widths and dilations as the model has.

    torch counts them over all blocks of a class and quietly stops at 8.
    """
    config: Any = torch._dynamo.config
    for name in ("recompile_limit", "cache_size_limit"):  # from 2.7 on; before
        if hasattr(config, name):
            setattr(config, name, max(getattr(config, name), count))
            break


class Compiled:
    """Stands in for the `forward` of `region`; see `Recomputed` for why it is an object."""

    def __init__(
        self,
        name: str,
        region: nn.Module,
        inner: Callable[..., Any] | None,
        dynamic: bool | None,
        say: Say,
    ) -> None:
        self.name, self.region, self.inner = name, region, inner
        self._dynamic, self._say = dynamic, say
        self._function: Callable[..., Any] | None = None
        self._is_given_up = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The region's result, compiled where gradients are asked for."""
        if self._is_given_up or not torch.is_grad_enabled():
            return self._plain(*args, **kwargs)
        if self._function is None:
            self._function = self._try(args, kwargs)
        if self._function is None:
            self._is_given_up = True
            return self._plain(*args, **kwargs)
        return self._function(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_function": None}  # what is compiled stays in its process

    def __deepcopy__(self, memo: dict[int, Any]) -> Compiled:
        region, inner = copy.deepcopy((self.region, self.inner), memo)
        return Compiled(self.name, region, inner, self._dynamic, self._say)

    def _plain(self, *args: Any, **kwargs: Any) -> Any:
        if self.inner is not None:
            return self.inner(*args, **kwargs)
        return type(self.region).forward(self.region, *args, **kwargs)

    def _try(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any] | None:
        """Compile and run forward and backward once beside the run, which shall not notice.

        Blocks of one class share the code of their forward, and so what is compiled.
        """
        forward = type(self.region).forward if self.inner is None else self.inner
        compiled: Callable[..., Any] = torch.compile(
            forward, dynamic=self._dynamic, options=_OPTIONS
        )
        function = compiled if self.inner else functools.partial(compiled, self.region)
        generators = [(g, g.get_state()) for g in _found((args, kwargs), torch.Generator)]
        try:
            with warnings.catch_warnings(), _aside(self.region):
                warnings.simplefilter("ignore")
                apart, named = _map_tensors((args, kwargs), _detach)
                results = _found(function(*apart, **named), Tensor)
                losses = [t.float().sum() for t in results if t.requires_grad]
                if losses:
                    wanted = [p for p in self.region.parameters() if p.requires_grad]
                    wanted += [t for t in _found((apart, named), Tensor) if t.requires_grad]
                    torch.autograd.grad(losses, wanted, allow_unused=True)
        except Exception as error:
            self._say(f"compile: {self.name} stays uncompiled ({_first_line(error)})")
            return None
        finally:
            for generator, state in generators:
                generator.set_state(state)
        return function


@contextmanager
def _aside(region: nn.Module) -> Iterator[None]:
    """Leave buffers, random numbers and an activation checkpoint around as they are."""
    devices = {p.device for p in region.parameters() if p.device.type == "cuda"}
    kept = [(m, name, b) for m in region.modules() for name, b in m._buffers.items()]
    hooks = torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t)
    with torch.random.fork_rng(list(devices)), hooks:
        try:
            for module, name, buffer in kept:
                module._buffers[name] = None if buffer is None else buffer.clone()
            yield
        finally:
            for module, name, buffer in kept:
                module._buffers[name] = buffer


def _detach(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _found(value: Any, kind: type[Any]) -> list[Any]:
    """All of `kind` in nested containers."""
    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, kind)]


def _map_tensors(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    return pytree.tree_map(lambda leaf: change(leaf) if isinstance(leaf, Tensor) else leaf, value)
