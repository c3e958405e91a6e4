"""Attention of one new position per row over slots of a cache, of a prefix over itself, and of
several positions behind what a slot holds. Heads of queries may share keys and values in groups.

On a CPU the two products of single-query attention are what an embedding bag computes, a
weighted sum of table rows: scores are keys weighted by the query (rows of the table: a strip of
128 positions of one key channel), the result is values weighted by the softmax. Bags are ragged,
so rows of any length in any slots share one call, nothing is copied together or padded in memory,
and a row's bits do not depend on its neighbours. Measured on one thread, 16 heads of 32 over 400
positions, microseconds per row: fused attention 143 float32, 304 bfloat16; matrix products 111
to 178; embedding bags 90 float32, 60-75 float16 (bytes over bandwidth: 63 and 31).
Knows caches and shapes; queries come scaled.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from kouji.models.layers.kv_cache import STRIP, RowCache, SlotCache, StripCache

SHAPE_STEP = 32  # lengths of products are rounded up to multiples of it


class StepAttention:
    """One step of several rows: everything that is the same in all layers is computed once."""

    def attend(self, layer: int, qkv: Tensor) -> Tensor:
        """Append to the cache and attend.

        qkv:     (rows, (query heads + 2 * heads) * width): scaled queries, keys and values of the
                 new position
        returns: (rows, query heads * width) in the cache's number format
        """
        raise NotImplementedError


def plan_step(
    cache: SlotCache,
    slots: Tensor,
    lengths: Tensor,
    num_positions: int | None = None,
    *,
    group: int = 1,
) -> StepAttention:
    """Prepare a step.

    slots:         (rows,) int64, each at most once
    lengths:       (rows,) int64, positions already in the slots; the new one is written there
    num_positions: `RowCache` only: look no further than this (a bucket of CUDA graphs)
    group:         heads of queries that share one of keys and values, next to each other
    """
    if isinstance(cache, StripCache):
        return _StripStep(cache, slots, lengths, group)
    assert isinstance(cache, RowCache)
    return _RowStep(cache, slots, lengths, num_positions or cache.num_positions, group)


class _RowStep(StepAttention):
    """Gathers rows and masks them: static shapes, no reading of tensors, fit for CUDA graphs."""

    def __init__(
        self, cache: RowCache, slots: Tensor, lengths: Tensor, num_positions: int, group: int
    ) -> None:
        self.cache, self.slots, self.num_positions = cache, slots, num_positions
        self.group = group
        self.heads = torch.arange(cache.layout.num_heads, device=slots.device)
        self.at = (slots.unsqueeze(1), self.heads, lengths.unsqueeze(1))
        positions = torch.arange(num_positions, device=slots.device)
        self.mask = (positions <= lengths.unsqueeze(1))[:, None, None]

    def attend(self, layer: int, qkv: Tensor) -> Tensor:
        """As `StepAttention.attend`."""
        heads = len(self.heads)
        qkv = qkv.to(self.cache.layout.dtype).view(len(qkv), heads * (self.group + 2), -1)
        q, k, v = torch.split(qkv, [heads * self.group, heads, heads], dim=1)
        keys, values = self.cache.keys[layer], self.cache.values[layer]
        keys.index_put_(self.at, k)
        values.index_put_(self.at, v)
        # Queries of one group look at one head as if they were positions: no copies of keys.
        seen = F.scaled_dot_product_attention(
            q.view(len(q), heads, self.group, -1),
            keys[:, :, : self.num_positions].index_select(0, self.slots),
            values[:, :, : self.num_positions].index_select(0, self.slots),
            attn_mask=self.mask,
            scale=1.0,
        )
        return seen.flatten(1)


class _StripStep(StepAttention):
    """Both products as embedding bags over the tables of a `StripCache`."""

    def __init__(self, cache: StripCache, slots: Tensor, lengths: Tensor, group: int) -> None:
        self.cache, self.group = cache, group
        self.num_rows = len(slots)
        self.shortest, self.longest = int(lengths.min()) + 1, int(lengths.max()) + 1
        assert self.longest <= cache.num_positions, "a row outgrew its slot"
        self.num_strips = -(-self.longest // STRIP)
        positions = torch.arange(self.longest)
        # Only what the longest row has beyond the shortest needs a mask at all.
        self.is_unseen = (positions[self.shortest :] > lengths.unsqueeze(1)).unsqueeze(1)
        self._index_keys(slots, lengths)
        self._index_values(slots, lengths, positions)
        self._index_new(slots, lengths)

    def _index_keys(self, slots: Tensor, lengths: Tensor) -> None:
        """Table rows of every (row, query head, strip): the `width` channels of that strip."""
        cache, layout = self.cache, self.cache.layout
        heads, width = layout.num_heads, layout.head_width
        # Strips beyond a row's end stand for its last one, which is in cache anyway.
        strips = torch.arange(self.num_strips).minimum((lengths // STRIP).unsqueeze(1))
        strips = (slots.unsqueeze(1) * cache.num_strips + strips).int() * (heads * width)
        channels = torch.arange(heads * width, dtype=torch.int32).view(heads, 1, width)
        channels = channels.repeat_interleave(self.group, dim=0)
        self.key_rows = (strips[:, None, :, None] + channels).flatten()
        self.key_bags = torch.arange(0, len(self.key_rows), width, dtype=torch.int32)

    def _index_values(self, slots: Tensor, lengths: Tensor, positions: Tensor) -> None:
        """Table rows of every (row, query head): its positions; the unseen have weight zero."""
        cache, heads = self.cache, self.cache.layout.num_heads
        seen = positions.minimum(lengths.unsqueeze(1)).int().unsqueeze(1)
        every = torch.arange(heads).repeat_interleave(self.group)
        first = (slots.unsqueeze(1) * heads + every) * cache.num_positions
        self.value_rows = (first.int().unsqueeze(2) + seen).flatten()
        self.value_bags = torch.arange(0, len(self.value_rows), len(positions), dtype=torch.int32)

    def _index_new(self, slots: Tensor, lengths: Tensor) -> None:
        """Where the numbers of the new keys and values go, (rows, 2 * heads * width)."""
        cache, layout = self.cache, self.cache.layout
        heads, width = layout.num_heads, layout.head_width
        strip = slots * cache.num_strips + lengths // STRIP
        keys = (strip * (heads * width * STRIP) + lengths % STRIP).unsqueeze(1)
        keys = keys + torch.arange(heads * width) * STRIP
        rows = (slots.unsqueeze(1) * heads + torch.arange(heads)) * cache.num_positions
        rows = (rows + lengths.unsqueeze(1)) * width + cache.values_start
        values = (rows.unsqueeze(2) + torch.arange(width)).flatten(1)
        self.new = torch.cat([keys, values], dim=1)

    def attend(self, layer: int, qkv: Tensor) -> Tensor:
        """As `StepAttention.attend`."""
        cache, layout = self.cache, self.cache.layout
        heads, width, rows = layout.num_heads * self.group, layout.head_width, self.num_rows
        qkv = qkv.to(layout.dtype)
        cache.flat[layer].put_(self.new, qkv[:, heads * width :])
        q = (
            qkv[:, : heads * width]
            .view(rows, heads, 1, width)
            .expand(-1, -1, self.num_strips, -1)
            .reshape(-1)
        )
        scores = _weighted_sums(cache.key_rows[layer], self.key_rows, self.key_bags, q)
        scores = scores.view(rows, heads, -1)[:, :, : self.longest]
        if self.shortest < self.longest:
            scores[:, :, self.shortest :].masked_fill_(self.is_unseen, -math.inf)
        weights = scores.softmax(-1).view(-1)
        seen = _weighted_sums(cache.value_rows[layer], self.value_rows, self.value_bags, weights)
        return seen.view(rows, -1)


def _weighted_sums(table: Tensor, rows: Tensor, bags: Tensor, weights: Tensor) -> Tensor:
    """Sum weighted table rows bag by bag, as `F.embedding_bag` without its Python checks.

    table: (rows, width), rows: (entries,) int32, bags: (bags,) int32 first entry of each
    """
    sums: Tensor = torch.embedding_bag(table, rows, bags, False, 0, False, weights)[0]
    return sums


def attend_prefix(q: Tensor, k: Tensor, v: Tensor, num_free: int) -> Tensor:
    """Attention of a whole prefix: `num_free` positions see each other, later ones the past.

    q, k, v: (positions, heads, width), queries scaled
    returns: (positions, heads * width)
    """
    q, k, v = (t.transpose(0, 1) for t in (q, k, v))
    num_positions = q.shape[1]
    free = _attend(q[:, :num_free], k[:, :num_free], v[:, :num_free], None)
    if num_positions > num_free:
        new = torch.arange(num_free, num_positions, device=q.device).unsqueeze(1)
        is_unseen = torch.arange(num_positions, device=q.device) > new
        free = torch.cat([free, _attend(q[:, num_free:], k, v, is_unseen)], dim=1)
    return free.transpose(0, 1).flatten(1)


def attend_behind(q: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Causal attention of the last positions of a slot to all before them and themselves.

    q:            (new, query heads, width), scaled
    keys, values: (heads, positions, width), as a cache keeps them, the new ones included
    returns:      (new, query heads * width) in the type of `q`
    """
    num_new, num_all = q.shape[0], keys.shape[1]
    group = q.shape[1] // keys.shape[0]
    k, v = (t.to(q.dtype).repeat_interleave(group, dim=0) for t in (keys, values))
    is_whole = num_new == num_all
    mask = None  # kernels for the whole triangle need none
    if not is_whole:
        every = torch.ones(num_new, num_all, dtype=torch.bool, device=q.device)
        mask = every.tril(num_all - num_new)
    seen = F.scaled_dot_product_attention(
        q.transpose(0, 1).unsqueeze(0),
        k.unsqueeze(0),
        v.unsqueeze(0),
        attn_mask=mask,
        is_causal=is_whole,
        scale=1.0,
    )
    return seen[0].transpose(0, 1).flatten(1)


def _attend(q: Tensor, k: Tensor, v: Tensor, is_unseen: Tensor | None) -> Tensor:
    """(heads, positions, width) each; `is_unseen` (queries, positions)."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        # Measured at 290 positions: 2.0 ms this way, 3.4 ms with the fused kernel.
        return _attend_padded(q, k, v, is_unseen)
    mask = None if is_unseen is None else ~is_unseen
    return F.scaled_dot_product_attention(
        q.unsqueeze(0), k.unsqueeze(0), v.unsqueeze(0), attn_mask=mask, scale=1.0
    ).squeeze(0)


def _attend_padded(q: Tensor, k: Tensor, v: Tensor, is_unseen: Tensor | None) -> Tensor:
    """`_attend` at rounded lengths: oneDNN keeps code for every shape of a product it has met."""
    num_queries, num_keys = q.shape[1], k.shape[1]
    more_queries, more_keys = -num_queries % SHAPE_STEP, -num_keys % SHAPE_STEP
    q, k, v = (
        F.pad(t, (0, 0, 0, more)) for t, more in ((q, more_queries), (k, more_keys), (v, more_keys))
    )
    scores = torch.bmm(q, k.transpose(1, 2))
    if is_unseen is not None:
        scores[:, :num_queries, :num_keys].masked_fill_(is_unseen, -math.inf)
    scores[:, :, num_keys:] = -math.inf
    return torch.bmm(scores.softmax(-1), v)[:, :num_queries]
