"""The classifier that comes with the package: small, whole, described, and right about its classes.

Real clips are those it was trained on: this checks the package, not how well it generalises, which
docs/model-card-classifier.md tells from cross-validation.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from kouji.audio.load import load_audio
from kouji.audio.resample import resample
from kouji.classifying import SoundClassifier, load_classifier
from kouji.models.classifier import weights
from kouji.types import Audio

LABELS = (
    "baby_cry", "chainsaw", "clock_tick", "dog_bark", "fire_crackling",
    "helicopter", "person_sneeze", "rain", "rooster", "sea_waves",
)  # fmt: skip
RATE = 22050


@pytest.fixture(scope="module")
def shipped() -> weights.LoadedClassifier:
    return weights.load_classifier(weights.SHIPPED)


def test_is_small_and_says_where_it_comes_from(shipped: weights.LoadedClassifier) -> None:
    files = {file.name: file.stat().st_size for file in weights.SHIPPED.iterdir()}
    assert files["classifier.safetensors"] <= 6_000_000
    assert files["train.log.jsonl"] <= 300_000
    assert shipped.config.labels == LABELS
    assert {"data", "licence", "recipe", "seed"} <= set(shipped.metadata)


def test_its_log_is_that_of_its_recipe(root_dir: Path) -> None:
    import yaml

    recipe = yaml.safe_load((root_dir / "recipes" / "classifier-small.yaml").read_text())
    lines = (weights.SHIPPED / "train.log.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    steps = recipe["run"]["epochs"] * -(-398 // recipe["run"]["batch_size"])
    assert last["step"] == steps
    assert last["loss"] < json.loads(lines[0])["loss"]


def test_every_author_is_named() -> None:
    text = (weights.SHIPPED / "ATTRIBUTION.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines(), delimiter="|", quoting=csv.QUOTE_NONE))
    assert len(rows) == 398
    assert all(row["author"] and row["url"] and row["licence"] for row in rows)


def test_answers_offline_without_the_corpus(shipped: weights.LoadedClassifier) -> None:
    """Made-up sounds: a distribution each, and not the same one for noise and for clicks."""
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.standard_normal(shipped.config.window_samples)
    clicks = np.zeros_like(noise)
    for start in range(0, len(clicks) - 200, RATE // 2):
        clicks[start : start + 200] = rng.standard_normal(200) * np.exp(-np.arange(200) / 30)
    windows = torch.from_numpy(np.stack([noise, clicks]).astype(np.float32))
    with torch.inference_mode():
        probabilities = shipped.model(windows).softmax(1)
    assert probabilities.sum(1).tolist() == pytest.approx([1.0, 1.0], abs=1e-5)
    assert (probabilities[0] - probabilities[1]).abs().sum() > 0.5


@pytest.fixture(scope="module")
def classifier() -> SoundClassifier:
    return load_classifier("esc10", precision="float32", device="cpu")


@pytest.mark.parametrize("label", LABELS)
def test_hears_real_clips(classifier: SoundClassifier, shared_dir: Path, label: str) -> None:
    folder = shared_dir / "corpus" / "sounds" / "esc10" / label
    clips = sorted(folder.glob("*.ogg"))[:3]
    if not clips:
        pytest.skip(f"no clips in {folder}")
    assert sum(classifier.classify(clip).label == label for clip in clips) >= 2


def test_rate_and_volume_do_not_matter(classifier: SoundClassifier, shared_dir: Path) -> None:
    clip = load_audio(sorted((shared_dir / "corpus/sounds/esc10/dog_bark").glob("*.ogg"))[0])
    for audio in (clip, Audio(0.1 * clip.samples, clip.sample_rate), resample(clip, 44100)):
        assert classifier.classify(audio).label == "dog_bark"
