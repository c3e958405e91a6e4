"""The phone recogniser: reads CTC right, never sees its batch, and can learn."""

import numpy as np
import pytest
import torch

from kouji.errors import ConfigError, ModelError
from kouji.models.recogniser import (
    Recogniser,
    RecogniserConfig,
    best_path,
    class_of,
    load_recogniser,
    phone_classes,
    reference_classes,
    save_recogniser,
)
from kouji.text.phones import FINALS, SYMBOL_IDS, SYMBOLS, Phone
from kouji.train.augment import augment
from kouji.train.recogniser import Example, RecogniserRecipe

TINY = {"width": 48, "hidden": 64, "dilations": [1, 1], "dropout": 0.0}


def ids(*phones):
    return [SYMBOL_IDS[symbol] for symbol, _ in phones], [tone for _, tone in phones]


def test_targets_leave_silences_out_and_keep_tones():
    symbols, tones = ids(("sil", 0), ("n", 0), ("i", 3), (",", 0), ("HH", 0), ("AW", 7))
    classes = reference_classes(symbols, tones)
    read = [phone_classes()[index - 1] for index in classes]
    assert read == [Phone("n"), Phone("i", 3), Phone("HH"), Phone("AW")]


def test_every_symbol_has_a_class_or_is_silent():
    for symbol_id, symbol in enumerate(SYMBOLS):
        assert (class_of(symbol_id, 0) is None) == (symbol in "_,.?!" or symbol == "sil")
    assert class_of(SYMBOL_IDS["a"], 0) == class_of(SYMBOL_IDS["a"], 5)


def test_best_path_merges_repeats_and_splits_at_blanks():
    network = Recogniser(RecogniserConfig.from_dict(TINY))
    a1, a2, b = (class_of(SYMBOL_IDS[s], t) for s, t in (("a", 1), ("a", 2), ("b", 0)))
    path = [0, b, b, a1, a1, a2, 0, a1, 0]
    scores = torch.full((len(path), len(phone_classes()) + 1), 1e-4)
    scores[torch.arange(len(path)), torch.tensor(path)] = 0.9
    phones = best_path(scores.log(), network.to_symbols)
    # The tone changes inside the first a: still one vowel, in the tone with more evidence.
    assert phones == [Phone("b"), Phone("a", 1), Phone("a", 1)]


def test_a_row_does_not_see_its_batch():
    torch.manual_seed(0)
    network = Recogniser(RecogniserConfig.from_dict(TINY)).eval()
    short, long = torch.randn(37, 80) - 6, torch.randn(64, 80) - 6
    batch = torch.zeros(2, 64, 80)
    batch[0, :37], batch[1] = short, long
    together, counts = network(batch, torch.tensor([37, 64]))
    alone, count = network(short[None], torch.tensor([37]))
    assert counts.tolist() == [19, 32]
    assert count.tolist() == [19]
    torch.testing.assert_close(together[0, :19], alone[0], atol=1e-5, rtol=1e-5)


def test_gain_hardly_changes_the_scores():
    torch.manual_seed(0)
    network = Recogniser(RecogniserConfig.from_dict(TINY)).eval()
    mel, frames = torch.randn(1, 50, 80) - 6, torch.tensor([50])
    torch.testing.assert_close(network(mel, frames)[0], network(mel + 2, frames)[0])


def test_only_mandarin_phones_are_written_down():
    torch.manual_seed(1)
    network = Recogniser(RecogniserConfig.from_dict(TINY)).eval()
    with torch.no_grad():
        network.leave.bias[class_of(SYMBOL_IDS["TH"], 0)] = 100.0
    heard = network.recognise(torch.randn(40, 80) - 6)
    assert all(not phone.symbol.isupper() for phone in heard)


def test_it_learns_a_handful_of_clips():
    """Four synthetic clips, each phone a pattern of its own, are read without error."""
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    patterns = rng.normal(size=(8, 80)).astype(np.float32)
    recipe = RecogniserRecipe({"store": "unused"}, TINY, seed=0)
    examples = []
    for _ in range(4):
        order = rng.permutation(8)[:5]
        mel = np.repeat(patterns[order], 12, axis=0) * 2 - 6
        classes = [class_of(SYMBOL_IDS[FINALS[i]], 1 + i % 5) for i in order]
        examples.append(Example(mel, classes, True))
    batch, network = recipe.collate(examples), recipe.build()
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    for step in range(150):
        loss, metrics = recipe.loss(network, batch, step, torch.Generator())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert metrics["weight"] == 20
    figures = recipe.evaluate(network.eval(), [batch], torch.device("cpu"))
    assert figures["per"] == 0.0
    assert figures["toned_per"] == 0.0


def test_augmentation_is_seeded_and_stays_a_mel():
    mel = np.random.default_rng(0).normal(-6, 2, (120, 80)).astype(np.float32)
    first, again, other = (augment(mel, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)
    for length in (2, 3, 50):
        heard = augment(mel[:length], np.random.default_rng(3))
        assert heard.dtype == np.float32
        assert heard.shape[1] == 80
        assert np.isfinite(heard).all()


def test_saved_weights_load_to_the_same_network(tmp_path):
    torch.manual_seed(0)
    network = Recogniser(RecogniserConfig.from_dict(TINY)).eval()
    save_recogniser(network, tmp_path, {"per": 0.5})
    loaded = load_recogniser(tmp_path)
    mel, frames = torch.randn(1, 30, 80) - 6, torch.tensor([30])
    torch.testing.assert_close(loaded(mel, frames)[0], network(mel, frames)[0], atol=1e-2, rtol=0)


def test_missing_or_foreign_weights_are_named(tmp_path):
    with pytest.raises(ModelError, match="kouji train"):
        load_recogniser(tmp_path)
    save_recogniser(Recogniser(RecogniserConfig.from_dict(TINY)), tmp_path, {})
    config = tmp_path / "recogniser.json"
    config.write_text(config.read_text().replace('"width": 48', '"width": 50'))
    with pytest.raises(ModelError, match="fit"):
        load_recogniser(tmp_path)


@pytest.mark.parametrize(
    ("data", "model"),
    [({"store": "x", "wrong": 1}, {}), ({}, {}), ({"store": "x"}, {"widht": 3})],
)
def test_wrong_recipes_are_refused(data, model):
    with pytest.raises(ConfigError):
        RecogniserRecipe(data, model, seed=0)
