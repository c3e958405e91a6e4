"""Evaluation sets: read as written, refused with the line when wrong."""

import json

import pytest

from kouji.errors import DataError
from kouji.evaluate.items import EvaluationItem, load_set, save_set


@pytest.fixture
def folder(tmp_path):
    for name in ("voice.wav", "real.wav", "other.wav"):
        (tmp_path / "data" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "data" / name).write_bytes(b"")
    return tmp_path


ITEM = EvaluationItem(
    "one", "你好", "zh", "voice.wav", "anna", "f", recording="real.wav", other_reference="other.wav"
)


def test_round_trip_with_paths_under_data(folder):
    save_set([ITEM], folder / "set.jsonl")
    (item,) = load_set(folder / "set.jsonl", folder / "data")
    assert item.text == "你好"
    assert item.recording == str(folder / "data" / "real.wav")
    assert item.is_own_recording
    assert "recording_speaker" not in json.loads((folder / "set.jsonl").read_text())


def test_paths_beside_the_set_need_no_data_folder(folder):
    save_set([ITEM], folder / "data" / "set.jsonl")
    (item,) = load_set(folder / "data" / "set.jsonl")
    assert item.reference == str(folder / "data" / "voice.wav")


def test_lent_recording_is_not_own():
    lent = EvaluationItem("a", "b", "en", "v", "anna", recording="r", recording_speaker="bob")
    assert not lent.is_own_recording
    assert not EvaluationItem("a", "b", "en", "v", "anna").is_own_recording


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 2"),
        ('{"id": "a"}', "line 2"),
        ('{"id": "a", "text": "b", "language": "en", "reference": "voice.wav", "x": 1}', "x"),
        ('{"id": "a", "text": "b", "language": "fr", "reference": "voice.wav"}', "fr"),
        ('{"id": "a", "text": "b", "language": "en", "reference": "gone.wav"}', "gone.wav"),
        ("[1, 2]", "line 2"),
    ],
)
def test_a_bad_line_is_named(folder, line, message):
    save_set([ITEM], folder / "data" / "set.jsonl")
    with (folder / "data" / "set.jsonl").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=message):
        load_set(folder / "data" / "set.jsonl")


def test_empty_and_missing_sets_are_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="empty"):
        load_set(tmp_path / "empty.jsonl")
    with pytest.raises(DataError, match=r"gone\.jsonl"):
        load_set(tmp_path / "gone.jsonl")
