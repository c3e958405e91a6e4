"""Version 2's encoder over packed weights: a piece at a time, with what lies before it kept.

What a piece needs of the past: keys and values of each block, the embedded tokens that the
pre-lookahead layer looks back on, and the encoded ones that the doubling's convolution does.
The numbers are those of `conformer` under the mask, whatever the pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kouji.models.cosyvoice.acoustic.conformer import (
    BLOCK_NORM_EPSILON,
    UP_TAPS,
    InputLayer,
    UpLayer,
    relative_positions,
)
from kouji.models.cosyvoice.acoustic.flow_attention import Span, chunk_spans
from kouji.models.cosyvoice.acoustic.lookahead import TOKENS_BEHIND, PreLookahead
from kouji.models.cosyvoice.acoustic.packing import Weights
from kouji.models.cosyvoice.acoustic.relative_attention import attend_relative, nearest_distance
from kouji.models.cosyvoice.config import (
    FRAMES_PER_TOKEN,
    MELS,
    SPEAKER_WIDTH,
    FlowConfig,
    UNetConfig,
)
from kouji.models.layers.packed_linear import LinearPrecision
from kouji.models.unfilled import without_initial_values

State = Mapping[str, Tensor]
KeysValues = tuple[Tensor, Tensor]  # of a block, (heads, positions, width) each
UP_TOKENS_BEHIND = (UP_TAPS - 1) // FRAMES_PER_TOKEN


@dataclass(frozen=True)
class EncoderCache:
    """What the encoder keeps of the tokens before; never written to, so it may be shared.

    num_tokens: encoded so far
    behind:     (1, up to 2 tokens, width), embedded
    up_behind:  (1, up to 2 tokens, width), encoded, before the doubling
    blocks:     of all blocks, those over frames last
    """

    num_tokens: int = 0
    behind: Tensor | None = field(default=None, repr=False)
    up_behind: Tensor | None = field(default=None, repr=False)
    blocks: tuple[KeysValues, ...] = field(default=(), repr=False)

    @property
    def num_bytes(self) -> int:
        """Memory of all tensors."""
        tails = [t for t in (self.behind, self.up_behind) if t is not None]
        return sum(t.nbytes for t in [*tails, *(t for block in self.blocks for t in block)])


class Encoded(NamedTuple):
    """A piece as the solver is given it: `mu` (frames, 80) float32; and what it cost.

    cache: with this piece in it
    flops: two per multiplication, of everything that grows with the piece
    """

    mu: Tensor
    cache: EncoderCache
    flops: int


class PackedConformerBlock:
    """One block, packed; residuals and norms are float32."""

    def __init__(self, weights: Weights, num_heads: int) -> None:
        self.num_heads = num_heads
        attention, feed_forward = weights.at("self_attn"), weights.at("feed_forward")
        self.qkv = attention.linear("linear_q", "linear_k", "linear_v")
        self.position = attention.linear("linear_pos", has_bias=False)
        self.out = attention.linear("linear_out")
        self.widen, self.narrow = feed_forward.linear("w_1"), feed_forward.linear("w_2")
        u, v = (attention.take(name).to(weights.device) for name in ("pos_bias_u", "pos_bias_v"))
        self.biases = (u.unsqueeze(1), v.unsqueeze(1))
        self.norm_mha = weights.norm("norm_mha", BLOCK_NORM_EPSILON)
        self.norm_ff = weights.norm("norm_ff", BLOCK_NORM_EPSILON)

    @property
    def num_bytes(self) -> int:
        linears = (self.qkv, self.position, self.out, self.widen, self.narrow)
        parts = (*linears, self.norm_mha, self.norm_ff)
        return sum(part.num_bytes for part in parts) + sum(bias.nbytes for bias in self.biases)

    def __call__(
        self, x: Tensor, positions: Tensor, spans: Sequence[Span], past: KeysValues | None
    ) -> tuple[Tensor, KeysValues]:
        """A piece: (new positions, width) float32, and keys and values up to its end."""
        qkv = self.qkv(self.norm_mha(x))
        q, k, v = qkv.view(len(x), 3, self.num_heads, -1).permute(1, 2, 0, 3)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=1), torch.cat([past[1], v], dim=1)
        p = self.position(positions).view(len(positions), self.num_heads, -1).transpose(0, 1)
        x = x + self.out(attend_relative(q, k, v, p, self.biases, spans))
        y = self.narrow(F.silu(self.widen(self.norm_ff(x))))
        return x + y, (k, v)


class EncoderLayers(nn.Module):
    """The encoder's layers around the blocks, by their official names."""

    def __init__(self, width: int, lookahead_channels: int) -> None:
        super().__init__()
        self.embed = InputLayer(width)
        self.pre_lookahead_layer = PreLookahead(width, lookahead_channels)
        self.up_layer = UpLayer(width)
        self.up_embed = InputLayer(width)
        self.after_norm = nn.LayerNorm(width)


class SmallLayers(nn.Module):
    """What of `flow.pt` lies around the blocks and before the estimator, by its official names.

    It stays in float32: a fiftieth of the blocks' work.
    """

    def __init__(self, config: FlowConfig, width: int) -> None:
        super().__init__()
        self.input_embedding = nn.Embedding(config.codebook, width)
        self.spk_embed_affine_layer = nn.Linear(SPEAKER_WIDTH, MELS)
        self.encoder_proj = nn.Linear(width, MELS)
        self.encoder = EncoderLayers(width, config.lookahead_channels)

    @classmethod
    def of(cls, config: FlowConfig, width: int, state: State, device: str) -> SmallLayers:
        """With its own tensors out of a whole `flow.pt`."""
        with without_initial_values():
            layers = cls(config, width)
        layers.load_state_dict({name: state[name] for name in layers.state_dict()})
        return layers.eval().requires_grad_(False).to(device)


class PackedConformer:
    """The whole encoder, from tokens to `mu`, and the speaker's projection."""

    def __init__(
        self, config: FlowConfig, state: State, precision: LinearPrecision, device: str
    ) -> None:
        """Pack; `state` has the official names of `flow.pt`, and is not kept."""
        sizes = config.estimator
        assert isinstance(sizes, UNetConfig)
        self.sizes, self.device = sizes, device
        self.layers = SmallLayers.of(config, sizes.encoder_dim, state, device)
        weights = Weights(state, "encoder", precision, device)
        names = [f"encoders.{number}" for number in range(sizes.num_blocks)]
        names += [f"up_encoders.{number}" for number in range(sizes.num_up_blocks)]
        self.blocks = [
            PackedConformerBlock(weights.at(name), sizes.encoder_heads) for name in names
        ]

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        small = sum(p.nbytes for p in self.layers.parameters())
        return small + sum(block.num_bytes for block in self.blocks)

    @property
    def bytes_per_frame(self) -> int:
        """What `EncoderCache` grows by with every frame of mel."""
        sizes, itemsize = self.sizes, self.blocks[0].qkv.dtype.itemsize
        num_tables = sizes.num_blocks / FRAMES_PER_TOKEN + sizes.num_up_blocks
        return int(num_tables * 2 * sizes.encoder_dim * itemsize)

    def project_speaker(self, speaker: Tensor) -> Tensor:
        """(192,) as it came to (80,)."""
        y: Tensor = self.layers.spk_embed_affine_layer(F.normalize(speaker.to(self.device), dim=0))
        return y

    def __call__(
        self, tokens: Tensor, ahead: Tensor, cache: EncoderCache, chunk: int | None
    ) -> Encoded:
        """Encode what follows the cache.

        tokens: (tokens,) int64, at least one
        ahead:  (0 to 3 tokens,) int64 behind them; beyond the last there is silence
        chunk:  tokens of the causal mask; None: everything sees everything
        """
        layers, begin = self.layers.encoder, cache.num_tokens
        embedded = layers.embed(self._embed(torch.cat([tokens, ahead])))
        x, seen = embedded[:, : len(tokens)], embedded[:, len(tokens) :]
        behind = _tail(cache.behind, x, TOKENS_BEHIND)
        x = layers.pre_lookahead_layer(x, seen, cache.behind)
        num_blocks = self.sizes.num_blocks
        spans = _spans(begin, begin + len(tokens), chunk)
        x, below, low_flops = self._attend(x, spans, slice(num_blocks), cache)
        up_behind = _tail(cache.up_behind, x, UP_TOKENS_BEHIND)
        x = layers.up_embed(layers.up_layer(x, cache.up_behind))
        wide = [Span(*(FRAMES_PER_TOKEN * number for number in span)) for span in spans]
        x, above, high_flops = self._attend(x, wide, slice(num_blocks, None), cache)
        mu = self.layers.encoder_proj(layers.after_norm(x))[0]
        kept = EncoderCache(begin + len(tokens), behind, up_behind, below + above)
        return Encoded(mu, kept, low_flops + high_flops + self._small_flops(len(tokens)))

    def _embed(self, tokens: Tensor) -> Tensor:
        y: Tensor = self.layers.input_embedding(tokens.to(self.device))[None]
        return y

    def _attend(
        self, x: Tensor, spans: Sequence[Span], which: slice, cache: EncoderCache
    ) -> tuple[Tensor, tuple[KeysValues, ...], int]:
        """Some of the blocks over (1, positions, width); what they keep, and their work."""
        furthest, nearest = spans[-1].num_keys - 1, nearest_distance(spans)
        positions = relative_positions(furthest, nearest, x.shape[2]).to(x)
        y, made = x[0], []
        blocks = self.blocks[which]
        past = cache.blocks[which] or [None] * len(blocks)
        for block, before in zip(blocks, past, strict=True):
            y, kept = block(y, positions, spans, before)
            made.append(kept)
        return y[None], tuple(made), len(blocks) * self._block_flops(spans, len(positions))

    def _block_flops(self, spans: Sequence[Span], num_distances: int) -> int:
        width, inner = self.sizes.encoder_dim, self.sizes.encoder_ff
        num_new = spans[-1].end
        linear = num_new * (4 * width * width + 2 * width * inner) + num_distances * width * width
        # Content, distances and values; spans read a little more of the distances than of keys.
        pairs = 0
        for begin, end, num_keys in spans:
            pairs += (end - begin) * (3 * num_keys + end - begin - 1)
        return 2 * (linear + pairs * width)

    def _small_flops(self, num_tokens: int) -> int:
        """Of the layers around the blocks."""
        layers = self.layers.encoder
        per_token = [layers.embed, layers.pre_lookahead_layer]
        per_frame = [layers.up_layer, layers.up_embed, self.layers.encoder_proj]
        return (
            2 * num_tokens * (_num_weights(per_token) + FRAMES_PER_TOKEN * _num_weights(per_frame))
        )


def _spans(begin: int, end: int, chunk: int | None) -> list[Span]:
    if chunk is None:
        return [Span(0, end - begin, end)]
    return chunk_spans(begin, end, chunk)


def _tail(before: Tensor | None, x: Tensor, length: int) -> Tensor:
    """The last positions of (1, positions, width), a copy of their own."""
    known = x if before is None else torch.cat([before, x[:, -length:]], dim=1)
    return known[:, -length:].clone()


def _num_weights(modules: Sequence[nn.Module]) -> int:
    return sum(p.numel() for module in modules for p in module.parameters() if p.dim() > 1)
