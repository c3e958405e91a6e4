"""A job from its file to its result: what is refused, what fails alone, what stands in the end."""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pytest
import soundfile
from toy_jobs import ToySpeakers, file_of

from kouji.api import TTS
from kouji.audio.labels import read_labels
from kouji.audio.loudness import PEAK_LIMIT, measure_loudness
from kouji.audio.watermark import detect
from kouji.config import Settings
from kouji.engine.engine import Engine
from kouji.engine.settings import EngineSettings
from kouji.errors import ConfigError, ConsentError, JobError, KoujiError, UsageError
from kouji.jobs import gather
from kouji.jobs.centre import JobCentre
from kouji.jobs.folder import JobFolder
from kouji.jobs.job import JobInfo, JobLine, JobOptions, JobState
from kouji.jobs.ledger import Ledger
from kouji.jobs.shift import BLOCK_LINES, Shift
from kouji.types import Audio
from kouji.voices import Voice

if TYPE_CHECKING:
    from kouji.models.mini.family import MiniFamily


def ended(centre: JobCentre, info: JobInfo) -> JobInfo:
    return centre.wait(info.id)


def manifest_of(centre: JobCentre, info: JobInfo) -> list[dict[str, Any]]:
    path = centre.result(info.id).manifest
    assert path is not None
    return [json.loads(row) for row in path.read_text("utf-8").splitlines()]


def heard(path: Path | None) -> Audio:
    assert path is not None
    samples, rate = soundfile.read(path, dtype="float32")
    return Audio(samples, rate)


def test_a_text_becomes_lines_joined_sound_subtitles_and_manifest(centre: JobCentre) -> None:
    text = "Hello there.\n你好，世界。\nThe last line is longer than the others are."
    info = ended(centre, centre.submit("a.txt", text.encode(), JobOptions(seed=3)))
    assert (info.state, info.num_done, info.num_failed) == (JobState.FINISHED, 3, 0)
    result, rows = centre.result(info.id), manifest_of(centre, info)
    assert [row["state"] for row in rows] == ["spoken"] * 3
    assert rows[0]["text_sha256"] == hashlib.sha256(b"Hello there.").hexdigest()
    assert (rows[0]["voice"], rows[0]["seed"]) == ("sample", 3)
    assert rows[0]["model"].startswith("mini@")
    whole = heard(result.joined)
    for row in rows:
        line = heard(result.folder / row["file"])
        assert line.duration == pytest.approx(row["duration"], abs=1e-3)
        start = round(row["start"] * whole.sample_rate)
        part = whole.samples[start : start + len(line.samples)]
        assert np.corrcoef(part, line.samples)[0, 1] > 0.999
        assert read_labels(result.folder / row["file"]).is_ai_generated
    assert whole.duration == pytest.approx(rows[-1]["start"] + rows[-1]["duration"], abs=1e-3)
    assert read_labels(result.joined or "").is_ai_generated
    assert set(result.subtitles) == {"srt", "vtt", "json"}
    words = json.loads(result.subtitles["json"].read_text("utf-8"))["words"]
    assert [word["text"] for word in words if word["start"] >= rows[2]["start"]][:2] == [
        "The",
        "last",
    ]


def test_lines_of_the_joined_file_are_equally_loud(centre: JobCentre) -> None:
    lines = [
        JobLine("a", "This is a line that is said very quietly.", style="quiet"),
        JobLine("b", "This is a line that is said very loudly.", style="loud"),
    ]
    info = ended(centre, centre.submit_lines("lines", lines))
    whole, rows = heard(centre.result(info.id).joined), manifest_of(centre, info)
    loudness = []
    for row in rows:
        start, end = (round(s * whole.sample_rate) for s in (row["start"], row["duration"]))
        loudness.append(
            measure_loudness(Audio(whole.samples[start : start + end], whole.sample_rate))
        )
    assert abs(loudness[0] - loudness[1]) < 1.0
    assert np.abs(whole.samples).max() <= PEAK_LIMIT + 1e-3


def test_the_sound_is_marked(centre: JobCentre) -> None:
    text = "This line is long enough that its watermark can be found again, by anybody. " * 2
    info = ended(centre, centre.submit("a.txt", text.encode()))
    result = centre.result(info.id)
    joined = detect(heard(result.joined))
    assert joined.found
    produced = read_labels(result.joined or "").aigc["ProduceID"]
    assert int(produced, 16) == joined.payload
    (line,) = (result.folder / row["file"] for row in manifest_of(centre, info))
    assert detect(heard(line)).payload == joined.payload


def test_the_manifest_holds_text_only_when_asked(centre: JobCentre) -> None:
    text = "A secret thing.\n[bad secret\n"
    info = ended(centre, centre.submit("a.txt", text.encode()))
    manifest = centre.result(info.id).manifest
    assert manifest is not None
    assert "secret" not in manifest.read_text("utf-8")
    asked = ended(centre, centre.submit("a.txt", text.encode(), JobOptions(with_text=True)))
    assert [row["text"] for row in manifest_of(centre, asked)] == text.splitlines()


def test_a_line_fails_alone(centre: JobCentre) -> None:
    lines = [
        JobLine("good", "This can be said."),
        JobLine("mark", "This [break cannot."),
        JobLine("silent", "***"),
        JobLine("style", "Said how?", style="xyzzy"),
        JobLine("last", "This can be said too."),
    ]
    info = ended(centre, centre.submit_lines("lines", lines))
    assert (info.state, info.num_done, info.num_failed) == (JobState.FINISHED_WITH_ERRORS, 2, 3)
    rows = {row["id"]: row for row in manifest_of(centre, info)}
    assert [rows[name]["error"] for name in ("good", "last")] == [None, None]
    assert "mark is never closed" in rows["mark"]["error"]
    assert all(rows[name]["state"] == "failed" for name in ("mark", "silent", "style"))
    assert len(list(centre.result(info.id).lines.iterdir())) == 2
    # Failed lines are tried again, and nothing else is.
    assert ended(centre, centre.resume(info.id)).num_failed == 3


def test_what_cannot_be_spoken_is_told_before_anything_is(
    centre: JobCentre, speakers: ToySpeakers
) -> None:
    content = "id,text,voice\n1,a,sample\n2,b,nobody\n3,c,someone\n"
    with pytest.raises(JobError, match=r"line 3: no such voice \(seen: nobody\); line 4"):
        centre.submit("a.csv", content.encode())
    for wrong, told in (
        (JobOptions(format="ogg"), "unknown audio format"),
        (JobOptions(subtitles=("ass",)), "unknown kind of subtitles"),
        (JobOptions(seed=-1), "seed out of range"),
        (JobOptions(language="xx"), "unknown language"),
        (JobOptions(lufs=1.0), "loudness out of range"),
    ):
        with pytest.raises(UsageError, match=told):
            centre.submit("a.txt", b"text", wrong)
    assert (centre.list(), speakers.asked) == ([], [])


def test_consent_that_is_revoked_meanwhile_fails_the_lines_that_are_left(
    centre: JobCentre, speakers: ToySpeakers, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = speakers.open

    def revoked(voice: str, model: str, owner: str) -> tuple[TTS, Voice]:
        if len(speakers.asked) >= 4:
            raise ConsentError("the consent was revoked", reason="revoked")
        return whole(voice, model, owner)

    monkeypatch.setattr(speakers, "open", revoked)
    info = ended(centre, centre.submit("lines.csv", file_of(9)))
    assert (info.state, info.num_done, info.num_failed) == (JobState.FINISHED_WITH_ERRORS, 4, 5)
    errors = [row["error"] for row in manifest_of(centre, info)]
    assert errors == [None] * 4 + ["the consent was revoked"] * 5


def test_a_busy_engine_is_waited_for(tiny_family: MiniFamily, home_dir: Path) -> None:
    settings = Settings(home=home_dir)
    small = EngineSettings(max_queue=1, max_requests=1, render_wait_ms=0.1)
    with Engine(small) as engine, TTS(tiny_family, settings, engine) as tts:
        with JobCentre(settings, ToySpeakers(tts, settings)) as centre:
            info = ended(centre, centre.submit("lines.csv", file_of(5)))
            assert (info.state, info.num_done) == (JobState.FINISHED, 5)
        assert engine.stats().ended["refused"] > 0


def test_owners_see_their_own_jobs_alone(centre: JobCentre) -> None:
    mine = centre.submit("a.txt", b"One.", owner="ann")
    operators = centre.submit("a.txt", b"One.")
    assert mine.id != operators.id
    assert {info.id for info in centre.list()} == {mine.id, operators.id}
    assert [info.id for info in centre.list("ann")] == [mine.id]
    assert centre.list("bob") == []
    for job in (mine, operators):
        with pytest.raises(JobError, match="no such job"):
            centre.get(job.id, "bob")
    ended(centre, mine)
    ended(centre, operators)


def test_events_tell_every_step_to_the_end(centre: JobCentre) -> None:
    info = centre.submit("lines.csv", file_of(6))

    async def watch() -> list[JobInfo]:
        return [one async for one in centre.watch(info.id)]

    seen, watched = list(centre.events(info.id)), asyncio.run(watch())
    assert seen[-1] == watched[-1]
    assert seen[-1].state is JobState.FINISHED
    done = [one.num_done for one in seen]
    assert done == sorted(done)
    assert not any(one.state.is_over for one in seen[:-1])


def test_a_paused_job_goes_on_where_it_was(centre: JobCentre, speakers: ToySpeakers) -> None:
    info = centre.submit("lines.csv", file_of(20), is_begun=False)

    def pause_in_the_midst() -> None:
        if len(speakers.asked) == 5:
            centre.pause(info.id)

    speakers.on_line = pause_in_the_midst
    centre.resume(info.id)
    paused = ended(centre, info)
    assert paused.state is JobState.PAUSED
    assert 0 < paused.num_done < 20
    again = centre.submit("lines.csv", file_of(20))  # the same file is the same job
    assert again.id == info.id
    assert ended(centre, again).num_done == 20
    assert len(speakers.asked) <= 20 + 3
    with pytest.raises(JobError, match="is finished"):
        centre.resume(info.id)
    assert centre.submit("lines.csv", file_of(20), is_begun=False).id != info.id


def test_an_unwritable_folder_pauses_it(centre: JobCentre, tmp_path: Path) -> None:
    out = tmp_path / "out"
    info = centre.submit("lines.csv", file_of(3), JobOptions(out=out), is_begun=False)
    (out / "lines").rmdir()
    (out / "lines").write_text("in the way")
    stopped = ended(centre, centre.resume(info.id))
    assert stopped.state is JobState.PAUSED
    assert stopped.error is not None
    assert str(out / "lines") in stopped.error
    (out / "lines").unlink()
    assert ended(centre, centre.resume(info.id)).state is JobState.FINISHED


def test_sound_that_was_removed_is_spoken_again(centre: JobCentre, speakers: ToySpeakers) -> None:
    info = centre.submit("lines.csv", file_of(20), is_begun=False)

    def pause_in_the_first_block() -> None:
        if len(speakers.asked) == 3:
            centre.pause(info.id)

    speakers.on_line = pause_in_the_first_block
    assert 0 < ended(centre, centre.resume(info.id)).num_done < BLOCK_LINES
    first = sorted(centre.result(info.id).lines.iterdir())[0]
    content = first.read_bytes()
    first.write_bytes(content[:100])
    assert ended(centre, centre.resume(info.id)).state is JobState.FINISHED
    assert first.read_bytes() == content


def test_sound_of_a_block_that_was_done_is_spoken_again(
    centre: JobCentre, speakers: ToySpeakers
) -> None:
    info = centre.submit("lines.csv", file_of(20), is_begun=False)

    def pause_in_the_second_block() -> None:
        if len(speakers.asked) == BLOCK_LINES + 2:
            centre.pause(info.id)

    speakers.on_line = pause_in_the_second_block
    assert BLOCK_LINES < ended(centre, centre.resume(info.id)).num_done < 20
    first = sorted(centre.result(info.id).lines.iterdir())[0]
    content = first.read_bytes()
    first.unlink()
    assert ended(centre, centre.resume(info.id)).state is JobState.FINISHED
    assert first.read_bytes() == content


def test_a_job_resumed_between_its_last_look_and_its_end_goes_on(
    centre: JobCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run has seen that it is to pause; before it says that it has, somebody resumes it."""
    told: list[str] = []

    def wanted(self: Ledger, job_id: str) -> str:
        told.append(real(self, job_id))
        if told[-1] == "pause":
            centre.resume(job_id)
        return told[-1]

    real = Ledger.wanted
    monkeypatch.setattr(Ledger, "wanted", wanted)
    info = centre.submit("lines.csv", file_of(12))
    centre.pause(info.id)
    last = ended(centre, info)
    assert (last.state, last.error, last.num_done) == (JobState.FINISHED, None, 12)
    assert "pause" in told


def test_a_job_resumed_while_its_last_run_leaves_goes_on(
    centre: JobCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is written down as paused, but the run still holds the lock."""
    asked, leave, lock = threading.Event(), Shift.leave, JobFolder.lock

    def leave_late(self: Shift, job_id: str, error: Exception | None) -> None:
        assert asked.wait(60), "nobody asked for the lock"
        leave(self, job_id, error)

    def lock_told(self: JobFolder) -> BinaryIO | None:
        held = lock(self)
        if held is None:
            asked.set()
        return held

    monkeypatch.setattr(Shift, "leave", leave_late)
    info = centre.submit("lines.csv", file_of(12))
    centre.pause(info.id)
    assert ended(centre, info).state is JobState.PAUSED
    asked.clear()
    monkeypatch.setattr(JobFolder, "lock", lock_told)
    assert centre.resume(info.id).state is not JobState.PAUSED
    assert ended(centre, info).state is JobState.FINISHED


def test_more_than_a_wav_holds_is_joined_as_flac(
    centre: JobCentre, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather, "MAX_WAV_SAMPLES", 24_000)
    info = ended(centre, centre.submit("a.txt", b"One line is here.\nTwo lines are there."))
    assert (info.state, info.error) == (JobState.FINISHED, None)
    result = centre.result(info.id)
    assert result.joined is not None
    assert result.joined.name == "joined.flac"
    assert heard(result.joined).duration > 1
    assert read_labels(result.joined).is_ai_generated
    assert sorted(path.suffix for path in result.lines.iterdir()) == [".wav", ".wav"]


def test_a_folder_with_other_things_in_it_is_refused(centre: JobCentre, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep me")
    with pytest.raises(JobError, match="not empty"):
        centre.submit("a.txt", b"One.", JobOptions(out=tmp_path / "out"))
    assert centre.list() == []


def test_a_removed_job_leaves_nothing(centre: JobCentre, speakers: ToySpeakers) -> None:
    info = ended(centre, centre.submit("a.txt", b"One."))
    centre.remove(info.id)
    assert not info.folder.exists()
    with pytest.raises(JobError, match="no such job"):
        centre.get(info.id)


def test_names_of_lines_never_leave_the_folder(centre: JobCentre) -> None:
    lines = [JobLine("../../etc/x", "One."), JobLine("a/b\\c:行", "Two."), JobLine("行", "Three.")]
    info = ended(centre, centre.submit_lines("../../up", lines))
    files = sorted(path.name for path in centre.result(info.id).lines.iterdir())
    assert files == ["000001-etc-x.wav", "000002-a-b-c.wav", "000003.wav"]
    assert info.name == "up"


def test_cues_are_fitted_into_their_slots(centre: JobCentre) -> None:
    text = """1
00:00:02,000 --> 00:00:06,000
A short cue.

2
00:00:06,500 --> 00:00:08,900
This one has a bit more to say.

3
00:00:09,500 --> 00:00:09,900
This one cannot be said in so short a time, whatever is done about it.

4
00:00:10,000 --> 00:00:12,000
It sounds while another does.
"""
    info = ended(centre, centre.submit("a.srt", text.encode()))
    assert (info.state, info.is_timed) == (JobState.FINISHED, True)
    rows, whole = manifest_of(centre, info), heard(centre.result(info.id).joined)
    assert [row["start"] for row in rows] == [2.0, 6.5, 9.5, 10.0]
    assert (rows[0]["speech_rate"], rows[0]["warnings"]) == (1.0, [])
    assert 1.0 < rows[1]["speech_rate"] <= 1.6
    assert rows[1]["duration"] <= 2.4
    assert rows[2]["speech_rate"] == 1.6
    assert "longer than its slot" in rows[2]["warnings"][-1]
    rate = whole.sample_rate
    assert not whole.samples[: 2 * rate].any()
    assert np.abs(whole.samples).max() <= PEAK_LIMIT + 1e-3
    line = heard(centre.result(info.id).folder / rows[0]["file"])
    part = whole.samples[2 * rate : 2 * rate + len(line.samples)]
    assert np.corrcoef(part, line.samples)[0, 1] > 0.999


def test_only_centres_with_speakers_run_jobs(speakers: ToySpeakers) -> None:
    with JobCentre(speakers.settings, speakers) as centre:
        info = centre.submit("a.txt", b"One.", is_begun=False)
        with JobCentre(speakers.settings) as looking:
            assert looking.get(info.id).state is JobState.INTERRUPTED
            with pytest.raises(JobError, match="nobody in this process"):
                looking.resume(info.id)
            assert looking.cancel(info.id).state is JobState.CANCELLED
            with pytest.raises(JobError, match="this job is over"):
                looking.pause(info.id)


def test_a_wrong_database_is_told_without_its_password(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, jobs_database="mysql://me:secret@host/x")
    with pytest.raises(ConfigError, match="mysql") as caught:
        JobCentre(settings)
    nowhere = replace(settings, jobs_database="postgresql://me:secret@127.0.0.1:1/x")
    with pytest.raises(KoujiError, match="cannot be used") as other:
        JobCentre(nowhere)
    assert "secret" not in str(caught.value) + str(other.value)


def test_the_audible_notice_is_at_the_beginning_of_the_work_alone(
    tiny_family: MiniFamily, home_dir: Path
) -> None:
    settings = Settings(home=home_dir, disclosure="start", notice="morse")
    lines = [JobLine("bad", "[bad"), JobLine("b", "Same words."), JobLine("c", "Same words.")]
    with (
        TTS(tiny_family, settings) as tts,
        JobCentre(settings, ToySpeakers(tts, settings)) as centre,
    ):
        info = ended(centre, centre.submit_lines("lines", lines))
        rows = manifest_of(centre, info)
    assert [row["state"] for row in rows] == ["failed", "spoken", "spoken"]
    assert rows[1]["duration"] > rows[2]["duration"] + 0.5
