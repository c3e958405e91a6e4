"""Training runs: which there are, what they have logged, starting one and stopping it.

A run is a folder under `KOUJI_HOME/runs`: the command's own files, `command.json` and
`output.txt`. It is a process of its own, goes on when the server ends, and is recognised again
by its number and start time. Folders under `./runs` with a log are shown, never touched.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kouji.config import Settings
from kouji.errors import UsageError

COMMANDS = ("prepare", "align", "train")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,59}")
_TAIL_BYTES = 8000
_MOST_POINTS = 1000  # of a curve; more would not be seen
_LOG, _OUTPUT, _COMMAND = "log.jsonl", "output.txt", "command.json"


@dataclass(frozen=True)
class Started:
    """What `command.json` holds.

    arguments: after `kouji`
    ticks:     the process' start time as the system counts it; a number is used again, with
               another start time
    """

    arguments: tuple[str, ...]
    pid: int
    ticks: str
    time: str


@dataclass(frozen=True)
class RunInfo:
    """A run as a list shows it.

    state: running, ended, or found (not started here)
    """

    name: str
    command: str
    state: str
    started: str
    has_log: bool


class Runs:
    """All runs of this machine's home; reads files, so call it in a thread."""

    def __init__(self, settings: Settings, working: Path | None = None) -> None:
        """working: where recipes and further runs may lie; None is the current folder"""
        self.folder = settings.home / "runs"
        self._working = working or Path()
        self._home = settings.home
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def all(self) -> list[RunInfo]:
        """All runs, the newest first."""
        found = [*_folders(self.folder), *_folders(self._working / "runs")]
        infos = {path.name: self._info(path) for path in reversed(found)}
        return sorted(infos.values(), key=lambda info: info.started, reverse=True)

    def recipes(self) -> list[Path]:
        """Recipes a run can be started with."""
        places = (self._home / "recipes", self._working / "recipes")
        return [path for place in places for path in sorted(place.glob("*.yaml"))]

    def start(self, name: str, arguments: Sequence[str]) -> RunInfo:
        """Begin `kouji ...` in a folder of its own.

        raises: UsageError for a name that is none or in use
        """
        folder = self.path(name)
        if self.is_running(name):
            raise UsageError("a run of this name is under way", seen=name, cure="stop it first")
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / _OUTPUT).open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "kouji", *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
        self._processes[name] = process
        now = datetime.now(UTC).isoformat(timespec="seconds")
        started = Started(tuple(arguments), process.pid, _ticks(process.pid), now)
        (folder / _COMMAND).write_text(json.dumps(asdict(started)), encoding="utf-8")
        return self._info(folder)

    def stop(self, name: str) -> None:
        """Ask a run to save and end; UsageError if it does not run."""
        started = self._started(self.path(name))
        if started is None or not self.is_running(name):
            raise UsageError("this run is not under way", seen=name)
        os.kill(started.pid, signal.SIGINT)

    def wait(self, name: str) -> None:
        """Until a run that was started here has ended."""
        process = self._processes.get(name)
        if process is not None:
            process.wait()

    def is_running(self, name: str) -> bool:
        """Whether the process we once started is still at work."""
        process = self._processes.get(name)
        if process is not None and process.poll() is not None:
            del self._processes[name]
            return False
        started = self._started(self.path(name))
        return started is not None and bool(started.ticks) and _ticks(started.pid) == started.ticks

    def path(self, name: str) -> Path:
        """The folder of a run; UsageError for what cannot be a name."""
        if not _NAME.fullmatch(name):
            allowed = "letters, digits, . - _, at most 60"
            raise UsageError("this is no name for a run", seen=name[:80], allowed=allowed)
        return self.folder / name

    def details(self, name: str) -> dict[str, Any]:
        """Curves and the last words of a run, as JSON values; UsageError if there is none."""
        folder = self.path(name)
        if not folder.is_dir():
            folder = self._working / "runs" / name
        if not folder.is_dir():
            raise UsageError("no such run", seen=name)
        info = asdict(self._info(folder))
        return {**info, "curves": read_curves(folder / _LOG), "output": _tail(folder / _OUTPUT)}

    def _info(self, folder: Path) -> RunInfo:
        started = self._started(folder)
        has_log = (folder / _LOG).is_file()
        if started is None:
            changed = datetime.fromtimestamp(folder.stat().st_mtime, UTC)
            return RunInfo(folder.name, "", "found", changed.isoformat(timespec="seconds"), has_log)
        state = "running" if self.is_running(folder.name) else "ended"
        return RunInfo(folder.name, started.arguments[0], state, started.time, has_log)

    def _started(self, folder: Path) -> Started | None:
        try:
            values = json.loads((folder / _COMMAND).read_text(encoding="utf-8"))
            return Started(tuple(values["arguments"]), int(values["pid"]), str(values["ticks"]),
                           str(values["time"]))  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError):
            return None


def read_curves(log: Path) -> dict[str, list[tuple[int, float]]]:
    """Losses by kind and name, as (step, value); thinned, the newest kept."""
    curves: dict[str, list[tuple[int, float]]] = {}
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            record = json.loads(line)
            step, kind = int(record["step"]), str(record["kind"])
        except (ValueError, KeyError, TypeError):
            continue  # the line being written just now
        for name, value in record.items():
            if "loss" in name and isinstance(value, int | float):
                curves.setdefault(f"{kind} {name}", []).append((step, float(value)))
    return {name: _thinned(points) for name, points in curves.items()}


def _thinned(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
    stride = -(-len(points) // _MOST_POINTS)
    return points[::-stride][::-1] if stride > 1 else points


def _folders(place: Path) -> list[Path]:
    try:
        entries = [path for path in place.iterdir() if path.is_dir()]
    except OSError:
        return []
    return [path for path in entries
            if (path / _COMMAND).is_file() or (path / _LOG).is_file()]  # fmt: skip


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            opened.seek(max(0, file.stat().st_size - _TAIL_BYTES))
            return opened.read().decode("utf-8", "replace")
    except OSError:
        return ""


def _ticks(pid: int) -> str:
    """When a living process began, "" for one that is gone (or a zombie)."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if values[0] == "Z" else values[19]
