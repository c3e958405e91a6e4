"""Recipe of the vocoder: real mels back to real samples, by spectral losses alone.

The source follows the measured f0; a small head learns to read f0 off the mel for when
no one measures it. With `refined_weight` the samples are compared again after they were fitted
to the mel as in `vocode_mel`: the network then learns what the fit cannot repair. Magnitudes
are compared at four time-frequency trade-offs (multi-resolution STFT loss, Yamamoto et al.
2020) and in the mel itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset

from kouji.audio.features import MINI_FINE_MEL, mel_spectrogram
from kouji.models.mini.config import (
    HOP_SAMPLES,
    LOG_F0_MEAN,
    LOG_F0_STD,
    MEL_STD,
    MiniConfig,
)
from kouji.models.mini.fine_mel import measure_fine_mel
from kouji.models.mini.refine import refine
from kouji.models.mini.vocoder import Pitch, Vocoder, source_pulses
from kouji.train.mini_data import (
    average_metrics,
    check_keys,
    clip_path,
    clip_seconds,
    fine_mel,
    open_split,
)
from kouji.train.mini_samples import batch_for, shown_examples
from kouji.train.monitor import Monitor
from kouji.train.store import Store

_DATA_KEYS = {"store": "", "frames": 64, "refined_weight": 0.0}
# STFT windows in samples (hops a quarter of them), and the mean magnitude of the release's
# corpus in each. Errors are relative to that constant, not to the batch: then the mean over the
# shares of a batch is the loss of the batch, and silent crops are not blown up.
_RESOLUTIONS = {2048: 0.0117, 1024: 0.0119, 512: 0.0132, 256: 0.0146}
_PER_VOICED = 1.46  # frames per voiced frame there, for the same reason
_EDGE_FRAMES = 4  # of a crop, left out of the loss
_FLOOR = 1e-4  # magnitudes below are silence; keeps the logarithm from chasing dither


class Crop(NamedTuple):
    """mel (frames, FINE_CHANNELS), log_f0 and voiced (frames,), wave and hiss (samples,).

    hiss: the noise the vocoder shapes; drawn per crop, so that it does not depend on how a
          batch is divided
    """

    mel: NDArray[np.float32]
    log_f0: NDArray[np.float32]
    voiced: NDArray[np.float32]
    wave: NDArray[np.float32]
    hiss: NDArray[np.float32]


class CropData(Dataset[Crop]):
    """Random crops of equal length."""

    def __init__(self, store: Store, num_frames: int) -> None:
        long_enough = [i for i, clip in enumerate(store.clips) if clip.num_frames >= num_frames]
        self.store = store.select(store.rows[long_enough])
        self.num_frames = num_frames

    def __len__(self) -> int:
        return len(self.store)

    def __getitem__(self, index: int) -> Crop:
        return self.example(index, np.random.default_rng(index))

    def lengths(self) -> list[float]:
        """Seconds of each clip."""
        return clip_seconds(self.store.clips)

    def path(self, index: int) -> str:
        """Where a clip came from."""
        return clip_path(self.store, index)

    def example(self, index: int, rng: np.random.Generator) -> Crop:
        """A crop that begins anywhere in the clip."""
        store, count = self.store, self.num_frames
        start = int(rng.integers(0, store.clip(index).num_frames - count + 1))
        f0 = store.f0(index)
        known = np.flatnonzero(f0 > 0)
        contour = np.interp(np.arange(len(f0)), known, f0[known]) if len(known) else f0 + 150.0
        log_f0 = (np.log(contour) - LOG_F0_MEAN) / LOG_F0_STD
        wave = store.samples(index, start * HOP_SAMPLES, count * HOP_SAMPLES)
        span = slice(start, start + count)
        return Crop(
            fine_mel(store, index, start, count),
            log_f0[span].astype(np.float32),
            (f0[span] > 0).astype(np.float32),
            wave,
            rng.standard_normal(count * HOP_SAMPLES, dtype=np.float32),
        )


def inner(samples: Tensor) -> Tensor:
    """(batch, samples) of a crop without the edges, whose windows reach beyond it."""
    edge = _EDGE_FRAMES * HOP_SAMPLES
    return samples[:, edge:-edge]


def magnitude(samples: Tensor, window: int) -> Tensor:
    """STFT magnitudes (batch, bins, frames) of (batch, samples)."""
    spectrum = torch.stft(
        samples,
        window,
        window // 4,
        window=torch.hann_window(window, device=samples.device),
        return_complex=True,
    )
    return (spectrum.real.square() + spectrum.imag.square() + 1e-10).sqrt()


def spectral_distance(made: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
    """Mean absolute log-magnitude difference and magnitude error in parts of a usual magnitude.

    made, real: (batch, samples); both are means over resolutions
    """
    logs, shares = [], []
    for window, level in _RESOLUTIONS.items():
        scale = (window / 2) ** 0.5  # comparable floors at every window length
        a, b = magnitude(made, window) / scale, magnitude(real, window) / scale
        logs.append(((a + _FLOOR).log() - (b + _FLOOR).log()).abs().mean())
        shares.append((a - b).abs().mean() / level)
    return torch.stack(logs).mean(), torch.stack(shares).mean()


class MiniVocoder:
    """The recipe `mini-vocoder`."""

    keep_float32 = ("wave", "hiss", "log_f0", "voiced")

    def __init__(self, data: dict[str, Any], model: dict[str, Any], seed: int) -> None:
        self.data = check_keys(data, _DATA_KEYS, "data of mini-vocoder")
        self.mini = MiniConfig.from_dict(model)
        self.config = self.mini.to_dict()  # kept in checkpoints
        self.seed = seed

    def build(self) -> nn.Module:
        """The vocoder."""
        return Vocoder(self.mini)

    def dataset(self, split: str) -> CropData:
        """Crops of `split`."""
        return CropData(open_split(self.data["store"], split), self.data["frames"])

    def collate(self, examples: Sequence[Crop]) -> dict[str, Tensor]:
        """Stack crops of equal length."""
        names = Crop._fields
        return {
            name: torch.from_numpy(np.stack([getattr(e, name) for e in examples])) for name in names
        }

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Any]]:
        """Spectral distances of the inner part, and how well f0 is read off the mel."""
        del step, generator
        assert isinstance(model, Vocoder)
        difference, differences = self.compare(resynthesise(model, batch), batch)
        mel, voiced = batch["mel"], batch["voiced"]
        heard = model.pitch_head(mel, torch.ones_like(mel[..., :1]))
        misses = ((heard.log_f0 - batch["log_f0"]).abs() * voiced).sum()
        f0 = _PER_VOICED * misses / voiced.numel()
        voicing = F.binary_cross_entropy_with_logits(heard.voicing, voiced)
        return difference + 0.3 * f0 + 0.2 * voicing, {
            **differences,
            "f0": (misses.detach() / voiced.sum().clamp(min=1), voiced.sum()),
            "voicing": voicing.detach(),
        }

    def compare(self, made: Tensor, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """How far samples are from the recorded ones, but for the edges, and its parts.

        made: (batch, samples)
        """
        real = batch["wave"]
        log_distance, share = spectral_distance(inner(made), inner(real))
        wanted = measure_fine_mel(real)
        missed = (measure_fine_mel(made) - wanted)[:, _EDGE_FRAMES:-_EDGE_FRAMES]
        mel_distance = MEL_STD * missed.abs().mean()
        total = log_distance + share + 0.5 * mel_distance
        metrics = {
            "log_distance": log_distance.detach(),
            "share": share.detach(),
            "mel": mel_distance.detach(),
        }
        weight = self.data["refined_weight"]
        if weight:
            fitted = refine(made[:, None], wanted, torch.ones_like(wanted[..., :1]), rounds=0)
            refined_log, refined_share = spectral_distance(inner(fitted), inner(real))
            total = total + weight * (refined_log + refined_share)
            metrics["refined_log"] = refined_log.detach()
            metrics["refined_share"] = refined_share.detach()
        return total, metrics

    def evaluate(
        self, model: nn.Module, batches: Iterable[dict[str, Tensor]], device: torch.device
    ) -> dict[str, float]:
        """Means of every loss over held-out crops."""

        def measure(batch: dict[str, Tensor]) -> tuple[dict[str, Any], float]:
            generator = torch.Generator(device).manual_seed(0)
            total, metrics = self.loss(model, batch, 0, generator)
            return {**metrics, "loss": total}, float(len(batch["wave"]))

        return average_metrics(batches, device, measure)

    def samples(self, model: nn.Module, monitor: Monitor, step: int) -> None:
        """Two held-out crops, real and made: sound and mel."""
        assert isinstance(model, Vocoder)
        for number, crop in enumerate(shown_examples(self.dataset("valid"))):
            batch = batch_for(model, self.collate([crop]), self.keep_float32)
            sounds = {"real": batch["wave"][0], "made": resynthesise(model, batch)[0].float()}
            for name, sound in sounds.items():
                monitor.audio(f"audio/{number}/{name}", sound, MINI_FINE_MEL.sample_rate, step)
                mel = mel_spectrogram(sound[None], MINI_FINE_MEL)[0]
                monitor.mel(f"mel/{number}/{name}", mel, step)


def resynthesise(vocoder: Vocoder, batch: dict[str, Tensor]) -> Tensor:
    """Samples (batch, samples) from mel, measured f0 and noise."""
    mel = batch["mel"]
    pitch = Pitch(batch["log_f0"], 12.0 * batch["voiced"] - 6.0)
    mask = torch.ones_like(mel[..., :1])
    made: Tensor = vocoder(mel, mask, source_pulses(pitch), batch["hiss"], pitch)
    return made
