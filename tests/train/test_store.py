"""The packed store: what is written is read, by memory map, whatever is asked in which order."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from kouji.errors import DataError
from kouji.train.pack import pack
from kouji.train.records import Array, Clip, standard_arrays
from kouji.train.store import Store, StoreWriter, add_array

NUM_MELS = 8
HOP = 480


def make_clip(number: int, rng: np.random.Generator) -> tuple[Clip, dict[str, Array]]:
    frames, phones = 10 + 7 * number, 3 + number
    clip = Clip(
        id=f"c{number}", path=f"/data/c{number}.wav", speaker=f"s{number % 2}", language="en",
        gender="f" if number % 2 else "m", corpus="tiny", text=f"text 文 {number}",
        split="test" if number % 2 else "train", seconds=frames / 50, num_frames=frames,
        num_samples=frames * HOP, num_phones=phones, level_dbfs=-20.0, snr_db=30.0,
        bandwidth_hz=8000.0, full_band=False,
    )  # fmt: skip
    return clip, {
        "mel": rng.uniform(-11, 2, (frames, NUM_MELS)).astype(np.float16),
        "f0": rng.uniform(0, 400, frames).astype(np.float32),
        "energy": rng.uniform(-90, 0, frames).astype(np.float16),
        "wave": rng.integers(-32768, 32767, frames * HOP).astype(np.int16),
        "phones": rng.integers(0, 90, phones).astype(np.int16),
        "tones": rng.integers(0, 9, phones).astype(np.int8),
        "words": rng.integers(-1, 9, phones).astype(np.int16),
        "boundary": rng.integers(0, 4, phones).astype(np.uint8),
    }


Made = list[tuple[Clip, dict[str, Array]]]


def write(path: Path, made: Made, tag: str = "t") -> Store:
    writer = StoreWriter(path, standard_arrays(NUM_MELS), tag=tag)
    for clip, arrays in made:
        writer.add(clip, arrays)
    return writer.finish(mel={"num_mels": NUM_MELS}, sample_rate=24000, hop_length=HOP)


@pytest.fixture
def made() -> Made:
    rng = np.random.default_rng(3)
    return [make_clip(number, rng) for number in range(6)]


def test_random_access_equals_what_was_written(tmp_path: Path, made: Made) -> None:
    write(tmp_path, made)
    store = Store(tmp_path)
    assert len(store) == len(made)
    for i in (4, 0, 5, 2, 2, 1, 3):
        clip, arrays = made[i]
        assert store.clip(i) == clip
        for name, expected in arrays.items():
            got = store.array(name, i)
            assert got.dtype == expected.dtype
            np.testing.assert_array_equal(got, expected)
        np.testing.assert_array_equal(store.mel(i), arrays["mel"])
        np.testing.assert_array_equal(store.f0(i), arrays["f0"])
        np.testing.assert_array_equal(store.energy(i), arrays["energy"])
        np.testing.assert_array_equal(store.phones(i), arrays["phones"])
        np.testing.assert_array_equal(store.tones(i), arrays["tones"])
        np.testing.assert_array_equal(store.words(i), arrays["words"])
        np.testing.assert_array_equal(store.boundary(i), arrays["boundary"])


def test_views_are_read_only_memory_maps_and_copies_are_writable(
    tmp_path: Path, made: Made
) -> None:
    store = write(tmp_path, made)
    for name in store.arrays:
        view = store.view(name)
        assert isinstance(view, np.memmap)
        assert not view.flags.writeable
    mel = store.mel(1)
    assert mel.flags.writeable
    assert not isinstance(mel, np.memmap)


def test_wave_reads_a_stretch_within_the_clip(tmp_path: Path, made: Made) -> None:
    store = write(tmp_path, made)
    wave = made[2][1]["wave"]
    np.testing.assert_array_equal(store.wave(2), wave)
    np.testing.assert_array_equal(store.wave(2, 100, 50), wave[100:150])
    np.testing.assert_array_equal(store.wave(2, len(wave) - 5, 50), wave[-5:])
    assert len(store.wave(2, len(wave) + 5, 50)) == 0


def test_speakers_are_counted(tmp_path: Path, made: Made) -> None:
    first, second = write(tmp_path, made).speakers
    assert (first.name, first.gender, first.num_clips, first.held_out) == ("s0", "m", 3, False)
    assert (second.name, second.languages, second.held_out) == ("s1", ("en",), True)
    assert first.seconds == pytest.approx(sum(c.seconds for c, _ in made[::2]))


def test_subset_of_subset_and_pickling(tmp_path: Path, made: Made) -> None:
    store = write(tmp_path, made)
    add_array(tmp_path, "durations", [np.full(i, i, np.int32) for i in range(6)])
    test = store.subset(lambda clip: clip.split == "test")
    assert [clip.id for clip in test.clips] == ["c1", "c3", "c5"]
    late = test.subset(lambda clip: clip.num_frames > 20)
    copy = pickle.loads(pickle.dumps(late))
    for view in (late, copy):
        assert [clip.id for clip in view.clips] == ["c3", "c5"]
        np.testing.assert_array_equal(view.mel(0), made[3][1]["mel"])
        np.testing.assert_array_equal(view.array("durations", 1), np.full(5, 5))
    assert len(pickle.dumps(late)) < 20_000, "memory maps must not travel to workers"
    np.testing.assert_array_equal(store.select([4, 0]).f0(0), made[4][1]["f0"])


def test_added_arrays_may_be_empty_wide_and_replaced(tmp_path: Path, made: Made) -> None:
    store = write(tmp_path, made)
    entries = [np.zeros((0, 2), np.int16) if i == 0 else np.full((i, 2), i, np.int16)
               for i in range(6)]  # fmt: skip
    add_array(tmp_path, "spans", entries)
    for i, entry in enumerate(entries):
        np.testing.assert_array_equal(store.array("spans", i), entry)
    assert "spans" in store.arrays
    add_array(tmp_path, "spans", [entry.astype(np.float32) + 1 for entry in entries])
    assert Store(tmp_path).array("spans", 2).dtype == np.float32
    assert len(list(tmp_path.glob("spans.*.extra"))) == 1


@pytest.mark.parametrize(
    ("name", "entries", "message"),
    [
        ("mel", [np.zeros(1)] * 6, "name of its own"),
        ("a/b", [np.zeros(1)] * 6, "name of its own"),
        ("few", [np.zeros(1)] * 5, "one entry per clip"),
        ("mixed", [np.zeros(1), np.zeros(1, np.int8)] * 3, "changes its type"),
    ],
)
def test_wrong_added_arrays_leave_the_store_as_it_was(
    tmp_path: Path, made: Made, name: str, entries: list[Array], message: str
) -> None:
    store = write(tmp_path, made)
    before = sorted(file.name for file in tmp_path.iterdir())
    with pytest.raises(DataError, match=message):
        add_array(tmp_path, name, entries)
    assert store.arrays == Store(tmp_path).arrays
    assert sorted(file.name for file in tmp_path.iterdir()) == before


def test_unknown_array_names_the_known(tmp_path: Path, made: Made) -> None:
    with pytest.raises(DataError, match="mel"):
        write(tmp_path, made).array("nothing", 0)


def test_rewriting_drops_old_files_and_added_arrays(tmp_path: Path, made: Made) -> None:
    write(tmp_path, made, tag="old")
    add_array(tmp_path, "durations", [np.zeros(1)] * 6)
    store = write(tmp_path, made[:2], tag="new")
    assert len(store) == 2
    assert "durations" not in store.arrays
    assert not list(tmp_path.glob("*.old.bin"))
    assert not list(tmp_path.glob("*.extra"))


def test_unfinished_and_damaged_stores_are_refused(tmp_path: Path, made: Made) -> None:
    with pytest.raises(DataError, match="no prepared store"):
        Store(tmp_path)
    with StoreWriter(tmp_path, standard_arrays(NUM_MELS), tag="t") as writer:
        writer.add(*made[0])
    with pytest.raises(DataError, match="no prepared store"):
        Store(tmp_path)
    write(tmp_path, made)
    with (tmp_path / "mel.t.bin").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(DataError, match="does not fit"):
        Store(tmp_path).mel(0)
    index = json.loads((tmp_path / "index.json").read_text())
    (tmp_path / "index.json").write_text(json.dumps({**index, "version": 99}))
    with pytest.raises(DataError, match="another version"):
        Store(tmp_path)
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read"):
        Store(tmp_path)


def test_pack_keeps_fields_and_subset(tmp_path: Path, made: Made) -> None:
    store = write(tmp_path / "full", made)
    add_array(tmp_path / "full", "durations", [np.full(i, i, np.int32) for i in range(6)])
    train = store.subset(lambda clip: clip.split == "train")
    lean = pack(train, tmp_path / "lean", fields=["mel", "phones", "durations"])
    assert [clip.id for clip in lean.clips] == ["c0", "c2", "c4"]
    np.testing.assert_array_equal(lean.mel(1), made[2][1]["mel"])
    np.testing.assert_array_equal(lean.array("durations", 2), np.full(4, 4))
    assert set(lean.arrays) == {"mel", "phones", "durations"}
    with pytest.raises(DataError, match="no such array"):
        pack(store, tmp_path / "x", fields=["nothing"])


def test_pack_within_a_limit_keeps_every_speaker(tmp_path: Path, made: Made) -> None:
    store = write(tmp_path / "full", made)
    limit = store.view("mel").nbytes // 2
    lean = pack(store, tmp_path / "lean", fields=["mel"], limit_bytes=limit)
    assert 0 < lean.view("mel").nbytes <= limit
    assert {clip.speaker for clip in lean.clips} == {"s0", "s1"}
    with pytest.raises(DataError, match="not one clip fits"):
        pack(store, tmp_path / "none", fields=["mel"], limit_bytes=10)


def test_pack_in_eight_bits_is_close(tmp_path: Path, made: Made) -> None:
    store = write(tmp_path / "full", made)
    lean = pack(store, tmp_path / "lean", fields=["mel"], quantise=["mel"])
    assert lean.view("mel").nbytes * 2 == store.view("mel").nbytes
    assert lean.mel(3).dtype == np.float16
    step = 13 / 255
    np.testing.assert_allclose(lean.mel(3), made[3][1]["mel"], atol=step / 2 + 0.01)
