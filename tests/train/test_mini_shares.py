"""The recipes of `mini` in several processes, in several passes, and in TensorBoard."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from made_store import write_made_store
from recipe_harness import check_loss
from tiny_mini import TINY
from toy_recipe import logged

from kouji.models.mini.vocoder import band_matrix, window
from kouji.train.align import align_store
from kouji.train.loop import run
from kouji.train.mini_acoustic import MiniAcoustic
from kouji.train.mini_samples import alignment_picture, shown_examples
from kouji.train.mini_vocoder import MiniVocoder
from kouji.train.recipes import load_recipe
from kouji.train.settings import RunSettings

STEPS = 8


@pytest.fixture(scope="module")
def made_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An aligned store of clips of unlike length."""
    folder = tmp_path_factory.mktemp("store")
    write_made_store(folder, num_clips=41)
    align_store(folder)
    return folder


def _recipes(store: Path) -> list[Any]:
    acoustic = MiniAcoustic({"store": str(store), "reference_seconds": [0.3, 0.6]}, _shapes(), 0)
    return [acoustic, MiniVocoder({"store": str(store), "frames": 24}, _shapes(), 0)]


def _shapes() -> dict[str, Any]:
    return json.loads(json.dumps(TINY.to_dict()))  # lists, as YAML has them


def _write_recipe(store: Path, folder: Path, number: int, **changes: Any) -> Path:
    name = ("mini-acoustic", "mini-vocoder")[number]
    data = {"store": str(store)} | ({"frames": 24} if number else {"reference_seconds": [0.3, 0.6]})
    settings = {
        "out": str(folder / "run"), "steps": STEPS, "batch_size": 5, "log_every": 1, "seed": 3,
        "learning_rate": 2e-3, "num_workers": 0, "tensorboard": False, **changes,
    }  # fmt: skip
    folder.mkdir(parents=True)
    document = {"recipe": name, "data": data, "model": _shapes(), "run": settings}
    (folder / "recipe.yaml").write_text(yaml.safe_dump(document))
    return folder / "recipe.yaml"


@pytest.mark.parametrize("number", [0, 1])
def test_loss_of_a_batch_is_the_weighted_mean_of_its_shares(made_store: Path, number: int) -> None:
    check_loss(_recipes(made_store)[number])


@pytest.mark.parametrize("number", [0, 1])
def test_torchrun_on_two_processes_follows_one(
    made_store: Path, tmp_path: Path, number: int
) -> None:
    # A batch of five is never halved evenly, and the last one of an epoch is smaller still.
    two = _write_recipe(made_store, tmp_path / "two", number)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--standalone", "-m", "kouji", "train", str(two)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name, changes in {"one": {}, "passes": {"accumulate": 3}}.items():
        recipe, settings = load_recipe(
            _write_recipe(made_store, tmp_path / name, number, **changes)
        )
        run(recipe, settings)
    for figure in ("loss", "grad_norm", "mel", "f0", "voicing"):
        curve = logged(tmp_path / "one/run", figure)
        assert len(curve) == STEPS
        for other in ("two", "passes"):
            seen = logged(tmp_path / other / "run", figure)
            assert seen == pytest.approx(curve, abs=1e-4), (figure, other)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_tensorboard_has_curves_sounds_mels_and_alignments(
    made_store: Path, tmp_path: Path, precision: str
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    expected = [
        {"audio": {"griffin_lim"}, "mel": {"real", "predicted"}, "alignment": {""}},
        {"audio": {"real", "made"}, "mel": {"real", "made"}},
    ]
    for recipe, kinds in zip(_recipes(made_store), expected, strict=True):
        out = tmp_path / type(recipe).__name__
        settings = RunSettings(
            out=str(out), steps=4, batch_size=4, samples_every=2, log_every=1, ema_decay=0.9,
            num_workers=0, precision=precision,
        )  # fmt: skip
        run(recipe, settings)
        events = EventAccumulator(str(out / "tensorboard"))
        events.Reload()
        tags = events.Tags()
        assert {"train/loss", "train/learning_rate", "train/grad_norm"} <= set(tags["scalars"])
        wanted = {
            f"{kind}/{number}/{name}".rstrip("/")
            for kind, names in kinds.items()
            for number in (0, 1)
            for name in names
        }
        assert set(tags["images"]) | set(tags["audio"]) == wanted
        assert {tag for tag in wanted if tag.startswith("audio")} == set(tags["audio"])
        for tag in tags["images"]:
            assert [event.step for event in events.Images(tag)] == [2, 4]
        for tag in tags["audio"]:
            sound = events.Audio(tag)[0]
            assert sound.sample_rate == 24_000
            assert sound.encoded_audio_string[:4] == b"RIFF"


def test_training_works_after_the_same_process_has_spoken(made_store: Path) -> None:
    recipe = _recipes(made_store)[1]
    model, crops = recipe.build(), recipe.dataset("train")
    batch = recipe.collate([crops[0], crops[1]])
    for cached in (band_matrix, window):
        cached.cache_clear()
    with torch.inference_mode():
        recipe.loss(model, batch, 0, torch.Generator())
    recipe.loss(model, batch, 0, torch.Generator())[0].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_alignment_picture_has_each_frame_in_one_phone() -> None:
    picture = alignment_picture(np.array([2, 0, 3]))
    assert picture.tolist() == [[1, 1, 0, 0, 0], [0] * 5, [0, 0, 1, 1, 1]]


def test_no_held_out_clips_means_no_pictures(made_store: Path) -> None:
    data = _recipes(made_store)[0].dataset("valid")
    assert len(shown_examples(data)) == 2
    data.store = data.store.select([])
    assert shown_examples(data) == []
    assert torch.is_tensor(alignment_picture(np.array([1])))
