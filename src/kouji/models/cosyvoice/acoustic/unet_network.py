"""Version 2's flow as the paper draws it: every piece from the beginning, one request at a time.

CosyVoice 2 (arXiv 2412.10117). Its names are those of `flow.pt`. Speech is made by `unet_flow`,
which is measured against this.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kouji.models.cosyvoice.acoustic.conformer import Conformer, chunk_mask
from kouji.models.cosyvoice.acoustic.flow_noise import fixed_noise
from kouji.models.cosyvoice.acoustic.flow_solver import euler_steps, guided
from kouji.models.cosyvoice.acoustic.unet import UNet
from kouji.models.cosyvoice.conditioning import Conditioning
from kouji.models.cosyvoice.config import (
    FRAMES_PER_TOKEN,
    MELS,
    SPEAKER_WIDTH,
    FlowConfig,
    UNetConfig,
)
from kouji.models.cosyvoice.files.keys import expected_flow, require_tensors
from kouji.models.unfilled import without_initial_values


class Conditions(NamedTuple):
    """What the solver is given: `mu` and `cond` (1, 80, frames), `speaker` (1, 80)."""

    mu: Tensor
    speaker: Tensor
    cond: Tensor


class Estimator(nn.Module):
    """Holds the estimator under the name the checkpoint has for it."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.estimator = UNet(config)


class UNetNetwork(nn.Module):
    """All of `flow.pt`."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        sizes = config.estimator
        assert isinstance(sizes, UNetConfig)
        self.config = config
        self.input_embedding = nn.Embedding(config.codebook, sizes.encoder_dim)
        self.spk_embed_affine_layer = nn.Linear(SPEAKER_WIDTH, MELS)
        self.encoder = Conformer(config)
        self.encoder_proj = nn.Linear(sizes.encoder_dim, MELS)
        self.decoder = Estimator(sizes)

    @staticmethod
    def from_state(config: FlowConfig, state: Mapping[str, Tensor]) -> UNetNetwork:
        """Take the tensors of `flow.pt` as they lie in memory, without copying float32 ones.

        raises: ModelError with names where they are not those of `config`
        """
        require_tensors(state, expected_flow(config), "flow.pt")
        with without_initial_values():
            network = UNetNetwork(config)
        floats = {name: state[name].detach().float() for name in network.state_dict()}
        network.load_state_dict(floats, assign=True)
        return network.eval().requires_grad_(False)

    def encode(
        self, voice: Conditioning, tokens: Tensor, *, is_streaming: bool, is_final: bool
    ) -> Conditions:
        """Everything the solver is given, prompt included.

        tokens: (tokens,) int64 of the segment; not final, the last of them are seen only
        """
        embedded = self.input_embedding(torch.cat([voice.tokens, tokens]))[None]
        ahead = None
        if not is_final:
            border = embedded.shape[1] - self.config.lookahead_tokens
            embedded, ahead = embedded[:, :border], embedded[:, border:]
        mu = self.encoder_proj(self.encoder(embedded, ahead, is_streaming=is_streaming)).mT
        cond = torch.zeros_like(mu)
        cond[0, :, : len(voice.mel)] = voice.mel.T
        speaker = self.spk_embed_affine_layer(F.normalize(voice.speaker[None]))
        return Conditions(mu, speaker, cond)

    def velocity(self, x: Tensor, time: float, given: Conditions, seen: Tensor | None) -> Tensor:
        """Guided, (1, 80, frames)."""
        both = [torch.cat([tensor, torch.zeros_like(tensor)]) for tensor in given]
        mask = x.new_ones(2, 1, x.shape[2])
        times = x.new_full((2,), time)
        v = self.decoder.estimator(x.repeat(2, 1, 1), mask, both[0], times, *both[1:], seen=seen)
        return guided(v[:1], v[1:], self.config.cfg_rate)

    @torch.inference_mode()
    def render(
        self, voice: Conditioning, tokens: Tensor, *, is_streaming: bool, is_final: bool
    ) -> Tensor:
        """The segment's mel, (frames, 80), as the official code makes it; see `encode`."""
        given = self.encode(voice, tokens, is_streaming=is_streaming, is_final=is_final)
        num_frames = given.mu.shape[2]
        x = fixed_noise()[:num_frames].T[None].to(given.mu)
        chunk = FRAMES_PER_TOKEN * self.config.chunk_tokens
        seen = chunk_mask(num_frames, chunk).to(x.device) if is_streaming else None
        for step in euler_steps(self.config.num_steps):
            x = x + step.width * self.velocity(x, step.time, given, seen)
        return x[0].T[len(voice.mel) :]
