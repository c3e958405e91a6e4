"""The average of the weights follows its formula, in every precision."""

from __future__ import annotations

import torch
from torch import nn

from kouji.train.ema import Ema
from kouji.train.precision import Weights


def test_values_follow_the_formula() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 0.0)
    ema = Ema(model, decay=0.9, every=2)
    expected = 0.0
    for step in range(200):
        nn.init.constant_(model.weight, float(step))
        ema.update(step)
        if step % 2:
            decay = min(0.9, (1 + step) / (10 + step)) ** 2
            expected = expected * decay + step * (1 - decay)
    assert abs(ema.state_dict()["weight"].item() - expected) < 1e-3
    # Near the average of every single step: about decay / (1 - decay) steps behind.
    assert abs(ema.state_dict()["weight"].item() - (199 - 9)) < 1.0


def test_average_survives_saving_and_tied_weights() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    ema = Ema(model, 0.5, 1)
    nn.init.constant_(model[0].weight, 3.0)
    ema.update(100)
    state = {name: value.clone() for name, value in ema.state_dict().items()}
    assert state.keys() == model.state_dict().keys()
    other = Ema(model, 0.5, 1)
    other.load_state_dict(state)
    assert all(torch.equal(state[name], value) for name, value in other.state_dict().items())


def test_average_is_lent_to_the_working_model_and_given_back() -> None:
    weights = Weights(nn.Linear(3, 3), "bfloat16")
    ema = Ema(weights.master, 0.5, 1)
    nn.init.constant_(weights.master.weight, 2.0)
    weights.publish()
    with ema.applied_to(weights.working):
        assert not weights.working.weight.eq(2.0).any()
        assert torch.equal(weights.working.weight, ema.state_dict()["weight"].bfloat16())
    assert weights.working.weight.eq(2.0).all()
