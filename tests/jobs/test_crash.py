"""Real processes killed with SIGKILL, and several at one job: nothing lost, nothing twice."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from toy_jobs import ToySpeakers, file_of, start

from kouji.config import Settings
from kouji.jobs.centre import JobCentre
from kouji.jobs.job import JobOptions, JobState
from kouji.jobs.runner import AT_ONCE

NUM_LINES = 24
NUM_KILLED = 14  # of the job that is killed: two blocks


def files_of(folder: Path) -> dict[str, bytes]:
    """Every file of a result by its name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".kouji-job"
    }


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest) -> str:
    if request.param == "sqlite":
        return ""
    address: str = request.getfixturevalue("postgres")
    return address


def test_killed_at_any_moment_it_ends_as_if_nothing_had_been(
    database: str, centre: JobCentre, tmp_path: Path
) -> None:
    chance, home = random.Random(), tmp_path / "killed"
    content, num_begun, num_kills = file_of(NUM_KILLED), 0, 0
    format = "flac" if database else "opus"
    whole = centre.submit("lines.csv", content, JobOptions(format=format))
    assert centre.wait(whole.id).state is JobState.FINISHED
    unbroken = files_of(centre.result(whole.id).folder)
    for _ in range(2):
        run = start(home, content, format=format, database=database)
        wanted = chance.randint(1, NUM_KILLED // 3)
        num_begun += run.lines(wanted)
        run.kill()
        num_kills += 1
        with JobCentre(Settings(home=home, jobs_database=database)) as looking:
            (info,) = [one for one in looking.list() if one.folder.is_relative_to(home)]
            assert info.state is JobState.INTERRUPTED
    last = start(home, content, format=format, database=database).end()
    assert last[-1] == "finished: None"
    # A line is begun again only if it was under way when the process died.
    num_begun += last.count("line")
    assert num_begun <= NUM_KILLED + num_kills * (AT_ONCE + 1) * 2
    result = files_of(home / "jobs" / info.id / "result")
    assert result == unbroken
    manifest = [json.loads(row) for row in result["manifest.jsonl"].decode().splitlines()]
    assert [row["id"] for row in manifest] == [f"l{number}" for number in range(NUM_KILLED)]


def test_two_processes_at_one_job_speak_each_line_once(tmp_path: Path) -> None:
    runs = [start(tmp_path, file_of(12)) for _ in range(2)]
    told = [run.end() for run in runs]
    assert [lines[-1] for lines in told] == ["finished: None"] * 2
    assert sum(lines.count("line") for lines in told) == 12
    with JobCentre(Settings(home=tmp_path)) as looking:
        assert len(looking.list()) == 1


@pytest.mark.parametrize(
    ("order", "state"), [("pause", JobState.PAUSED), ("cancel", JobState.CANCELLED)]
)
def test_another_process_may_stop_it(speakers: ToySpeakers, order: str, state: JobState) -> None:
    home = speakers.settings.home
    run = start(home, file_of(NUM_LINES))
    run.lines(5)
    with JobCentre(speakers.settings, speakers) as centre:
        (info,) = centre.list()
        getattr(centre, order)(info.id)
        assert run.end()[-1] == f"{state.value}: None"
        stopped = centre.get(info.id)
        assert stopped.state is state
        assert 0 < stopped.num_done < NUM_LINES
        manifest = centre.result(info.id).manifest
        assert manifest is not None
        states = [json.loads(row)["state"] for row in manifest.read_text().splitlines()]
        assert states.count("spoken") == stopped.num_done
        assert states.count("waiting") == NUM_LINES - stopped.num_done
        centre.resume(info.id)
        ended = centre.wait(info.id)
        assert (ended.state, ended.num_done) == (JobState.FINISHED, NUM_LINES)
        assert len(speakers.asked) == NUM_LINES - stopped.num_done


def test_a_process_that_is_closed_leaves_the_job_to_the_next(speakers: ToySpeakers) -> None:
    with JobCentre(speakers.settings, speakers) as centre:
        info = centre.submit("lines.csv", file_of(NUM_LINES))
        next(one for one in centre.events(info.id) if one.state is JobState.RUNNING)
    with JobCentre(speakers.settings, speakers) as centre:
        assert centre.get(info.id).state is JobState.INTERRUPTED
        assert [one.id for one in centre.continue_all()] == [info.id]
        assert centre.wait(info.id).state is JobState.FINISHED
        assert len(speakers.asked) <= NUM_LINES + AT_ONCE


def test_a_full_disk_pauses_it(speakers: ToySpeakers) -> None:
    """A limit on the size of files stands in for the disk: writing fails the same way."""
    long = "\n".join(["id,text", "a,Short.", "b," + "A word more. " * 40, "c,Short too."])
    run = start(speakers.settings.home, long.encode(), file_limit=700_000)
    told = run.end()[-1]
    assert told.startswith("paused: cannot write to"), told
    assert "resume the job" in told
    with JobCentre(speakers.settings, speakers) as centre:
        (info,) = centre.list()
        assert (info.state, info.num_done) == (JobState.PAUSED, 1)
        assert sorted(path.name for path in (info.folder / "lines").iterdir()) == ["000001-a.wav"]
        centre.resume(info.id)
        assert centre.wait(info.id).state is JobState.FINISHED
