"""Importing Kouji, or asking for its help, loads nothing heavy."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import kouji

HEAVY = {
    "av",
    "gruut_lang_en",
    "matplotlib",
    "numba",
    "onnxruntime",
    "pydantic",
    "pypinyin",
    "rich",
    "safetensors",
    "scipy",
    "silero_vad",
    "soundfile",
    "torch",
}


def loaded_after(code: str) -> set[str]:
    """The top-level modules a fresh Python holds after running `code`."""
    report = "import sys, json; print(json.dumps(sorted({n.split('.')[0] for n in sys.modules})))"
    result = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(result.stdout.splitlines()[-1]))


def test_import_kouji_loads_nothing_heavy() -> None:
    assert not loaded_after("import kouji") & (HEAVY | {"numpy"})


def test_audio_words_need_no_torch() -> None:
    assert not loaded_after("import kouji; kouji.Audio, kouji.Voice, kouji.errors") & HEAVY


@pytest.mark.parametrize("arguments", ["--help", "--version"])
def test_help_loads_nothing_heavy(arguments: str) -> None:
    code = f"from kouji.cli import run; run({arguments.split()!r})"
    assert not loaded_after(code) & (HEAVY | {"numpy"})


def test_help_of_a_command_loads_only_what_typer_wants() -> None:
    loaded = loaded_after("from kouji.cli import run; run(['say', '--help'])")
    assert loaded & (HEAVY | {"numpy"}) <= {"pydantic"}


def test_every_public_name_opens() -> None:
    for name in kouji.__all__:
        assert getattr(kouji, name) is not None
    assert set(kouji.__all__) == set(dir(kouji))
    with pytest.raises(AttributeError, match="no attribute 'speek'"):
        kouji.speek  # noqa: B018
