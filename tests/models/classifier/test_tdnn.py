"""The network for words: asked by steps or as a whole, deaf to what silence is made of."""

from __future__ import annotations

import pytest
import torch

from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.tdnn import Tdnn


def network(**changes: object) -> Tdnn:
    torch.manual_seed(0)
    values = {"labels": ("yes", "no"), "architecture": "tdnn", "width": 16, "num_mels": 20}
    return Tdnn(ClassifierConfig.from_dict({**values, **changes})).eval()


def test_what_lies_below_the_floor_is_the_same_silence() -> None:
    torch.manual_seed(1)
    made, mel = network(), torch.randn(2, 1, 20, 60)
    is_quiet = mel < -1
    scores = [made(torch.where(is_quiet, quiet, mel)) for quiet in (-0.75, -1.0, -1.9)]
    assert torch.equal(scores[1], scores[0])
    assert torch.equal(scores[2], scores[0])
    assert not torch.equal(made(torch.where(is_quiet, -0.5, mel)), scores[0])


@pytest.mark.parametrize("frames", [9, 10])
def test_two_frames_are_one_step(frames: int) -> None:
    scores = network().score_steps(torch.randn(3, 1, 20, frames))
    assert scores.shape == (3, 5, 2)


def test_attention_begins_as_a_mean_and_can_look_at_one_step() -> None:
    made, mel = network(), torch.randn(1, 1, 20, 40)
    plain = made.head(made.hidden(mel).mean(dim=1))
    assert torch.allclose(made(mel), plain, atol=1e-5)
    with torch.no_grad():
        hidden = made.hidden(mel)[0]
        made.attend.weight.copy_((hidden[7] - hidden.mean(0)).expand_as(made.attend.weight) * 50)
        chosen = made.head(hidden[(hidden @ made.attend.weight[0]).argmax()])
    assert torch.allclose(made(mel)[0], chosen, atol=1e-3)


def test_a_step_sees_thirty_steps_to_each_side() -> None:
    made, mel = network(), torch.randn(1, 1, 20, 400)
    other = mel.clone()
    other[..., 300] += 1
    moved = (made.score_steps(mel) - made.score_steps(other)).abs().amax(dim=2)[0]
    reached = moved.nonzero()[:, 0]
    assert 120 <= reached.min() < 125  # the last steps hardly hear it
    assert 175 < reached.max() <= 180
