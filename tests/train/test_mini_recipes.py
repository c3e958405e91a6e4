"""The recipes of `mini` on made-up data: they learn, resume, and end in a model that speaks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from made_store import write_made_store
from tiny_mini import TINY, plan_segment, render_plans

from kouji.errors import ConfigError, ModelError
from kouji.models.mini.family import MiniFamily
from kouji.models.mini.weights import load_checkpoint
from kouji.text.front import analyse
from kouji.train.align import align_store
from kouji.train.export import export_mini, newest
from kouji.train.loop import run
from kouji.train.mini_acoustic import MiniAcoustic
from kouji.train.mini_data import fine_mel, scaled_mel
from kouji.train.mini_examples import phone_means
from kouji.train.mini_vocoder import MiniVocoder, spectral_distance
from kouji.train.settings import RunSettings
from kouji.train.store import Store

SHAPES = TINY.to_dict()


@pytest.fixture(scope="module")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An aligned store of a dozen clips."""
    folder = tmp_path_factory.mktemp("store")
    write_made_store(folder, num_clips=40)
    align_store(folder)
    return folder


def _settings(out: Path, steps: int, **changes: object) -> RunSettings:
    return RunSettings(
        out=str(out), steps=steps, batch_size=4, learning_rate=4e-3, log_every=steps,
        tensorboard=False, num_workers=0, **changes,  # type: ignore[arg-type]
    )  # fmt: skip


def _acoustic(store: Path) -> MiniAcoustic:
    return MiniAcoustic({"store": str(store), "reference_seconds": [0.3, 0.6]}, SHAPES, 0)


def test_both_recipes_learn_and_export_to_a_model_that_speaks(
    made_store: Path, tmp_path: Path
) -> None:
    recipe, vocoder = (
        _acoustic(made_store),
        MiniVocoder({"store": str(made_store), "frames": 24}, SHAPES, 0),
    )
    data = recipe.dataset("train")
    batch = recipe.collate([data[i] for i in range(4)])
    torch.manual_seed(0)
    before = float(recipe.loss(recipe.build(), batch, 0, torch.Generator())[1]["mel"][0])
    acoustic_run = run(recipe, _settings(tmp_path / "acoustic", 150))
    run(vocoder, _settings(tmp_path / "vocoder", 12, precision="bfloat16"))
    trained = recipe.build()
    from kouji.train.checkpoint import export_weights

    trained.load_state_dict(export_weights(acoustic_run.checkpoint))
    after = float(recipe.loss(trained, batch, 0, torch.Generator())[1]["mel"][0])
    assert after < 0.5 * before

    record = export_mini(
        tmp_path / "acoustic", tmp_path / "vocoder", tmp_path / "out", store=made_store
    )
    assert 0.5 < record["pace"] < 2.0
    made_by = MiniFamily(load_checkpoint(tmp_path / "out"), precision="float32")
    plan = plan_segment(made_by, analyse("啊。").segments[0], torch.zeros(16))
    wave = render_plans(made_by, [plan], [0])[0][0]
    assert np.isfinite(wave).all()
    assert wave.std() > 1e-4


def test_acoustic_resume_equals_uninterrupted(made_store: Path, tmp_path: Path) -> None:
    whole = run(_acoustic(made_store), _settings(tmp_path / "whole", 6))
    run(_acoustic(made_store), _settings(tmp_path / "parts", 6, stop_after_seconds=1e-9))
    parts = run(_acoustic(made_store), _settings(tmp_path / "parts", 6))
    from kouji.train.checkpoint import export_weights

    left, right = export_weights(whole.checkpoint), export_weights(parts.checkpoint)
    assert all(torch.equal(left[name], right[name]) for name in left)


def test_phone_means_weigh_frames_and_survive_empty_phones() -> None:
    values = np.array([1, 2, 3, 10], np.float32)
    weights = np.array([1, 0, 1, 0], np.float32)
    means = phone_means(values, weights, np.array([3, 0, 1]))
    assert means.tolist() == [2.0, 0.0, 0.0]


def test_reference_is_of_the_speaker_but_not_the_clip(made_store: Path) -> None:
    data = _acoustic(made_store).dataset("train")
    own = {row.tobytes() for row in scaled_mel(data.store, 0)}
    same_speaker = {
        row.tobytes()
        for i in data.by_speaker[data.store.clip(0).speaker]
        for row in scaled_mel(data.store, i)
    }
    for seed in range(5):
        heard = {row.tobytes() for row in data.example(0, np.random.default_rng(seed)).reference}
        assert heard
        assert heard <= same_speaker - own


def test_spectral_distance_is_zero_for_equal_sound_and_grows_with_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(2, 6000, generator=generator) * 0.1
    little, much = (
        real + level * torch.randn(2, 6000, generator=generator) for level in (0.01, 0.1)
    )
    zero, near, far = (spectral_distance(made, real) for made in (real, little, much))
    assert float(zero[0]) == float(zero[1]) == 0
    assert float(near[0]) < float(far[0])
    assert float(near[1]) < float(far[1])


def test_unknown_keys_and_missing_runs_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="stroe"):
        MiniVocoder({"stroe": "x"}, {}, 0)
    with pytest.raises(ConfigError, match="widht"):
        MiniAcoustic({}, {"widht": 3}, 0)
    with pytest.raises(ModelError, match="no checkpoint"):
        newest(tmp_path)


def test_the_fine_mel_of_a_stretch_is_that_stretch_of_the_whole(made_store: Path) -> None:
    store = Store(made_store)
    whole = fine_mel(store, 0)
    frames = store.clip(0).num_frames
    assert len(whole) == frames
    for start, count in ((0, 12), (9, 12), (frames - 12, 12), (0, frames)):
        part = fine_mel(store, 0, start, count)
        np.testing.assert_allclose(part, whole[start : start + count], atol=1e-4)
