"""The start for words that comes with the package: small, and it hears what a sentence says."""

from __future__ import annotations

import json
from itertools import groupby

import torch

from kouji.audio.resample import resample
from kouji.models.classifier import PHONES_NAME
from kouji.models.classifier.config import ClassifierConfig
from kouji.models.classifier.tdnn import Tdnn
from kouji.models.classifier.weights import PHONES, load_classifier
from kouji.text.edits import count_errors
from kouji.text.phones import SYMBOLS
from kouji.train.classifier import Classifier
from kouji.train.phones import phone_labels
from kouji.train.transcript import transcript_phones
from kouji.voices.sample import sample_voice


def test_is_small_and_says_how_it_was_made() -> None:
    files = {file.name: file.stat().st_size for file in PHONES.iterdir()}
    assert files["classifier.safetensors"] < 6e6
    lines = (PHONES / "train.log.jsonl").read_text().splitlines()
    last = [json.loads(line) for line in lines if '"valid"' in line][-1]
    found = load_classifier(PHONES)
    assert found.config.labels == phone_labels()
    assert abs(found.metadata["figures"]["error"] - last["error"]) < 1e-6
    assert found.metadata["made"]


def test_hears_the_phones_of_the_sample_voice() -> None:
    """Which is a voice of its training: that it can be read at all is checked, not how well."""
    found = load_classifier(PHONES)
    network = found.model.network
    assert isinstance(network, Tdnn)
    sample = sample_voice()
    samples = torch.from_numpy(resample(sample.reference, found.config.sample_rate).samples)
    with torch.inference_mode():
        scores = network.score_steps(found.model.features(samples[None]))[0]
    names = [found.config.labels[number] for number in scores.argmax(dim=1).tolist()]
    heard = [name for name, run in groupby(names) if len(list(run)) > 1]  # 40 ms or longer
    said = [SYMBOLS[number] for number in transcript_phones(sample.transcript, "en")["phones"]]
    wanted = [name for name in said if name in phone_labels()[1:]]
    errors = count_errors(wanted, [name for name in heard if name != "sil"])
    assert len(wanted) > 20
    assert errors.rate < 0.6


def test_a_recipe_starts_from_it_by_name() -> None:
    shapes = load_classifier(PHONES).config.to_dict()
    model = {key: value for key, value in shapes.items() if key != "labels"}
    recipe = Classifier({"folder": "none"}, model, seed=0)
    recipe.__dict__["shapes"] = ClassifierConfig.from_dict({**shapes, "labels": ("yes", "no")})
    made = recipe.build()
    line = recipe.start_from(made, PHONES_NAME)
    assert line.startswith("started from phones: 53 of 55 tensors fit")
