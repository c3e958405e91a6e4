"""The report of a prepared store: figures that add up, and a picture that opens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kouji.text.phones import SYMBOL_IDS
from kouji.train.clip_features import Skipped
from kouji.train.records import Clip, standard_arrays
from kouji.train.report import write_report
from kouji.train.store import Store, StoreWriter

NAMES = ("AH", "AH", "N")


def small_store(path: Path) -> Store:
    writer = StoreWriter(path, standard_arrays(4), tag="t")
    for number in range(6):
        frames, phones = 50, len(NAMES)
        split = "test" if number % 3 else "train"
        clip = Clip(
            id=f"c{number}", path="x.wav", speaker=f"s{number % 3}", gender="f", corpus="tiny",
            language="zh" if number % 3 else "en", text="x", split=split,
            seconds=1.0, num_frames=frames, num_samples=frames * 480, num_phones=phones,
            level_dbfs=-20.0 - number, snr_db=30.0, bandwidth_hz=12000.0, full_band=True,
        )  # fmt: skip
        ids = np.array([SYMBOL_IDS[name] for name in NAMES])
        arrays = {
            name: np.zeros((clip.count(spec.axis), *([4] if spec.columns else [])))
            for name, spec in standard_arrays(4).items()
        }
        writer.add(clip, {**arrays, "phones": ids})
    return writer.finish(mel={}, sample_rate=24000, hop_length=480)


def test_report_adds_up_and_draws(tmp_path: Path) -> None:
    store = small_store(tmp_path)
    skipped = [Skipped("a", "a.wav", "silent", "-90 dBFS"), Skipped("b", "b.wav", "silent", "x")]
    path = write_report(tmp_path, store, skipped, layout="pairs", settings={"rules": {"x": 1}})
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["clips"] == 6
    assert report["hours"] == pytest.approx(6 / 3600, abs=1e-4)
    assert report["skipped_by_reason"] == {"silent": 2}
    assert report["skipped"][0] == {
        "id": "a", "path": "a.wav", "reason": "silent", "detail": "-90 dBFS",
    }  # fmt: skip
    assert report["by_language"]["zh"]["clips"] == 4
    assert report["by_split"]["test"]["speakers"] == 2
    assert report["held_out_speakers"] == ["s1", "s2"]
    assert report["phones"] == {"AH": 12, "N": 6}
    assert "zh" in report["phones_absent"]
    assert "AH" not in report["phones_absent"]
    assert report["summary"]["level_dbfs"]["min"] == -25.0
    assert [speaker["name"] for speaker in report["speakers"]] == ["s0", "s1", "s2"]
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_picture_has_ink(tmp_path: Path) -> None:
    from matplotlib.image import imread

    write_report(tmp_path, small_store(tmp_path), [], layout="pairs", settings={})
    pixels = imread(tmp_path / "report.png")
    assert min(pixels.shape[:2]) > 500
    assert pixels[..., :3].std() > 0.1
