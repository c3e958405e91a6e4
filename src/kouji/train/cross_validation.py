"""Train a recipe once per fold and seed, each time with that fold held out, and sum it up.

Each fold is an ordinary run in a folder of its own, so one that was stopped goes on and one that
is done is not done again. The figures are those of the end of each run, never of its best
moment: that would choose by the clips it is measured on.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np

from kouji.errors import ConfigError, DataError, TrainingError
from kouji.train.clip_workers import check_jobs, run_parts, usable_cores
from kouji.train.confusion import Confusion

RESULT = "cross_validation.json"
_ALL_BATCHES = 1_000_000


@dataclass(frozen=True)
class FoldRun:
    """One run: what is held out, its seed, its folder, and the recipe's document for it."""

    fold: str
    seed: int
    folder: Path
    document: dict[str, Any]
    threads: int = 0

    @property
    def recipe_file(self) -> Path:
        """The document as the run took it; a finished run with another one is done again."""
        return self.folder / "recipe.json"


@dataclass(frozen=True)
class FoldFigures:
    """How one run ended."""

    fold: str
    seed: int
    folder: str
    status: str
    confusion: Confusion

    @property
    def accuracy(self) -> float:
        """Share of the held-out clips that were told right."""
        return self.confusion.accuracy


@dataclass(frozen=True)
class CrossValidation:
    """All runs; folds in their order within seeds in theirs."""

    runs: tuple[FoldFigures, ...]
    folder: Path

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds, as they were given."""
        return tuple(dict.fromkeys(run.seed for run in self.runs))

    @property
    def folds(self) -> tuple[str, ...]:
        """Folds, as they were given."""
        return tuple(dict.fromkeys(run.fold for run in self.runs))

    def of_seed(self, seed: int) -> float:
        """Mean accuracy over the folds of one seed, each fold counting the same."""
        return mean(run.accuracy for run in self.runs if run.seed == seed)

    @property
    def accuracy(self) -> float:
        """Mean over seeds of the mean over folds."""
        return mean(self.of_seed(seed) for seed in self.seeds)

    @property
    def deviation(self) -> float | None:
        """Standard deviation of those means over seeds; None with one seed."""
        values = [self.of_seed(seed) for seed in self.seeds]
        return stdev(values) if len(values) > 1 else None

    @property
    def confusion(self) -> Confusion:
        """Counts of all folds and seeds together."""
        total = self.runs[0].confusion
        for run in self.runs[1:]:
            total = total + run.confusion
        return total

    def table(self) -> str:
        """Lines for people: a row per fold, a column per seed, means and the pooled figures."""
        width = max(len("fold"), len("mean"), *(len(fold) for fold in self.folds))
        lines = [f"{'fold':<{width}}" + "".join(f"  seed {seed:>3}" for seed in self.seeds)]
        known = {(run.fold, run.seed): run.accuracy for run in self.runs}
        for fold in self.folds:
            cells = "".join(f"  {100 * known[fold, seed]:8.2f}" for seed in self.seeds)
            lines.append(f"{fold:<{width}}{cells}")
        cells = "".join(f"  {100 * self.of_seed(seed):8.2f}" for seed in self.seeds)
        lines.append(f"{'mean':<{width}}{cells}")
        spread = "" if self.deviation is None else f" ± {100 * self.deviation:.2f}"
        told = f"accuracy {100 * self.accuracy:.2f}{spread} %: mean over {len(self.folds)} folds"
        seeds = f", sd over {len(self.seeds)} seeds" if len(self.seeds) > 1 else ", one seed"
        return "\n".join([*lines, told + seeds])

    def as_dict(self) -> dict[str, Any]:
        """The JSON form."""
        return {
            "accuracy": round(self.accuracy, 6),
            "sd_over_seeds": None if self.deviation is None else round(self.deviation, 6),
            "seeds": {str(seed): round(self.of_seed(seed), 6) for seed in self.seeds},
            "runs": [
                {
                    "fold": run.fold,
                    "seed": run.seed,
                    "accuracy": round(run.accuracy, 6),
                    "macro_f1": round(run.confusion.macro_f1, 6),
                    "status": run.status,
                    "folder": run.folder,
                }
                for run in self.runs
            ],
            "pooled": self.confusion.as_dict(),
        }


def cross_validate(
    document: dict[str, Any],
    out: str | Path,
    *,
    folds: Sequence[str] | None = None,
    seeds: Sequence[int] = (0,),
    jobs: int = 1,
) -> CrossValidation:
    """Run a recipe for every fold and seed; call again to go on with what was stopped.

    document: of a recipe with a `data.folder`, as YAML gives it; `data.valid`, `run.out` and
              `run.seed` are set here
    folds:    those to hold out in turn; None: all there are
    jobs:     runs at a time, each in a process with its share of the cores
    raises:   ConfigError for a fold there is not, TrainingError when a run was interrupted
    """
    target = Path(out)
    runs = plan_runs(document, target, _known_folds(document, folds), seeds, check_jobs(jobs))
    missing = [run for run in runs if not _is_done(run)]
    for _, status in run_parts(run_fold, missing, jobs):
        if status in ("interrupted", "paused"):
            raise TrainingError(
                f"cross-validation was {status}", seen=target, cure="start it again to go on"
            )
    result = CrossValidation(tuple(_figures(run) for run in runs), target)
    temporary = target / f"{RESULT}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(result.as_dict(), indent=1, ensure_ascii=False), "utf-8")
    os.replace(temporary, target / RESULT)
    result.confusion.save_picture(target / "confusion.png")
    return result


def plan_runs(
    document: dict[str, Any], out: Path, folds: Sequence[str], seeds: Sequence[int], jobs: int
) -> list[FoldRun]:
    """The runs, seed by seed, so that the first seed is complete first."""
    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError("seeds are wrong", seen=list(seeds), allowed="one or more, each once")
    planned = []
    for seed in seeds:
        for fold in folds:
            own = copy.deepcopy(document)
            folder = out / f"fold-{_file_name(fold)}-seed-{seed}"
            own["data"] = {**(own.get("data") or {}), "valid": [fold]}
            own["run"] = {**(own.get("run") or {}), "seed": seed, "out": str(folder)}
            own["run"].setdefault("tensorboard", False)
            own["run"] |= _measured_at_end(own["run"])
            threads = max(1, usable_cores() // jobs) if jobs > 1 else 0
            planned.append(FoldRun(fold, seed, folder, own, threads))
    return planned


def _measured_at_end(run: dict[str, Any]) -> dict[str, Any]:
    """Settings by which the last evaluation is that of the last step, and hears every clip."""
    from kouji.train.settings import DEFAULT_STEPS

    asked = {"evaluate_batches": _ALL_BATCHES}
    if epochs := run.get("epochs"):
        most = run.get("evaluate_epochs") or epochs
        return asked | {"evaluate_epochs": _divisor(epochs, most)}
    steps = run.get("steps") or DEFAULT_STEPS
    every = run.get("evaluate_every") or steps
    return asked | {"evaluate_every": every if steps % every == 0 else steps}


def _divisor(number: int, most: int) -> int:
    """The largest divisor of `number` that is not above `most`."""
    return next(each for each in range(min(number, most), 0, -1) if number % each == 0)


def _file_name(fold: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "._-" else "_" for letter in fold)


def _known_folds(document: dict[str, Any], wanted: Sequence[str] | None) -> tuple[str, ...]:
    """The folds to hold out; looking for them also decodes the sounds, once for all runs."""
    recipe, _ = _parse(document)
    found: tuple[str, ...] = recipe.clips.folds
    if len(found) < 2:
        raise DataError("cross-validation needs two folds or more", seen=found)
    for fold in wanted or ():
        if fold not in found:
            raise ConfigError("there is no such fold", seen=fold, allowed=", ".join(found))
    return tuple(dict.fromkeys(wanted)) if wanted else found


def _parse(document: dict[str, Any]) -> Any:
    from kouji.train.recipes import parse_recipe

    return parse_recipe(document, "the recipe")


def run_fold(planned: FoldRun) -> str:
    """Train one fold to its end; returns the run's status. Called in a process of its own."""
    from dataclasses import replace

    from kouji.train.loop import run

    if planned.recipe_file.is_file() and _taken(planned) != planned.document:
        shutil.rmtree(planned.folder)  # what another recipe left there is not gone on with
    planned.folder.mkdir(parents=True, exist_ok=True)
    planned.recipe_file.write_text(json.dumps(planned.document, indent=1), encoding="utf-8")
    recipe, settings = _parse(planned.document)
    if planned.threads and not settings.threads:
        settings = replace(settings, threads=planned.threads)
    return run(recipe, settings, is_end_measured=True).status


def _taken(planned: FoldRun) -> Any:
    """The document the run in the folder took; None where there is none."""
    try:
        return json.loads(planned.recipe_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _is_done(planned: FoldRun) -> bool:
    """Whether the run ended, by the same recipe, and was measured at its end."""
    from kouji.train.loop import ENDED

    try:
        report = json.loads((planned.folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    step = report.get("step")
    is_measured = bool(report.get("classes")) and report.get("evaluated_step", step) == step
    return report.get("status") in ENDED and is_measured and _taken(planned) == planned.document


def _figures(planned: FoldRun) -> FoldFigures:
    file = planned.folder / "report.json"
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        classes = report["classes"]
        counts = np.asarray(classes["confusion"], np.int64)
        confusion = Confusion(classes["labels"], counts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(
            "a run left no figures",
            seen=file,
            cure="set run.evaluate_epochs or evaluate_every, and evaluate_batches to cover all",
        ) from error
    return FoldFigures(planned.fold, planned.seed, str(planned.folder), report["status"], confusion)
