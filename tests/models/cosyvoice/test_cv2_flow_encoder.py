"""Version 2's packed encoder against the plain one: whole, in pieces, in every precision."""

from __future__ import annotations

import pytest
import torch
from cosyvoice_unet import TINY, plain, random_state, random_tokens
from torch import Tensor

from kouji.models.cosyvoice.acoustic import relative_attention
from kouji.models.cosyvoice.acoustic.flow_attention import Span
from kouji.models.cosyvoice.acoustic.packed_conformer import EncoderCache, PackedConformer
from kouji.models.cosyvoice.acoustic.relative_attention import bounded, nearest_distance

CHUNK, LOOKAHEAD = TINY.chunk_tokens, TINY.lookahead_tokens


@pytest.fixture(scope="module")
def packed() -> PackedConformer:
    return PackedConformer(TINY, random_state(), "float32", "cpu")


@torch.inference_mode()
def wanted(tokens: list[int], *, is_streaming: bool) -> Tensor:
    network = plain(TINY, random_state())
    embedded = network.input_embedding(torch.tensor([tokens]))
    mu: Tensor = network.encoder_proj(network.encoder(embedded, None, is_streaming=is_streaming))
    return mu[0]


def in_pieces(packed: PackedConformer, tokens: list[int], borders: list[int]) -> Tensor:
    """All of it, as a stream cut there would be encoded."""
    given, cache, mus = torch.tensor(tokens), EncoderCache(), []
    for begin, end in zip([0, *borders], [*borders, len(tokens)], strict=True):
        ahead = given[end : end + LOOKAHEAD]
        encoded = packed(given[begin:end], ahead, cache, CHUNK)
        cache = encoded.cache
        mus.append(encoded.mu)
    return torch.cat(mus)


@torch.inference_mode()
@pytest.mark.parametrize("num_tokens", [1, 2, 7, 23])
def test_whole_under_full_attention(packed: PackedConformer, num_tokens: int) -> None:
    tokens = random_tokens(num_tokens)
    given = torch.tensor(tokens)
    encoded = packed(given, given[:0], EncoderCache(), None)
    assert (encoded.mu - wanted(tokens, is_streaming=False)).abs().max() <= 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("borders", [[], [5], [5, 10, 15, 20], [15], [10, 20]])
@pytest.mark.parametrize("num_tokens", [21, 23])
def test_pieces_are_the_whole(packed: PackedConformer, num_tokens: int, borders: list[int]) -> None:
    tokens = random_tokens(num_tokens)
    seen = in_pieces(packed, tokens, borders)
    assert (seen - wanted(tokens, is_streaming=True)).abs().max() <= 1e-5


@torch.inference_mode()
def test_a_long_stretch_is_cut_into_bounded_products(
    packed: PackedConformer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = random_tokens(23)
    given = torch.tensor(tokens)
    whole = packed(given, given[:0], EncoderCache(), None)
    monkeypatch.setattr(relative_attention, "MAX_PAIRS", 100)
    cut = packed(given, given[:0], EncoderCache(), None)
    parts = bounded([Span(0, 46, 46)])
    assert max((part.end - part.begin) * part.num_keys for part in parts) <= 100
    assert [part.begin for part in parts] == [0, *(part.end for part in parts[:-1])]
    assert (whole.mu - cut.mu).abs().max() <= 1e-5


@torch.inference_mode()
@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_narrow_weights_stay_close(precision: str) -> None:
    tokens = random_tokens(23)
    narrow = PackedConformer(TINY, random_state(), precision, "cpu")  # type: ignore[arg-type]
    seen, right = in_pieces(narrow, tokens, [10]), wanted(tokens, is_streaming=True)
    assert seen.dtype == torch.float32
    assert 0 < (seen - right).abs().mean() <= 0.02 * right.abs().mean()


@torch.inference_mode()
def test_the_cache_grows_with_the_tokens_and_is_never_written_to(packed: PackedConformer) -> None:
    given = torch.tensor(random_tokens(23))
    first = packed(given[:10], given[10:13], EncoderCache(), CHUNK).cache
    copies = [kv[0].clone() for kv in first.blocks]
    second = packed(given[10:20], given[20:23], first, CHUNK).cache
    assert all(torch.equal(kv[0], copy) for kv, copy in zip(first.blocks, copies, strict=True))
    assert (first.num_tokens, second.num_tokens) == (10, 20)
    tails = sum(t.nbytes for t in (first.behind, first.up_behind) if t is not None)
    assert second.num_bytes - tails == 2 * (first.num_bytes - tails)


def test_distances_reach_as_far_ahead_as_a_chunk_does() -> None:
    assert nearest_distance([Span(0, 7, 7)]) == -6
    assert nearest_distance([Span(0, 5, 10), Span(5, 10, 15), Span(10, 13, 18)]) == -4
    assert nearest_distance([Span(0, 2, 5), Span(2, 4, 7)]) == -1
