"""Recipe of the acoustic model: phones, durations and a reference to f0 and mel.

Durations come from the aligner (`kouji align`). A speaker classifier on the embedding, dropped
after training, keeps the voices apart; where strangers come with the examples, so does drawing
together stretches of one voice against those of others (the contrast of Oord et al. 2018, over
speakers).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kouji.audio.features import MINI_FINE_MEL
from kouji.audio.griffin_lim import griffin_lim
from kouji.models.mini.config import MiniConfig
from kouji.models.mini.fine_mel import log_magnitudes, one_after_another
from kouji.models.mini.model import AcousticModel, FramePitch, PhoneProsody
from kouji.models.mini.speaker import SpeakerEncoder
from kouji.train.made_voices import made_voices
from kouji.train.mini_data import (
    average_metrics,
    check_keys,
    length_mask,
    open_split,
    pad_rows,
)
from kouji.train.mini_examples import AcousticData, Example
from kouji.train.mini_samples import alignment_picture, batch_for, shown_examples
from kouji.train.monitor import Monitor
from kouji.train.store import Store

_DATA_KEYS = {
    "store": "",
    "languages": [],
    "reference_seconds": [2.0, 5.0],
    "voices": [],  # [speed, formants] of made voices, each of a speaker another speaker
    "made_share": 0.5,  # of the examples are in one of them
    "strangers": 0,  # other speakers each reference is told apart from
}
_CONTRAST_SHARPNESS = 10.0
_WEIGHTS = {
    "mel": 1.0,
    "f0": 0.5,
    "voicing": 0.2,
    "duration": 0.3,
    "phone_pitch": 0.2,
    "phone_voicing": 0.1,
    "phone_energy": 0.2,
    "speaker": 0.05,
    "contrast": 0.1,
}
# Frames per voiced frame, phone, pitched phone and clip, as in the corpus of the release. Every
# loss is summed over its own units but divided by frames, times these: then the mean over
# frames of the shares of a batch is the loss of the batch, whatever the shares are.
_PER_VOICED, _PER_PHONE, _PER_PITCHED, _PER_CLIP = 1.66, 5.2, 7.2, 295.0
_FRAMES_PER_UNIT = {
    "mel": 1.0,
    "f0": _PER_VOICED,
    "voicing": 1.0,
    "duration": _PER_PHONE,
    "phone_pitch": _PER_PITCHED,
    "phone_voicing": _PER_PHONE,
    "phone_energy": _PER_PHONE,
    "speaker": _PER_CLIP,
    "contrast": _PER_CLIP,
}


class AcousticTrainer(nn.Module):
    """The model and what is dropped after training: a speaker classifier."""

    def __init__(self, config: MiniConfig, num_speakers: int) -> None:
        super().__init__()
        self.acoustic = AcousticModel(config)
        self.classes = nn.Parameter(torch.randn(num_speakers, config.speaker_channels) * 0.1)

    def speaker_logits(self, speaker: Tensor) -> Tensor:
        """Scaled cosines between embeddings (batch, channels) and every training speaker."""
        return (
            16 * F.normalize(speaker.float(), dim=-1) @ F.normalize(self.classes.float(), dim=-1).T
        )


class Made(NamedTuple):
    """What the networks make of a batch whose prosody is given.

    predicted: None where prosody is another recipe's task (`mini-prosody`)
    """

    speaker: Tensor
    predicted: PhoneProsody | None
    heard: FramePitch
    mel: Tensor


class MiniAcoustic:
    """The recipe `mini-acoustic`."""

    keep_float32 = ("mel", "log_f0", "voiced", "prosody", "frame_mask", "phone_mask")

    def __init__(self, data: dict[str, Any], model: dict[str, Any], seed: int) -> None:
        self.data = check_keys(data, _DATA_KEYS, "data of mini-acoustic")
        self.voices = made_voices(self.data["voices"], "data.voices")
        self.mini = MiniConfig.from_dict(model)
        self.config = self.mini.to_dict()  # kept in checkpoints
        self.seed = seed

    def build(self) -> nn.Module:
        """The acoustic model with its training-only classifier."""
        return AcousticTrainer(self.mini, self.num_speakers())

    def num_speakers(self) -> int:
        """Recorded and made."""
        return len(Store(self.data["store"]).speakers) * (1 + len(self.voices))

    def dataset(self, split: str) -> AcousticData:
        """Aligned clips of `split`; only those of "train" in made voices."""
        store = open_split(self.data["store"], split, languages=self.data["languages"])
        return AcousticData(
            store,
            self.data["reference_seconds"],
            voices=self.voices,
            made_share=self.data["made_share"] if split == "train" else 0.0,
            num_strangers=self.data["strangers"],
        )

    def collate(self, examples: Sequence[Example]) -> dict[str, Tensor]:
        """Pad to one batch."""
        integers = ("symbols", "tones", "durations")
        floats = ("prosody", "mel", "log_f0", "voiced", "reference")
        batch = {n: pad_rows([getattr(e, n) for e in examples], torch.int64) for n in integers}
        batch |= {n: pad_rows([getattr(e, n) for e in examples], torch.float32) for n in floats}
        batch["frame_mask"] = length_mask([len(e.mel) for e in examples])
        batch["phone_mask"] = length_mask([len(e.symbols) for e in examples])
        batch["reference_mask"] = length_mask([len(e.reference) for e in examples])
        batch["full_band"] = torch.tensor([e.full_band for e in examples])
        batch["speaker"] = torch.tensor([e.speaker for e in examples])
        if self.data["strangers"]:
            company = [np.concatenate([e.again[None], e.strangers]) for e in examples]
            batch["company"] = torch.from_numpy(np.stack(company))
        return batch

    def loss(
        self, model: nn.Module, batch: dict[str, Tensor], step: int, generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Any]]:
        """Weighted sum of the losses on frames, phones and the embedding; its weight is frames.

        Each metric is a mean over its own units with their number as weight.
        """
        del step, generator
        assert isinstance(model, AcousticTrainer)
        made = make(model.acoustic, batch)
        sums = {
            **_frame_sums(made, batch),
            **(_phone_sums(made.predicted, batch) if made.predicted else {}),
            "speaker": _speaker_sum(model, made.speaker, batch["speaker"]),
        }
        if "company" in batch:
            sums["contrast"] = _contrast_sum(
                model.acoustic.speaker_encoder, made.speaker, batch["company"]
            )
        frames = batch["frame_mask"].sum()
        terms = [
            _WEIGHTS[name] * _FRAMES_PER_UNIT[name] * total / frames
            for name, (total, _) in sums.items()
        ]
        metrics: dict[str, Any] = {
            name: (total.detach() / count.clamp(min=1.0), count)
            for name, (total, count) in sums.items()
        }
        return torch.stack(terms).sum(), {**metrics, "weight": frames}

    def evaluate(
        self, model: nn.Module, batches: Iterable[dict[str, Tensor]], device: torch.device
    ) -> dict[str, float]:
        """Means of every loss over held-out batches; `loss` is that of the mel."""

        def measure(batch: dict[str, Tensor]) -> tuple[dict[str, Any], float]:
            _, metrics = self.loss(model, batch, 0, torch.Generator())
            return metrics, float(metrics.pop("weight"))

        means = average_metrics(batches, device, measure)
        return {**means, "loss": means["mel"]}

    def samples(self, model: nn.Module, monitor: Monitor, step: int) -> None:
        """Two held-out clips: real and predicted mel, its sound, and the alignment."""
        assert isinstance(model, AcousticTrainer)
        for number, example in enumerate(shown_examples(self.dataset("valid"))):
            batch = batch_for(model, self.collate([example]), self.keep_float32)
            made = make(model.acoustic, batch).mel
            monitor.mel(f"mel/{number}/real", one_after_another(batch["mel"])[0].T, step)
            monitor.mel(f"mel/{number}/predicted", one_after_another(made)[0].T, step)
            monitor.alignment(f"alignment/{number}", alignment_picture(example.durations), step)
            sound = griffin_lim(log_magnitudes(made).cpu(), MINI_FINE_MEL, iterations=16)[0]
            monitor.audio(f"audio/{number}/griffin_lim", sound, MINI_FINE_MEL.sample_rate, step)


def make(acoustic: AcousticModel, batch: dict[str, Tensor]) -> Made:
    """Everything predicted from phones, measured prosody and a reference."""
    reference, dtype = batch["reference"], batch["reference"].dtype
    speaker = acoustic.speaker_encoder(reference, batch["reference_mask"].to(dtype))
    phone_mask = batch["phone_mask"].to(dtype)
    encoded = acoustic.encode(batch["symbols"], batch["tones"], phone_mask, speaker)
    predicted = None
    if not acoustic.config.prosody_width:
        predicted = acoustic.predict_prosody(encoded, phone_mask, speaker)
    x, mask, base = acoustic.expand(
        encoded, batch["prosody"], batch["durations"], batch["mel"].shape[1]
    )
    heard = acoustic.frame_pitch(x, mask, base, speaker)
    mel = acoustic.decode(x, mask, batch["log_f0"], batch["voiced"], speaker, batch["full_band"])
    return Made(speaker, predicted, heard, mel)


def _frame_sums(made: Made, batch: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Losses of frames: (sum, over how many)."""
    valid, voiced = batch["frame_mask"][..., 0], batch["voiced"]
    voicing = F.binary_cross_entropy_with_logits(made.heard.voicing, voiced, reduction="none")
    return {
        "mel": _sum((made.mel - batch["mel"]).abs().mean(-1), valid),
        "f0": _sum((made.heard.log_f0 - batch["log_f0"]).abs(), voiced),
        "voicing": _sum(voicing, valid),
    }


def _phone_sums(
    predicted: PhoneProsody, batch: dict[str, Tensor]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Losses of phones: (sum, over how many)."""
    phones, target, said = batch["phone_mask"][..., 0], batch["prosody"], predicted.prosody
    duration = torch.log1p(batch["durations"].float())
    voicing = F.binary_cross_entropy_with_logits(said[..., 1], target[..., 1], reduction="none")
    is_pitched = (target[..., 1] > 0.3).float()
    return {
        "duration": _sum((predicted.log_duration - duration).square(), phones),
        "phone_pitch": _sum((said[..., 0] - target[..., 0]).square(), phones * is_pitched),
        "phone_voicing": _sum(voicing, phones),
        "phone_energy": _sum((said[..., 2] - target[..., 2]).square(), phones),
    }


def _speaker_sum(
    trainer: AcousticTrainer, speaker: Tensor, numbers: Tensor
) -> tuple[Tensor, Tensor]:
    total = F.cross_entropy(trainer.speaker_logits(speaker), numbers, reduction="sum")
    return total, torch.tensor(float(len(numbers)), device=total.device)


def _contrast_sum(
    encoder: SpeakerEncoder, speaker: Tensor, company: Tensor
) -> tuple[Tensor, Tensor]:
    """How badly each speaker is told from strangers.

    speaker: (batch, channels) of references
    company: (batch, 1 + strangers, frames, mels), the speaker again first
    """
    heard = company.flatten(0, 1).to(speaker.dtype)
    others = encoder(heard, torch.ones_like(heard[..., :1])).unflatten(0, company.shape[:2])
    cosines = F.cosine_similarity(speaker.float()[:, None], others.float(), dim=-1)
    first = torch.zeros(len(cosines), dtype=torch.int64, device=cosines.device)
    total = F.cross_entropy(_CONTRAST_SHARPNESS * cosines, first, reduction="sum")
    return total, torch.tensor(float(len(cosines)), device=total.device)


def _sum(values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of `values` where `weights` are one, and of the weights."""
    return (values.float() * weights).sum(), weights.sum()
