"""`kouji classify`: train, evaluate and export classifiers of sounds; predicting has its module."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kouji.cli.boundary import say_to_user
from kouji.cli.classify_predict import (
    DeviceOption,
    PrecisionOption,
    ThreadsOption,
    open_classifier,
    predict,
)
from kouji.cli.classify_prepare import prepare_sounds
from kouji.errors import ModelError, UsageError

if TYPE_CHECKING:
    from kouji.evaluate.sounds import SoundScore

_SHOWN = 10  # clips named on the terminal; reports have them all
classify_app = typer.Typer(
    help="Tell sounds apart: dog or rain, or whatever classes you have recordings of.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
LayoutOption = Annotated[
    str | None, typer.Option(help="auto, urbansound8k, esc50, manifest or folders.")
]
SubsetOption = Annotated[
    str | None, typer.Option(help="Only clips below this folder, or ESC-50's esc10.")
]
GroupOption = Annotated[
    str | None, typer.Option(help="What is held out together: fold or speaker.")
]


def train(
    data: Annotated[Path, typer.Argument(help="Folder of labelled sounds, or a prepared store.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the run.")],
    architecture: Annotated[
        str | None, typer.Option(help="two-conv, resnet18, convnext or tdnn; resnet18 if not said.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Times through the data.")] = None,
    folds: Annotated[
        str | None,
        typer.Option(help="Held out: one (5), several in turn (1,2), all in turn, or none."),
    ] = None,
    seeds: Annotated[
        str | None, typer.Option(help="One, or several with commas: a run for each.")
    ] = None,
    layout: LayoutOption = None,
    subset: SubsetOption = None,
    group_by: GroupOption = None,
    recipe: Annotated[
        Path | None, typer.Option(help="A recipe to start from, such as recipes/classifier.yaml.")
    ] = None,
    init_from: Annotated[
        str | None, typer.Option(help="Start from a classifier, a run or a checkpoint.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="float32, bfloat16 or float16.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu, cuda or cuda:1.")] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Runs at a time, with several folds.")] = 1,
    set_values: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change a key: learning_rate=5e-4, model.window_seconds=1."),
    ] = None,
) -> None:
    """Train a classifier on labelled sounds, with one fold held out, or with each in its turn.

    The same as kouji train with a recipe of this data. Without --folds the last one is held out.
    """
    from kouji.cli import session
    from kouji.cli.teach import read_changes
    from kouji.train.classifier_document import make_document, read_base

    session.start()
    _check_group(group_by)
    wishes = _by_block(read_changes(set_values or []))
    named = _given(epochs=epochs, precision=precision, device=device, init_from=init_from)
    document = make_document(
        data,
        out,
        base=None if recipe is None else read_base(recipe),
        data={**_given(layout=layout, subset=subset, group_by=group_by), **wishes["data"]},
        model={**_given(architecture=architecture), **wishes["model"]},
        run={**wishes["run"], **named},
    )
    seed_numbers = [document["run"].get("seed", 0)] if seeds is None else _read_seeds(seeds)
    held_out = None if folds is None else [fold.strip() for fold in folds.split(",")]
    _show_balance(document)
    if held_out == ["all"] or len(held_out or ()) > 1 or len(seed_numbers) > 1:
        _train_in_turn(document, out, held_out, seed_numbers, jobs)
        return
    document["run"]["seed"] = seed_numbers[0]
    if held_out is not None:
        document["data"]["valid"] = [] if held_out == ["none"] else held_out
    if held_out == ["none"]:  # nothing is left to be measured on
        document["run"] |= {"evaluate_every": 0, "evaluate_epochs": 0}
    _train_once(document, out)


def _given(**options: Any) -> dict[str, Any]:
    """The options that were named on the command line."""
    return {name: value for name, value in options.items() if value is not None}


def _by_block(changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Wishes of --set by the block of the recipe they belong to; without a name it is run."""
    blocks: dict[str, dict[str, Any]] = {"data": {}, "model": {}, "run": {}}
    for key, value in changes.items():
        name, _, inner = key.partition(".")
        if inner and name in ("data", "model"):
            blocks[name][inner] = value
        else:
            blocks["run"][key] = value
    return blocks


def _read_seeds(text: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError("seeds are wrong", seen=text, allowed="whole numbers: 0,1,2") from error
    if min(numbers) < 0 or len(set(numbers)) < len(numbers):
        raise UsageError("seeds are wrong", seen=text, allowed="0 or more, each once")
    return numbers


def _check_group(group_by: str | None) -> None:
    if group_by not in (None, "fold", "speaker"):
        raise UsageError("unknown grouping", seen=group_by, allowed="fold, speaker")


def _show_balance(document: dict[str, Any]) -> None:
    """Classes, folds, and what is amiss, before hours are spent on it."""
    from kouji.train.recipes import parse_recipe

    plan, _ = parse_recipe(document, "the recipe")
    sounds = plan.clips.set  # type: ignore[attr-defined]  # only classifiers come here
    typer.echo(sounds.balance().table())
    for line in sounds.warnings:
        say_to_user(f"note: {line}")
    _show_faults([(str(fault.path), fault.reason) for fault in sounds.faults])


def _show_faults(faults: list[tuple[str, str]]) -> None:
    for path, reason in faults[:_SHOWN]:
        say_to_user(f"left out {path}: {reason}")
    if len(faults) > _SHOWN:
        say_to_user(f"and {len(faults) - _SHOWN} more")


def _train_once(document: dict[str, Any], out: Path) -> None:
    from kouji.cli.teach import SIGNAL_BASE, leave_launched
    from kouji.train.loop import run
    from kouji.train.recipes import parse_recipe

    plan, settings = parse_recipe(document, "the recipe")
    result = run(plan, settings)
    code = 0 if result.signal is None else SIGNAL_BASE + result.signal
    if code == 0:
        say_to_user(f"try it: kouji classify predict FILE --model {out}")
    leave_launched(code)
    raise typer.Exit(code)


def _train_in_turn(
    document: dict[str, Any], out: Path, folds: list[str] | None, seeds: list[int], jobs: int
) -> None:
    from kouji.train.cross_validation import cross_validate

    if folds == ["none"]:
        raise UsageError("nothing is held out", seen="--folds none", allowed="with one seed")
    chosen = folds if folds != ["all"] else None
    if folds is None:  # several seeds, and the recipe's rule of what is held out
        chosen = [_last_fold(document)]
    result = cross_validate(document, out, folds=chosen, seeds=seeds, jobs=jobs)
    typer.echo(result.table())
    say_to_user(f"all figures in {out}")


def _last_fold(document: dict[str, Any]) -> str:
    from kouji.train.recipes import parse_recipe

    plan, _ = parse_recipe(document, "the recipe")
    last: str = plan.split.held_out[-1]  # type: ignore[attr-defined]  # only classifiers come here
    return last


def evaluate(
    model: Annotated[
        str, typer.Argument(help="esc10, or the folder of a classifier, a run or its folds.")
    ],
    data: Annotated[
        Path | None, typer.Argument(help="Labelled sounds; of a run, its own if not said.")
    ] = None,
    fold: Annotated[
        list[str] | None, typer.Option("--fold", help="Hear this fold; may be given again.")
    ] = None,
    layout: LayoutOption = None,
    subset: SubsetOption = None,
    group_by: GroupOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the report and the picture.")
    ] = None,
    precision: PrecisionOption = None,
    device: DeviceOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Measure a classifier: accuracy, F1 of each class, and what is taken for what.

    A run hears exactly the folds it held out, a cross-validation all of them; --fold names others.
    """
    from kouji.evaluate.sounds import join_scores, runs_below

    _check_group(group_by)
    wishes = {"layout": layout, "subset": subset, "group_by": group_by}
    runs = [str(run) for run in runs_below(Path(model))] or [model]
    scores = []
    for run in runs:
        with open_classifier(run, precision, device, threads) as classifier:
            scores.append(_score(classifier, data, fold, wishes))
    score = join_scores(scores)
    typer.echo(score.confusion.table())
    typer.echo("\nrows: what it is; columns: what was heard")
    typer.echo(score.confusion.matrix_table())
    for note in score.notes:
        say_to_user(f"note: {note}")
    _show_faults(list(score.faults))
    target = out or (Path(model) if len(runs) > 1 or _is_run(model) else None)
    if target is not None:
        report, picture = score.save(target)
        say_to_user(f"report {report}, picture {picture}")


def _is_run(model: str) -> bool:
    return (Path(model) / "checkpoints").is_dir()


def _score(
    classifier: Any, data: Path | None, folds: list[str] | None, wishes: dict[str, Any]
) -> SoundScore:
    """One model on its data, or on that given."""
    from kouji.cli.prepare import clip_bar
    from kouji.evaluate.sounds import data_of, score_classifier
    from kouji.train.sound_clips import read_index
    from kouji.train.sound_store import open_sounds

    taught = classifier.metadata.get("data") if data is not None else data_of(classifier.metadata)
    block = taught if isinstance(taught, dict) else {}
    folder = Path(data or block.get("store") or block["folder"])
    index = read_index(folder)
    is_own = data is None or _is_same(folder, block)
    clips = open_sounds(
        folder,
        classifier.config.sample_rate if index is None else index["sample_rate"],
        layout=wishes["layout"] or (block.get("layout") if is_own else None) or "auto",
        subset=wishes["subset"] or (block.get("subset") if is_own else None),
        group_by=wishes["group_by"] or block.get("group_by") or "fold",
    )
    with clip_bar() as show:
        return score_classifier(classifier, clips, folds, on_progress=show)


def _is_same(folder: Path, block: dict[str, Any]) -> bool:
    """Whether a model was taught with this data; one that was exported knows only its name."""
    taught = Path(block.get("store") or block.get("folder") or "")
    return taught.resolve() == folder.resolve() or str(taught) == folder.resolve().name


def export(
    model: Annotated[
        str, typer.Argument(help="esc10, or the folder of a classifier, a run or a checkpoint.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the files.")],
    formats: Annotated[
        str, typer.Option("--format", help="all, or some of onnx,torchscript,program.")
    ] = "all",
    checkpoint: Annotated[
        bool, typer.Option("--checkpoint", help="A folder for Kouji itself, instead of graphs.")
    ] = False,
) -> None:
    """Write a classifier as files for other runtimes, each compared with the model.

    With --checkpoint: what a run has learned as a small folder for --model and the server.
    """
    from kouji.classifying import folder_of
    from kouji.cli import session

    session.start()
    folder = folder_of(model)
    if (folder / "checkpoints").is_dir() is False and list(folder.glob("fold-*-seed-*")):
        raise ModelError("this folder holds several runs", seen=folder, cure="name one of them")
    if checkpoint:
        from kouji.train.classifier_export import export_run

        written = export_run(folder, out)
        size = sum(file.stat().st_size for file in written.iterdir() if file.is_file())
        say_to_user(f"{written}: {size / 1e6:.1f} MB; use it with --model {written}")
        return
    from kouji.graphs.classifier import export_classifier

    report = export_classifier(folder, out, formats, tell=say_to_user)
    say_to_user(f"{report.list_path}: {len(report.files)} files")


classify_app.command("prepare")(prepare_sounds)
classify_app.command("train")(train)
classify_app.command("predict")(predict)
classify_app.command("evaluate")(evaluate)
classify_app.command("export")(export)
