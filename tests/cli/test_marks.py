"""`kouji watermark detect` and the function behind it: mark, labels and audit line of one sound."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from kouji.audio.encode import encode_bytes, save_audio
from kouji.audio.labels import label_tags
from kouji.audio.load import load_audio
from kouji.audio.watermark import embed
from kouji.cli import run
from kouji.errors import UnreadableAudio
from kouji.types import Audio
from kouji.voices import audit
from kouji.voices.inspection import inspect
from kouji.voices.sample import sample_path

Captured = pytest.CaptureFixture[str]
NUMBER = 0x1A2B3C4D


@pytest.fixture(scope="module")
def speech() -> Audio:
    return Audio(load_audio(sample_path(), sample_rate=24_000).samples[: 4 * 24_000], 24_000)


@pytest.fixture
def marked(speech: Audio, tmp_path: Path) -> Path:
    path = tmp_path / "marked.mp3"
    sound = Audio(embed(speech.samples, 24_000, NUMBER), 24_000)
    save_audio(sound, path, tags=label_tags(f"{NUMBER:08x}"))
    return path


def lines(capfd: Captured) -> list[dict[str, object]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


def test_a_marked_file(marked: Path, home_dir: Path, capfd: Captured) -> None:
    assert run(["watermark", "detect", str(marked), "--json"]) == 0
    (told,) = lines(capfd)
    assert told["file"] == str(marked)
    assert (told["found"], told["payload"], told["id"]) == (True, NUMBER, "1a2b3c4d")
    assert (told["labelled"], told["speed"]) == (True, 1.0)
    assert float(str(told["score"])) > 10
    assert "audit" not in told


def test_the_number_leads_to_the_audit_line(marked: Path, home_dir: Path, capfd: Captured) -> None:
    file = home_dir / "audit.jsonl"
    command = ["watermark", "detect", str(marked), "--audit"]
    assert run(command) == 0
    assert lines(capfd)[0]["audit"] == []  # no audit file yet
    audit.append(file, "speak", voice="one", watermark="00000001")
    audit.append(file, "speak", voice="two", watermark="1a2b3c4d")
    assert run(command) == 0
    (told,) = lines(capfd)
    (found,) = told["audit"]  # type: ignore[misc,attr-defined]
    assert (found["event"], found["voice"]) == ("speak", "two")


def test_several_files(marked: Path, tmp_path: Path, home_dir: Path, capfd: Captured) -> None:
    """One line each; the exit code says whether all are marked, a broken one hides no other."""
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"RIFF and nothing else")
    quick = ["watermark", "detect", "--own-speed"]
    assert run([*quick, str(marked), str(marked)]) == 0
    assert len(lines(capfd)) == 2
    assert run([*quick, str(broken), str(sample_path()), str(marked)]) == 1
    output = capfd.readouterr()
    assert [json.loads(line)["found"] for line in output.out.splitlines()] == [False, True]
    assert "broken.wav" in output.err
    assert run([*quick, str(marked), "missing.wav"]) == 2
    assert capfd.readouterr().out == ""


def test_bytes_as_a_server_gets_them(speech: Audio, tmp_path: Path) -> None:
    content = encode_bytes(speech, "wav")
    plain = inspect(content, tmp_path / "none.jsonl").as_dict()
    assert (plain["found"], plain["id"], plain["labelled"], plain["audit"]) == (
        False,
        None,
        False,
        [],
    )
    json.dumps(plain)
    faster = embed(speech.samples, 24_000, NUMBER)[np.arange(0, 90_000) * 51 // 50]
    slow = encode_bytes(Audio(faster, 24_000), "wav")
    assert inspect(slow).detection.speed == pytest.approx(1.02, abs=1e-3)
    with pytest.raises(UnreadableAudio):
        inspect(b"not a sound at all")
    with pytest.raises(Exception, match="long"):
        inspect(content, max_seconds=1.0)
