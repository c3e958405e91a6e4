"""The language model of CosyVoice 3 and 2: text and a spoken prompt to speech tokens.

A Qwen2 body (arXiv:2407.10671) over mixed embeddings, with a head of its own for speech
(arXiv:2412.10117, arXiv:2505.17589). Everything is causal, text included. This file knows one
forward pass in plain torch, the reference all faster paths are compared with; loops over tokens
are in `official_decode` and `lm_decoder`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kouji.models.cosyvoice.config import LMConfig
from kouji.models.cosyvoice.files.keys import expected_llm, require_tensors

BODY = "llm.model.model."
TEXT_TABLE = BODY + "embed_tokens.weight"
Pair = tuple[Tensor, Tensor]  # keys and values of one layer, (batch, kv heads, positions, width)


class RMSNorm(nn.Module):
    """Scale to unit root mean square, then by a learned weight per channel."""

    def __init__(self, width: int, epsilon: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.epsilon = epsilon

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last axis of x, any shape."""
        return F.rms_norm(x, x.shape[-1:], self.weight, self.epsilon)


class Attention(nn.Module):
    """Grouped-query attention (arXiv:2305.13245): several query heads share keys and values."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        hidden, self.head_width = config.hidden, config.head_width
        self.group = config.num_heads // config.num_kv_heads
        queries, keys = (n * self.head_width for n in (config.num_heads, config.num_kv_heads))
        self.q_proj = nn.Linear(hidden, queries)
        self.k_proj = nn.Linear(hidden, keys)
        self.v_proj = nn.Linear(hidden, keys)
        self.o_proj = nn.Linear(queries, hidden, bias=False)

    def forward(self, x: Tensor, rotation: Pair, past: Pair | None) -> tuple[Tensor, Pair]:
        """Attend from `x` (batch, new, channels) to `past` and, causally, to itself.

        rotation: cosines and sines of the new positions, (new, width)
        """
        q, k, v = (
            project(x).unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, rotation), rotate(k, rotation)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        num_new, num_all = q.shape[2], k.shape[2]
        mask = torch.ones(num_new, num_all, dtype=torch.bool, device=x.device)
        mask = mask.tril(num_all - num_new)
        every_k, every_v = (t.repeat_interleave(self.group, dim=1) for t in (k, v))
        seen = F.scaled_dot_product_attention(q, every_k, every_v, attn_mask=mask)
        out: Tensor = self.o_proj(seen.transpose(1, 2).flatten(2))
        return out, (k, v)


class MLP(nn.Module):
    """SwiGLU (arXiv:2002.05202)."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        hidden, width = config.hidden, config.intermediate
        self.gate_proj = nn.Linear(hidden, width, bias=False)
        self.up_proj = nn.Linear(hidden, width, bias=False)
        self.down_proj = nn.Linear(width, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., channels) to the same shape."""
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    """One transformer block, normalised before attention and before the feed-forward part."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = RMSNorm(config.hidden, config.norm_epsilon)
        self.post_attention_layernorm = RMSNorm(config.hidden, config.norm_epsilon)

    def forward(self, x: Tensor, rotation: Pair, past: Pair | None) -> tuple[Tensor, Pair]:
        """As `Attention.forward`."""
        seen, pair = self.self_attn(self.input_layernorm(x), rotation, past)
        x = x + seen
        return x + self.mlp(self.post_attention_layernorm(x)), pair


class Body(nn.Module):
    """The blocks and the last norm under their official names."""

    def __init__(self, config: LMConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(config) for _ in range(config.num_layers))
        self.norm = RMSNorm(config.hidden, config.norm_epsilon)


class SpeechLM(nn.Module):
    """The network with official names and official numbers.

    text_table: (text rows, channels) of any float type, maybe mapped from a file: it is large,
                and only rows of it are ever read
    """

    def __init__(self, config: LMConfig) -> None:
        """Make one with random weights."""
        super().__init__()
        self.config = config
        self.body = Body(config)
        self.speech_embedding = nn.Embedding(config.vocabulary, config.hidden)
        is_newer = config.version == "cosyvoice3"
        self.llm_decoder = nn.Linear(config.hidden, config.vocabulary, bias=not is_newer)
        self.llm_embedding = None if is_newer else nn.Embedding(2, config.hidden)
        self.text_table = 0.02 * torch.randn(config.text_rows, config.hidden)

    @classmethod
    def from_state(cls, config: LMConfig, state: Mapping[str, Tensor]) -> SpeechLM:
        """Build from an official `llm.pt`, any float format; the result is float32.

        The text embedding, and what is float32 already, is shared with `state`, not copied.

        raises: ModelError naming missing, unexpected and wrongly shaped tensors
        """
        require_tensors(state, expected_llm(config), "llm.pt")
        with torch.device("meta"):  # no random numbers are drawn, no memory is taken twice
            network = cls(config)
        ours = {
            name: state[official_name(name)].detach().to(torch.float32)
            for name in network.state_dict()
        }
        network.load_state_dict(ours, assign=True)
        network.text_table = state[TEXT_TABLE].detach()
        return network.eval().requires_grad_(False)

    @property
    def blocks(self) -> list[Block]:
        """The transformer blocks in order."""
        return [block for block in self.body.layers if isinstance(block, Block)]

    def embed_text(self, ids: Tensor) -> Tensor:
        """Look up text (..., ids) int64; returns (..., ids, channels) float32."""
        table = self.text_table
        return table[ids.to(table.device)].to(self.llm_decoder.weight)

    def embed_speech(self, ids: Tensor) -> Tensor:
        """Look up speech (..., ids) int64; returns (..., ids, channels)."""
        embedded: Tensor = self.speech_embedding(ids)
        return embedded

    @property
    def sos(self) -> Tensor:
        """(1, channels): begins every sequence."""
        return self._special(0, self.config.codebook)

    @property
    def task(self) -> Tensor:
        """(1, channels): speech follows."""
        return self._special(1, self.config.codebook + 2)

    def _special(self, older: int, newer: int) -> Tensor:
        if self.llm_embedding is None:
            return self.speech_embedding.weight[newer : newer + 1]
        return self.llm_embedding.weight[older : older + 1]

    def embed(self, prompt_text: Tensor, text: Tensor, prompt_speech: Tensor) -> Tensor:
        """The input before any token is made; each (ids,) int64, empty ones allowed.

        returns: (1, positions, channels): sos, prompt text and text, task, prompt speech
        """
        words = self.embed_text(torch.cat([prompt_text, text]))
        parts = [self.sos, words, self.task, self.embed_speech(prompt_speech)]
        return torch.cat(parts).unsqueeze(0)

    def forward(self, x: Tensor, past: list[Pair] | None = None) -> tuple[Tensor, list[Pair]]:
        """Run the body.

        x:       (batch, new, channels) embedded input
        past:    keys and values per layer, from the call before; positions go on behind them
        returns: (batch, new, channels) hidden after the last norm, and keys and values per layer
        """
        start = 0 if past is None else past[0][0].shape[2]
        positions = torch.arange(start, start + x.shape[1], device=x.device)
        rotation = rotations(positions, self.config.head_width, self.config.rope_theta)
        pairs: list[Pair] = []
        for number, block in enumerate(self.blocks):
            x, pair = block(x, rotation, None if past is None else past[number])
            pairs.append(pair)
        return self.body.norm(x), pairs

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the next speech token, (..., channels) to (..., vocabulary)."""
        scores: Tensor = self.llm_decoder(hidden)
        return scores


def rotations(positions: Tensor, width: int, theta: float) -> Pair:
    """Cosines and sines of rotary embedding (arXiv:2104.09864), each (positions, width) float32.

    Channel i and i + width / 2 make a pair and have the same angle.
    """
    steps = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device) / width
    angles = positions.float().unsqueeze(1) * (1.0 / theta**steps)
    angles = torch.cat([angles, angles], dim=1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotation: Pair) -> Tensor:
    """Turn each pair of channels of (..., positions, width) by its angle."""
    cosines, sines = rotation
    low, high = x.chunk(2, dim=-1)
    return x * cosines + torch.cat([-high, low], dim=-1) * sines


def official_name(name: str) -> str:
    """Our name of a tensor in official checkpoints."""
    return name.replace("body.", BODY, 1)
