"""How a text is said: duration, pitch, voicing and energy of each phone, drawn, not averaged.

A small network of its own, so that it can be kept from learning its few hours of speech by
heart. Flow matching (Lipman et al. 2023) carries noise to a likely reading in a few steps; the
mean of all readings, which a regression gives, is flat. Knows phones and word edges, no frames.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kouji.models.layers.shift_block import ShiftStack
from kouji.models.mini.config import MiniConfig
from kouji.text.phones import NUM_TONES, SYMBOLS, is_silence

NUM_FEATURES = 4  # log(1 + frames), normalised log-f0, voicing in [0, 1], normalised energy
NUM_EDGES = 5  # silence; inside, first, last and only phone of a word
FLOW_STEPS = 8
# Rough means and deviations in the corpus of the release: the flow works on unit scale.
_MEAN = (1.55, 0.0, 0.6, -0.1)
_DEVIATION = (0.6, 0.7, 0.45, 0.4)
_NUM_WAVES = 8
_UNVOICED = 0.05  # phones below this have no pitch, as in the training data
_SILENT = np.array([is_silence(symbol) for symbol in SYMBOLS])


def word_edges(symbols: NDArray[np.int64], words: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where words begin and end, (phones,), each below `NUM_EDGES`.

    symbols: (phones,) ids; words: (phones,) a number per word, any for silences
    """
    own = np.where(_SILENT[symbols], -1, words)
    is_new = np.r_[True, own[1:] != own[:-1]]
    is_last = np.r_[own[1:] != own[:-1], True]
    return np.where(own < 0, 0, 1 + is_new + 2 * is_last).astype(np.int64)


def to_unit_scale(features: Tensor) -> Tensor:
    """(..., NUM_FEATURES) as measured to about zero mean and unit variance."""
    return (features - features.new_tensor(_MEAN)) / features.new_tensor(_DEVIATION)


def from_unit_scale(features: Tensor) -> Tensor:
    """Undo `to_unit_scale`."""
    return features * features.new_tensor(_DEVIATION) + features.new_tensor(_MEAN)


class ProsodyModel(nn.Module):
    """Phones, word edges and a speaker to a reading."""

    def __init__(self, config: MiniConfig) -> None:
        super().__init__()
        width, hidden, speaker = (
            config.prosody_width,
            config.prosody_hidden,
            config.prosody_speaker,
        )
        self.symbol_embedding = nn.Embedding(len(SYMBOLS), width)
        self.tone_embedding = nn.Embedding(NUM_TONES, width)
        self.edge_embedding = nn.Embedding(NUM_EDGES, width)
        for table in (self.symbol_embedding, self.tone_embedding, self.edge_embedding):
            nn.init.normal_(table.weight, std=0.3)
        self.place_speaker = nn.Linear(config.speaker_channels, speaker)
        self.encoder = ShiftStack(width, hidden, config.prosody_dilations, condition=speaker)
        self.norm = nn.LayerNorm(width)
        self.average = nn.Linear(width, NUM_FEATURES)
        self.place_features = nn.Linear(NUM_FEATURES, width)
        self.place_time = nn.Linear(2 * _NUM_WAVES, width)
        self.flow = ShiftStack(width, hidden, config.prosody_flow_dilations, condition=speaker)
        self.flow_norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, NUM_FEATURES)

    def encode(
        self, symbols: Tensor, tones: Tensor, edges: Tensor, mask: Tensor, condition: Tensor
    ) -> Tensor:
        """Encode phones in context.

        symbols, tones, edges: (batch, phones) int64, zero-padded; edges as `word_edges` says
        mask:                  (batch, phones, 1)
        condition:             (batch, channels) `place_speaker` of an embedding
        returns:               (batch, phones, width)
        """
        x = self.symbol_embedding(symbols) + self.tone_embedding(tones)
        x = x + self.edge_embedding(edges)
        encoded: Tensor = self.norm(self.encoder(x, mask, condition[:, None]))
        return encoded

    def velocity(
        self, encoded: Tensor, mask: Tensor, condition: Tensor, features: Tensor, time: Tensor
    ) -> Tensor:
        """Which way features move on their path from noise (time 0) to a reading (time 1).

        encoded, mask, condition: as `encode` has them
        features: (batch, phones, NUM_FEATURES) on unit scale; time: (batch,) in [0, 1]
        returns:  (batch, phones, NUM_FEATURES) float32
        """
        waves = torch.exp(torch.linspace(0, 4, _NUM_WAVES, device=time.device))
        angles = time.float()[:, None] * waves
        clock = torch.cat([angles.sin(), angles.cos()], dim=-1).to(encoded.dtype)
        x = encoded + self.place_features(features.to(encoded.dtype))
        x = (x + self.place_time(clock)[:, None]) * mask
        x = self.flow_norm(self.flow(x, mask, condition[:, None]))
        moved: Tensor = self.leave(x).float()
        return moved

    def draw(
        self,
        symbols: Tensor,
        tones: Tensor,
        edges: Tensor,
        mask: Tensor,
        speaker: Tensor,
        noise: Tensor,
    ) -> Tensor:
        """A reading that the noise decides.

        speaker: (batch, channels) embedding; the other arguments as `encode` has them
        noise:   (batch, phones, NUM_FEATURES) normal; smaller is less adventurous
        returns: (batch, phones, NUM_FEATURES) as measured, voicing within [0, 1]
        """
        condition = self.place_speaker(speaker)
        encoded = self.encode(symbols, tones, edges, mask, condition)
        features = noise
        for step in range(FLOW_STEPS):
            time = torch.full((noise.shape[0],), step / FLOW_STEPS, device=noise.device)
            velocity = self.velocity(encoded, mask, condition, features, time)
            features = features + velocity / FLOW_STEPS
        frames, pitch, voicing, energy = from_unit_scale(features).unbind(-1)
        voicing = voicing.clamp(0.0, 1.0)
        pitch = pitch * (voicing >= _UNVOICED)
        return torch.stack([frames.clamp(0.0, math.log(100.0)), pitch, voicing, energy], dim=-1)
