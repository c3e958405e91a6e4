"""The recipes that start from an acoustic model: how texts are said, and sharper mels."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_store import write_made_store
from recipe_harness import check_build, check_data, check_learning, check_loss, check_resume
from tiny_mini import TINY

from kouji.errors import ConfigError, ModelError
from kouji.models.mini.weights import load_checkpoint
from kouji.train.align import align_store
from kouji.train.checkpoint import export_weights
from kouji.train.export import export_mini
from kouji.train.loop import run
from kouji.train.mini_acoustic import MiniAcoustic
from kouji.train.mini_prosody import MiniProsody, measured_features
from kouji.train.mini_sharpen import MiniSharpen, decode_crops
from kouji.train.mini_vocoder import MiniVocoder
from kouji.train.mini_vocoder_sharpen import MiniVocoderSharpen, SpectrumCritic
from kouji.train.settings import RunSettings

DRAWN = dataclasses.replace(
    TINY, prosody_width=16, prosody_hidden=24, prosody_speaker=4,
    prosody_dilations=(1, 2), prosody_flow_dilations=(1,),
)  # fmt: skip


@pytest.fixture(scope="module")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An aligned store of made-up clips."""
    folder = tmp_path_factory.mktemp("store")
    write_made_store(folder, num_clips=24)
    align_store(folder)
    return folder


def _data(store: Path) -> dict[str, Any]:
    return {"store": str(store), "reference_seconds": [0.3, 0.6]}


def _prosody(store: Path) -> MiniProsody:
    return MiniProsody(_data(store), DRAWN.to_dict(), 0)


def _sharpen(store: Path, **data: Any) -> MiniSharpen:
    return MiniSharpen({**_data(store), "crop_frames": 24, **data}, DRAWN.to_dict(), 0)


def _vocoder_sharpen(store: Path, **data: Any) -> MiniVocoderSharpen:
    data = {"store": str(store), "frames": 24, "critic_width": 4, **data}
    return MiniVocoderSharpen(data, TINY.to_dict(), 0)


def _settings(out: Path, steps: int, **changes: Any) -> RunSettings:
    return RunSettings(
        out=str(out), steps=steps, batch_size=6, learning_rate=2e-3, log_every=1,
        tensorboard=False, num_workers=0, **changes,
    )  # fmt: skip


def test_prosody_is_a_recipe_like_any_other(made_store: Path, tmp_path: Path) -> None:
    recipe = _prosody(made_store)
    check_data(recipe)
    check_build(recipe)
    check_loss(recipe)
    check_learning(recipe, tmp_path / "learn", 60, 0.9)
    check_resume(recipe, tmp_path / "resume")


def test_prosody_changes_nothing_but_prosody(made_store: Path, tmp_path: Path) -> None:
    recipe = _prosody(made_store)
    torch.manual_seed(0)
    before = recipe.build().state_dict()
    after = export_weights(run(recipe, _settings(tmp_path, 2)).checkpoint)
    torch.manual_seed(0)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("acoustic.prosody.") for name in changed)


def test_dropout_is_for_training_only(made_store: Path) -> None:
    recipe = _prosody(made_store)
    model, data = recipe.build(), recipe.dataset("train")
    batch = recipe.collate([data[0], data[1]])
    losses = {
        mode: [float(recipe.loss(model.train(mode), batch, 0, torch.Generator())[0].detach())
               for _ in range(2)]
        for mode in (False, True)
    }  # fmt: skip
    assert losses[False][0] == losses[False][1]
    assert losses[True][0] != losses[True][1]


def test_pitch_is_drawn_across_phones_without_one() -> None:
    prosody = np.array([[0, 0, 0], [1, 1, 0], [9, 0.1, 0], [3, 1, 0]], np.float32)
    features, pitched = measured_features(np.array([1, 2, 3, 4]), prosody)
    assert features[:, 1].tolist() == [1, 1, 2, 3]
    assert pitched.tolist() == [0, 1, 0, 1]
    np.testing.assert_allclose(np.expm1(features[:, 0]), [1, 2, 3, 4], rtol=1e-6)


def test_a_model_without_the_network_is_refused(made_store: Path) -> None:
    with pytest.raises(ConfigError, match="prosody_width"):
        MiniProsody(_data(made_store), TINY.to_dict(), 0)
    with pytest.raises(ConfigError, match="crop_farmes"):
        MiniSharpen({"crop_farmes": 3}, {}, 0)


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_sharpening_changes_decoder_and_critic_only_and_resumes(
    made_store: Path, tmp_path: Path, share: float
) -> None:
    recipe = _sharpen(made_store, likeness_share=share)
    check_resume(recipe, tmp_path / "resume")
    torch.manual_seed(0)
    before = recipe.build().state_dict()
    run_result = run(recipe, _settings(tmp_path / "run", 3, evaluate_every=3))
    after = export_weights(run_result.checkpoint)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    parts = {name.split(".")[1] if name.startswith("acoustic") else "critic" for name in changed}
    assert parts == {
        "critic", "decoder", "decoder_norm", "leave", "place_bandwidth", "place_pitch",
    }  # fmt: skip
    log = [json.loads(line) for line in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert all(0 < line["texture"] < 10 for line in log)


def test_a_listening_speaker_encoder_brings_voices_nearer(made_store: Path, tmp_path: Path) -> None:
    data = _sharpen(made_store).dataset("train")
    batch = _sharpen(made_store).collate([data[i] for i in range(8)])
    far = {}
    for share in (0.0, 8.0):
        recipe = _sharpen(made_store, likeness_share=share)
        done = run(recipe, _settings(tmp_path / str(share), 60))
        model = recipe.build().eval()
        model.load_state_dict(export_weights(done.checkpoint))
        far[share] = recipe.evaluate(model, [batch], torch.device("cpu"))["unlikeness"]
    assert 0 < far[8.0] < 0.8 * far[0.0]


def test_crops_are_what_decoding_the_whole_gives(made_store: Path) -> None:
    recipe = _sharpen(made_store)
    torch.manual_seed(0)
    model, data = recipe.build().eval(), recipe.dataset("train")
    batch = recipe.collate([data[0], data[1], data[2]])
    longest = batch["mel"].shape[1]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        whole = decode_crops(model.acoustic, batch, longest, generator)
        crops = decode_crops(model.acoustic, batch, 24, generator)
    reach = model.acoustic.reach
    assert crops.made.shape[1] == crops.mask.shape[1] == 24 - 2 * reach
    assert (crops.made[crops.mask[..., 0] == 0] == 0).all()
    for row in range(3):
        frames = int(crops.mask[row].sum())
        distance = torch.stack(
            [
                (whole.made[row, start : start + frames] - crops.made[row, :frames]).abs().max()
                for start in range(whole.made.shape[1] - frames + 1)
            ]
        )
        assert float(distance.min()) < 1e-4


def test_either_half_may_come_from_an_exported_checkpoint(made_store: Path, tmp_path: Path) -> None:
    acoustic = MiniAcoustic(_data(made_store), TINY.to_dict(), 0)
    run(acoustic, _settings(tmp_path / "acoustic", 1))
    vocoder = MiniVocoder({"store": str(made_store), "frames": 24}, TINY.to_dict(), 0)
    run(vocoder, _settings(tmp_path / "vocoder", 1))
    first, second = tmp_path / "first", tmp_path / "second"
    export_mini(tmp_path / "acoustic", tmp_path / "vocoder", first, store=made_store)

    last = run(acoustic, _settings(tmp_path / "acoustic", 2))
    start = {"init_from": str(last.checkpoint)}
    run(_prosody(made_store), _settings(tmp_path / "prosody", 1, **start))
    record = export_mini(tmp_path / "prosody", first, second, store=made_store)
    assert record["vocoder"]["recipe"] == "MiniVocoder"
    assert 0.1 < record["pace"] < 10
    old, new = load_checkpoint(first), load_checkpoint(second)
    assert new.acoustic.config.prosody_width == DRAWN.prosody_width
    for name, value in old.vocoder.state_dict().items():
        assert torch.equal(value, new.vocoder.state_dict()[name])

    other = MiniVocoder(
        {"store": str(made_store), "frames": 24}, {**TINY.to_dict(), "noise_bands": 8}, 0
    )
    run(other, _settings(tmp_path / "other", 1))
    with pytest.raises(ModelError, match="different shapes"):
        export_mini(tmp_path / "prosody", tmp_path / "other", tmp_path / "x", store=made_store)


def test_the_vocoder_can_learn_behind_the_fit(made_store: Path) -> None:
    data = {"store": str(made_store), "frames": 24, "refined_weight": 1.0}
    recipe = MiniVocoder(data, TINY.to_dict(), 0)
    check_loss(recipe)
    crops = recipe.dataset("train")
    loss, metrics = recipe.loss(
        recipe.build(), recipe.collate([crops[0], crops[1]]), 0, torch.Generator()
    )
    loss.backward()
    assert {"refined_log", "refined_share"} <= metrics.keys()


def test_sharpening_the_vocoder_leaves_its_pitch_head_and_resumes(
    made_store: Path, tmp_path: Path
) -> None:
    recipe = _vocoder_sharpen(made_store)
    check_data(recipe)
    check_build(recipe)
    check_loss(recipe)
    check_resume(recipe, tmp_path / "resume")
    torch.manual_seed(0)
    before = recipe.build().state_dict()
    after = export_weights(run(recipe, _settings(tmp_path / "run", 3, evaluate_every=3)).checkpoint)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.split(".")[0] for name in changed} == {
        "enter", "stack", "norm", "leave", "critics",
    }  # fmt: skip


def test_a_sharpened_vocoder_starts_from_a_plain_one_and_is_exported_as_one(
    made_store: Path, tmp_path: Path
) -> None:
    run(MiniAcoustic(_data(made_store), TINY.to_dict(), 0), _settings(tmp_path / "acoustic", 1))
    plain = MiniVocoder({"store": str(made_store), "frames": 24}, TINY.to_dict(), 0)
    start = {"init_from": str(run(plain, _settings(tmp_path / "plain", 1)).checkpoint)}
    made = run(_vocoder_sharpen(made_store), _settings(tmp_path / "sharp", 1, **start))
    export_mini(tmp_path / "acoustic", tmp_path / "sharp", tmp_path / "out", store=made_store)
    weights = export_weights(made.checkpoint)
    shipped = load_checkpoint(tmp_path / "out").vocoder.state_dict()
    first = export_weights(start["init_from"])
    assert shipped.keys() == first.keys()
    for name, value in shipped.items():
        assert torch.equal(value, weights[name].half().float())
    assert torch.equal(first["pitch_head.enter.weight"], weights["pitch_head.enter.weight"])
    assert not torch.equal(first["leave.weight"], weights["leave.weight"])


def test_critics_push_the_vocoder_by_their_share(made_store: Path, tmp_path: Path) -> None:
    steps = 3  # the push rises from nothing at the first step
    ends = [
        export_weights(
            run(
                _vocoder_sharpen(made_store, critic_share=share),
                _settings(tmp_path / str(share), steps),
            ).checkpoint
        )["leave.weight"]
        for share in (0.0, 0.5, 5.0)
    ]
    assert not torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[1], ends[2])


def test_a_critic_hears_roughness_that_it_learned() -> None:
    torch.manual_seed(0)
    critic = SpectrumCritic(256, 4)
    optimizer = torch.optim.Adam(critic.parameters(), 3e-3)
    noise = torch.randn(16, 2400) * 0.1
    tone = torch.sin(torch.arange(2400) * 0.3).expand(16, -1) * 0.1 + 0.01 * noise

    def loss() -> torch.Tensor:
        return (critic(noise)[0] - 1).square().mean() + critic(tone)[0].square().mean()

    first = float(loss().detach())
    for _ in range(20):
        optimizer.zero_grad()
        error = loss()
        error.backward()
        optimizer.step()
    assert float(loss().detach()) < 0.5 * first


def test_an_unknown_key_of_the_vocoder_s_critics_is_named(made_store: Path) -> None:
    with pytest.raises(ConfigError, match="critic_wdith"):
        _vocoder_sharpen(made_store, critic_wdith=3)
