"""The start for words: stretches carry their phones, changes of speed move them, and it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from recipe_harness import check_recipe

from kouji.errors import ConfigError, DataError
from kouji.models.classifier.weights import load_classifier
from kouji.text.phones import SYMBOL_IDS, SYMBOLS
from kouji.train.classifier import Classifier
from kouji.train.phones import PhoneStart, class_table, phone_labels
from kouji.train.recipes import parse_recipe
from kouji.train.store import Clip, StoreWriter, add_array, standard_arrays

RATE, HOP = 24_000, 480
TONES = {"AA": 400.0, "IY": 1100.0, "S": 2600.0}  # Hz of each made-up phone
MODEL = {
    "width": 32,
    "sample_rate": 8000,
    "n_fft": 256,
    "hop_length": 80,
    "num_mels": 24,
    "window_seconds": 0.8,
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sentences whose phones are tones, aligned; every fifth is held out."""
    folder = tmp_path_factory.mktemp("spoken") / "store"
    rng = np.random.default_rng(0)
    writer = StoreWriter(folder, standard_arrays(80), tag="t")
    said, lasting = [], []
    for number in range(20):
        names = [list(TONES)[i] for i in rng.integers(0, len(TONES), 8)]
        names = ["sil", *names, ","]
        durations = rng.integers(6, 14, len(names))
        frames = int(durations.sum())
        hertz = np.repeat([TONES.get(name, 0.0) for name in names], durations * HOP)
        phase = 2 * np.pi * np.cumsum(hertz) / RATE
        wave = 8000 * np.sin(phase) * (hertz > 0) + rng.normal(0, 20, len(phase))
        clip = Clip(
            id=str(number),
            path=f"{number}.wav",
            speaker=f"speaker{number % 4}",
            language="en",
            gender="f",
            corpus="made",
            text="-",
            split="valid" if number % 5 == 4 else "train",
            seconds=frames / 50,
            num_frames=frames,
            num_samples=frames * HOP,
            num_phones=len(names),
            level_dbfs=-20.0,
            snr_db=40.0,
            bandwidth_hz=12000.0,
            full_band=True,
        )
        flat = np.zeros(frames)
        zeros = np.zeros(len(names))
        arrays = {"mel": np.zeros((frames, 80)), "f0": flat, "energy": flat, "wave": wave}
        symbols = np.array([SYMBOL_IDS[name] for name in names])
        marks = {"phones": symbols, "tones": zeros, "words": zeros, "boundary": zeros}
        writer.add(clip, {**arrays, **marks})
        said.append(symbols.astype(np.int16))
        lasting.append(durations.astype(np.int16))
    writer.finish(mel={}, sample_rate=RATE, hop_length=HOP)
    add_array(folder, "aligned_symbols", said)
    add_array(folder, "aligned_durations", lasting)
    return folder


def recipe(store: Path, **data: Any) -> PhoneStart:
    return PhoneStart({"store": str(store), "languages": ["en"], **data}, MODEL, seed=0)


def test_recipe(store: Path, tmp_path: Path) -> None:
    plain = {"augment": False, "label_smoothing": 0.0}
    check_recipe(recipe(store, **plain), tmp_path, learning_rate=5e-3)


def test_classes_are_silence_and_the_phones_of_both_languages() -> None:
    labels = phone_labels()
    assert labels[0] == "sil"
    assert {"AA", "ZH", "zh", "ang"} <= set(labels)
    assert not {",", ".", "?", "!", SYMBOLS[0]} & set(labels)
    table = class_table()
    assert [labels[table[SYMBOL_IDS[name]]] for name in ("AA", ",", "sil")] == ["AA", "sil", "sil"]


def test_each_step_is_asked_for_the_phone_that_sounds_there(store: Path) -> None:
    """The tone at the middle of every step is that of the phone it is to be called."""
    made = recipe(store, augment=False)
    model = made.build()
    data = made.dataset("train")
    batch = made.collate([data[0], data[5]])
    _, targets = made._score(model, batch)
    hertz = {phone_labels().index(name): tone for name, tone in TONES.items()}
    checked = 0
    for row in range(2):
        for step, phone in enumerate(targets[row].tolist()):
            middle = 160 * step + 40  # samples: two hops a step
            piece = batch["samples"][row, max(0, middle - 40) : middle + 40]
            if phone not in hertz or len(piece) < 80:
                continue
            spectrum = torch.fft.rfft(piece * torch.hann_window(80), n=800).abs()
            heard = float(spectrum.argmax()) * 10
            if targets[row, max(0, step - 1) : step + 2].unique().numel() == 1:
                assert heard == pytest.approx(hertz[phone], abs=60)
                checked += 1
    assert checked > 20


def test_faster_speech_has_its_phones_earlier(store: Path) -> None:
    made = recipe(store)
    phones = torch.arange(100)[None].repeat(2, 1)
    targets = made._targets(phones, 40, torch.tensor([1.0, 1.25]))
    assert targets[0, :4].tolist() == [0, 1, 2, 3]
    assert targets[1, 20] == 25
    ended = made._targets(phones[:, :30], 40, torch.tensor([1.0, 1.25]))
    assert (ended[0, 30:] == -100).all()
    assert (ended[1, 24:] == -100).all()


def test_stretches_are_of_any_length_and_carry_their_own_phones(store: Path) -> None:
    data = recipe(store).dataset("train")
    drawn = [data.example(3, np.random.default_rng(seed)) for seed in range(12)]
    assert len({len(item.phones) for item in drawn}) > 5
    for item in drawn:
        assert abs(len(item.samples) - 160 * len(item.phones)) <= 160
        assert item.draws is not None
    again = data.example(3, np.random.default_rng(0))
    assert np.array_equal(again.samples, drawn[0].samples)


def test_a_classifier_starts_from_it(store: Path, tmp_path: Path) -> None:
    """The run can be loaded, and gives all but the last layer to another one's labels."""
    from made_sounds import make_sounds

    document = {
        "recipe": "phones",
        "data": {"store": str(store), "languages": ["en"], "augment": False},
        "model": MODEL,
        "run": {"out": str(tmp_path / "run"), "steps": 3, "batch_size": 4, "precision": "float32"},
    }
    made, settings = parse_recipe(document, "here")
    from kouji.train.loop import run

    run(made, settings)
    found = load_classifier(tmp_path / "run")
    assert found.config.labels == phone_labels()
    sounds = make_sounds(tmp_path / "sounds")
    other = Classifier({"folder": str(sounds)}, {**MODEL, "architecture": "tdnn"}, seed=0)
    model = other.build()
    line = other.start_from(model, str(tmp_path / "run"))
    assert "the last layer is a fresh one" in line
    own = found.model.state_dict()
    for name, value in model.state_dict().items():
        if not name.startswith("network.head."):
            assert torch.equal(value, own[name])


def test_what_cannot_be_learned_from_is_named(store: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="aligned speech"):
        PhoneStart({}, MODEL, 0)
    with pytest.raises(ConfigError, match="unknown key 'folder'"):
        recipe(store, folder="x")
    with pytest.raises(ConfigError, match="the labels are the phones"):
        PhoneStart({"store": str(store)}, {**MODEL, "labels": ["a", "b"]}, 0)
    with pytest.raises(ConfigError, match="resnet18"):
        PhoneStart({"store": str(store)}, {"architecture": "resnet18"}, 0)
    with pytest.raises(DataError, match="no train clips"):
        recipe(store, languages=["ja"]).dataset("train")
