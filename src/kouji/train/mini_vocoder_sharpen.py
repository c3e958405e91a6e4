"""Recipe that sharpens a trained vocoder: spectral losses as before, and a critic beside them.

Samples that learned by spectral distances alone have harmonics and noise of the right level, but
smoother than speech. Here small convolutional critics, one for each trade-off of time against
frequency (Jang et al. 2021), learn to tell made spectra from real ones (least squares, Mao et
al. 2017; feature matching, Kumar et al. 2019), and the vocoder learns to be taken for real. Start
it from a vocoder run by `init_from`; the pitch head stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from kouji.models.mini.config import MiniConfig
from kouji.models.mini.vocoder import Vocoder
from kouji.train.mini_data import check_keys
from kouji.train.mini_vocoder import MiniVocoder, inner, magnitude, resynthesise
from kouji.train.settings import RunSettings
from kouji.train.stepper import StepContext

_OWN_KEYS = {"critic_share": 0.5, "matching": 4.0, "critic_width": 16}
_WINDOWS = (1024, 512, 256)  # samples; hops are a quarter
_CRITIC_RATE, _CRITIC_BETAS = 2.0, (0.5, 0.9)  # rate relative to the vocoder's
_RISE_STEPS = 300  # until the critics, which begin knowing nothing, have their full say
_FLOOR = 1e-3  # magnitudes below are no matter of taste
CRITICS = "critics."  # of the names of weights that a vocoder itself does not have


class SpectrumCritic(nn.Module):
    """Small 2-d convolutions over the log-magnitudes of one window length."""

    def __init__(self, window: int, width: int) -> None:
        super().__init__()
        self.window = window
        shapes = [  # channels in and out, kernel and stride over (bins, frames)
            (1, width, (9, 3), (2, 1)),
            (width, 2 * width, (5, 3), (2, 1)),
            (2 * width, 2 * width, (5, 3), (2, 2)),
            (2 * width, 2 * width, (5, 3), (2, 1)),
        ]
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, kernel, stride, (kernel[0] // 2, kernel[1] // 2))
            for a, b, kernel, stride in shapes
        )
        self.judge = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, samples: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Score patches of (batch, samples) float32; high is real. And what each layer sees."""
        level = magnitude(samples, self.window) / (self.window / 2) ** 0.5
        x = ((level + _FLOOR).log()[:, None] + 5.0) / 2.0
        x = x.to(self.judge.weight.dtype)
        seen = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.2)
            seen.append(x)
        return self.judge(x).float(), seen


class JudgedVocoder(Vocoder):
    """A vocoder and its critics, which are dropped on export."""

    def __init__(self, config: MiniConfig, critic_width: int) -> None:
        super().__init__(config)
        self.critics = nn.ModuleList(SpectrumCritic(window, critic_width) for window in _WINDOWS)

    def judge(self, samples: Tensor) -> Iterator[tuple[Tensor, list[Tensor]]]:
        """What each critic says of (batch, samples)."""
        for critic in self.critics:
            yield critic(samples)


class MiniVocoderSharpen(MiniVocoder):
    """The recipe `mini-vocoder-sharpen`."""

    def __init__(self, data: dict[str, Any], model: dict[str, Any], seed: int) -> None:
        super().__init__({k: v for k, v in data.items() if k not in _OWN_KEYS}, model, seed)
        own = {k: v for k, v in data.items() if k in _OWN_KEYS}
        self.own = check_keys(own, _OWN_KEYS, "data of mini-vocoder-sharpen")

    def build(self) -> nn.Module:
        """The vocoder with its critics."""
        return JudgedVocoder(self.mini, self.own["critic_width"])

    def optimizers(self, model: nn.Module, settings: RunSettings) -> dict[str, Optimizer]:
        """One for what makes samples, one for the critics."""
        assert isinstance(model, JudgedVocoder)
        makers = [model.enter, model.stack, model.norm, model.leave]
        rate = settings.learning_rate
        return {
            "vocoder": torch.optim.AdamW(
                [p for part in makers for p in part.parameters()],
                rate,
                betas=_CRITIC_BETAS,
                fused=True,
            ),
            "critics": torch.optim.AdamW(
                model.critics.parameters(), _CRITIC_RATE * rate, betas=_CRITIC_BETAS, fused=True
            ),
        }

    def training_step(
        self,
        context: StepContext,
        batch: dict[str, Tensor],
        step: int,
        generator: torch.Generator,
    ) -> dict[str, Any]:
        """The vocoder first, on the critics' last opinion; then the critics."""
        del generator
        model = context.model
        assert isinstance(model, JudgedVocoder)
        made = resynthesise(model, batch)
        leaf = made.detach().requires_grad_()
        difference, metrics = self.compare(leaf, batch)
        (pull,) = torch.autograd.grad(difference, leaf)
        real = inner(batch["wave"])
        doubt, matching = _opinions(model, real, inner(leaf))
        (push,) = torch.autograd.grad(doubt + self.own["matching"] * matching, leaf)
        share = self.own["critic_share"] * min(1.0, step / _RISE_STEPS)
        push = push * (share * pull.norm() / push.norm().clamp(min=1e-12))
        # of the difference's value: the sum only brings the gradients
        moved = ((made - leaf.detach()) * (pull + push)).sum()
        context.minimise(difference.detach() + moved, "vocoder")
        loss = _critic_loss(model, real, inner(leaf.detach()))
        context.minimise(loss, "critics")
        return {
            **metrics,
            "doubt": doubt.detach(),
            "matching": matching.detach(),
            "critics": loss.detach(),
        }


def _opinions(model: JudgedVocoder, real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """How little the critics take `made` for real, and how unlike its features are to `real`'s."""
    with torch.no_grad():
        wanted = [seen for _, seen in model.judge(real)]
    doubts, distances = [], []
    for (score, seen), goal in zip(model.judge(made), wanted, strict=True):
        doubts.append((score - 1).square().mean())
        distances += [
            (a.float() - b.float()).abs().mean() / b.float().abs().mean().clamp(min=1e-4)
            for a, b in zip(seen, goal, strict=True)
        ]
    return torch.stack(doubts).mean(), torch.stack(distances).mean()


def _critic_loss(model: JudgedVocoder, real: Tensor, made: Tensor) -> Tensor:
    """Least squares: real patches are worth one, made ones nothing."""
    losses = []
    for score, _ in model.judge(torch.cat([real, made])):
        right, wrong = score.chunk(2)
        losses.append((right - 1).square().mean() + wrong.square().mean())
    return torch.stack(losses).mean()
