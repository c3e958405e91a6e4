"""The estimator of version 3, fast: frames of many requests end to end, weights packed.

Products and norms see all frames of all rows and both guidance branches as one list, so nothing is
padded; only attention and the convolutions over positions ask whose frames they are. Products run
in the chosen precision; the residual stream, the norms, what goes in and what comes out in
float32. Shifts, scales and gates depend on the few fixed points of time alone: they are tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from kouji.models.cosyvoice.acoustic.dit import (
    NORM_EPSILON,
    POSITION_GROUPS,
    POSITION_TAPS,
    Block,
    DiT,
    PositionConvs,
    rotate,
)
from kouji.models.cosyvoice.acoustic.flow_cache import Convs
from kouji.models.cosyvoice.config import MELS
from kouji.models.layers.packed_linear import LinearPrecision, PackedLinear

BRANCHES = 2  # of guidance: asked for, and unasked
Attend = Callable[[int, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class DiTRow:
    """New frames of one request at one Euler step.

    x:      (frames, 80) float32
    base:   (frames, dim) float32, what is known of them, projected: see `PackedDiT.base`
    turns:  (frames, head_width / 2) complex, of their positions
    past:   frames before them, by convolution, (2, 30, dim)
    attend: layer, queries and both keys and values to what was heard; (2 * heads, frames,
            head_width), of keys and values (2, 2 * heads, frames, head_width)
    """

    step: int
    x: Tensor
    base: Tensor
    turns: Tensor
    past: Convs
    attend: Attend


class Moved(NamedTuple):
    """velocities: (2, frames, 80) float32; windows: past and new frames, by convolution."""

    velocities: Tensor
    windows: Convs


class Group(NamedTuple):
    """Frames `begin` to `end` of the list are at this step."""

    begin: int
    end: int
    step: int


class PackedDiT:
    """A `DiT`, packed; keeps nothing of it."""

    def __init__(
        self,
        dit: DiT,
        times: Sequence[float],
        precision: LinearPrecision,
        device: torch.device,
        compile_renderer: Callable[[Any], Any] | None = None,
    ) -> None:
        """times: the points it will be asked at; compile_renderer: for a GPU, see `_advance`."""
        config = dit.config
        self.config, self.device = config, device
        self.blocks = [_PackedBlock(block, precision, device) for block in _blocks(dit)]
        self.dtype = self.blocks[0].qkv.dtype
        self.tables = _modulations(dit, times).to(device)
        self.last_table = _last_modulations(dit, times).to(device)
        proj, out = dit.input_embed.proj, dit.proj_out
        # What goes in and comes out is a thousandth of the work: not worth any rounding.
        self.enter = PackedLinear(proj.weight[:, :MELS], None, "float32", device=device)
        self.known = PackedLinear(proj.weight[:, MELS:], proj.bias, "float32", device=device)
        self.leave = PackedLinear(out.weight, out.bias, "float32", device=device)
        self.bias = proj.bias.detach().clone().to(device)
        self.convs = _packed_convs(dit.input_embed.conv_pos_embed, self.dtype, device)
        self._advance = compile_renderer(_advance) if compile_renderer else _advance

    @property
    def num_bytes(self) -> int:
        tensors = [
            self.tables,
            self.last_table,
            self.bias,
            *(t for conv in self.convs for t in conv),
        ]
        linears = (self.enter, self.known, self.leave)
        return (
            sum(tensor.nbytes for tensor in tensors)
            + sum(linear.num_bytes for linear in linears)
            + sum(block.num_bytes for block in self.blocks)
        )

    def base(self, condition: Tensor, mu: Tensor, speaker: Tensor) -> Tensor:
        """What is the same in all steps of the conditioned branch; (frames, 80), (80,)."""
        return self.known(torch.cat((condition, mu, speaker.expand_as(mu)), -1))

    def no_past(self) -> Convs:
        """Where a sequence begins, for `DiTRow.past`."""
        shape = (BRANCHES, POSITION_TAPS - 1, self.config.dim)
        return (torch.zeros(shape, dtype=self.dtype, device=self.device),) * len(self.convs)

    def move(self, rows: Sequence[DiTRow]) -> list[Moved]:
        """One evaluation for each row; rows of one step must be neighbours."""
        entered = [self._enter(row) for row in rows]
        sizes = [BRANCHES * len(row.x) for row in rows]
        h = torch.cat([frames.flatten(0, 1) for frames, _ in entered])
        turns = torch.cat([row.turns for row in rows for _ in range(BRANCHES)])
        groups = _groups(rows, sizes)
        shift, scale = self.tables[0].unbind(1)[:2]
        normed = torch.cat([_norm(h[a:b], scale[s], shift[s], self.dtype) for a, b, s in groups])
        for number, block in enumerate(self.blocks):
            heard = self._hear(number, block.qkv(normed), turns, rows, sizes)
            _, _, gate, shift, scale, gate_ff = self.tables[number].unbind(1)
            h, normed = self._go_on(h, block.out(heard), gate, shift, scale, groups)
            widened = F.gelu(block.widen(normed), approximate="tanh")
            is_last = number + 1 == len(self.blocks)
            after = self.last_table if is_last else self.tables[number + 1]
            shift, scale = after.unbind(1)[:2]
            h, normed = self._go_on(h, block.narrow(widened), gate_ff, shift, scale, groups)
        velocities = torch.split(self.leave(normed), sizes)
        return [
            Moved(own.view(BRANCHES, -1, MELS), windows)
            for own, (_, windows) in zip(velocities, entered, strict=True)
        ]

    def _enter(self, row: DiTRow) -> tuple[Tensor, Convs]:
        solved = self.enter(row.x)
        h = torch.stack((solved + row.base, solved + self.bias))
        frames, windows = h.to(self.dtype), []
        for past, (weight, bias) in zip(row.past, self.convs, strict=True):
            windows.append(torch.cat((past, frames), 1))
            frames = F.mish(_convolve(windows[-1], weight, bias))
        return h + frames, tuple(windows)

    def _hear(
        self, number: int, qkv: Tensor, turns: Tensor, rows: Sequence[DiTRow], sizes: list[int]
    ) -> Tensor:
        heads, width = self.config.num_heads, self.config.head_width
        split = qkv.view(-1, 3, heads, width)
        split[:, :2, 0] = rotate(split[:, :2, 0].float(), turns[:, None]).to(qkv.dtype)
        heard = []
        for row, own in zip(rows, torch.split(split, sizes), strict=True):
            by_head = own.view(BRANCHES, -1, *own.shape[1:]).permute(2, 0, 3, 1, 4)
            asked = by_head.reshape(3, BRANCHES * heads, -1, width)
            seen = row.attend(number, asked[0], asked[1:]).view(BRANCHES, heads, -1, width)
            heard.append(seen.transpose(1, 2).reshape(-1, heads * width))
        return heard[0] if len(heard) == 1 else torch.cat(heard)

    def _go_on(
        self, h: Tensor, y: Tensor, gate: Tensor, shift: Tensor, scale: Tensor, groups: list[Group]
    ) -> tuple[Tensor, Tensor]:
        if len(groups) == 1:
            step = groups[0].step
            made: tuple[Tensor, Tensor] = self._advance(h, y, gate[step], scale[step], shift[step])
            return made
        parts = [
            self._advance(h[a:b], y[a:b], gate[step], scale[step], shift[step])
            for a, b, step in groups
        ]
        after, normed = zip(*parts, strict=True)
        return torch.cat(after), torch.cat(normed)


def _advance(
    h: Tensor, y: Tensor, gate: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Add what a layer made, and norm for the next; pure, so a GPU may fuse it to one kernel.

    A modulated norm is a norm whose weight and bias are the modulation.
    """
    h = torch.addcmul(h, y.to(h.dtype), gate)
    return h, _norm(h, scale, shift, y.dtype)


def _norm(h: Tensor, scale: Tensor, shift: Tensor, dtype: torch.dtype) -> Tensor:
    return F.layer_norm(h, h.shape[-1:], scale, shift, NORM_EPSILON).to(dtype)


def _groups(rows: Sequence[DiTRow], sizes: Sequence[int]) -> list[Group]:
    made, begin = [], 0
    for step, members in groupby(zip(rows, sizes, strict=True), key=lambda pair: pair[0].step):
        end = begin + sum(size for _, size in members)
        made.append(Group(begin, end, step))
        begin = end
    assert len({group.step for group in made}) == len(made)
    return made


class _PackedBlock:
    """The four products of a block."""

    def __init__(self, block: Block, precision: LinearPrecision, device: torch.device) -> None:
        attention, width = block.attn, block.attn.to_q.weight.shape[0] // block.attn.num_heads
        scale = width**-0.5  # queries come out scaled: an eighth, so no bit is lost
        parts = (attention.to_q, attention.to_k, attention.to_v)
        weight = torch.cat([part.weight for part in parts])
        bias = torch.cat([part.bias for part in parts])
        weight[: len(weight) // 3] *= scale
        bias[: len(bias) // 3] *= scale
        self.qkv = PackedLinear(weight, bias, precision, device=device)
        linears = (attention.out, *block.ff.linears)
        self.out, self.widen, self.narrow = (
            PackedLinear(linear.weight, linear.bias, precision, device=device) for linear in linears
        )

    @property
    def num_bytes(self) -> int:
        return sum(part.num_bytes for part in (self.qkv, self.out, self.widen, self.narrow))


def _blocks(dit: DiT) -> list[Block]:
    return [block for block in dit.transformer_blocks if isinstance(block, Block)]


def _modulations(dit: DiT, times: Sequence[float]) -> Tensor:
    """(layers, times, 6, dim) float32, in the official order; scales as factors."""
    time = dit.time_embed(torch.tensor(times))
    tables = torch.stack([torch.cat(block.attn_norm(time), 1) for block in _blocks(dit)])
    tables[:, :, 1::3] += 1
    return tables


def _last_modulations(dit: DiT, times: Sequence[float]) -> Tensor:
    """(times, 2, dim): shift first, as in the other tables."""
    scale, shift = dit.norm_out(dit.time_embed(torch.tensor(times)))
    return torch.cat((shift, 1 + scale), 1)


def _packed_convs(
    convs: PositionConvs, dtype: torch.dtype, device: torch.device
) -> list[tuple[Tensor, Tensor]]:
    made = []
    for conv in convs.in_order:
        weight = conv.weight.detach().unsqueeze(2).to(device, dtype)
        bias = conv.bias.detach().to(device, dtype, copy=True)  # type: ignore[union-attr]
        made.append((weight.contiguous(memory_format=torch.channels_last), bias))
    return made


def _convolve(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(branches, 30 + frames, dim) -> (branches, frames, dim).

    As a channels-last image of height one; in bfloat16 half the time of `conv1d`, and a third of
    unfolding for one product per group.
    """
    image = F.conv2d(x.mT.unsqueeze(2), weight, bias, groups=POSITION_GROUPS)
    return image.squeeze(2).mT
