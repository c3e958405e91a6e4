"""Both cache layouts: room, copies, and attention that equals the textbook's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from kouji.models.layers.attention import attend_behind, attend_prefix, plan_step
from kouji.models.layers.kv_cache import STRIP, CacheLayout, SlotCache

HEADS, WIDTH, LAYERS = 3, 8, 2
BOTH = pytest.mark.parametrize("is_strips", [True, False], ids=["strips", "rows"])


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def layout(is_strips: bool, dtype: torch.dtype = torch.float32) -> CacheLayout:
    return CacheLayout(LAYERS, HEADS, WIDTH, dtype, torch.device("cpu"), is_strips)


def filled(is_strips: bool, lengths: list[int], dtype: torch.dtype = torch.float32) -> SlotCache:
    """A cache whose slot i holds `lengths[i]` positions, and stale NaN after them."""
    cache = layout(is_strips, dtype).allocate(len(lengths), 2 * STRIP)
    cache.keys.fill_(float("nan"))
    cache.values.fill_(float("nan"))
    for slot, length in enumerate(lengths):
        for layer in range(LAYERS):
            keys, values = numbers(2, length, HEADS, WIDTH, seed=10 * slot + layer)
            cache.write(layer, slot, keys, values)
    return cache


def textbook(slot: int, layer: int, length: int, qkv: torch.Tensor) -> torch.Tensor:
    keys, values = numbers(2, length, HEADS, WIDTH, seed=10 * slot + layer)
    q, k, v = qkv.view(3, HEADS, WIDTH)
    keys, values = torch.cat([keys, k[None]]), torch.cat([values, v[None]])
    scores = torch.einsum("hw,phw->hp", q, keys).softmax(-1)
    return torch.einsum("hp,phw->hw", scores, values).flatten()


LENGTHS = [5, STRIP - 1, STRIP, 2 * STRIP - 1]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 2e-2)])
@pytest.mark.parametrize("slots", [[0], [3, 1], [2, 0, 1, 3]])
def test_strips_equal_the_textbook(dtype: torch.dtype, tolerance: float, slots: list[int]) -> None:
    cache = filled(True, LENGTHS, dtype)
    qkv = numbers(len(slots), 3 * HEADS * WIDTH, seed=99)
    lengths = torch.tensor([LENGTHS[slot] for slot in slots])
    plan = plan_step(cache, torch.tensor(slots), lengths)
    for layer in range(LAYERS):
        ours = plan.attend(layer, qkv).float()
        for row, slot in enumerate(slots):
            wanted = textbook(slot, layer, LENGTHS[slot], qkv[row])
            assert torch.allclose(ours[row], wanted, atol=tolerance)


def test_rows_equal_the_textbook_within_a_bucket() -> None:
    cache = layout(False).allocate(3, 64)
    for slot in range(3):
        cache.write(0, slot, *numbers(2, 7 + slot, HEADS, WIDTH, seed=10 * slot))
    qkv = numbers(2, 3 * HEADS * WIDTH, seed=99)
    for bucket in (None, 16):
        plan = plan_step(cache, torch.tensor([2, 0]), torch.tensor([9, 7]), bucket)
        ours = plan.attend(0, qkv)
        for row, slot in enumerate([2, 0]):
            assert torch.allclose(ours[row], textbook(slot, 0, 7 + slot, qkv[row]), atol=1e-5)


@BOTH
def test_a_step_writes_its_position_only(is_strips: bool) -> None:
    cache = layout(is_strips).allocate(3, STRIP)
    cache.write(1, 2, *numbers(2, 4, HEADS, WIDTH, seed=3))
    before = [cache.copy_out(slot, STRIP) for slot in range(3)]
    qkv = numbers(1, 3 * HEADS * WIDTH)
    plan_step(cache, torch.tensor([2]), torch.tensor([4])).attend(1, qkv)
    after = [cache.copy_out(slot, STRIP) for slot in range(3)]
    for slot in range(3):
        changed = sum(
            int((old != new).sum()) for old, new in zip(before[slot], after[slot], strict=True)
        )
        assert changed == (2 * HEADS * WIDTH if slot == 2 else 0)


@BOTH
@pytest.mark.parametrize("length", [3, STRIP, STRIP + 9])
def test_a_copied_prefix_speaks_on_alike(is_strips: bool, length: int) -> None:
    cache = layout(is_strips).allocate(3, 2 * STRIP)
    for layer in range(LAYERS):
        cache.write(layer, 0, *numbers(2, length, HEADS, WIDTH, seed=layer))
    kept = cache.copy_out(0, length)
    cache.copy_in(2, kept)
    assert kept.num_bytes >= 2 * LAYERS * length * HEADS * WIDTH * 4
    qkv, lengths = numbers(1, 3 * HEADS * WIDTH).expand(2, -1), torch.tensor([length, length])
    plan = plan_step(cache, torch.tensor([0, 2]), lengths)
    for layer in range(LAYERS):
        first, second = plan.attend(layer, qkv)
        assert torch.equal(first, second)


@BOTH
def test_a_kept_prefix_is_a_copy(is_strips: bool) -> None:
    cache = layout(is_strips).allocate(1, STRIP)
    kept = cache.copy_out(0, 9)
    cache.write(0, 0, *numbers(2, 9, HEADS, WIDTH))
    assert not bool(kept.keys.any())
    assert not bool(kept.values.any())


@BOTH
def test_memory_is_told_before_it_is_taken(is_strips: bool) -> None:
    plan = layout(is_strips, torch.float16)
    cache = plan.allocate(5, 130)
    assert cache.num_positions >= 130
    assert cache.num_bytes == 5 * plan.slot_bytes(130)


@BOTH
def test_a_row_does_not_see_its_neighbours(is_strips: bool) -> None:
    lengths = [20, 200, 90]
    qkv = numbers(3, 3 * HEADS * WIDTH)
    cache = layout(is_strips).allocate(3, 2 * STRIP)
    for slot, length in enumerate(lengths):
        cache.write(0, slot, *numbers(2, length, HEADS, WIDTH, seed=slot))
    together = plan_step(cache, torch.arange(3), torch.tensor(lengths)).attend(0, qkv)
    for row, length in enumerate(lengths):
        plan = plan_step(cache, torch.tensor([row]), torch.tensor([length]))
        assert torch.allclose(plan.attend(0, qkv[row : row + 1])[0], together[row], atol=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-2)])
@pytest.mark.parametrize("num_free", [9, 12])
def test_prefix(dtype: torch.dtype, tolerance: float, num_free: int) -> None:
    q, k, v = numbers(3, 12, HEADS, WIDTH)
    mask = torch.ones(12, 12, dtype=torch.bool).tril()
    mask[:num_free, :num_free] = True
    wanted = F.scaled_dot_product_attention(
        *(t.transpose(0, 1) for t in (q, k, v)), attn_mask=mask, scale=1.0
    )
    ours = attend_prefix(q.to(dtype), k.to(dtype), v.to(dtype), num_free)
    assert torch.allclose(ours.float(), wanted.transpose(0, 1).flatten(1), atol=tolerance)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells what is taken")
@pytest.mark.parametrize("is_strips", [True, False])
def test_memory_is_taken_when_it_is_written(is_strips: bool) -> None:
    layout = CacheLayout(2, 4, 64, torch.bfloat16, torch.device("cpu"), is_strips)
    before = _resident_bytes()
    cache = layout.allocate(64, 2048)
    assert cache.num_bytes == 64 * layout.slot_bytes(2048) == 256 << 20
    assert _resident_bytes() - before < cache.num_bytes / 8
    assert not cache.keys[0, 0].any()
    content = torch.randn(100, 4, 64)
    cache.write(1, 0, content, content)
    kept = cache.copy_out(0, 100)
    assert torch.equal(kept.values[1].transpose(0, 1), content.to(torch.bfloat16))
    assert _resident_bytes() - before < cache.num_bytes / 8, "one seat of 64 is used"


def _resident_bytes() -> int:
    words = Path("/proc/self/status").read_text().split("VmRSS:")[1].split()
    return int(words[0]) << 10


GROUP = 2


def grouped_textbook(keys: torch.Tensor, values: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """q (query heads, width), keys and values (positions, heads, width)."""
    keys, values = (t.repeat_interleave(GROUP, dim=1) for t in (keys, values))
    return torch.einsum("hp,phw->hw", torch.einsum("hw,phw->hp", q, keys).softmax(-1), values)


@BOTH
def test_heads_of_queries_may_share_keys(is_strips: bool) -> None:
    cache = layout(is_strips).allocate(4, 2 * STRIP)
    lengths, slots = [5, STRIP + 3], [2, 0]
    content = [numbers(2, length, HEADS, WIDTH, seed=length) for length in lengths]
    for slot, (keys, values) in zip(slots, content, strict=True):
        cache.write(1, slot, keys, values)
    qkv = numbers(2, (GROUP + 2) * HEADS * WIDTH, seed=9)
    plan = plan_step(cache, torch.tensor(slots), torch.tensor(lengths), group=GROUP)
    ours = plan.attend(1, qkv)
    for row, (keys, values) in enumerate(content):
        q, k, v = qkv[row].view(-1, WIDTH).split([GROUP * HEADS, HEADS, HEADS])
        whole = torch.cat([keys, k[None]]), torch.cat([values, v[None]])
        wanted = grouped_textbook(*whole, q).flatten()
        assert torch.allclose(ours[row], wanted, atol=1e-5)


@BOTH
@pytest.mark.parametrize("cuts", [[7], [STRIP], [30, 40, STRIP, STRIP + 70]])
def test_what_is_written_in_pieces_is_read_whole(is_strips: bool, cuts: list[int]) -> None:
    length = STRIP + 90
    keys, values = numbers(2, length, HEADS, WIDTH)
    cache = layout(is_strips).allocate(2, 2 * STRIP)
    cache.write(0, 1, *numbers(2, 2 * STRIP, HEADS, WIDTH, seed=5))  # somebody was here before
    for start, end in zip([0, *cuts], [*cuts, length], strict=True):
        cache.write(0, 1, keys[start:end], values[start:end], start)
    for num_positions in (length, 50):
        ours = cache.read(0, 1, num_positions)
        assert torch.equal(ours[0], keys[:num_positions].transpose(0, 1))
        assert torch.equal(ours[1], values[:num_positions].transpose(0, 1))
    assert not bool(cache.keys[0, 0].any())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("num_new", [1, 5, 12])
def test_attention_behind_what_is_there(dtype: torch.dtype, num_new: int) -> None:
    keys, values = numbers(2, 12, HEADS, WIDTH).to(dtype)
    q = numbers(num_new, GROUP * HEADS, WIDTH, seed=3)
    ours = attend_behind(q, keys.transpose(0, 1), values.transpose(0, 1))
    for row in range(num_new):
        seen = 12 - num_new + row + 1
        wanted = grouped_textbook(keys[:seen].float(), values[:seen].float(), q[row])
        assert torch.allclose(ours[row], wanted.flatten(), atol=1e-5)
