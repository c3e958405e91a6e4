"""The network for words: deaf to the colour of a microphone, asked by steps or as a whole."""

from __future__ import annotations

import pytest
import torch

from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.tdnn import Tdnn, level


def network(**changes: object) -> Tdnn:
    torch.manual_seed(0)
    values = {"labels": ("yes", "no"), "architecture": "tdnn", "width": 16, "num_mels": 20}
    return Tdnn(ClassifierConfig.from_dict({**values, **changes})).eval()


def speech(frames: int = 120) -> torch.Tensor:
    """Loud and quiet stretches by turns, in the unit of `LogMel`."""
    torch.manual_seed(1)
    mel = 0.8 + 0.4 * torch.randn(2, frames, 20)
    mel[:, ::3] = -0.6
    return mel


def test_a_microphone_is_heard_less_after_levelling() -> None:
    mel = speech()
    colour = torch.linspace(0.0, 0.5, 20)
    loud = mel.amax(dim=2) > 0.2
    before = colour.std()
    after = (level(mel + colour) - level(mel))[loud].mean(dim=0).std()
    assert after < 0.3 * before


def test_a_short_word_keeps_a_colour_of_its_own() -> None:
    """Its mean is part of what it is: an s has other bands than an o."""
    word = torch.full((1, 6, 20), -0.6)
    word[:, :, 12:] = 1.5
    levelled = level(word)[0]
    assert levelled[:, 12:].mean() - levelled[:, :12].mean() > 1.5


def test_what_lies_below_the_floor_is_the_same_silence() -> None:
    mel = speech()
    deeper = torch.where(mel < 0, torch.full_like(mel, -1.9), mel)
    deep = torch.where(mel < 0, torch.full_like(mel, -0.8), mel)
    assert torch.equal(level(deeper), level(deep))


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


def test_a_step_sees_thirty_steps_to_each_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for the levels of the bands, which are those of the whole window."""
    monkeypatch.setattr("kouji.models.classifier.tdnn.level", lambda mel: mel)
    made, mel = network(), torch.randn(1, 1, 20, 400)
    other = mel.clone()
    other[..., 300] += 1
    moved = (made.score_steps(mel) - made.score_steps(other)).abs().amax(dim=2)[0]
    reached = moved.nonzero()[:, 0]
    assert 120 <= reached.min() < 125  # the last steps hardly hear it
    assert 175 < reached.max() <= 180
