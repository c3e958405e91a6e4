"""Where somebody speaks: spans of speech in seconds.

Silero VAD's sequence model (MIT, inside the silero-vad wheel) run by onnxruntime, which loads in
15 ms and needs no torch; a threshold on the level where the model is missing or the clip is
shorter than it can judge. Knows nothing of what the spans are used for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from kouji.audio.resample import resample
from kouji.types import Audio, Samples

if TYPE_CHECKING:
    import onnxruntime

Span = tuple[float, float]  # start and end in seconds

MODEL_RATE = 16000
FRAME_SAMPLES = 512  # 32 ms at MODEL_RATE, one probability each
CONTEXT_SAMPLES = 64  # of the frame before, put in front of each frame
STATE_WIDTH = 128
BLOCK_FRAMES = 2000  # 64 s at once: bounds memory on hours of sound
SHORTEST_FOR_MODEL = 0.3  # seconds; the model's state has not settled before


@dataclass(frozen=True)
class VadConfig:
    """Hysteresis and clean-up of speech probabilities; all times in seconds."""

    enter: float = 0.5
    leave: float = 0.35
    min_speech: float = 0.1
    min_silence: float = 0.1
    padding: float = 0.03


def speech_spans(audio: Audio, config: VadConfig | None = None) -> list[Span]:
    """Find speech.

    returns: spans in order, apart from each other, within [0, audio.duration]
    """
    config = config or VadConfig()
    session = _load_session() if audio.duration >= SHORTEST_FOR_MODEL else None
    if session is None:
        return energy_spans(audio, config)
    probabilities = _speech_probabilities(session, audio)
    is_speech = _hysteresis(probabilities, config.enter, config.leave)
    return _clean_spans(is_speech, FRAME_SAMPLES / MODEL_RATE, audio.duration, config)


def energy_spans(audio: Audio, config: VadConfig | None = None) -> list[Span]:
    """Find sound well above the background and near the loudest; no model, any length."""
    config = config or VadConfig()
    hop_seconds = 0.01
    levels = frame_levels_db(audio, hop_seconds)
    if len(levels) == 0 or levels.max() < -65.0:
        return []
    top, background = np.percentile(levels, 95), np.percentile(levels, 10)
    threshold = max(min(background + 9.0, top - 12.0), top - 35.0)
    is_speech = _hysteresis(levels, threshold, threshold - 3.0)
    return _clean_spans(is_speech, hop_seconds, audio.duration, config)


def frame_levels_db(audio: Audio, hop_seconds: float = 0.01) -> NDArray[np.float64]:
    """Level in dBFS of windows of 2.5 hops, one per hop, centred; -100 for digital silence."""
    hop = max(1, round(hop_seconds * audio.sample_rate))
    window = round(2.5 * hop)
    num_frames = len(audio.samples) // hop
    squares = np.square(audio.samples.astype(np.float64))
    total = np.concatenate([[0.0], np.cumsum(squares)])
    centres = np.arange(num_frames) * hop + hop // 2
    left = np.maximum(centres - window // 2, 0)
    right = np.minimum(centres + window // 2, len(squares))
    power = (total[right] - total[left]) / np.maximum(right - left, 1)
    levels: NDArray[np.float64] = 10.0 * np.log10(np.maximum(power, 1e-10))
    return levels


@lru_cache(maxsize=1)
def _load_session() -> onnxruntime.InferenceSession | None:
    """The model, or None where onnxruntime or the silero-vad wheel is not installed."""
    import importlib.util

    # find_spec does not run silero_vad's own __init__, which would import torch.
    spec = importlib.util.find_spec("silero_vad")
    if spec is None or spec.origin is None or importlib.util.find_spec("onnxruntime") is None:
        return None
    path = Path(spec.origin).parent / "data" / "silero_vad_16k_sequence.onnx"
    if not path.is_file():
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # of this session only
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )


def _speech_probabilities(
    session: onnxruntime.InferenceSession, audio: Audio
) -> NDArray[np.float32]:
    """(frames,) probability of speech per 32 ms."""
    frames = _model_frames(resample(audio, MODEL_RATE).samples)
    hidden = np.zeros((1, 1, STATE_WIDTH), np.float32)
    cell = np.zeros((1, 1, STATE_WIDTH), np.float32)
    blocks = []
    for first in range(0, len(frames), BLOCK_FRAMES):
        block = np.ascontiguousarray(frames[first : first + BLOCK_FRAMES])
        out, hidden, cell = session.run(None, {"input": block, "h": hidden, "c": cell})
        blocks.append(np.asarray(out, np.float32).reshape(-1))
    return np.concatenate(blocks)


def _model_frames(samples: Samples) -> NDArray[np.float32]:
    """(frames, context + 512) at a level the model knows; quiet recordings are raised."""
    peak = float(np.percentile(np.abs(samples), 99.9))
    gain = 0.5 / peak if peak > 1e-4 else 1.0
    num_frames = -(-len(samples) // FRAME_SAMPLES)
    tail = num_frames * FRAME_SAMPLES - len(samples)
    padded = np.pad(samples * np.float32(gain), (CONTEXT_SAMPLES, tail)).astype(np.float32)
    width = CONTEXT_SAMPLES + FRAME_SAMPLES
    return np.lib.stride_tricks.sliding_window_view(padded, width)[::FRAME_SAMPLES]


def _hysteresis(values: NDArray[np.floating], enter: float, leave: float) -> NDArray[np.bool_]:
    """True from where `values` reaches `enter` until it falls below `leave`."""
    above = np.flatnonzero((values >= enter) | (values < leave))
    decided = np.full(len(values), -1)
    decided[above] = above
    last = np.maximum.accumulate(decided)  # the latest frame that decides
    return (last >= 0) & (values[np.maximum(last, 0)] >= enter)


def _clean_spans(
    is_speech: NDArray[np.bool_], hop_seconds: float, duration: float, config: VadConfig
) -> list[Span]:
    """Turn a mask into spans: drop blips, pad, close short gaps."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], is_speech, [False]]).astype(np.int8)))
    merged: list[Span] = []
    for start, end in (edges.reshape(-1, 2) * hop_seconds).tolist():
        if merged and start - merged[-1][1] < config.min_silence:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    padded: list[Span] = []
    for start, end in merged:
        if end - start < config.min_speech:
            continue
        start, end = max(0.0, start - config.padding), min(duration, end + config.padding)
        if padded and start <= padded[-1][1]:
            padded[-1] = (padded[-1][0], end)
        elif end > start:
            padded.append((start, end))
    return padded
