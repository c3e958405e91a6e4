"""Which submodules of any model are its blocks: the repeated, heavy parts of a forward pass.

Activations are recomputed, code is compiled and parameters are sharded block by block. Found by
the structure of the model alone, so that a recipe need not name them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from torch import nn
from torch.nn.utils.parametrize import is_parametrized

_LEAST_SHARE = 0.002  # of the model's parameters; lighter elements are blocks beside heavier kin


def find_blocks(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The blocks of `model` as (name, module), in the order of `named_modules`.

    A block is an element of a ModuleList or Sequential that is a network itself, not a single
    layer, and holds parameters: enough of them, or as many of its class do (the first stages of a
    convolutional network are light in weights and heavy in activations). A list of lists and a
    network that stands alone in its list are looked into for blocks; a block is not, so blocks
    never overlap. Left out is what shares a parameter with the rest of the model (tied weights),
    for it cannot be sharded by itself. A model may have none.
    """
    elements = {id(module): (name, module) for name, module in reversed([*_elements(model, "")])}
    least = _LEAST_SHARE * sum(param.numel() for param in model.parameters())
    heavy = {type(module) for _, module in elements.values() if _count(module) >= least}
    places = _places(model)
    return [
        (name, module)
        for name, module in reversed(elements.values())
        if type(module) in heavy and not _is_tied(module, places)
    ]


def _elements(module: nn.Module, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The outermost networks within containers, depth first."""
    children = _children(module)
    kin = Counter(type(child) for child in children.values())
    for key, child in children.items():
        path = f"{name}.{key}" if name else key
        inner = list(_elements(child, path))
        is_element = _is_container(module) and _is_network(child) and not _is_group(child)
        if is_element and (kin[type(child)] > 1 or not inner):
            yield path, child
        else:
            yield from inner


def _children(module: nn.Module) -> dict[str, nn.Module]:
    """Submodules; not those that only reshape a weight (weight norm)."""
    children = dict(module.named_children())
    if is_parametrized(module):
        del children["parametrizations"]
    return children


def _is_container(module: nn.Module) -> bool:
    """Whether a module only lists others; a Sequential with a forward of its own does more."""
    if isinstance(module, nn.Sequential):
        return type(module).forward is nn.Sequential.forward
    return isinstance(module, nn.ModuleList) and type(module).forward is nn.ModuleList.forward


def _is_network(module: nn.Module) -> bool:
    """Whether a module is made of others and holds parameters."""
    return bool(_children(module)) and next(module.parameters(), None) is not None


def _is_group(module: nn.Module) -> bool:
    """Whether a module only lists networks, as the stage of a ResNet does."""
    return _is_container(module) and any(map(_is_network, module.children()))


def _count(module: nn.Module) -> int:
    return sum(param.numel() for param in module.parameters())


def _places(model: nn.Module) -> Counter[int]:
    """By identity of a parameter: in how many places of how many modules it is held."""
    return Counter(
        id(param)
        for module in model.modules()
        for param in module._parameters.values()
        if param is not None
    )


def _is_tied(block: nn.Module, places: Counter[int]) -> bool:
    """Whether some parameter of `block` is also held outside of it."""
    return any(places[param] != count for param, count in _places(block).items())
