"""The flow of version 3 as the official code runs it: one request, float32, nothing kept.

What the fast one in `dit_flow` loads its weights from and is tested and measured against.
Modules bear the names of `flow.pt`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kouji.models.cosyvoice.acoustic.dit import DiT
from kouji.models.cosyvoice.acoustic.flow_noise import fixed_noise
from kouji.models.cosyvoice.acoustic.flow_solver import euler_steps, guided
from kouji.models.cosyvoice.acoustic.lookahead import PreLookahead
from kouji.models.cosyvoice.conditioning import Conditioning
from kouji.models.cosyvoice.config import (
    FRAMES_PER_TOKEN,
    MELS,
    SPEAKER_WIDTH,
    DiTConfig,
    FlowConfig,
)
from kouji.models.cosyvoice.files.keys import TRAINER_ENTRIES, expected_flow, require_tensors


class Decoder(nn.Module):
    """Gives the estimator the name it has in checkpoints."""

    def __init__(self, config: FlowConfig, dit: DiTConfig) -> None:
        super().__init__()
        self.estimator = DiT(dit, FRAMES_PER_TOKEN * config.chunk_tokens)


class FlowFront(nn.Module):
    """Everything before the solver: what tokens and speaker ask for."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        self.input_embedding = nn.Embedding(config.codebook, MELS)
        self.spk_embed_affine_layer = nn.Linear(SPEAKER_WIDTH, MELS)
        self.pre_lookahead_layer = PreLookahead(MELS, config.lookahead_channels)

    def speaker(self, embedding: Tensor) -> Tensor:
        """(192,) -> (80,)."""
        made: Tensor = self.spk_embed_affine_layer(F.normalize(embedding.float(), dim=0))
        return made

    def frames(self, tokens: Tensor, ahead: Tensor, behind: Tensor | None = None) -> Tensor:
        """What tokens ask of each of their frames: mu, (2 * tokens, 80).

        tokens: (tokens,) int64; ahead, behind: see `PreLookahead`
        """
        x, after = self.input_embedding(tokens)[None], self.input_embedding(ahead)[None]
        before = None if behind is None else self.input_embedding(behind)[None]
        seen = self.pre_lookahead_layer(x, after, before)[0]
        return seen.repeat_interleave(FRAMES_PER_TOKEN, 0)


class PlainFlow(FlowFront):
    """Everything in `flow.pt`."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__(config)
        assert isinstance(config.estimator, DiTConfig)
        self.decoder = Decoder(config, config.estimator)

    @staticmethod
    def from_state(config: FlowConfig, state: Mapping[str, Tensor]) -> PlainFlow:
        """Take a checkpoint's tensors as they lie in memory, without copying float32 ones.

        raises: ModelError with names where keys or shapes are not those of `config`
        """
        require_tensors(state, expected_flow(config), "flow.pt")
        with torch.device("meta"):
            flow = PlainFlow(config)
        given = {name: value for name, value in state.items() if name not in TRAINER_ENTRIES}
        floats = {name: value.detach().float() for name, value in given.items()}
        flow.load_state_dict(floats, assign=True)
        return flow.eval().requires_grad_(False)

    def front(self, device: torch.device) -> FlowFront:
        """A copy of what comes before the solver, without the weights of the estimator."""
        with torch.device("meta"):
            made = FlowFront(self.config)
        own = {
            name: value for name, value in self.state_dict().items() if name in made.state_dict()
        }
        copies = {name: value.to(device, copy=True) for name, value in own.items()}
        made.load_state_dict(copies, assign=True)
        return made.eval().requires_grad_(False)

    @torch.inference_mode()
    def render(
        self, voice: Conditioning, tokens: Tensor, *, is_streamed: bool, is_final: bool
    ) -> Tensor:
        """Solve prompt and tokens from the beginning.

        tokens:      (tokens,) int64
        is_streamed: under the chunk mask
        is_final:    False: the last `lookahead_tokens` are seen and not rendered
        returns:     (frames, 80), without the prompt's
        """
        both = torch.cat((voice.tokens, tokens))
        end = len(both) if is_final else len(both) - self.config.lookahead_tokens
        mu = self.frames(both[:end], both[end:])
        condition = torch.zeros_like(mu)
        condition[: len(voice.mel)] = voice.mel
        x = self.solve(mu, condition, self.speaker(voice.speaker), is_streamed=is_streamed)
        return x[len(voice.mel) :]

    def solve(self, mu: Tensor, condition: Tensor, speaker: Tensor, *, is_streamed: bool) -> Tensor:
        """From the fixed noise to mel; mu and condition: (frames, 80), speaker: (80,)."""
        inputs = [torch.stack((y, torch.zeros_like(y))) for y in (mu, condition, speaker)]
        x = fixed_noise()[: len(mu)]
        for time, width in euler_steps(self.config.num_steps):
            pair = self.decoder.estimator(
                x.expand(2, -1, -1), *inputs, torch.tensor([time, time]), is_chunked=is_streamed
            )
            x = x + width * guided(pair[0], pair[1], self.config.cfg_rate)
        return x
