"""Activation checkpointing (Chen et al. 2016): keep a block's inputs, compute the rest again.

The backward pass runs each block's forward a second time, with the same dropout and on the same
buffers, so losses, gradients and running statistics are those of a model without. Works on any
module; names of weights do not change.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint

from kouji.train.blocks import find_blocks

# Two blocks of three: what that saves and what it takes is in docs/training.md ("What it costs").
_KEEP_EVERY = 3


def checkpoint_blocks(model: nn.Module, *, keep_every: int = _KEEP_EVERY) -> str:
    """Let blocks of `model` recompute their activations; a line that says what was done.

    Call it on the model that computes, after it was copied or cast.
    keep_every: each so many-th block keeps its activations after all; 0: none does
    """
    blocks = [block for _, block in find_blocks(model)]
    chosen = [
        block for number, block in enumerate(blocks, 1) if not keep_every or number % keep_every
    ]
    for block in chosen:
        if not is_recomputed(block):
            block.forward = Recomputed(block)
    if not chosen:
        return "checkpointing: the model has no blocks to recompute; it keeps all activations"
    return f"checkpointing: {len(chosen)} of {len(blocks)} blocks keep their inputs only"


def is_recomputed(block: nn.Module) -> bool:
    """Whether `checkpoint_blocks` was here."""
    return isinstance(block.__dict__.get("forward"), Recomputed)


class Recomputed:
    """Stands in for the `forward` of `block`.

    Kept in the instance, so the class, hooks and state_dict of the block stay as they are; and an
    object rather than a closure, so that a copied model holds a copied block.
    """

    def __init__(self, block: nn.Module) -> None:
        self.block = block
        self.inner: Callable[..., Any] | None = block.__dict__.get("forward")
        self._moving: set[tuple[str, str]] | None = None  # buffers a forward changes; not known yet

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The block's result; its activations are kept only where no gradient is asked for."""
        if not torch.is_grad_enabled():
            return self._compute(*args, **kwargs)
        before, versions = self._copy_buffers(), self._versions()
        generators = [(g, g.get_state()) for g in (*args, *kwargs.values()) if _is_generator(g)]

        def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
            return nullcontext(), self._as_it_was(before, generators)

        result = checkpoint(
            _by_position(self._compute, len(args), tuple(kwargs)),
            *args,
            *kwargs.values(),
            use_reentrant=False,
            context_fn=contexts,
        )
        self._note_moves(before, versions)
        return result

    def _compute(self, *args: Any, **kwargs: Any) -> Any:
        if self.inner is not None:
            return self.inner(*args, **kwargs)
        return type(self.block).forward(self.block, *args, **kwargs)

    def _buffers(self) -> Iterator[tuple[nn.Module, str, str, Tensor]]:
        """(owner, its name, name of the buffer, buffer)."""
        for path, module in self.block.named_modules():
            for name, buffer in module._buffers.items():
                if buffer is not None:
                    yield module, path, name, buffer

    def _versions(self) -> dict[tuple[str, str], tuple[int, int]]:
        """What tells whether a buffer was written into or replaced."""
        return {(path, name): (id(b), b._version) for _, path, name, b in self._buffers()}

    def _copy_buffers(self) -> dict[tuple[str, str], Tensor]:
        """The buffers a forward changes, before it does; the first time, all of them.

        Norms with running statistics are taken for moving always: torch does not mark what its
        batch norm writes.
        """
        return {
            (path, name): buffer.clone()
            for module, path, name, buffer in self._buffers()
            if isinstance(module, _NormBase) or self._moving is None or (path, name) in self._moving
        }

    def _note_moves(
        self, before: dict[tuple[str, str], Tensor], versions: dict[tuple[str, str], Any]
    ) -> None:
        """Remember which buffers the forward changed: tables that stand still are not copied."""
        is_first = self._moving is None
        moved = {
            (path, name)
            for _, path, name, buffer in self._buffers()
            if versions.get((path, name)) != (id(buffer), buffer._version)
            or (is_first and not torch.equal(before[path, name], buffer))
        }
        if self.block.training:
            self._moving = (self._moving or set()) | moved

    @contextmanager
    def _as_it_was(
        self,
        before: dict[tuple[str, str], Tensor],
        generators: list[tuple[torch.Generator, Tensor]],
    ) -> Iterator[None]:
        """The state of the first forward, for the second one; what that changes is thrown away.

        Buffers are exchanged, not overwritten: others may hold them for their own backward.
        """
        with ExitStack() as after:
            for module, path, name, buffer in self._buffers():
                if (path, name) in before:
                    module._buffers[name] = before[path, name].clone()
                    after.callback(module._buffers.__setitem__, name, buffer)
            for generator, state in generators:
                after.callback(generator.set_state, generator.get_state())
                generator.set_state(state)
            yield


def _is_generator(value: object) -> bool:
    return isinstance(value, torch.Generator)


def _by_position(
    function: Callable[..., Any], num_args: int, names: tuple[str, ...]
) -> Callable[..., Any]:
    """`function` taking all arguments by position: only those are guarded against changes."""

    def call(*values: Any) -> Any:
        named = dict(zip(names, values[num_args:], strict=True))
        return function(*values[:num_args], **named)

    return call


class SavedBytes:
    """Counts what autograd keeps for the backward pass: `bytes` now, `peak` at most.

    Each piece of memory counts once; what belongs to `model` (weights, buffers) does not. Memory
    held for a moment while a block is recomputed is not seen.
    """

    def __init__(self, model: nn.Module) -> None:
        self.bytes, self.peak = 0, 0
        self._own = {_storage(t) for t in (*model.parameters(), *model.buffers())}
        self._holders: dict[int, int] = {}

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Count tensors saved within."""
        with torch.autograd.graph.saved_tensors_hooks(self._pack, lambda held: held.tensor):
            yield

    def _pack(self, tensor: Tensor) -> _Held:
        held, place = _Held(tensor), _storage(tensor)
        if place in self._own:
            return held
        if place not in self._holders:
            self.bytes += tensor.untyped_storage().nbytes()
            self.peak = max(self.peak, self.bytes)
        self._holders[place] = self._holders.get(place, 0) + 1
        weakref.finalize(held, self._drop, place, tensor.untyped_storage().nbytes())
        return held

    def _drop(self, place: int, num_bytes: int) -> None:
        self._holders[place] -= 1
        if not self._holders[place]:
            del self._holders[place]
            self.bytes -= num_bytes


class _Held:
    """A saved tensor, and a thing that can be watched for its end."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
