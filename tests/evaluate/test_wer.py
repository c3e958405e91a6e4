"""Edit counts against cases worked out by hand and against brute force."""

import random
from functools import cache

import pytest

from kouji.evaluate.wer import Errors, count_errors, normalise_words, pool, spoken_words


@pytest.mark.parametrize(
    ("reference", "hypothesis", "expected"),
    [
        ("a b c", "a b c", Errors(0, 0, 0, 3)),
        ("a b c", "a x c", Errors(1, 0, 0, 3)),
        ("a b c", "a c", Errors(0, 1, 0, 3)),
        ("a b c", "a b d c", Errors(0, 0, 1, 3)),
        ("a b c", "", Errors(0, 3, 0, 3)),
        ("", "a b", Errors(0, 0, 2, 0)),
        ("the cat sat", "a cat sat down", Errors(1, 0, 1, 3)),
        ("a b", "b a", Errors(2, 0, 0, 2)),
    ],
)
def test_counts_each_kind_of_error(reference, hypothesis, expected):
    assert count_errors(reference.split(), hypothesis.split()) == expected


def test_total_is_the_edit_distance_found_by_brute_force():
    @cache
    def distance(first, second):
        if not first or not second:
            return len(first) + len(second)
        same = distance(first[1:], second[1:]) + (first[0] != second[0])
        return min(same, distance(first[1:], second) + 1, distance(first, second[1:]) + 1)

    rng = random.Random(3)
    for _ in range(200):
        first, second = ("".join(rng.choices("abc", k=rng.randrange(8))) for _ in range(2))
        errors = count_errors(first, second)
        assert errors.total == distance(first, second)
        assert errors.deletions - errors.insertions == len(first) - len(second)


def test_pooled_rate_weighs_long_utterances_more():
    pooled = pool([Errors(1, 0, 0, 1), Errors(0, 0, 0, 9)])
    assert pooled.rate == pytest.approx(0.1)
    assert pool([]).rate == 0.0
    assert count_errors([], ["a"]).rate == float("inf")


def test_words_are_what_a_recogniser_prints():
    text = "“Don’t,” said Zoë — the well-known O'Brien!"
    assert normalise_words(text) == ["don't", "said", "zoe", "the", "well", "known", "o'brien"]


def test_numbers_are_compared_as_they_are_read():
    assert spoken_words("It costs $5.") == ["it", "costs", "five", "dollars"]
