"""What a run tells the world: log.jsonl, TensorBoard, and a progress bar or plain lines.

`log.jsonl` has one JSON object per logged step and is what gets committed beside weights.
TensorBoard and rich are imported only when used; process 0 alone has a monitor that writes.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from kouji.train.settings import RunSettings


class Monitor:
    """Writes what it is given; silent when `is_active` is False (processes other than 0)."""

    def __init__(self, settings: RunSettings, *, is_active: bool = True) -> None:
        self.is_active, self._settings = is_active, settings
        self._folder = Path(settings.out)
        self._board: Any = None
        self._progress = _make_progress(settings) if is_active else _Silent()

    def begin(self, step: int) -> None:
        """Start (or go on) at `step`; log lines a crashed run wrote beyond it are dropped."""
        if self.is_active:
            _drop_after(self._folder / "log.jsonl", step)
        if self.is_active and self._settings.tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self._folder / "tensorboard"), purge_step=step or None)
        self._progress.begin(step)

    def say(self, message: str) -> None:
        """One line for people."""
        if self.is_active:
            self._progress.say(message)

    def tick(self, step: int, facts: dict[str, float] | None = None) -> None:
        """`step` steps are done; facts are shown when given."""
        self._progress.tick(step, facts)

    def scalars(self, step: int, values: dict[str, float], *, kind: str = "train") -> None:
        """Log numbers under `kind` ("train", "valid") to log.jsonl and TensorBoard."""
        if not self.is_active:
            return
        self._write({"step": step, "kind": kind, **{k: _short(v) for k, v in values.items()}})
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{kind}/{name}", value, step)

    def skipped(self, step: int, loss: float, clips: list[str]) -> None:
        """Note a step whose update was skipped, and the clips in it, in log.jsonl."""
        if self.is_active:
            self._write({"step": step, "kind": "skipped", "loss": _short(loss), "clips": clips})

    def _write(self, record: dict[str, Any]) -> None:
        with (self._folder / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def audio(self, name: str, samples: Tensor, sample_rate: int, step: int) -> None:
        """samples: (samples,) in [-1, 1]."""
        if self._board is not None:
            sound = samples.detach().float().cpu().clamp(-1, 1).reshape(1, -1)
            self._board.add_audio(name, sound, step, sample_rate)

    def mel(self, name: str, mel: Tensor, step: int) -> None:
        """mel: (mels, frames); low bands are drawn at the bottom."""
        self.picture(name, mel.detach().float().cpu().numpy()[::-1], step)

    def alignment(self, name: str, alignment: Tensor, step: int) -> None:
        """alignment: (tokens, frames), first token at the bottom."""
        self.picture(name, alignment.detach().float().cpu().numpy()[::-1], step)

    @property
    def has_board(self) -> bool:
        """Whether pictures are kept at all; drawing one may be dear."""
        return self._board is not None

    def picture(self, name: str, values: Any, step: int) -> None:
        """values: (rows, columns) of any range, drawn dark to bright; or (rows, columns, 3) RGB."""
        if self._board is None:
            return
        pixels = np.asarray(values)
        is_drawn = pixels.ndim == 3
        drawn = pixels.transpose(2, 0, 1) if is_drawn else colour(pixels.astype(np.float32))
        self._board.add_image(name, drawn, step)

    def close(self) -> None:
        """Flush and stop drawing."""
        self._progress.close()
        if self._board is not None:
            self._board.close()


# Corners of a dark-blue to yellow scale, evenly spaced, even in perceived brightness.
_SCALE = np.array([[20, 12, 60], [60, 50, 140], [30, 125, 140], [95, 190, 95], [250, 230, 60]])


def colour(values: np.ndarray[Any, np.dtype[np.float32]]) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """(rows, columns) float to (3, rows, columns) uint8; non-finite values become the darkest."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    unit = np.nan_to_num((values - low) / max(high - low, 1e-9), nan=0.0, posinf=1.0, neginf=0.0)
    corners = np.linspace(0.0, 1.0, len(_SCALE))
    channels = [np.interp(unit.clip(0, 1), corners, _SCALE[:, c]) for c in range(3)]
    return np.stack(channels).astype(np.uint8)


class _Silent:
    """The progress of a process nobody watches."""

    def begin(self, step: int) -> None: ...
    def say(self, message: str) -> None: ...
    def tick(self, step: int, facts: dict[str, float] | None) -> None: ...
    def close(self) -> None: ...


class _Lines(_Silent):
    """A line now and then, for log files and pipes."""

    def __init__(self, settings: RunSettings) -> None:
        self._steps, self._pause = settings.steps, settings.progress_seconds
        self._facts: dict[str, float] = {}

    def begin(self, step: int) -> None:
        self._start = self._last = time.monotonic()
        self._first = step

    def say(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    def tick(self, step: int, facts: dict[str, float] | None) -> None:
        self._facts = facts or self._facts
        now = time.monotonic()
        if now - self._last < self._pause:
            return
        self._last = now
        per_step = (now - self._start) / max(step - self._first, 1)
        left = time.strftime("%H:%M:%S", time.gmtime(per_step * (self._steps - step)))
        days = int(per_step * (self._steps - step) // 86400)
        eta = f"{days}d {left}" if days else left
        self.say(f"step {step}/{self._steps}  {_facts_text(self._facts)}  left {eta}")


class _Bar(_Silent):
    """A rich progress bar for a terminal."""

    def __init__(self, settings: RunSettings) -> None:
        from rich import progress
        from rich.console import Console

        columns = ("[progress.description]{task.description}", "{task.completed}/{task.total}")
        self._bar = progress.Progress(
            progress.TextColumn(columns[0]),
            progress.BarColumn(),
            progress.TextColumn(columns[1]),
            progress.TimeElapsedColumn(),
            progress.TimeRemainingColumn(),
            progress.TextColumn("{task.fields[facts]}"),
            console=Console(stderr=True),
            refresh_per_second=2,
        )
        self._task = self._bar.add_task("training", total=settings.steps, facts="")

    def begin(self, step: int) -> None:
        self._bar.update(self._task, completed=step)
        self._bar.start()

    def say(self, message: str) -> None:
        self._bar.console.print(message, markup=False, highlight=False)

    def tick(self, step: int, facts: dict[str, float] | None) -> None:
        if facts:
            self._bar.update(self._task, completed=step, facts=_facts_text(facts))
        else:
            self._bar.update(self._task, completed=step)

    def close(self) -> None:
        self._bar.stop()


def _make_progress(settings: RunSettings) -> _Silent:
    return _Bar(settings) if sys.stderr.isatty() else _Lines(settings)


def _facts_text(facts: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in facts.items())


def _short(value: float) -> float | str:
    """Seven digits are enough to read; JSON has no NaN, so such values are spelled out."""
    number = float(value)
    return float(f"{number:.9g}") if np.isfinite(number) else str(number)


def _drop_after(file: Path, step: int) -> None:
    if not file.exists():
        return
    kept = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError):
            continue  # a line cut short by a crash
    work = file.with_suffix(".tmp")
    work.write_text("".join(line + "\n" for line in kept), encoding="utf-8")
    work.rename(file)
