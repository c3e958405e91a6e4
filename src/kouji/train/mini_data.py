"""What the recipes of `mini` share: reading a prepared store as model-ready tensors.

Scales mels as the model expects them, pads batches with exact zeros and picks splits.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kouji.audio.features import MINI_MEL, mel_spectrogram
from kouji.errors import ConfigError
from kouji.models.mini.config import (
    FRAME_RATE_HZ,
    HOP_SAMPLES,
    MEL_MEAN,
    MEL_STD,
)
from kouji.models.mini.fine_mel import measure_fine_mel
from kouji.train.made_voices import MadeVoice, change_voice
from kouji.train.recipes import metric_sums
from kouji.train.store import Clip, Store


def check_keys(values: dict[str, Any], allowed: dict[str, Any], where: str) -> dict[str, Any]:
    """Fill `values` up with defaults; a key that has none is a ConfigError naming it."""
    for key in values:
        if key not in allowed:
            raise ConfigError(f"unknown key in {where}", seen=key, allowed=", ".join(allowed))
    return {**allowed, **values}


def open_split(store_path: str | Path, split: str, *, languages: Sequence[str] = ()) -> Store:
    """The clips of one split, all languages when none are named."""
    wanted = set(languages)
    return Store(store_path).subset(
        lambda clip: clip.split == split and (not wanted or clip.language in wanted)
    )


def scaled_mel(store: Store, index: int) -> NDArray[np.float32]:
    """(frames, mels) log-mel scaled to about zero mean and unit variance."""
    return (store.mel(index).astype(np.float32) - MEL_MEAN) / MEL_STD


def fine_mel(
    store: Store, index: int, start: int = 0, count: int | None = None
) -> NDArray[np.float32]:
    """(frames, FINE_CHANNELS) normalised fine mel, measured anew: stores hold the coarse one.

    start, count: only this stretch, in frames; equal to that stretch of the whole
    """
    end = store.clip(index).num_frames if count is None else start + count
    lead = min(start, 1)  # no window reaches further than a frame beyond its own
    wave = store.samples(
        index, (start - lead) * HOP_SAMPLES, (end + 1 - start + lead) * HOP_SAMPLES
    )
    return measure_fine_mel(torch.from_numpy(wave)[None])[0, lead : lead + end - start].numpy()


class Measured(NamedTuple):
    """A clip as a voice says it; durations (phones,), all else (frames, ...) of their sum.

    mel: normalised coarse mel; fine: normalised fine mel, without channels where not asked for;
    f0:  Hz, 0 where unvoiced
    """

    durations: NDArray[np.int64]
    mel: NDArray[np.float32]
    fine: NDArray[np.float32]
    f0: NDArray[np.float32]


def measure_clip(
    store: Store,
    index: int,
    durations: NDArray[np.int64],
    voice: MadeVoice | None = None,
    *,
    with_fine: bool = True,
) -> Measured:
    """What is known of a clip, as recorded or as a made voice says it.

    durations: (phones,) frames as recorded, which sum to those of the clip
    """
    if voice is None:
        mel = scaled_mel(store, index)
        fine = fine_mel(store, index) if with_fine else mel[:, :0]
        return Measured(durations, mel, fine, store.f0(index))
    ends = np.round(np.cumsum(durations) / voice.speed).astype(np.int64)
    count = int(ends[-1])
    wave = _changed(store, index, voice, 0, store.clip(index).num_frames, count)
    f0 = store.f0(index)
    heard = ((np.arange(count) + 0.5) * voice.speed).astype(int).clip(max=len(f0) - 1)
    fine = measure_fine_mel(wave)[0].numpy() if with_fine else np.zeros((count, 0), np.float32)
    return Measured(
        np.diff(ends, prepend=0), _coarse(wave), fine, (f0[heard] * voice.speed).astype(np.float32)
    )


def heard_stretch(
    store: Store, index: int, start: int, count: int, voice: MadeVoice | None = None
) -> NDArray[np.float32]:
    """(about count, mels) normalised coarse mel from frame `start` of a clip, in a voice."""
    if voice is None:
        return scaled_mel(store, index)[start : start + count]
    count = min(count, store.clip(index).num_frames - start)
    kept = max(1, round(count / voice.speed))
    return _coarse(_changed(store, index, voice, start, count, kept))


def _changed(
    store: Store, index: int, voice: MadeVoice, start: int, count: int, kept: int
) -> Tensor:
    """(1, samples) of a stretch in a made voice: `count` recorded frames become `kept`."""
    samples = store.samples(index, start * HOP_SAMPLES, count * HOP_SAMPLES)
    changed = change_voice(samples, MINI_MEL.sample_rate, voice)[: kept * HOP_SAMPLES]
    return torch.from_numpy(np.pad(changed, (0, kept * HOP_SAMPLES - len(changed))))[None]


def _coarse(wave: Tensor) -> NDArray[np.float32]:
    mel = (mel_spectrogram(wave, MINI_MEL)[0].T - MEL_MEAN) / MEL_STD
    return np.ascontiguousarray(mel.numpy())


def pad_rows(rows: Sequence[NDArray[Any]], dtype: torch.dtype) -> Tensor:
    """Stack (length, ...) rows into (batch, longest, ...), zeros at the end."""
    longest = max(len(row) for row in rows)
    out = torch.zeros(len(rows), longest, *rows[0].shape[1:], dtype=dtype)
    for slot, row in zip(out, rows, strict=True):
        slot[: len(row)] = torch.from_numpy(np.ascontiguousarray(row)).to(dtype)
    return out


def length_mask(lengths: Sequence[int]) -> Tensor:
    """(batch, longest, 1) float, one where a row still has content."""
    counts = torch.tensor(list(lengths))
    return (torch.arange(int(counts.max()))[None] < counts[:, None]).float()[..., None]


def clip_path(store: Store, index: int) -> str:
    """Where a clip came from, for reports."""
    return store.clip(index).path


def clip_seconds(clips: Sequence[Clip]) -> list[float]:
    """Seconds of mel per clip."""
    return [clip.num_frames / FRAME_RATE_HZ for clip in clips]


def average_metrics(
    batches: Iterable[dict[str, Tensor]],
    device: torch.device,
    measure: Callable[[dict[str, Tensor]], tuple[dict[str, Any], float]],
) -> dict[str, float]:
    """Weighted means of what `measure` finds in each held-out batch.

    measure: a batch on the device to (metrics, weight)
    """
    sums: dict[str, float] = defaultdict(float)
    weights: dict[str, float] = defaultdict(float)
    for batch in batches:
        metrics, weight = measure({name: value.to(device) for name, value in batch.items()})
        for name, total, own in metric_sums(metrics, weight):
            sums[name] += float(total)
            weights[name] += float(own)
    return {name: total / max(weights[name], 1e-9) for name, total in sums.items()}
