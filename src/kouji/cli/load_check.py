"""`kouji load-check`: what files and folders are, and what they lack; exit code 1 if of no use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from kouji.config import Settings
    from kouji.models.cosyvoice.files.directory import DirectoryReport as CosyVoiceReport
    from kouji.models.cosyvoice.files.directory import Finding
    from kouji.models.gpt_sovits.directory import DirectoryReport, Part


def load_check(
    paths: Annotated[list[Path], typer.Argument(help="Folders, files, or names of pulled models.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what checkpoints are and what they lack; runs nothing."""
    from kouji.cli import session

    settings = session.start()
    verdicts = [_check(path, settings) for path in paths]
    if as_json:
        print(json.dumps([facts for facts, _, _ in verdicts], indent=1, ensure_ascii=False))
    else:
        print("\n\n".join(text for _, text, _ in verdicts))
    raise typer.Exit(0 if all(is_good for _, _, is_good in verdicts) else 1)


def _check(path: Path, settings: Settings) -> tuple[dict[str, Any], str, bool]:
    """Facts for JSON, text for people, and whether the path is of use."""
    from kouji.hub.catalogue import load_catalogue
    from kouji.hub.pull import installed, model_folder
    from kouji.models.cosyvoice.files.directory import is_model as is_cosyvoice
    from kouji.models.gpt_sovits.directory import examine
    from kouji.models.mini.weights import CONFIG_FILE, WEIGHTS_FILE

    if not path.exists() and str(path) in load_catalogue():
        path = model_folder(settings.home, str(path))
    if path.is_dir() and any((path / name).is_file() for name in (CONFIG_FILE, WEIGHTS_FILE)):
        return _check_mini(path)
    if is_cosyvoice(path):
        return _check_cosyvoice(path)
    report = examine(path, shared=installed(settings.home))
    # A single file cannot speak alone: it is good if it can be used.
    is_good = report.is_speakable if path.is_dir() else all(p.is_usable for p in report.parts)
    facts = report.to_dict() | {"family": "gpt-sovits", "ok": is_good}
    return facts, _describe(report), is_good


def _check_mini(folder: Path) -> tuple[dict[str, Any], str, bool]:
    from kouji.errors import ModelError
    from kouji.models.mini.weights import load_checkpoint

    facts = {"family": "mini", "path": str(folder)}
    try:
        weights_hash = load_checkpoint(folder).weights_hash
    except ModelError as error:
        return {**facts, "ok": False, "problem": str(error)}, f"{folder}: {error}", False
    facts["weights_hash"] = weights_hash
    return {**facts, "ok": True}, f"{folder}: a mini checkpoint, {weights_hash}, speaks", True


def _check_cosyvoice(path: Path) -> tuple[dict[str, Any], str, bool]:
    from kouji.models.cosyvoice.files.directory import examine

    report = examine(path)
    is_good = report.is_speakable if path.is_dir() else report.findings[0].is_usable
    facts = report.to_dict() | {"family": "cosyvoice", "ok": is_good}
    return facts, _describe_cosyvoice(report), is_good


def _describe_cosyvoice(report: CosyVoiceReport) -> str:
    lines = [_cosyvoice_line(item, report) for item in report.findings]
    if report.path.is_dir():
        speaks = f"speaks {report.version}" if report.is_speakable else "cannot speak yet"
        lines.insert(0, f"{report.path}: {speaks}")
    if report.extras:
        lines.append(f"  not needed: {', '.join(path.name for path in report.extras)}")
    return "\n".join(lines)


def _cosyvoice_line(item: Finding, report: CosyVoiceReport) -> str:
    if item.path is None:
        names = " or ".join(item.names)
        return f"  missing {names}, for {item.needed_for}: {report.cure}"
    where = item.path.relative_to(report.path) if report.path.is_dir() else item.path
    if item.problem:
        return f"  not used: {where}: {item.problem}"
    return f"  {item.kind.replace('_', ' ')}: {where}" + (
        f" ({item.detail})" if item.detail else ""
    )


def _describe(report: DirectoryReport) -> str:
    if report.path.is_dir():
        speaks = f"speaks {', '.join(report.versions)}" if report.versions else "cannot speak yet"
        lines = [f"{report.path}: {speaks}"]
    else:
        lines = []
    lines += [_line(part, report.path) for part in report.parts]
    if report.path.is_dir():
        for item in report.missing:
            place = item.cure
            lines.append(f"  missing {_name(item.kind)}, for {item.needed_for}: {place}")
    if report.is_truncated:
        lines.append("  there are more files; give a smaller folder to see them")
    return "\n".join(lines)


def _line(part: Part, root: Path) -> str:
    where = part.path.relative_to(root) if root.is_dir() and part.path != root else part.path
    if part.problem:
        return f"  not used: {where}: {part.problem}"
    facts = " ".join(fact for fact in (_name(part.kind), part.version) if fact)
    return f"  {facts}: {where}" + (f" ({part.detail})" if part.detail else "")


def _name(kind: str) -> str:
    names = {"t2s": "T2S", "sovits": "SoVITS", "hubert": "HuBERT", "bert": "BERT"}
    return names.get(kind, "ERes2NetV2")
