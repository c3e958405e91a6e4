"""The two networks that hear, as they come: ONNX files run by onnxruntime.

The speech tokenizer turns a mel into tokens, CAM++ a filter bank into a vector of the speaker.
Each is opened when it is first asked, checked against what it must take and give, and stays.
Inputs are given by position: their names differ between exports.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.cosyvoice.config import SPEAKER_WIDTH, TOKEN_RATE_HZ
from kouji.models.cosyvoice.files.onnx_header import (
    CAMPPLUS,
    CURE,
    SPEECH_TOKENIZER,
    Described,
    Ports,
)

if TYPE_CHECKING:
    import onnxruntime

FRAME_RATE_HZ = 100  # of what both are given
FRAMES_PER_TOKEN = FRAME_RATE_HZ // TOKEN_RATE_HZ
_SPARE_TOKENS = 2  # by which exports round differently
_ERRORS_ONLY = 3  # of onnxruntime's log


class OnnxNetwork:
    """One file, opened at the first call; safe to use from many threads."""

    def __init__(
        self,
        path: Path,
        ports: Ports,
        *,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        """Remember a file and what it must be.

        ports:   of its first output; others are not read
        device:  with `cuda` it runs there, where this onnxruntime can
        threads: None takes as many as torch has when it is opened
        """
        self.path, self._ports, self._label = path, ports, ports.label
        self._device, self._threads = device, threads
        self._lock = threading.Lock()
        self._session: onnxruntime.InferenceSession | None = None

    def open(self) -> onnxruntime.InferenceSession:
        """The session, opened and checked once; a failure is not kept.

        raises: ModelError for a file that is missing, damaged or another network's
        """
        with self._lock:
            if self._session is None:
                session = self._start()
                self._check(session)
                self._session = session
            return self._session

    def run(self, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """The first output for inputs by position.

        raises: ModelError
        """
        session = self.open()
        names = [port.name for port in session.get_inputs()]
        try:
            output = session.run(None, dict(zip(names, arrays, strict=True)))[0]
        except Exception as error:  # the library has classes of its own for every fault
            raise ModelError(
                f"the {self._label} failed",
                seen=f"{self.path.name}: {_in_one_line(error)}",
                cure=CURE,
            ) from error
        return np.asarray(output)

    def _start(self) -> onnxruntime.InferenceSession:
        import onnxruntime

        if not self.path.is_file():
            raise ModelError(f"the {self._label} is missing", seen=self.path, cure=CURE)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads or torch.get_num_threads()
        options.inter_op_num_threads = 1
        # Between two voices its threads would turn on the cores that the engine computes on.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = _ERRORS_ONLY
        try:
            return onnxruntime.InferenceSession(
                str(self.path), sess_options=options, providers=_providers(self._device)
            )
        except Exception as error:  # as in `run`
            raise ModelError(
                f"cannot open the {self._label}",
                seen=f"{self.path}: {_in_one_line(error)}",
                allowed="a whole ONNX file",
                cure=CURE,
            ) from error

    def _check(self, session: onnxruntime.InferenceSession) -> None:
        inputs, outputs = (
            [Described(port.type, port.shape) for port in ports]
            for ports in (session.get_inputs(), session.get_outputs())
        )
        self._ports.require(self.path, inputs, outputs)


class SpeechTokenizer:
    """Speech to tokens, 25 a second (CosyVoice 3 and 2: FSQ behind a recogniser's encoder)."""

    def __init__(
        self, path: str | Path, codebook: int, *, device: str = "cpu", threads: int | None = None
    ) -> None:
        """codebook: ids it may give are those below; the others as `OnnxNetwork`."""
        self.codebook = codebook
        self.network = OnnxNetwork(
            Path(path),
            SPEECH_TOKENIZER,
            device=device,
            threads=threads,
        )

    def __call__(self, mel: Tensor) -> Tensor:
        """Tokens of a mel.

        mel:     (1, 128, frames) float32, `features.tokenizer_mel`, of 30 s at most
        returns: (tokens,) int64, about a quarter of the frames
        raises:  ModelError
        """
        num_frames = mel.shape[2]
        length = np.array([num_frames], np.int32)
        given = np.ascontiguousarray(mel.numpy(force=True), np.float32)
        ids = self.network.run([given, length]).reshape(-1).astype(np.int64)
        name = self.network.path.name
        if abs(len(ids) - num_frames / FRAMES_PER_TOKEN) > _SPARE_TOKENS:
            raise ModelError(
                f"{name} speaks another rate of tokens",
                seen=f"{len(ids)} for {num_frames / FRAME_RATE_HZ:g} s",
                allowed=f"{TOKEN_RATE_HZ} a second",
                cure=CURE,
            )
        if len(ids) and not 0 <= ids.min() <= ids.max() < self.codebook:
            raise ModelError(
                f"{name} gives tokens this model does not know",
                seen=f"{ids.min()} to {ids.max()}",
                allowed=f"0 to {self.codebook - 1}",
                cure="take tokenizer and weights from the same publisher",
            )
        return torch.from_numpy(ids)


class CampPlus:
    """Speech to a vector of its speaker (CAM++, Wang et al. 2023)."""

    def __init__(
        self, path: str | Path, *, device: str = "cpu", threads: int | None = None
    ) -> None:
        """Arguments as `OnnxNetwork`."""
        self.network = OnnxNetwork(
            Path(path),
            CAMPPLUS,
            device=device,
            threads=threads,
        )

    def __call__(self, fbank: Tensor) -> Tensor:
        """The speaker of a recording.

        fbank:   (1, frames, 80) float32, `features.speaker_fbank`
        returns: (192,) float32, not normalised
        raises:  ModelError
        """
        given = np.ascontiguousarray(fbank.numpy(force=True), np.float32)
        vector = self.network.run([given]).reshape(-1)
        if vector.shape != (SPEAKER_WIDTH,) or not np.isfinite(vector).all():
            finite = int(np.isfinite(vector).sum())
            raise ModelError(
                f"{self.network.path.name} makes no voice of the reference",
                seen=f"{vector.size} numbers, {finite} of them finite",
                allowed=f"{SPEAKER_WIDTH} finite numbers",
                cure=CURE,
            )
        return torch.from_numpy(vector.astype(np.float32))


def _providers(device: str) -> list[str]:
    import onnxruntime

    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    is_there = device.startswith("cuda") and cuda in onnxruntime.get_available_providers()
    return [cuda, cpu] if is_there else [cpu]


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
