"""Stores of sounds: the samples are the files', nothing is decoded twice, damage is told."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from kouji.audio.features import mel_spectrogram
from kouji.audio.load import load_audio
from kouji.errors import DataError, UsageError
from kouji.train import sound_packing, sound_store
from kouji.train.sound_decoding import Wanted, sound_bounds
from kouji.train.sound_store import SoundClips, open_sounds, prepare_sounds

RATE = 8000
WANTED = Wanted(RATE)
HEARD = Wanted(RATE, {"n_fft": 256, "hop_length": 128, "num_mels": 20})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two classes of twenty clips, noise between silences."""
    for label in ("bell", "rain"):
        for number in range(20):
            path = tmp_path / "data" / label / f"{label}{number:02}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            rng = np.random.default_rng([number, len(label), ord(label[0])])
            noise = 0.02 * (number + 1) * rng.standard_normal(1000).clip(-1, 1)
            soundfile.write(path, np.pad(noise, (800, 1600)), RATE, subtype="PCM_16")
    return tmp_path / "data"


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the clips decoded from now on, in this process."""
    decoded: list[str] = []
    real = sound_packing.decode_part

    def count(part: sound_packing.Part) -> Path:
        decoded.extend(name for name, _, _ in part.clips)
        return real(part)

    monkeypatch.setattr(sound_packing, "decode_part", count)
    return decoded


def check_same_sound(clips: SoundClips) -> None:
    for index in range(len(clips)):
        sound = load_audio(clips.path(index), sample_rate=clips.sample_rate).samples
        assert clips.samples(index).dtype == np.float32
        assert np.abs(clips.samples(index) - sound).max() <= np.abs(sound).max() / 65000


def test_samples_are_those_of_the_files(data: Path, tmp_path: Path) -> None:
    clips = prepare_sounds(data, tmp_path / "store", WANTED, jobs=1)
    assert len(clips) == 40
    assert clips.labels == ("bell", "rain")
    check_same_sound(clips)
    assert [clips.label_id(index) for index in range(40)] == [0] * 20 + [1] * 20
    assert clips.seconds(0) == pytest.approx(0.425)
    assert clips.bounds(0) == (800, 1840)  # whole frames of 10 ms


def test_another_rate_resamples(data: Path, tmp_path: Path) -> None:
    clips = prepare_sounds(data, tmp_path / "store", Wanted(11025), jobs=1)
    check_same_sound(clips)


def test_processes_and_this_process_write_the_same(data: Path, tmp_path: Path) -> None:
    here = prepare_sounds(data, tmp_path / "one", HEARD, jobs=1)
    there = prepare_sounds(data, tmp_path / "two", HEARD, jobs=2)
    for index in range(len(here)):
        assert np.array_equal(here.stored(index), there.stored(index))
        assert np.array_equal(here.log_mel(index), there.log_mel(index))
    assert here.log_mel(0).shape == (3400 // 128 + 1, 20)


def test_a_folder_and_a_store_open_alike(data: Path, tmp_path: Path, home_dir: Path) -> None:
    prepare_sounds(data, tmp_path / "store", WANTED, jobs=1)
    from_folder, from_store = open_sounds(data, RATE, 1), open_sounds(tmp_path / "store", RATE)
    assert from_folder.set == from_store.set
    assert list((home_dir / "cache" / "sounds").iterdir())
    with pytest.raises(UsageError, match="8000 Hz, 16000 Hz wanted"):
        open_sounds(tmp_path / "store", 16000)


def test_a_store_needs_its_sources_no_more(data: Path, tmp_path: Path) -> None:
    before = prepare_sounds(data, tmp_path / "store", WANTED, jobs=1).samples(7)
    data.rename(tmp_path / "elsewhere")
    moved = (tmp_path / "store").rename(tmp_path / "moved")
    assert np.array_equal(open_sounds(moved, RATE).samples(7), before)


def test_only_what_changed_is_decoded_again(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare_sounds(data, tmp_path / "store", HEARD, jobs=1)
    decoded = count_decoded(monkeypatch)
    index = (tmp_path / "store" / "index.json").read_bytes()
    prepare_sounds(data, tmp_path / "store", HEARD, jobs=1)
    assert not decoded
    assert (tmp_path / "store" / "index.json").read_bytes() == index
    soundfile.write(data / "rain" / "rain03.wav", np.full(2000, 0.5), RATE)
    (data / "bell" / "bell05.wav").unlink()
    clips = prepare_sounds(data, tmp_path / "store", HEARD, jobs=1)
    assert decoded == ["rain/rain03.wav"]
    assert len(clips) == 39
    check_same_sound(clips)
    assert len(list((tmp_path / "store").glob("samples-*.bin"))) == 1


def test_a_stopped_run_goes_on(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_sounds(data, tmp_path / "store", WANTED, jobs=1, on_progress=stop)
    decoded = count_decoded(monkeypatch)
    clips = prepare_sounds(data, tmp_path / "store", WANTED, jobs=1)
    assert 0 < len(decoded) < 40
    check_same_sound(clips)
    assert not (tmp_path / "store" / "parts").exists()


def test_a_class_renamed_in_place_decodes_nothing(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ["path|label|fold"]
    rows += [f"{path.relative_to(data)}|a|1" for path in sorted(data.glob("bell/*"))]
    rows += [f"{path.relative_to(data)}|b|2" for path in sorted(data.glob("rain/*"))]
    (data / "manifest.csv").write_text("\n".join(rows), encoding="utf-8")
    prepare_sounds(data, tmp_path / "store", WANTED, jobs=1)
    (data / "manifest.csv").write_text("\n".join(rows).replace("|b|2", "|c|3"), encoding="utf-8")
    decoded = count_decoded(monkeypatch)
    clips = prepare_sounds(data, tmp_path / "store", WANTED, jobs=1)
    assert not decoded
    assert clips.labels == ("a", "c")
    assert open_sounds(tmp_path / "store", RATE).folds == ("1", "3")


def test_damaged_clips_are_told_and_left_out(data: Path, tmp_path: Path) -> None:
    whole = (data / "bell" / "bell00.wav").read_bytes()
    (data / "bell" / "bell00.wav").write_bytes(whole[:500])
    (data / "rain" / "rain00.wav").write_bytes(b"")
    clips = prepare_sounds(data, tmp_path / "store", WANTED, jobs=1)
    again = open_sounds(tmp_path / "store", RATE)
    for each in (clips, again):
        assert {fault.path.name for fault in each.set.faults} == {"bell00.wav", "rain00.wav"}
        assert len(each) == 38


def test_a_damaged_store_is_made_anew(data: Path, tmp_path: Path) -> None:
    prepare_sounds(data, tmp_path / "store", WANTED, jobs=1)
    file = next((tmp_path / "store").glob("samples-*.bin"))
    file.write_bytes(file.read_bytes()[:100])
    check_same_sound(prepare_sounds(data, tmp_path / "store", WANTED, jobs=1))
    (tmp_path / "store" / "index.json").write_text("{", encoding="utf-8")
    check_same_sound(prepare_sounds(data, tmp_path / "store", WANTED, jobs=1))


def test_mostly_damaged_writes_no_store(data: Path, tmp_path: Path) -> None:
    for path in list(data.rglob("*.wav"))[:21]:
        path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="21 of 40"):
        prepare_sounds(data, tmp_path / "store", WANTED, jobs=1)
    assert not (tmp_path / "store" / "index.json").exists()


def test_clips_travel_to_other_processes(data: Path, tmp_path: Path) -> None:
    clips = prepare_sounds(data, tmp_path / "store", WANTED, jobs=1)
    clips.samples(0)
    assert len(pickle.dumps(clips)) < 100_000
    assert np.array_equal(pickle.loads(pickle.dumps(clips)).samples(3), clips.samples(3))


def test_features_have_to_be_asked_for(data: Path, tmp_path: Path) -> None:
    clips = prepare_sounds(data, tmp_path / "store", WANTED, jobs=1)
    with pytest.raises(UsageError, match="--features"):
        clips.log_mel(0)
    heard = prepare_sounds(data, tmp_path / "store", HEARD, jobs=1)
    assert heard.log_mel(0).dtype == np.float16


def test_features_are_those_of_the_classifiers(data: Path, tmp_path: Path) -> None:
    clips = prepare_sounds(data, tmp_path / "store", HEARD, jobs=1)
    for index in (0, 25):
        sound = load_audio(clips.path(index), sample_rate=RATE).samples
        expected = mel_spectrogram(torch.from_numpy(sound)[None], HEARD.classifier().mel)[0].T
        assert np.abs(clips.log_mel(index) - expected.numpy()).max() < 0.02


def test_a_place_that_cannot_be_written_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        prepare_sounds(data, tmp_path / "file", WANTED, jobs=1)


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (np.zeros(1000), (0, 1000)),
        (np.ones(1000), (0, 1000)),
        (np.r_[np.zeros(160), np.ones(80), np.zeros(165)], (160, 240)),
        (np.r_[np.zeros(160), np.ones(85)], (160, 245)),
        (np.r_[np.full(160, 1e-3), np.ones(80)], (160, 240)),
    ],
)
def test_where_sound_is(samples: np.ndarray, expected: tuple[int, int]) -> None:
    assert sound_bounds(samples.astype(np.float32), RATE) == expected


def test_the_index_is_small_and_plain(data: Path, tmp_path: Path) -> None:
    prepare_sounds(data, tmp_path / "store", WANTED, jobs=1)
    index = json.loads((tmp_path / "store" / sound_store.INDEX).read_text("utf-8"))
    assert index["kind"] == "kouji sounds"
    assert index["sample_rate"] == RATE
