"""The audit file: a chain that shows what was changed, taken out or cut off."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kouji.errors import VoiceError
from kouji.voices import audit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home" / "audit.jsonl"


def fill(path: Path, count: int) -> list[str]:
    return [
        audit.append(path, "say", voice=f"hash-{index}", watermark=f"{index:08x}")
        for index in range(count)
    ]


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_lines_are_chained(path: Path) -> None:
    fill(path, 3)
    assert audit.verify(path) == 3
    lines = lines_of(path)
    for broken in (
        [lines[0], lines[2]],
        [lines[0], lines[1].replace("hash-1", "hash-9"), lines[2]],
        [lines[0], "{}"],
        [lines[0], "no json", lines[2]],
    ):
        path.write_text("\n".join(broken) + "\n", encoding="utf-8")
        with pytest.raises(VoiceError, match="line 2"):
            audit.verify(path)


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_lines_cut_off_at_the_end_are_missed(path: Path, kept: int) -> None:
    fill(path, 3)
    path.write_text("".join(f"{line}\n" for line in lines_of(path)[:kept]), encoding="utf-8")
    with pytest.raises(VoiceError, match=f"line {kept + 1} is missing"):
        audit.verify(path)
    with pytest.raises(VoiceError, match="missing"):
        audit.append(path, "say")  # nothing is built upon it


def test_an_end_that_was_written_anew_is_noticed(path: Path) -> None:
    hashes = fill(path, 3)
    head = audit.head_path(path).read_text(encoding="utf-8")
    path.write_text("".join(f"{line}\n" for line in lines_of(path)[:1]), encoding="utf-8")
    audit.head_path(path).unlink()
    fill(path, 3)  # somebody who can write both can do this
    assert audit.verify(path) == 4
    with pytest.raises(VoiceError, match="this hash"):
        audit.check(path, expected=hashes[2])  # but not to a hash that was noted elsewhere
    assert audit.check(path, expected=hashes[0]).count == 4
    audit.head_path(path).write_text(head, encoding="utf-8")
    with pytest.raises(VoiceError, match="line 3 or before"):
        audit.verify(path)


def test_a_damaged_last_line_is_not_built_upon(path: Path) -> None:
    fill(path, 1)
    path.write_text(path.read_text(encoding="utf-8")[:-20], encoding="utf-8")
    with pytest.raises(VoiceError, match="damaged"):
        audit.append(path, "say")


def test_a_line_that_was_never_finished_is_taken_out(path: Path) -> None:
    fill(path, 2)
    with path.open("a", encoding="utf-8") as file:
        file.write('{"time": "2026')  # the power went
    assert audit.verify(path) == 2
    audit.append(path, "say")
    assert audit.verify(path) == len(lines_of(path)) == 3


def test_a_crash_between_line_and_head_is_healed(path: Path) -> None:
    fill(path, 2)
    head = audit.head_path(path).read_text(encoding="utf-8")
    fill(path, 1)
    audit.head_path(path).write_text(head, encoding="utf-8")
    assert audit.verify(path) == 3
    fill(path, 1)
    assert json.loads(audit.head_path(path).read_text(encoding="utf-8"))["count"] == 4


def test_a_file_of_an_older_version_gets_its_head(path: Path) -> None:
    fill(path, 2)
    audit.head_path(path).unlink()
    assert audit.verify(path) == 2
    fill(path, 1)
    assert json.loads(audit.head_path(path).read_text(encoding="utf-8"))["count"] == 3


def test_a_full_disk_leaves_no_half_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path, 1)
    whole = path.read_bytes()
    write = os.write

    def half(descriptor: int, content: bytes) -> int:
        return write(descriptor, content[:10])

    monkeypatch.setattr("kouji.voices.lines.os.write", half)
    with pytest.raises(OSError, match="No space"):
        audit.append(path, "say")
    monkeypatch.undo()
    assert path.read_bytes() == whole
    fill(path, 1)
    assert audit.verify(path) == 2


WRITE = """
import sys
from pathlib import Path
from kouji.voices import audit
print("ready", flush=True)
sys.stdin.readline()
for _ in range(25):
    audit.append(Path(sys.argv[1]), "say", voice=sys.argv[2])
"""


def test_processes_that_write_at_once_keep_the_chain(path: Path) -> None:
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITE, str(path), name],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for name in "abc"
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=60)
        assert worker.returncode == 0
    assert audit.verify(path) == 75


def test_writing_reads_the_end_of_the_file_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, 2)
    monkeypatch.setattr(audit, "check", lambda *_: pytest.fail("the whole file was read"))
    fill(path, 3)


def test_lines_are_found_by_their_watermark(path: Path) -> None:
    fill(path, 3)
    assert [line["voice"] for line in audit.find(path, watermark="00000001")] == ["hash-1"]
    assert list(audit.find(path, watermark="ffffffff")) == []


def test_lines_hold_what_they_were_given(path: Path) -> None:
    audit.append(path, "say", voice="abc", watermark=7, consent="attest")
    line = json.loads(path.read_text(encoding="utf-8"))
    assert set(line) == {"time", "event", "voice", "watermark", "consent", "previous", "hash"}
