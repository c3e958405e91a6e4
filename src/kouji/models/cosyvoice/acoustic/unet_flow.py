"""Version 2's flow for speaking: pieces of many segments, whole or streamed, in one batch.

Under the causal mask nothing left of a chunk's end depends on what comes later (convolutions look
back, norms stay within a frame), so a stream keeps, per Euler step and branch, keys and values of
every block and two frames before every convolution, and computes each frame once. That is much
memory, `bytes_per_frame`: 2.3 MB in bfloat16 at the official size, 115 MB a second of speech.
Where all segments together would exceed `cache_bytes`, one goes on without keeping and computes
its past again: the same numbers, more work.
CosyVoice 2 (arXiv 2412.10117).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from kouji.errors import ConfigError
from kouji.models.cosyvoice.acoustic.cache_room import CacheRoom, cache_bounds
from kouji.models.cosyvoice.acoustic.flow_solver import euler_steps, guided
from kouji.models.cosyvoice.acoustic.kept_prompts import KeptPrompts
from kouji.models.cosyvoice.acoustic.packed_conformer import PackedConformer
from kouji.models.cosyvoice.acoustic.packed_unet import PackedUNet
from kouji.models.cosyvoice.acoustic.unet_state import Past, UNetState
from kouji.models.cosyvoice.acoustic.unet_step import BRANCHES, RaggedStep
from kouji.models.cosyvoice.conditioning import Conditioning, Manner
from kouji.models.cosyvoice.config import FlowConfig, UNetConfig
from kouji.models.cosyvoice.files.keys import expected_flow, require_tensors
from kouji.models.layers.packed_linear import LinearPrecision

PRECISIONS: tuple[LinearPrecision, ...] = ("float32", "bfloat16", "float16")


class UNetFlow:
    """Implements `flow.Flow` over one set of weights."""

    def __init__(
        self,
        config: FlowConfig,
        state: Mapping[str, Tensor],
        identity: str,
        *,
        precision: LinearPrecision = "float32",
        device: torch.device | str = "cpu",
        cache_bytes: int | None = None,
        prompt_bytes: int | None = None,
    ) -> None:
        """Pack the weights.

        state:        of `flow.pt`; not kept
        identity:     family and hash of the weights
        precision:    of products and caches; solver, residuals and norms are float32
        cache_bytes:  bound on what all streams keep together; None: by device
        prompt_bytes: bound on kept prompts; None: by device
        raises:       ConfigError for another precision, ModelError for tensors that do not fit
        """
        if precision not in PRECISIONS:
            allowed = ", ".join(PRECISIONS)
            raise ConfigError("a precision the flow has not", seen=precision, allowed=allowed)
        require_tensors(state, expected_flow(config), "flow.pt")
        assert isinstance(config.estimator, UNetConfig)
        self.config, self.identity, self.precision = config, identity, precision
        self.device = torch.device(device)
        usual = cache_bounds(self.device)
        self.room = CacheRoom(usual.streams if cache_bytes is None else cache_bytes)
        self.steps = euler_steps(config.num_steps)
        times = [step.time for step in self.steps]
        place = str(self.device)
        self.encoder = PackedConformer(config, state, precision, place)
        self.estimator = PackedUNet(config.estimator, state, times, precision, place)
        self.prompts: KeptPrompts[Past] = KeptPrompts(
            usual.prompts if prompt_bytes is None else prompt_bytes
        )

    @property
    def num_bytes(self) -> int:
        """Memory of weights and kept prompts."""
        return self.encoder.num_bytes + self.estimator.num_bytes + self.prompts.num_bytes

    @property
    def bytes_per_frame(self) -> int:
        """What a stream keeps of each frame; under a megabyte comes on top."""
        solver = BRANCHES * len(self.steps) * self.estimator.bytes_per_frame
        return solver + self.encoder.bytes_per_frame

    @torch.inference_mode()
    def open(
        self,
        voice: Conditioning,
        *,
        is_streamed: bool,
        manner: Manner = Manner(),  # noqa: B008 -- frozen
        num_tokens: int | None = None,
        is_exact: bool = False,
    ) -> UNetState:
        """Begin a segment; see `flow.Flow.open`. Caches grow with the pieces, unasked."""
        del num_tokens
        state = UNetState(self, voice, is_streamed=is_streamed, manner=manner, is_exact=is_exact)
        self.room.add(state)
        return state

    @torch.inference_mode()
    def step(self, states: Sequence[UNetState]) -> None:
        """One Euler step further in each; where it fails, all stay where they were."""
        if not states:
            return
        works = [state.solving for state in states]
        pieces = [work.piece_step for work in works]
        step = RaggedStep(pieces, self.estimator.cache_dtype, self.device)
        velocity = self.estimator(torch.cat([work.inputs for work in works]), step)
        caches = step.caches()
        for state, work, cache, v in zip(states, works, caches, step.split(velocity), strict=True):
            told, free = v
            width = self.steps[work.step].width
            state.advance(width * guided(told, free, self.config.cfg_rate), cache)
