"""Challenges: random, bound, short-lived, and used once whoever tries."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kouji.errors import ConsentError, UsageError, VoiceError
from kouji.verification.challenges import MAX_OPEN, ChallengeStore
from kouji.verification.consent import Challenge, new_challenge
from kouji.verification.sentences import (
    NUM_WORDS,
    random_sentence,
    symbols_of,
    words_of,
)


def reason_of(home: Path, number: str, purpose: str = "voice", owner: str = "") -> str | None:
    try:
        ChallengeStore(home).get(number, purpose=purpose, owner=owner)
    except ConsentError as error:
        return error.reason
    return None


def use(home: Path, challenge: Challenge) -> None:
    ChallengeStore(home).use(challenge)


@pytest.mark.parametrize("language", ["zh", "en"])
def test_a_sentence_has_six_random_words(tmp_path: Path, language: str) -> None:
    made = [new_challenge(tmp_path, language=language) for _ in range(5)]
    assert len({each.sentence for each in made}) == len({each.id for each in made}) == 5
    for each in made:
        assert len(set(each.words)) == NUM_WORDS
        assert all(word in each.sentence for word in each.words)
        assert each == ChallengeStore(tmp_path).get(each.id, purpose="voice", owner="")


@pytest.mark.parametrize("language", ["zh", "en"])
def test_words_can_be_told_apart_by_their_phones(language: str) -> None:
    words = words_of(language)
    assert len(set(words)) == len(words) == 64
    spoken = {word: symbols_of(word, language) for word in words}
    for one in words:
        for two in words:
            assert one == two or distance(spoken[one], spoken[two]) >= 2, (one, two)
    sentence = random_sentence(language)
    ends = tuple(symbol for word in sentence.words for symbol in spoken[word])
    assert symbols_of(sentence.text, language)[-len(ends) :] == ends


def distance(one: tuple[int, ...], two: tuple[int, ...]) -> int:
    """How many phones must be changed, put in or left out."""
    row = list(range(len(two) + 1))
    for i, left in enumerate(one, start=1):
        before, row[0] = row[0], i
        for j, right in enumerate(two, start=1):
            cost = before + (left != right)
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, cost)
    return row[-1]


def test_other_languages_have_no_sentences(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="zh, en"):
        new_challenge(tmp_path, language="fr")


def test_a_challenge_is_used_once(tmp_path: Path) -> None:
    made = new_challenge(tmp_path)
    use(tmp_path, made)
    assert reason_of(tmp_path, made.id) == "used_challenge"
    with pytest.raises(ConsentError) as caught:
        use(tmp_path, made)
    assert caught.value.reason == "used_challenge"


def test_a_challenge_expires(tmp_path: Path) -> None:
    made = new_challenge(tmp_path, lifetime_seconds=0.0)
    assert reason_of(tmp_path, made.id) == "expired_challenge"


@pytest.mark.parametrize("number", ["", "0" * 16, "../../voices/a", "ä", "x" * 300, "a/b"])
def test_unknown_challenges(tmp_path: Path, number: str) -> None:
    new_challenge(tmp_path)
    assert reason_of(tmp_path, number) == "unknown_challenge"


def test_a_challenge_is_for_its_owner_and_purpose(tmp_path: Path) -> None:
    made = new_challenge(tmp_path, purpose="voice:alice", owner="key1")
    assert reason_of(tmp_path, made.id, "voice:alice", "key1") is None
    assert reason_of(tmp_path, made.id, "voice:alice", "key2") == "unknown_challenge"
    assert reason_of(tmp_path, made.id, "voice:alicex", "key1") == "other_challenge"
    assert reason_of(tmp_path, made.id, "voice", "key1") == "other_challenge"
    general = new_challenge(tmp_path, purpose="voice")
    assert reason_of(tmp_path, general.id, "voice:bob") is None
    assert reason_of(tmp_path, general.id, "voices") == "other_challenge"


def test_nobody_fills_the_disk_with_challenges(tmp_path: Path) -> None:
    made = [new_challenge(tmp_path, owner="key1") for _ in range(MAX_OPEN)]
    with pytest.raises(ConsentError) as caught:
        new_challenge(tmp_path, owner="key1")
    assert caught.value.reason == "too_many_challenges"
    new_challenge(tmp_path, owner="key2")
    use(tmp_path, made[0])
    new_challenge(tmp_path, owner="key1")


def test_what_is_long_over_is_forgotten(tmp_path: Path) -> None:
    made = new_challenge(tmp_path)
    use(tmp_path, made)
    for path in (tmp_path / "challenges").rglob("*.used"):
        os.utime(path, (0, 0))
    new_challenge(tmp_path)
    assert reason_of(tmp_path, made.id) == "unknown_challenge"


def test_a_damaged_file_is_told(tmp_path: Path) -> None:
    made = new_challenge(tmp_path)
    next((tmp_path / "challenges").rglob("*.json")).write_text("{", encoding="utf-8")
    with pytest.raises(VoiceError, match="damaged"):
        ChallengeStore(tmp_path).get(made.id, purpose="voice", owner="")


USE_ONE = """
import sys
from pathlib import Path
from kouji.errors import ConsentError
from kouji.verification.challenges import ChallengeStore
store = ChallengeStore(Path(sys.argv[1]))
challenge = store.get(sys.argv[2], purpose="voice", owner="")
print("ready", flush=True)
sys.stdin.readline()
try:
    store.use(challenge)
    print("won")
except ConsentError as error:
    print(error.reason)
"""


def test_of_two_processes_one_uses_it(tmp_path: Path) -> None:
    made = new_challenge(tmp_path)
    command = [sys.executable, "-c", USE_ONE, str(tmp_path), made.id]
    workers = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    outcomes = sorted(worker.communicate("\n", timeout=60)[0].strip() for worker in workers)
    assert outcomes == ["used_challenge", "won"]
