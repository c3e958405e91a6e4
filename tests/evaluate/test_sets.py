"""The default sets hold what they promise: held-out voices, own and lent sentences."""

import pytest

from kouji.errors import DataError
from kouji.evaluate.items import EvaluationItem
from kouji.evaluate.sets import build_set
from kouji.train.store import Clip


def clip(name, speaker, *, split="test", language="en", gender="f", corpus="librispeech", **more):
    values = {
        "id": name,
        "path": f"{corpus}/{speaker}/{name}.ogg",
        "speaker": speaker,
        "language": language,
        "gender": gender,
        "corpus": corpus,
        "text": f"text {name}" if language == "en" else f"文字{name}".translate(DIGITS),
        "split": split,
        "seconds": 5.0,
        "num_frames": 250,
        "num_samples": 120_000,
        "num_phones": 50,
        "level_dbfs": -23.0,
        "snr_db": 30.0,
        "bandwidth_hz": 8000.0,
        "full_band": False,
    }
    return Clip(**{**values, **more})


DIGITS = str.maketrans({**dict(zip("0123456789", "零一二三四五六七八九", strict=True)), "z": None})


class FakeStore:
    """The part of a store that choosing uses."""

    clips = ()

    def __init__(self, path):
        pass


@pytest.fixture
def choose(monkeypatch, tmp_path):
    def choose(clips, **options):
        monkeypatch.setattr(FakeStore, "clips", clips)
        monkeypatch.setattr("kouji.evaluate.sets.Store", FakeStore)
        out = tmp_path / "set.jsonl"
        return build_set(tmp_path, out, prepared=tmp_path, **options)

    return choose


def english_clips():
    several = [clip(f"a{s}{i}", f"many{s}", gender="fm"[s % 2]) for s in range(4) for i in range(8)]
    single = [clip(f"s{i}", f"single{i}", gender="fm"[i % 2]) for i in range(6)]
    trained = [clip(f"t{i}", f"train{i}", split="train") for i in range(20)]
    return several + single + trained


def test_english_voices_and_texts_are_held_out(choose):
    clips = english_clips()
    items = choose(clips, language="en", count=20)
    assert len(items) == 20
    trained = {clip.path for clip in clips if clip.split == "train"}
    for item in items:
        assert item.reference != item.recording
        assert {item.reference, item.recording, item.other_reference}.isdisjoint(trained)
    assert len({item.text for item in items}) == 20
    assert len({item.speaker for item in items}) >= 8


def test_other_reference_is_another_speaker_of_the_same_sex(choose):
    clips = english_clips()
    speakers = {clip.path: (clip.speaker, clip.gender) for clip in clips}
    for item in choose(clips, language="en", count=20):
        other, gender = speakers[item.other_reference]
        assert other != item.speaker
        assert gender == item.gender


def test_lent_sentences_name_their_speaker(choose):
    items = choose(english_clips(), language="en", count=20)
    lent = [item for item in items if not item.is_own_recording]
    assert 1 <= len(lent) <= 5
    assert all(item.recording_speaker != item.speaker for item in lent)


def test_texts_that_training_heard_come_last(choose):
    heard = [clip(f"h{i}", "many0", text="known") for i in range(10)]
    fresh = [clip(f"f{i}", "many0") for i in range(10)]
    trained = [clip("t", "trainer", split="train", text="known")]
    items = choose(heard + fresh + trained, language="en", count=10)
    assert all(isinstance(item, EvaluationItem) and item.text != "known" for item in items)


def test_chinese_takes_held_out_utterances_without_latin_letters(choose):
    options = {"language": "zh", "corpus": "aishell1"}
    valid = [clip(f"z{i}", "anna", split="valid", **options) for i in range(12)]
    latin = clip("l", "anna", split="valid", text="看S A M", **options)
    train = [clip(f"z{i + 50}", "anna", split="train", **options) for i in range(5)]
    items = choose([*valid, latin, *train], language="zh", count=40 // 2)
    assert len(items) == 12
    assert all(item.recording in {clip.path for clip in valid} for item in items)


def test_too_little_data_is_an_error(choose):
    with pytest.raises(DataError, match="held-out"):
        choose([clip("a", "b")], language="en", count=40)
