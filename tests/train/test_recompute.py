"""Recomputed activations change memory and time, never a number."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from made_store import write_made_store
from tiny_mini import TINY
from torch import Tensor, nn

from kouji.train.align import align_store
from kouji.train.checkpoint import export_weights
from kouji.train.loop import run
from kouji.train.mini_acoustic import MiniAcoustic
from kouji.train.mini_prosody import MiniProsody
from kouji.train.mini_sharpen import MiniSharpen
from kouji.train.mini_vocoder_sharpen import MiniVocoderSharpen
from kouji.train.recompute import SavedBytes, checkpoint_blocks
from kouji.train.settings import RunSettings

DRAWN = dataclasses.replace(
    TINY, prosody_width=16, prosody_hidden=24, prosody_speaker=4,
    prosody_dilations=(1, 2), prosody_flow_dilations=(1,),
)  # fmt: skip


class Busy(nn.Module):
    """A block with everything that a second forward could get wrong."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.utils.parametrizations.spectral_norm(nn.Linear(width, 4 * width))
        self.norm = nn.BatchNorm1d(4 * width)
        self.dropout = nn.Dropout(0.3)
        self.narrow = nn.Linear(4 * width, width)
        self.register_buffer("mean", torch.zeros(width))
        self.calls = 0

    def forward(self, x: Tensor, *, noise: torch.Generator, scale: Tensor) -> Tensor:
        shifted = x - self.mean  # read, then moved: a second forward would see another mean
        with torch.no_grad():
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)  # replaced, not written into
        hidden = self.dropout(self.norm(self.mix(shifted)).relu())
        return x + scale * self.narrow(hidden) * torch.rand(x.shape, generator=noise).to(x.dtype)


class BusyNet(nn.Module):
    def __init__(self, depth: int = 3) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Busy(6) for _ in range(depth))

    def forward(self, x: Tensor, noise: torch.Generator) -> Tensor:
        for layer in self.layers:
            x = layer(x, noise=noise, scale=x.new_ones(1))
        return x


def train(model: nn.Module, steps: int = 3) -> list[Tensor]:
    """Losses, gradients and buffers of some steps, with two passes each."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    seen: list[Tensor] = []
    noise = torch.Generator().manual_seed(5)
    dtype = next(model.parameters()).dtype
    for step in range(steps):
        torch.manual_seed(step)
        x = torch.randn(7, 6).to(dtype)
        losses = [model(part, noise).float().square().mean() for part in (x, x.flip(0))]
        for loss in losses:  # the second forward has moved all buffers before the first backward
            loss.backward()
        seen += [loss.detach() for loss in losses]
        seen += [p.grad.clone() for p in model.parameters() if p.grad is not None]
        seen += [buffer.clone() for buffer in model.buffers()]
        optimizer.step()
        optimizer.zero_grad()
    return [*seen, noise.get_state()]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("is_copied", [False, True])
def test_all_state_is_as_without(dtype: torch.dtype, is_copied: bool) -> None:
    torch.manual_seed(0)
    plain = BusyNet().to(dtype)
    recomputed = copy.deepcopy(plain)
    names = list(plain.state_dict())
    assert "3 of 3 blocks" in checkpoint_blocks(recomputed, keep_every=0)
    if is_copied:
        recomputed = copy.deepcopy(recomputed)
    expected, found = train(plain), train(recomputed)
    assert len(expected) == len(found) > 30
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert list(recomputed.state_dict()) == names
    assert recomputed.layers[0].norm.num_batches_tracked == 6


def test_evaluation_neither_keeps_nor_recomputes() -> None:
    model = BusyNet()
    checkpoint_blocks(model)
    model.eval()
    with torch.no_grad():
        assert not model(torch.ones(2, 6), torch.Generator()).requires_grad
    x = torch.ones(2, 6, requires_grad=True)
    model(x, torch.Generator()).sum().backward()  # gradients in evaluation mode work as well
    assert x.grad is not None


def test_a_copy_owns_its_blocks_and_pickles() -> None:
    model = BusyNet()
    checkpoint_blocks(model)
    checkpoint_blocks(model)  # once is enough
    other = copy.deepcopy(model)
    with torch.no_grad():
        for layer in other.layers:
            layer.narrow.weight.zero_()
            layer.narrow.bias.zero_()
    x, noise = torch.ones(2, 6), torch.Generator()
    torch.testing.assert_close(other.eval()(x, noise), x)
    assert not torch.equal(model.eval()(x, noise), x)
    plain = nn.ModuleList(nn.Sequential(nn.Linear(2, 2), nn.ReLU()) for _ in "ab")
    checkpoint_blocks(plain)
    again = pickle.loads(pickle.dumps(plain))
    assert again[0].forward.block is again[0]


def test_an_input_changed_in_place_is_an_error_not_a_wrong_gradient() -> None:
    model = BusyNet(1)
    checkpoint_blocks(model)
    x = torch.ones(2, 6)
    loss = model(x, torch.Generator()).sum()
    x.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_a_model_without_blocks_says_so() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    assert "no blocks" in checkpoint_blocks(model)
    model(torch.ones(1, 3)).sum().backward()


def test_saved_bytes_count_each_piece_once_and_forget_it() -> None:
    model = nn.Linear(4, 4)
    saved = SavedBytes(model)
    with saved.counting():
        x = torch.randn(8, 4)
        loss = (model(x) * x.exp()).exp().sum()
    # x for the Linear, its exp for the product, and the last exp for itself.
    assert saved.bytes == saved.peak == 3 * 8 * 4 * 4
    loss.backward()
    del loss
    assert saved.bytes == 0


def test_activations_of_a_transformer_fall_by_more_than_half() -> None:
    layer = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, norm_first=True)
    model = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
    kept = []
    for _ in range(2):
        saved = SavedBytes(model)
        with saved.counting():
            model(torch.randn(2, 50, 32)).sum()
        kept.append(saved.peak)
        assert "of 6 blocks" in checkpoint_blocks(model)
    assert kept[1] < 0.5 * kept[0]


def test_every_third_block_keeps_its_activations() -> None:
    model = BusyNet(7)
    assert "5 of 7 blocks" in checkpoint_blocks(model)
    held = ["forward" in layer.__dict__ for layer in model.layers]
    assert held == [True, True, False, True, True, False, True]
    single = BusyNet(1)
    assert "1 of 1" in checkpoint_blocks(single)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_made_store(folder, num_clips=24)
    align_store(folder)
    return folder


def recipes(store: Path) -> dict[str, Any]:
    """The recipes of `mini` in small, among them those that step several optimisers."""
    spoken = {"store": str(store), "reference_seconds": [0.3, 0.6]}
    crops = {"store": str(store), "frames": 24, "critic_width": 4}
    shapes, drawn = TINY.to_dict(), DRAWN.to_dict()
    return {
        "acoustic": MiniAcoustic(spoken, shapes, 0),
        "prosody": MiniProsody(spoken, drawn, 0),
        "sharpen": MiniSharpen({**spoken, "crop_frames": 24}, drawn, 0),
        "vocoder-sharpen": MiniVocoderSharpen(crops, shapes, 0),
    }


@pytest.mark.parametrize("name", ["acoustic", "prosody", "sharpen", "vocoder-sharpen"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_recipes_take_the_same_steps(
    store: Path, tmp_path: Path, name: str, precision: Any
) -> None:
    ends = []
    for is_recomputed in (False, True):
        recipe = recipes(store)[name]
        if is_recomputed:
            build = recipe.build

            def build_recomputed(build: Any = build) -> nn.Module:
                model: nn.Module = build()
                assert "blocks" in checkpoint_blocks(model)
                return model

            recipe.build = build_recomputed
        settings = RunSettings(
            out=str(tmp_path / str(is_recomputed)), steps=3, batch_size=4, learning_rate=1e-3,
            log_every=1, tensorboard=False, num_workers=0, precision=precision,
        )  # fmt: skip
        ends.append(export_weights(run(recipe, settings).checkpoint))
    assert ends[0].keys() == ends[1].keys()
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])
