"""The two networks that hear, as they come: ONNX files run by onnxruntime.

The speech tokenizer turns a mel into tokens, CAM++ a filter bank into a vector of the speaker.
Each is opened when it is first asked, checked against what it must take and give, and stays.
Inputs are given by position: their names differ between exports.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.errors import ModelError
from kouji.models.cosyvoice.config import SPEAKER_WIDTH, TOKEN_RATE_HZ
from kouji.models.cosyvoice.hearing.features import TOKENIZER_MELS

if TYPE_CHECKING:
    import onnxruntime

FBANK_MELS = 80
FRAME_RATE_HZ = 100  # of what both are given
FRAMES_PER_TOKEN = FRAME_RATE_HZ // TOKEN_RATE_HZ
_SPARE_TOKENS = 2  # by which exports round differently
_ERRORS_ONLY = 3  # of onnxruntime's log
_CURE = "take the file from the model's publisher again"


@dataclass(frozen=True)
class Port:
    """What an input or output must be; None stands for any length."""

    dtypes: tuple[str, ...]
    shape: tuple[int | None, ...] | None = None

    def fits(self, dtype: str, shape: Sequence[object] | None) -> bool:
        """Whether a file's own description is this; a length it leaves open may be any."""
        if dtype not in self.dtypes:
            return False
        if self.shape is None or shape is None:
            return True
        return len(shape) == len(self.shape) and all(
            wanted is None or not isinstance(seen, int) or seen == wanted
            for wanted, seen in zip(self.shape, shape, strict=True)
        )

    def __str__(self) -> str:
        shape = "any shape" if self.shape is None else _shown(self.shape)
        return f"{' or '.join(self.dtypes)} {shape}"


_FLOAT, _INT32 = ("tensor(float)",), ("tensor(int32)",)
_IDS = ("tensor(int32)", "tensor(int64)")


class OnnxNetwork:
    """One file, opened at the first call; safe to use from many threads."""

    def __init__(
        self,
        path: Path,
        label: str,
        inputs: Sequence[Port],
        output: Port,
        *,
        device: str = "cpu",
        threads: int | None = None,
    ) -> None:
        """Remember a file and what it must be.

        label:   what the network is, for errors
        output:  of its first output; others are not read
        device:  with `cuda` it runs there, where this onnxruntime can
        threads: None takes as many as torch has when it is opened
        """
        self.path, self._label = path, label
        self._inputs, self._output = tuple(inputs), output
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
                cure=_CURE,
            ) from error
        return np.asarray(output)

    def _start(self) -> onnxruntime.InferenceSession:
        import onnxruntime

        if not self.path.is_file():
            raise ModelError(f"the {self._label} is missing", seen=self.path, cure=_CURE)
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
                cure=_CURE,
            ) from error

    def _check(self, session: onnxruntime.InferenceSession) -> None:
        seen_inputs, seen_outputs = session.get_inputs(), session.get_outputs()
        if len(seen_inputs) != len(self._inputs) or not seen_outputs:
            raise self._misfit(
                "inputs", f"{len(seen_inputs)}", f"{len(self._inputs)}, and an output"
            )
        ports = [*zip(seen_inputs, self._inputs, strict=True), (seen_outputs[0], self._output)]
        for place, (seen, wanted) in enumerate(ports):
            if not wanted.fits(seen.type, seen.shape):
                what = f"input {place}" if place < len(self._inputs) else "output 0"
                raise self._misfit(what, f"{seen.type} {_shown(seen.shape)}", str(wanted))

    def _misfit(self, what: str, seen: str, allowed: str) -> ModelError:
        return ModelError(
            f"{self.path.name} is not the {self._label}",
            seen=f"{what}: {seen}",
            allowed=f"{what}: {allowed}",
            cure=_CURE,
        )


class SpeechTokenizer:
    """Speech to tokens, 25 a second (CosyVoice 3 and 2: FSQ behind a recogniser's encoder)."""

    def __init__(
        self, path: str | Path, codebook: int, *, device: str = "cpu", threads: int | None = None
    ) -> None:
        """codebook: ids it may give are those below; the others as `OnnxNetwork`."""
        self.codebook = codebook
        self.network = OnnxNetwork(
            Path(path),
            "speech tokenizer",
            [Port(_FLOAT, (1, TOKENIZER_MELS, None)), Port(_INT32, (1,))],
            Port(_IDS),
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
                cure=_CURE,
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
            "speaker network CAM++",
            [Port(_FLOAT, (1, None, FBANK_MELS))],
            Port(_FLOAT, (1, SPEAKER_WIDTH)),
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
                cure=_CURE,
            )
        return torch.from_numpy(vector.astype(np.float32))


def _providers(device: str) -> list[str]:
    import onnxruntime

    cpu, cuda = "CPUExecutionProvider", "CUDAExecutionProvider"
    is_there = device.startswith("cuda") and cuda in onnxruntime.get_available_providers()
    return [cuda, cpu] if is_there else [cpu]


def _shown(shape: Sequence[object] | None) -> str:
    lengths = ["any" if not isinstance(length, int) else str(length) for length in shape or ()]
    return f"[{', '.join(lengths)}]"


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
