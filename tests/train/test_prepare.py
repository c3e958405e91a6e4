"""Prepare from made-up recordings: checks, resuming after a kill, splits, the store it leaves."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

from kouji.audio.features import MINI_MEL, mel_spectrogram
from kouji.errors import ConfigError, DataError, UsageError
from kouji.text.phones import SYMBOLS, Phone
from kouji.train.clip_features import (
    REASONS,
    ClipRules,
    estimate_bandwidth,
    level_speech,
    measure,
)
from kouji.train.held_out import SplitRules, assign_splits, choose_speakers
from kouji.train.layouts import SourceClip
from kouji.train.prepare import PrepareSettings, prepare_data
from kouji.train.store import Store
from kouji.train.transcript import WORD_START, transcript_phones

RATE = 24000
QUICK = PrepareSettings(num_workers=0, clips_per_part=3)


def voice_like(seconds: float, pitch_hz: float = 150.0, level: float = 0.1) -> np.ndarray:
    """Harmonics of a steady pitch with a faint noise floor and quiet edges."""
    time = np.arange(int(seconds * RATE)) / RATE
    tone = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 20))
    edges = np.minimum(1, np.minimum(time, seconds - time) * 8)
    noise = np.random.default_rng(1).normal(0, 1e-3, len(time))
    return (level * tone * edges**2 + noise * level).astype(np.float32)


def make_pairs(root: Path, num_clips: int = 8) -> Path:
    """A folder of good pairs by two speakers."""
    for number in range(num_clips):
        folder = root / f"spk{number % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        sound = voice_like(1.0 + 0.1 * number, 120 + 20 * number)
        soundfile.write(folder / f"u{number}.wav", sound, RATE)
        text = "hello again, my friend." if number % 2 else "你好吗"
        (folder / f"u{number}.txt").write_text(text, encoding="utf-8")
    return root


def add_bad(root: Path) -> dict[str, str]:
    """Add one bad clip for each fault to a folder of pairs; returns reasons by clip id."""
    good = voice_like(1.5)

    def put(name: str, sound: np.ndarray | bytes, text: str, rate: int = RATE) -> None:
        (root / "bad").mkdir(exist_ok=True)
        path = root / "bad" / f"{name}.wav"
        if isinstance(sound, bytes):
            path.write_bytes(sound)
        else:
            soundfile.write(path, sound, rate, subtype="FLOAT")
        (root / "bad" / f"{name}.txt").write_text(text, encoding="utf-8")

    hello = "hello there"
    put("garbage", b"this is not audio at all" * 50, hello)
    put("empty", b"", hello)
    put("zeros", np.zeros(RATE, np.float32), hello)
    put("blip", good[: RATE // 10], hello)
    put("nan", np.where(np.arange(len(good)) == 5, np.nan, good).astype(np.float32), hello)
    put("loud", np.clip(good * 60, -1, 1), hello)
    noise = np.random.default_rng(0).normal(0, 0.05, RATE * 2).astype(np.float32)
    put("hiss", noise, hello)
    put("long", np.tile(good, 15), "this goes on and on and on for a long time " * 4)
    put("wordy", good, "there are far too many words here for such a short time " * 3)
    put("terse", np.tile(good, 6), "no")
    put("mute", good, "…… !!")
    put("blank", good, "")
    return {
        "garbage": "unreadable", "empty": "unreadable", "zeros": "silent", "blip": "too_short",
        "nan": "unreadable", "loud": "clipped", "hiss": "noisy", "long": "too_long",
        "wordy": "implausible_rate", "terse": "implausible_rate", "mute": "unspeakable",
        "blank": "no_text",
    }  # fmt: skip


def same_stores(one: Store, other: Store) -> None:
    assert one.clips == other.clips
    for name in one.arrays:
        np.testing.assert_array_equal(one.view(name), other.view(name))


def test_good_clips_become_consistent_features(tmp_path: Path) -> None:
    result = prepare_data(make_pairs(tmp_path / "data"), tmp_path / "out", QUICK)
    store = result.store
    assert result.skipped == ()
    assert len(store) == 8
    assert not (tmp_path / "out" / "parts").exists()
    for i, clip in enumerate(store.clips):
        number = int(clip.id[-1])
        assert clip.num_samples == clip.num_frames * 480
        assert clip.seconds == pytest.approx(1.0 + 0.1 * number, abs=0.001)
        f0 = store.f0(i)
        assert np.median(f0[f0 > 0]) == pytest.approx(120 + 20 * number, rel=0.02)
        wave = store.wave(i).astype(np.float32) / 32767
        assert measure(wave).level_dbfs == pytest.approx(-23, abs=0.5)
        import torch

        mel = mel_spectrogram(torch.from_numpy(wave)[None], MINI_MEL)[0].T.numpy()
        loud = mel > -5  # quieter values feel the rounding of the wave to 16 bits
        np.testing.assert_allclose(store.mel(i)[loud], mel[loud], atol=0.02)
        assert len(store.energy(i)) == clip.num_frames
        words = store.words(i)
        assert words.max() == (3 if clip.language == "en" else 1)
        assert (store.boundary(i)[words >= 0] & 1).sum() == words.max() + 1
        assert (store.boundary(i)[words < 0] == 0).all()


def test_every_bad_clip_is_reported_and_none_crashes(tmp_path: Path) -> None:
    root = make_pairs(tmp_path / "data", 2)
    expected = add_bad(root)
    result = prepare_data(root, tmp_path / "out", QUICK)
    assert len(result.store) == 2
    found = {skip.id.removeprefix("bad/"): skip.reason for skip in result.skipped}
    assert found == expected
    assert set(found.values()) <= set(REASONS)
    assert all(skip.detail and Path(skip.path).name for skip in result.skipped)
    report = json.loads(result.report.read_text(encoding="utf-8"))
    assert {entry["path"] for entry in report["skipped"]} == {s.path for s in result.skipped}


def test_missing_file_foreign_language_and_double_id(tmp_path: Path) -> None:
    make_pairs(tmp_path, 2)
    lines = [
        "spk0/u0.wav|a|zh|你好吗", "spk1/u1.wav|a|en|hello again",
        "gone.wav|a|en|hello", "spk1/u1.wav|b|en|hello again", "spk0/u0.mp3|a|JA|こんにちは",
    ]  # fmt: skip
    (tmp_path / "x.list").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "spk0/u0.mp3").write_bytes(b"")
    result = prepare_data(tmp_path, tmp_path / "out", QUICK)
    assert len(result.store) == 2
    reasons = Counter(skip.reason for skip in result.skipped)
    assert reasons == {"missing": 1, "duplicate": 2}
    single = tmp_path / "ja.list"
    single.write_text("spk0/u0.wav|a|JA|こんにちは\nspk1/u1.wav|a|en|hello again\n", "utf-8")
    result = prepare_data(single, tmp_path / "out2", QUICK)
    assert [skip.reason for skip in result.skipped] == ["language"]


def test_nothing_usable_is_an_error_with_the_first_reason(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a.wav").write_bytes(b"nope")
    (tmp_path / "data/a.txt").write_text("hello")
    with pytest.raises(DataError, match=r"no clip can be used.*a\.wav: unreadable"):
        prepare_data(tmp_path / "data", tmp_path / "out", QUICK)


KILLED = """
    import os, signal, sys
    from kouji.train.prepare import PrepareSettings, prepare_data
    settings = PrepareSettings(num_workers=0, clips_per_part=3)
    def kill_after_two_parts(done, total):
        if done >= 6:
            os.kill(os.getpid(), signal.SIGKILL)
    prepare_data(sys.argv[1], sys.argv[2], settings, on_progress=kill_after_two_parts)
"""


def test_killed_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    root = make_pairs(tmp_path / "data", 10)
    out = tmp_path / "out"
    run = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(root), str(out)], check=False
    )
    assert run.returncode == -signal.SIGKILL
    assert not (out / "index.json").exists()
    (out / "parts" / "half.123.tmp").write_bytes(b"left by the dead process")
    steps: list[tuple[int, int]] = []
    result = prepare_data(
        root, out, QUICK, on_progress=lambda done, total: steps.append((done, total))
    )
    assert (result.num_parts, result.num_parts_reused) == (4, 2)
    assert steps == [(9, 10), (10, 10)]
    whole = prepare_data(root, tmp_path / "whole", QUICK)
    same_stores(result.store, whole.store)


def test_second_run_does_nothing_and_changed_data_is_redone(tmp_path: Path) -> None:
    root = make_pairs(tmp_path / "data")
    out = tmp_path / "out"
    first = prepare_data(root, out, QUICK)
    stamps = {file.name: file.stat().st_mtime_ns for file in out.iterdir() if file.is_file()}
    stamps.pop(".lock")
    again = prepare_data(root, out, QUICK)
    assert again.num_parts_reused == again.num_parts
    assert all((out / name).stat().st_mtime_ns == stamp for name, stamp in stamps.items())
    (root / "spk0/u0.txt").write_text("大家好", encoding="utf-8")
    changed = prepare_data(root, out, QUICK)
    texts = {clip.id: clip.text for clip in changed.store.clips}
    assert texts["spk0/u0"] == "大家好"
    assert len(changed.store) == len(first.store)


def test_damaged_part_is_computed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kouji.train import prepare

    root = make_pairs(tmp_path / "data")
    out = tmp_path / "out"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(prepare, "_merge", stop)
        with pytest.raises(KeyboardInterrupt):
            prepare_data(root, out, QUICK)
    part = sorted((out / "parts").glob("*.npz"))[0]
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(DataError, match="run prepare again"):
        prepare_data(root, out, QUICK)
    assert len(prepare_data(root, out, QUICK).store) == 8


def test_worker_processes_give_the_same_store(tmp_path: Path) -> None:
    root = make_pairs(tmp_path / "data", 4)
    parallel = prepare_data(
        root, tmp_path / "two", PrepareSettings(num_workers=2, clips_per_part=2)
    )
    alone = prepare_data(root, tmp_path / "one", QUICK)
    same_stores(parallel.store, alone.store)


def test_two_runs_on_one_folder_are_refused(tmp_path: Path) -> None:
    import fcntl

    root = make_pairs(tmp_path / "data", 2)
    out = tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another run"):
            prepare_data(root, out, QUICK)
    assert len(prepare_data(root, out, QUICK).store) == 2


def test_wrong_settings(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        prepare_data(tmp_path, tmp_path / "out", PrepareSettings(num_workers=-1))
    with pytest.raises(ConfigError, match="validation"):
        SplitRules(valid_percent=80)
    with pytest.raises(ConfigError, match="duration"):
        ClipRules(min_seconds=5, max_seconds=2)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], home_dir: Path) -> None:
    from kouji.cli.boundary import run_command

    assert home_dir
    root = make_pairs(tmp_path / "data", 4)
    (root / "spk0/u0.wav").write_bytes(b"broken")
    out = tmp_path / "out"
    options = ["--out", str(out), "--workers", "0", "--held-out-speakers", "spk1"]
    assert run_command(["prepare", str(root), *options]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("3 clips, 0.00 h, 2 speakers")
    assert "u0.wav: unreadable" in said.err
    assert {clip.speaker for clip in Store(out).clips if clip.split == "test"} == {"spk1"}
    assert run_command(["prepare", str(tmp_path / "none"), *options]) == 2
    assert capsys.readouterr().err.startswith("kouji: the data folder does not exist")


@pytest.mark.parametrize(("rate", "full"), [(16000, False), (22050, True), (24000, True)])
def test_bandwidth_of_resampled_noise(rate: int, full: bool) -> None:
    import soxr

    noise = np.random.default_rng(2).normal(0, 0.1, rate * 2).astype(np.float32)
    found = estimate_bandwidth(soxr.resample(noise, rate, RATE).astype(np.float32))
    assert found == pytest.approx(rate / 2, rel=0.04)
    assert (found >= 10_000) == full


def test_levelling_never_clips() -> None:
    spiky = voice_like(1.0, level=0.001)
    spiky[5000] = 0.9
    levelled = level_speech(spiky, measure(voice_like(1.0, level=0.001)).level_dbfs, -23)
    assert np.abs(levelled).max() <= 0.99


def spelled(text: str, language: str, pinyin: str = "") -> str:
    """Phones with `|` between words, for reading in a test."""
    arrays = transcript_phones(text, language, pinyin)
    marks = ["|" if flags & WORD_START else "" for flags in arrays["boundary"]]
    phones = zip(marks, arrays["phones"], arrays["tones"], strict=True)
    return " ".join(f"{mark}{Phone(SYMBOLS[phone], tone)}" for mark, phone, tone in phones)


def test_transcripts_keep_pauses_where_the_text_has_them() -> None:
    assert spelled("cat, dog.", "en") == "|K AE1 T , |D AO1 G ."
    assert spelled("cat dog", "en") == "|K AE1 T |D AO1 G"
    words = transcript_phones("cat, dog.", "en")["words"]
    assert words.tolist() == [0, 0, 0, -1, 1, 1, 1, -1]
    assert spelled("zi4 hao3", "zh-pinyin") == "|z ii4 |h ao3"


def test_annotated_pinyin_wins_and_words_come_from_the_text() -> None:
    assert spelled("银行，好", "zh", "yin2 hang2 hao3") == "|in2 h ang2 , |h ao3"
    assert spelled("银行", "zh", "yin2 xing2") == "|in2 x ing2"
    assert spelled("那儿好", "zh", "nar3 hao3") == "|n a3 rr3 |h ao3"


def speakers_of(corpus: str, gender: str, clips: dict[str, int]) -> list[SourceClip]:
    return [
        SourceClip(f"{name}/{k}", Path(f"{name}/{k}.wav"), name, "en", "hi", gender, corpus)
        for name, count in clips.items()
        for k in range(count)
    ]


def test_default_split_spreads_over_groups() -> None:
    clips = [
        *speakers_of("a", "f", {f"many-f{k}": 40 for k in range(12)}),
        *speakers_of("a", "m", {f"many-m{k}": 40 for k in range(12)}),
        *speakers_of("a", "m", {f"one{k}": 1 for k in range(40)}),
        *speakers_of("zh", "f", {"only": 400}),
    ]
    splits = assign_splits(clips, SplitRules())
    test = {clip.speaker for clip in clips if splits[clip.id] == "test"}
    kinds = Counter(name.rstrip("0123456789") for name in test)
    assert kinds == {"many-f": 3, "many-m": 3, "one": 2}
    assert all(splits[clip.id] == "test" for clip in clips if clip.speaker in test)
    valid = [clip for clip in clips if splits[clip.id] == "valid"]
    assert 0.01 < len(valid) / len(clips) < 0.05
    assert any(clip.speaker == "only" for clip in valid)
    assert not any(clip.speaker.startswith("one") for clip in valid)


def test_split_of_a_clip_does_not_depend_on_the_others() -> None:
    clips = speakers_of("a", "f", {"x": 200, "y": 200})
    rules = SplitRules(held_out_speakers="")
    whole = assign_splits(clips, rules)
    fewer = assign_splits(clips[::-1][:250], rules)
    assert all(whole[name] == split for name, split in fewer.items())


def test_named_speakers_are_held_out(tmp_path: Path) -> None:
    clips = speakers_of("a", "f", {"ann": 9, "annie": 9, "bob": 9})
    assert choose_speakers(clips, "ann") == {"ann"}
    assert choose_speakers(clips, "ann.*") == {"ann", "annie"}
    assert choose_speakers(clips, "") == set()
    file = tmp_path / "names.txt"
    file.write_text("bob\n\nann\n")
    assert choose_speakers(clips, str(file)) == {"ann", "bob"}
    file.write_text("zoe\n")
    with pytest.raises(ConfigError, match="zoe"):
        choose_speakers(clips, str(file))
    with pytest.raises(ConfigError, match="regular expression"):
        choose_speakers(clips, "(")


def test_real_recordings(shared_dir: Path, tmp_path: Path) -> None:
    """A few clips of each shared corpus pass, with plausible measures."""
    manifest = shared_dir / "corpus/speech/manifest.csv"
    with manifest.open(encoding="utf-8") as file:
        rows = list(csv.reader(file, delimiter="|", quoting=csv.QUOTE_NONE))
    some = [[str(manifest.parent / row[0]), *row[1:]] for row in rows[1::500]]
    lines = ["|".join(row) for row in [rows[0], *some]]
    (tmp_path / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    result = prepare_data(tmp_path, tmp_path / "out", QUICK)
    assert result.skipped == ()
    for i, clip in enumerate(result.store.clips):
        voiced = result.store.f0(i)
        voiced = voiced[voiced > 0]
        assert 60 < np.median(voiced) < 450
        assert clip.full_band == (clip.bandwidth_hz > 10_000)
        assert ClipRules().min_snr_db < clip.snr_db


def test_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    make_pairs(tmp_path / "data", 2)
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(DataError, match=r"cannot be written .*file.*room"):
            prepare_data(tmp_path / "data", out, QUICK)
