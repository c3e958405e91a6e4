"""Labelled collections: every layout, what real folders look like, and folds that are kept."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kouji.errors import DataError, UsageError
from kouji.train.sound_folds import make_folds
from kouji.train.sound_sets import read_sound_set

RATE = 8000


def write_sound(path: Path, seconds: float = 0.25, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng([seed, *path.name.encode()]).standard_normal(int(seconds * RATE))
    soundfile.write(path, 0.1 * noise, RATE, format=path.suffix[1:].upper())
    return path


def write_table(path: Path, rows: list[dict[str, object]], **options: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding=options.get("encoding", "utf-8"), newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys(), delimiter=options.get("delimiter", ","))
        writer.writeheader()
        writer.writerows(rows)


def urbansound8k(root: Path, **options: str) -> list[dict[str, object]]:
    """Three classes in ten folds, classID not in the order of the alphabet."""
    rows: list[dict[str, object]] = []
    for fold in range(1, 11):
        for number, name in enumerate(("siren", "dog_bark", "air_conditioner")):
            clip = f"{fold}{number}00-{number}-0-{fold}.wav"
            write_sound(root / "audio" / f"fold{fold}" / clip)
            row = {"slice_file_name": clip, "fsID": f"{fold}{number}00", "start": 0.0}
            rows.append({**row, "fold": fold, "classID": number, "class": name})
    write_table(root / "metadata" / "UrbanSound8K.csv", rows, **options)
    return rows


def esc50(root: Path) -> None:
    rows: list[dict[str, object]] = []
    for fold in range(1, 6):
        for target, (name, esc10) in enumerate((("dog", True), ("rain", True), ("cat", False))):
            clip = f"{fold}-{fold}{target}7-A-{target}.wav"
            write_sound(root / "audio" / clip)
            row = {"filename": clip, "fold": fold, "target": target, "category": name}
            rows.append({**row, "esc10": esc10, "src_file": 1, "take": "A"})
    write_table(root / "meta" / "esc50.csv", rows)


def folders(root: Path, num_clips: int = 10) -> None:
    for label in ("bell", "rain"):
        for number in range(num_clips):
            write_sound(root / label / f"{label}{number}.wav")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_urbansound8k_keeps_its_ten_folds_and_the_order_of_its_classes(
    tmp_path: Path, encoding: str
) -> None:
    urbansound8k(tmp_path, encoding=encoding)
    found = read_sound_set(tmp_path)
    assert found.layout == "urbansound8k"
    assert found.folds == tuple(str(fold) for fold in range(1, 11))
    assert found.labels == ("siren", "dog_bark", "air_conditioner")
    assert len(found.clips) == 30
    assert not found.faults
    assert not found.warnings
    assert all(clip.path.parent.name == f"fold{clip.fold}" for clip in found.clips)
    assert {clip.seconds for clip in found.clips} == {0.25}


def test_esc10_is_the_flagged_part_of_esc50(tmp_path: Path) -> None:
    esc50(tmp_path / "ESC-50-master")
    whole = read_sound_set(tmp_path)
    part = read_sound_set(tmp_path, subset="esc10")
    assert (whole.layout, whole.labels) == ("esc50", ("dog", "rain", "cat"))
    assert part.labels == ("dog", "rain")
    assert len(part.clips) == 10
    assert part.folds == whole.folds == ("1", "2", "3", "4", "5")


def test_a_manifest_gives_folds_or_speakers(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = []
    for speaker in ("ann", "bob"):
        for digit in range(2):
            for take in range(2):
                name = f"fsdd/{speaker}/{digit}_{speaker}_{take}.flac"
                write_sound(tmp_path / "sounds" / name)
                source = f"Digits (Z. J.), speaker {speaker}"
                rows.append(
                    {"path": name, "label": f"digit_{digit}", "fold": take, "source": source}
                )
    write_table(tmp_path / "sounds" / "manifest.csv", rows, delimiter="|")
    assert read_sound_set(tmp_path, subset="fsdd").folds == ("0", "1")
    held_out = read_sound_set(tmp_path / "sounds", subset="fsdd", group_by="speaker")
    assert held_out.folds == ("ann", "bob")
    assert all(clip.path.parent.name == clip.fold for clip in held_out.clips)
    with pytest.raises(UsageError, match="seen: esc10"):
        read_sound_set(tmp_path, subset="esc10")


def test_sounds_without_speakers_cannot_be_held_out_by_speaker(tmp_path: Path) -> None:
    urbansound8k(tmp_path)
    with pytest.raises(UsageError, match="30 of 30"):
        read_sound_set(tmp_path, group_by="speaker")


def test_a_folder_per_class_gets_the_same_even_folds_each_time(tmp_path: Path) -> None:
    folders(tmp_path)
    first, again = read_sound_set(tmp_path), read_sound_set(tmp_path)
    assert first == again
    assert first.has_own_folds
    assert {row.per_fold for row in first.balance().classes} == {(2, 2, 2, 2, 2)}
    assert any("brings no folds" in line for line in first.warnings)


def test_clips_of_one_recording_stay_in_one_fold(tmp_path: Path) -> None:
    for label in ("bell", "rain"):
        for number in range(5):
            for take in "ABC":
                write_sound(tmp_path / label / f"1-{label == 'rain':d}{number}-{take}.wav")
    folds: dict[str, set[str | None]] = {}
    for clip in read_sound_set(tmp_path).clips:
        folds.setdefault(clip.recording, set()).add(clip.fold)
    assert len(folds) == 10
    assert all(len(each) == 1 for each in folds.values())


def test_fold_folders_above_the_classes_are_the_folds(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folders(tmp_path / split, 3)
    found = read_sound_set(tmp_path)
    assert found.labels == ("bell", "rain")
    assert found.folds == ("test", "train")
    assert not found.has_own_folds


def test_what_real_folders_look_like(tmp_path: Path) -> None:
    folders(tmp_path)
    write_sound(tmp_path / "rain" / "heavy" / "roof.wav").rename(
        tmp_path / "rain" / "heavy" / "ROOF.WAV"
    )
    write_sound(tmp_path / "rain" / ".hidden.wav")
    write_sound(tmp_path / ".cache" / "x.wav")
    write_sound(tmp_path / "beside.wav")
    (tmp_path / "rain" / "notes.txt").write_text("no sound", encoding="utf-8")
    (tmp_path / "bell" / "empty.wav").touch()
    (tmp_path / "bell" / "text.wav").write_text("not a sound at all", encoding="utf-8")
    whole = (tmp_path / "rain" / "rain0.wav").read_bytes()
    (tmp_path / "rain" / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "rain" / "copy.wav").write_bytes(whole)
    (tmp_path / "thunder").mkdir()
    found = read_sound_set(tmp_path)
    assert found.labels == ("bell", "rain")
    assert len(found.clips) == 22
    assert {fault.path.name for fault in found.faults} == {"empty.wav", "text.wav", "cut.wav"}
    assert all(fault.reason for fault in found.faults)
    told = "\n".join(found.warnings)
    assert "thunder" in told
    assert "beside.wav" in told
    assert "rain/copy.wav = rain/rain0.wav" in told


def test_rows_that_name_files_oddly_or_not_at_all(tmp_path: Path) -> None:
    names = ["dog/A.WAV", "dog/b.wav", "cat/c.wav", "cat/d.wav", "cat/e.flac", "cat/unlisted.wav"]
    for name in names:
        write_sound(tmp_path / name)
    lines = [
        "\ufeffpath|label|fold|extra",
        r"dog\a.wav|dog|1|x",
        r"C:\data\dog\b.wav|dog|2|x",
        "cat/c.wav|cat|1|x",
        "cat/c.wav|cat|1|x",
        "cat/d.wav|cat|2|x",
        "cat/e.wav|cat|2|x",
        "cat/gone.wav|cat|2|x",
        "cat/f.wav",
    ]
    (tmp_path / "manifest.csv").write_text("\r\n".join(lines), encoding="utf-8")
    found = read_sound_set(tmp_path)
    assert sorted(clip.path.name for clip in found.clips) == sorted(
        ["A.WAV", "c.wav", "d.wav", "e.flac", "b.wav"]
    )
    assert {f.path.name for f in found.faults} == {"gone.wav", "f.wav"}
    assert any("unlisted.wav" in line for line in found.warnings)
    assert any("more than once" in line for line in found.warnings)


def test_contradicting_rows_are_faults(tmp_path: Path) -> None:
    rows = urbansound8k(tmp_path)
    rows.append({**rows[0], "class": "dog_bark", "classID": 1})
    write_table(tmp_path / "metadata" / "UrbanSound8K.csv", rows)
    found = read_sound_set(tmp_path)
    assert len(found.clips) == 29
    assert "listed as" in found.faults[0].reason


def test_mostly_damaged_is_no_accident(tmp_path: Path) -> None:
    rows = urbansound8k(tmp_path)
    for row in rows[:16]:
        (tmp_path / "audio" / f"fold{row['fold']}" / str(row["slice_file_name"])).write_bytes(b"")
    with pytest.raises(DataError, match="16 of 30"):
        read_sound_set(tmp_path)


def test_the_balance_is_shown(tmp_path: Path) -> None:
    folders(tmp_path)
    for number in range(5):
        write_sound(tmp_path / "rain" / f"more{number}.wav", seconds=0.5)
    balance = read_sound_set(tmp_path).balance()
    assert balance.imbalance == pytest.approx(1.5)
    lines = balance.table().splitlines()
    assert lines[0].split()[:3] == ["class", "clips", "seconds"]
    assert lines[2].split()[:3] == ["rain", "15", "5.0"]
    assert "1.50" in lines[-1]
    assert balance.as_dict()["classes"][0]["clips"] == 10


@pytest.mark.parametrize("wrong", [{"layout": "wav"}, {"group_by": "clip"}])
def test_wrong_arguments_are_named(tmp_path: Path, wrong: dict[str, str]) -> None:
    folders(tmp_path, 1)
    with pytest.raises(UsageError, match="allowed"):
        read_sound_set(tmp_path, **wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("make", [lambda p: None, lambda p: write_sound(p / "only" / "a.wav")])
def test_nothing_to_tell_apart_is_an_error(tmp_path: Path, make: object) -> None:
    make(tmp_path)  # type: ignore[operator]
    with pytest.raises(DataError, match="no labelled sounds"):
        read_sound_set(tmp_path)


def test_too_few_recordings_for_five_folds_are_told() -> None:
    folds, told = make_folds([("a", "1"), ("a", "2"), ("a", "3"), ("b", "4")])
    assert set(folds) == {"1", "2"}
    assert "each fold: b" in told


def test_the_shared_sounds(shared_dir: Path) -> None:
    esc10 = read_sound_set(shared_dir / "corpus" / "sounds", subset="esc10", decode=False)
    assert len(esc10.clips) == 398
    assert len(esc10.labels) == 10
    assert len(esc10.folds) == 5
    digits = read_sound_set(shared_dir / "corpus", subset="fsdd", group_by="speaker", decode=False)
    assert len(digits.clips) == 1500
    assert len(digits.folds) == 6
    assert not digits.warnings
