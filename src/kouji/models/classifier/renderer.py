"""A classifier as a stage of the engine: windows of sound in, probabilities out.

Windows of all callers share the engine's batches, turns, deadlines and ends. A segment of a
request is a group of windows; what it gives in place of samples are their probabilities.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kouji.errors import UsageError
from kouji.models.classifier.model import SoundModel
from kouji.models.stages import RenderOptions
from kouji.types import Samples

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
# On a CPU a batch is as long as its windows together, and speech of others waits for it.
_CPU_ROWS, _GPU_ROWS = 4, 64


class WindowRow:
    """A group of windows, heard in one go.

    windows: (windows, samples) float32 at the classifier's rate
    """

    acoustic_cost, is_midway, info = 0, False, None

    def __init__(self, windows: Samples) -> None:
        self.windows, self.is_done = windows, False

    @property
    def vocode_cost(self) -> int:
        """Windows to hear."""
        return 0 if self.is_done else len(self.windows)

    def feed(self, tokens: Sequence[int], *, is_final: bool) -> None:
        """Nothing to feed: a classifier has no decode stage."""


class ClassifierRenderer:
    """Implements `kouji.models.stages.Renderer`.

    What a row gives is (windows x classes,) float32, one window after the other. The samples of
    `sample_rate` are those it hears: to whoever counts unread seconds, an answer weighs next to
    nothing, so a slow reader holds up none.
    """

    packs_rows = False

    def __init__(self, model: SoundModel, *, precision: str, device: str, identity: str) -> None:
        """Bring a model to a device in a number format; the caller's copy stays as it is.

        precision: of the network, one of `DTYPES`; features and probabilities are float32
        identity:  names the weights, the number format and the device
        """
        self.config, self.identity = model.config, identity
        self.sample_rate = model.config.sample_rate
        self.vocode_rows = _CPU_ROWS if torch.device(device).type == "cpu" else _GPU_ROWS
        self._device = device
        self._model = ready(model, precision=precision, device=device)

    @property
    def num_bytes(self) -> int:
        """Memory of the weights."""
        return sum(p.numel() * p.element_size() for p in self._model.parameters())

    def open(
        self, segment: Any, voice: Any, options: RenderOptions, seed: int, *, is_last: bool
    ) -> WindowRow:
        """Begin a group of windows.

        segment: (windows, window samples) float32
        raises:  UsageError for another shape
        """
        del voice, options, seed, is_last  # nothing of speech matters here
        wanted = self.config.window_samples
        if segment.ndim != 2 or segment.shape[1] != wanted or not len(segment):
            raise UsageError(
                "a classifier hears windows of one size",
                seen=segment.shape,
                allowed=f"(windows, {wanted})",
            )
        return WindowRow(segment)

    def acoustic(self, rows: Sequence[Any]) -> None:
        """Never called: features and network are one stage."""

    @torch.inference_mode()
    def vocode(self, rows: Sequence[WindowRow]) -> list[NDArray[np.float32]]:
        """The probabilities of each row's windows."""
        windows = torch.from_numpy(np.concatenate([row.windows for row in rows]))
        probabilities = self._model(windows.to(self._device)).softmax(dim=-1).cpu().numpy()
        ends = np.cumsum([len(row.windows) for row in rows])
        parts = np.split(probabilities, ends[:-1])
        for row in rows:
            row.is_done = True
        return [np.ascontiguousarray(part, np.float32).reshape(-1) for part in parts]


def ready(model: SoundModel, *, precision: str, device: str) -> SoundModel:
    """A copy for prediction: on its device, its network in its number format, evaluating."""
    own = copy.deepcopy(model).eval().to(device)
    own.network.to(DTYPES[precision])
    for parameter in own.parameters():
        parameter.requires_grad_(False)
    return own
