"""Graphs say what Kouji's own code says, before any file is written."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_graphs import make_drawn_checkpoint
from tiny_mini import make_tiny_checkpoint

from kouji.audio.watermark import detect, embed
from kouji.graphs.classifier import ClassifierGraph, FramedLogMel
from kouji.graphs.fourier import analysis_filters, synthesis_filters
from kouji.graphs.mark import Mark
from kouji.graphs.mini_stages import mini_stages
from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.model import SoundModel
from kouji.models.mini.weights import Checkpoint
from kouji.types import Audio

NUMBER = 0x1234ABCD


@pytest.mark.parametrize("size", [10, 600, 1080])
def test_convolutions_are_fourier_transforms(size: int) -> None:
    window = torch.rand(size)
    frames = torch.randn(3, 1, size)
    made = torch.nn.functional.conv1d(frames, analysis_filters(window, size))
    spectrum = torch.fft.rfft(frames[:, 0].double() * window)
    assert torch.allclose(
        made[..., 0].double(), torch.cat([spectrum.real, spectrum.imag], 1), atol=1e-4
    )
    back = torch.nn.functional.conv_transpose1d(made, synthesis_filters(torch.ones(size)))
    assert torch.allclose(back[:, 0], frames[:, 0] * window, atol=1e-5)


@pytest.mark.parametrize("num_samples", [1, 299, 300, 301, 5003, 24_480])
def test_the_mark_of_a_graph_is_the_mark_of_every_sound(num_samples: int) -> None:
    samples = torch.randn(2, num_samples) * torch.linspace(0, 0.2, num_samples)
    wanted = [embed(row.numpy(), 24_000, NUMBER) for row in samples]
    assert np.abs(Mark(24_000, NUMBER)(samples).numpy() - wanted).max() < 1e-6


@pytest.mark.parametrize("make", [make_tiny_checkpoint, make_drawn_checkpoint])
def test_every_stage_of_mini_equals_the_model(make: object) -> None:
    checkpoint = make()  # type: ignore[operator]
    assert isinstance(checkpoint, Checkpoint)
    for stage in mini_stages(checkpoint, NUMBER):
        for sizes in (stage.made_with, *stage.tried_with):
            inputs = stage.make_inputs(sizes)
            with torch.inference_mode():
                made, wanted = stage.graph(*inputs), stage.model(*inputs)
            made = made if isinstance(made, tuple) else (made,)
            assert len(made) == len(wanted) == len(stage.outputs)
            for ours, theirs in zip(made, wanted, strict=True):
                assert torch.allclose(ours, theirs, atol=1e-4), (stage.name, sizes)


def test_what_the_vocoder_says_is_marked_with_its_number() -> None:
    stage = mini_stages(make_tiny_checkpoint(), NUMBER)[-1]
    with torch.inference_mode():
        samples = stage.graph(*stage.make_inputs({"batch": 1, "frames": 300}))[0].numpy()
    found = detect(Audio(samples, 24_000))
    assert found.found
    assert found.payload == NUMBER


def test_tried_sizes_are_others_than_those_the_graph_is_made_with() -> None:
    for stage in mini_stages(make_drawn_checkpoint(), 0):
        for sizes in stage.tried_with:
            assert all(sizes[axis] != size for axis, size in stage.made_with.items())


@pytest.mark.parametrize("architecture", ["two-conv", "resnet18", "convnext"])
def test_the_log_mel_of_a_graph_is_that_of_the_classifier(architecture: str) -> None:
    config = ClassifierConfig(
        labels=("a", "b", "c"), architecture=architecture, width=8, window_seconds=0.3,
        n_fft=512, hop_length=200,
    )  # fmt: skip
    model = SoundModel(config).eval()
    samples = torch.randn(2, config.window_samples) * torch.tensor([[0.3], [1e-4]])
    assert torch.allclose(FramedLogMel(config)(samples), model.features(samples), atol=1e-4)
    silence = torch.zeros(1, config.window_samples)
    assert torch.equal(FramedLogMel(config)(silence), model.features(silence))
    with torch.no_grad():
        wanted = torch.softmax(model(samples), dim=-1)
        assert torch.allclose(ClassifierGraph(model).eval()(samples), wanted, atol=1e-5)


def test_a_pace_is_in_the_graph() -> None:
    checkpoint = make_drawn_checkpoint()
    slower = replace(checkpoint, pace=2 * checkpoint.pace)
    usual, slow = (mini_stages(one, 0)[1] for one in (checkpoint, slower))
    inputs = usual.make_inputs({"batch": 1, "phones": 6})
    with torch.inference_mode():
        assert torch.allclose(2 * usual.graph(*inputs)[0], slow.graph(*inputs)[0])
