"""Recipe of how texts are said: `ProsodyModel` by flow matching, all else of the model fixed.

Prosody overfits long before the mel does: each phone of the corpus is one example, not dozens
of frames. So it has a network and a recipe of its own, with dropout, noise on the embeddings of
the speakers, and an average reading as a second task. Start it from an acoustic run by
`init_from`; steps are cheap, for no frame is ever made.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer
from torch.utils.data import Dataset

from kouji.errors import ConfigError
from kouji.models.mini.config import MiniConfig
from kouji.models.mini.prosody import NUM_FEATURES, to_unit_scale, word_edges
from kouji.train.mini_acoustic import AcousticTrainer
from kouji.train.mini_data import average_metrics, check_keys, length_mask, open_split, pad_rows
from kouji.train.mini_examples import AcousticData
from kouji.train.settings import RunSettings
from kouji.train.stepper import default_optimizer
from kouji.train.store import Store

_DATA_KEYS = {
    "store": "",
    "languages": [],
    "reference_seconds": [2.0, 5.0],
    "dropout": 0.3,  # inside the blocks
    "speaker_dropout": 0.05,  # of what the network is told of the speaker
    "speaker_noise": 0.1,  # on embeddings of unit deviation: keeps it from knowing anyone
}
_WEIGHTS = {"flow": 0.6, "duration": 0.36, "pitch": 0.25, "voicing": 0.06, "energy": 0.11}
_PITCHED = 0.3  # phones voiced for less of their time have no pitch worth learning
_OUTLIER = 1.0  # pitch errors beyond count linearly: many are octave errors of the tracker


class Reading(NamedTuple):
    """One utterance; arrays are (phones,), features (phones, NUM_FEATURES) on unit scale.

    noise, time, nudge: where its path begins, (phones, NUM_FEATURES); how far along it the flow is
                        asked; (channels,) what is added to the speaker's embedding
    """

    symbols: NDArray[np.int64]
    tones: NDArray[np.int64]
    edges: NDArray[np.int64]
    features: NDArray[np.float32]
    pitched: NDArray[np.float32]
    reference: NDArray[np.float32]
    noise: NDArray[np.float32]
    time: float
    nudge: NDArray[np.float32]


def measured_features(
    durations: NDArray[np.int64], prosody: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What a reading is made of, and which of its phones are pitched.

    durations: (phones,) frames; prosody: (phones, 3) log-f0, voicing in [0, 1], energy
    returns:   (phones, NUM_FEATURES) with pitch drawn across phones that have none; (phones,)
    """
    is_pitched = prosody[:, 1] > _PITCHED
    features = np.concatenate([np.log1p(durations)[:, None], prosody], axis=1)
    known = np.flatnonzero(is_pitched)
    if len(known):
        features[:, 1] = np.interp(np.arange(len(features)), known, prosody[known, 0])
    return features.astype(np.float32), is_pitched.astype(np.float32)


class ReadingData(Dataset[Reading]):
    """Aligned utterances of one split as readings."""

    def __init__(self, clips: AcousticData, num_channels: int) -> None:
        """num_channels: of a speaker embedding."""
        self.clips, self._num_channels = clips, num_channels

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Reading:
        return self.example(index, np.random.default_rng(index))

    def lengths(self) -> list[float]:
        """Seconds of each clip."""
        return self.clips.lengths()

    def path(self, index: int) -> str:
        """Where a clip came from."""
        return self.clips.path(index)

    def example(self, index: int, rng: np.random.Generator) -> Reading:
        """One clip with a random reference of its speaker and all that is drawn for it."""
        clip = self.clips.example(index, rng)
        features, pitched = measured_features(clip.durations, clip.prosody)
        return Reading(
            clip.symbols,
            clip.tones,
            word_edges(clip.symbols, clip.words),
            to_unit_scale(torch.from_numpy(features)).numpy(),
            pitched,
            clip.reference,
            rng.standard_normal(features.shape, dtype=np.float32),
            float(rng.random()),
            rng.standard_normal(self._num_channels, dtype=np.float32),
        )


class MiniProsody:
    """The recipe `mini-prosody`."""

    keep_float32 = ("features", "pitched", "phone_mask", "noise", "time")

    def __init__(self, data: dict[str, Any], model: dict[str, Any], seed: int) -> None:
        self.data = check_keys(data, _DATA_KEYS, "data of mini-prosody")
        self.mini = MiniConfig.from_dict(model)
        if not self.mini.prosody_width:
            raise ConfigError(
                "this model has no network for prosody",
                seen="prosody_width: 0",
                cure="write prosody_width: 128 under model: of all recipes of this model",
            )
        self.config = self.mini.to_dict()  # kept in checkpoints
        self.seed = seed

    def build(self) -> nn.Module:
        """The acoustic model; its prosody drops out while it trains."""
        trainer = AcousticTrainer(self.mini, len(Store(self.data["store"]).speakers))
        prosody = trainer.acoustic.prosody
        for block in [*prosody.encoder.blocks, *prosody.flow.blocks]:
            _drop_out(block.widen, self.data["dropout"])
            _drop_out(block.narrow, self.data["dropout"])
        _drop_out(prosody.place_speaker, self.data["speaker_dropout"])
        return trainer

    def optimizers(self, model: nn.Module, settings: RunSettings) -> Optimizer:
        """Only the prosody learns."""
        assert isinstance(model, AcousticTrainer)
        return default_optimizer(model.acoustic.prosody, settings)

    def dataset(self, split: str) -> ReadingData:
        """Aligned clips of `split`."""
        store = open_split(self.data["store"], split, languages=self.data["languages"])
        clips = AcousticData(store, self.data["reference_seconds"], with_mel=False)
        return ReadingData(clips, self.mini.speaker_channels)

    def collate(self, examples: Sequence[Reading]) -> dict[str, Tensor]:
        """Pad to one batch."""
        integers, floats = ("symbols", "tones", "edges"), ("features", "pitched", "reference")
        batch = {n: pad_rows([getattr(e, n) for e in examples], torch.int64) for n in integers}
        names = (*floats, "noise", "nudge")
        batch |= {n: pad_rows([getattr(e, n) for e in examples], torch.float32) for n in names}
        batch["phone_mask"] = length_mask([len(e.symbols) for e in examples])
        batch["reference_mask"] = length_mask([len(e.reference) for e in examples])
        batch["time"] = torch.tensor([e.time for e in examples])
        return batch

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Any]]:
        """Flow matching and the average reading, over phones; its weight is phones."""
        del step, generator
        assert isinstance(model, AcousticTrainer)
        prosody, reference = model.acoustic.prosody, batch["reference"]
        dtype = reference.dtype
        with torch.no_grad():
            heard = batch["reference_mask"].to(dtype)
            speaker = model.acoustic.speaker_encoder(reference, heard)
            if model.training:
                speaker = speaker + self.data["speaker_noise"] * batch["nudge"]
        condition = prosody.place_speaker(speaker)
        mask = batch["phone_mask"].to(dtype)
        phones = (batch["symbols"], batch["tones"], batch["edges"])
        encoded = prosody.encode(*phones, mask, condition)
        time, noise, wanted = batch["time"], batch["noise"], batch["features"]
        share = time[:, None, None]
        place = (1 - share) * noise + share * wanted
        velocity = prosody.velocity(encoded, mask, condition, place, time)
        sums = _squares(prosody.average(encoded).float(), wanted, batch)
        valid = batch["phone_mask"]
        flow = ((velocity - (wanted - noise)).square() * valid).sum() / NUM_FEATURES
        sums["flow"] = flow, valid.sum()
        phone_count = valid.sum()
        terms = [_WEIGHTS[name] * total / phone_count for name, (total, _) in sums.items()]
        metrics: dict[str, Any] = {
            name: (total.detach() / count.clamp(min=1.0), count)
            for name, (total, count) in sums.items()
        }
        return torch.stack(terms).sum(), {**metrics, "weight": phone_count}

    def evaluate(
        self, model: nn.Module, batches: Iterable[dict[str, Tensor]], device: torch.device
    ) -> dict[str, float]:
        """Means of every loss over held-out clips."""

        def measure(batch: dict[str, Tensor]) -> tuple[dict[str, Any], float]:
            total, metrics = self.loss(model, batch, 0, torch.Generator())
            weight = float(metrics.pop("weight"))
            return {**metrics, "loss": total}, weight

        return average_metrics(batches, device, measure)


def _squares(
    said: Tensor, wanted: Tensor, batch: dict[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Errors of the average reading on unit scale: (sum, over how many)."""
    valid = batch["phone_mask"][..., 0]
    pitched = batch["pitched"] * valid
    squares = (said - wanted).square()
    pitch = 2 * F.huber_loss(said[..., 1], wanted[..., 1], reduction="none", delta=_OUTLIER)
    return {
        "duration": ((squares[..., 0] * valid).sum(), valid.sum()),
        "pitch": ((pitch * pitched).sum(), pitched.sum()),
        "voicing": ((squares[..., 2] * valid).sum(), valid.sum()),
        "energy": ((squares[..., 3] * valid).sum(), valid.sum()),
    }


def _drop_out(layer: nn.Module, rate: float) -> None:
    """Let a layer forget a share of its outputs while it trains; the model itself knows nothing."""
    layer.register_forward_hook(lambda module, _, out: F.dropout(out, rate, module.training))
