"""Recipe that sharpens the mels of a trained acoustic model: its decoder against a critic.

A decoder that learned by absolute error gives the average of all mels a text may have, which
sounds muffled. Here everything before the decoder stays as it is, and the decoder learns to
make crops that a small convolutional critic cannot tell from real ones (least squares, Mao et
al. 2017; feature matching, Kumar et al. 2019). The model's own speaker encoder may listen too
(`likeness_share`): what is made shall sound to it like what was recorded. Start it from an
acoustic run by `init_from`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from kouji.models.mini.config import FINE_CHANNELS, MEL_MEAN, MEL_STD
from kouji.models.mini.fine_mel import coarse_mel, one_after_another
from kouji.models.mini.model import AcousticModel
from kouji.models.mini.speaker import SpeakerEncoder
from kouji.train.mini_acoustic import AcousticTrainer, MiniAcoustic
from kouji.train.mini_data import average_metrics, check_keys
from kouji.train.settings import RunSettings
from kouji.train.stepper import StepContext

_OWN_KEYS = {"crop_frames": 128, "critic_share": 0.5, "matching": 4.0, "likeness_share": 0.0}
_CRITIC_RATE, _CRITIC_BETAS = 2.0, (0.5, 0.9)  # rate relative to the decoder's
_RISE_STEPS = 300  # until the critic, which begins knowing nothing, has its full say
_DECODER = ("place_pitch", "place_bandwidth", "decoder", "decoder_norm", "leave")


class Critic(nn.Module):
    """Small 2-d convolutions over time and mel bands: does this patch look like speech?"""

    def __init__(self) -> None:
        super().__init__()
        shapes = [  # channels in and out, kernel and stride over (frames, mels)
            (2, 32, (3, 9), (1, 2)),
            (32, 64, (3, 5), (1, 2)),
            (64, 64, (5, 5), (2, 2)),
            (64, 64, (3, 3), (1, 2)),
        ]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, kernel, stride, (kernel[0] // 2, kernel[1] // 2))
            for a, b, kernel, stride in shapes
        )
        self.judge = nn.Conv2d(64, 1, 3, padding=1)

    def forward(self, mel: Tensor, full_band: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Score patches; high is real.

        mel:       (batch, frames, FINE_CHANNELS) normalised fine mel
        full_band: (batch,) one where the recording reaches 12 kHz
        returns:   (batch, 1, frames, mels / 16) scores, and what each layer sees
        """
        mel = one_after_another(mel)
        band = full_band.to(mel.dtype)[:, None, None].expand_as(mel)
        x = torch.stack([mel, band], dim=1)
        seen = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            seen.append(x)
        return self.judge(x), seen


class SharpenTrainer(AcousticTrainer):
    """The acoustic model and its critic, which is dropped after training."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.critic = Critic()


class Crops(NamedTuple):
    """Stretches of a batch: real and made (batch, frames, channels), mask (batch, frames, 1)."""

    real: Tensor
    made: Tensor
    mask: Tensor


class MiniSharpen(MiniAcoustic):
    """The recipe `mini-sharpen`."""

    def __init__(self, data: dict[str, Any], model: dict[str, Any], seed: int) -> None:
        super().__init__({k: v for k, v in data.items() if k not in _OWN_KEYS}, model, seed)
        own = {k: v for k, v in data.items() if k in _OWN_KEYS}
        self.own = check_keys(own, _OWN_KEYS, "data of mini-sharpen")

    def build(self) -> nn.Module:
        """The acoustic model with its critic."""
        return SharpenTrainer(self.mini, self.num_speakers())

    def optimizers(self, model: nn.Module, settings: RunSettings) -> dict[str, Optimizer]:
        """One for the decoder, one for the critic; all else is left as it is."""
        assert isinstance(model, SharpenTrainer)
        parts = [getattr(model.acoustic, name) for name in _DECODER]
        decoder = [p for part in parts for p in part.parameters()]
        rate = settings.learning_rate
        return {
            "decoder": torch.optim.AdamW(decoder, rate, betas=_CRITIC_BETAS, fused=True),
            "critic": torch.optim.AdamW(
                model.critic.parameters(), _CRITIC_RATE * rate, betas=_CRITIC_BETAS, fused=True
            ),
        }

    def training_step(
        self,
        context: StepContext,
        batch: dict[str, Tensor],
        step: int,
        generator: torch.Generator,
    ) -> dict[str, Any]:
        """The decoder first, on the critic's last opinion; then the critic."""
        trainer = context.model
        assert isinstance(trainer, SharpenTrainer)
        crops = decode_crops(trainer.acoustic, batch, self.own["crop_frames"], generator)
        share = self.own["critic_share"] * min(1.0, step / _RISE_STEPS)
        error = _absolute_error(crops.made, crops)
        push, doubt, matching = self._critic_gradient(trainer.critic, crops, batch["full_band"])
        pushed = _pushed(crops, push, share)
        heard = {}
        if self.own["likeness_share"]:
            leaf = crops.made.detach().requires_grad_()
            distance = unlikeness(trainer.acoustic.speaker_encoder, leaf, crops)
            (push,) = torch.autograd.grad(distance, leaf)
            pushed = pushed + _pushed(crops, push, self.own["likeness_share"])
            heard["unlikeness"] = distance.detach()
        context.minimise(error + pushed, "decoder")
        real, made = crops.real, crops.made.detach()
        loss = _critic_loss(trainer.critic, real, made, batch["full_band"])
        context.minimise(loss, "critic")
        return {
            "mel": error.detach(),
            "doubt": doubt,
            "matching": matching,
            "critic": loss.detach(),
            "texture": texture(crops),
            **heard,
        }

    def _critic_gradient(
        self, critic: Critic, crops: Crops, full_band: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Where the critic wants the made mel to go, (batch, frames, channels); and two losses."""
        dtype = next(critic.parameters()).dtype
        leaf = crops.made.detach().requires_grad_()
        with torch.no_grad():
            _, wanted = critic(crops.real.to(dtype), full_band)
        score, seen = critic(leaf.to(dtype), full_band)
        doubt = (score.float() - 1).square().mean()
        matching = torch.stack(
            [
                (a.float() - b.float()).abs().mean() / b.float().abs().mean().clamp(min=1e-4)
                for a, b in zip(seen, wanted, strict=True)
            ]
        ).mean()
        (push,) = torch.autograd.grad(doubt + self.own["matching"] * matching, leaf)
        return push, doubt.detach(), matching.detach()

    def evaluate(
        self, model: nn.Module, batches: Iterable[dict[str, Tensor]], device: torch.device
    ) -> dict[str, float]:
        """Mel error, liveliness and unlikeness of held-out crops."""
        assert isinstance(model, SharpenTrainer)

        def measure(batch: dict[str, Tensor]) -> tuple[dict[str, Any], float]:
            generator = torch.Generator().manual_seed(0)
            crops = decode_crops(model.acoustic, batch, self.own["crop_frames"], generator)
            error = _absolute_error(crops.made, crops)
            figures = {
                "mel": error,
                "texture": texture(crops),
                "unlikeness": unlikeness(model.acoustic.speaker_encoder, crops.made, crops),
            }
            return figures, float(crops.mask.sum())

        means = average_metrics(batches, device, measure)
        return {**means, "loss": means["mel"]}


def decode_crops(
    acoustic: AcousticModel, batch: dict[str, Tensor], num_frames: int, generator: torch.Generator
) -> Crops:
    """Mels of a random stretch of each row, from measured durations, prosody and pitch.

    Frames whose neighbours the stretch cuts off are left out of it: what is returned is
    2 * acoustic.reach frames shorter, zero where masked.
    """
    dtype = batch["reference"].dtype
    with torch.no_grad():
        speaker = acoustic.speaker_encoder(batch["reference"], batch["reference_mask"].to(dtype))
        phone_mask = batch["phone_mask"].to(dtype)
        encoded = acoustic.encode(batch["symbols"], batch["tones"], phone_mask, speaker)
        x, mask, _ = acoustic.expand(
            encoded, batch["prosody"], batch["durations"], batch["mel"].shape[1]
        )
    counts = batch["frame_mask"].sum(dim=(1, 2)).long()
    room = (counts - num_frames).clamp(min=0) + 1
    drawn = torch.rand(len(counts), generator=generator, device=generator.device)
    starts = (drawn.to(room.device) * room).long()
    places = starts[:, None] + torch.arange(num_frames, device=starts.device)
    places = places.clamp(max=x.shape[1] - 1)

    def cut(rows: Tensor) -> Tensor:
        index = places.reshape(*places.shape, *[1] * (rows.ndim - 2))
        return rows.gather(1, index.expand(-1, -1, *rows.shape[2:]))

    is_valid = (places < counts[:, None])[..., None]
    mask = is_valid.to(dtype)
    made = acoustic.decode(
        cut(x) * mask,
        mask,
        cut(batch["log_f0"]),
        cut(batch["voiced"]) * is_valid[..., 0],
        speaker,
        batch["full_band"],
    )
    inner = slice(acoustic.reach, num_frames - acoustic.reach)
    kept = is_valid.float()[:, inner]
    return Crops(cut(batch["mel"])[:, inner] * kept, made[:, inner] * kept, kept)


def texture(crops: Crops) -> Tensor:
    """How lively the made mels are: their mean change between frames, relative to real ones."""
    mels = (one_after_another(mel) for mel in (crops.made.detach(), crops.real))
    moves = [(mel[:, 1:] - mel[:, :-1]).abs().sum() for mel in mels]
    return moves[0] / moves[1].clamp(min=1e-6)


def unlikeness(encoder: SpeakerEncoder, made: Tensor, crops: Crops) -> Tensor:
    """Mean of 1 - cosine between embeddings of made crops and of the recorded ones."""
    dtype = next(encoder.parameters()).dtype

    def embed(fine: Tensor) -> Tensor:
        heard = (coarse_mel(fine) - MEL_MEAN) / MEL_STD * crops.mask
        embedding: Tensor = encoder(heard.to(dtype), crops.mask.to(dtype))
        return embedding.float()

    return 1 - F.cosine_similarity(embed(made), embed(crops.real), dim=-1).mean()


def _pushed(crops: Crops, push: Tensor, share: float) -> Tensor:
    """Of value zero: only its gradient counts, `share` times as long as that of the error."""
    strength = share * _gradient_norm_of_error(crops) / push.norm().clamp(min=1e-12)
    pushed: Tensor = strength * ((crops.made - crops.made.detach()) * push).sum()
    return pushed


def _absolute_error(made: Tensor, crops: Crops) -> Tensor:
    """Mean absolute error over valid frames and mels."""
    return ((made - crops.real).abs() * crops.mask).sum() / (crops.mask.sum() * FINE_CHANNELS)


def _gradient_norm_of_error(crops: Crops) -> Tensor:
    """Norm of the gradient of `_absolute_error` in the mel: one sign over the count, each."""
    return (crops.mask.sum() * FINE_CHANNELS).rsqrt()


def _critic_loss(critic: Critic, real: Tensor, made: Tensor, full_band: Tensor) -> Tensor:
    """Least squares: real patches are worth one, made ones nothing."""
    dtype = next(critic.parameters()).dtype
    both = torch.cat([real, made]).to(dtype)
    scores, _ = critic(both, torch.cat([full_band, full_band]))
    right, wrong = scores.float().chunk(2)
    loss: Tensor = (right - 1).square().mean() + wrong.square().mean()
    return loss
