"""Settings: defaults, file, environment, in that order; wrong is an error, unknown a warning."""

from __future__ import annotations

import re
import warnings
from dataclasses import fields
from pathlib import Path

import pytest

from kouji.config import ConfigWarning, Settings, debug_requested, load_settings, load_with_origins
from kouji.errors import ConfigError


def write(home: Path, text: str) -> dict[str, str]:
    """A home with this config.toml, as an environment naming it."""
    home.mkdir(exist_ok=True)
    (home / "config.toml").write_text(text, encoding="utf-8")
    return {"KOUJI_HOME": str(home)}


def test_defaults_without_file_or_environment(tmp_path: Path) -> None:
    settings = load_settings({"KOUJI_HOME": str(tmp_path)})
    assert settings == Settings(home=tmp_path)
    assert load_settings({}).home == Path.home() / ".local/share/kouji"


def test_environment_beats_file_beats_default(tmp_path: Path) -> None:
    environ = write(tmp_path, "threads = 3\nmin_snr_db = 12\nwatermark = false\n")
    settings = load_settings(environ | {"KOUJI_THREADS": "2", "KOUJI_WATERMARK": "yes"})
    assert (settings.threads, settings.min_snr_db, settings.watermark) == (2, 12.0, True)
    assert settings.audit_file == tmp_path / "audit.jsonl"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("THREADS", "-1"),
        ("THREADS", "two"),
        ("THREADS", "1.5"),
        ("MIN_SNR_DB", "nan"),
        ("MIN_SNR_DB", "inf"),
        ("PRECISION", "fp8"),
        ("CONSENT", "maybe"),
        ("WATERMARK", "2"),
    ],
)
def test_wrong_values_name_the_setting(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"KOUJI_{name}.*allowed: "):
        load_settings({"KOUJI_HOME": str(tmp_path), f"KOUJI_{name}": value})


@pytest.mark.parametrize(
    "text", ["threads = true", "watermark = 1", 'threads = "2x"', "x", 'home = "/"']
)
def test_wrong_files_are_named(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape("config.toml")):
        load_settings(write(tmp_path, text))


def test_unknown_keys_warn_by_name(tmp_path: Path) -> None:
    with pytest.warns(ConfigWarning, match=r"'colour' in .*config\.toml"):
        load_settings(write(tmp_path, 'colour = "red"'))
    with pytest.warns(ConfigWarning, match="KOUJI_SNR"):
        load_settings({"KOUJI_HOME": str(tmp_path / "other"), "KOUJI_SNR": "3"})


def test_debug_is_asked_for_by_name() -> None:
    assert debug_requested({"KOUJI_DEBUG": "1"})
    assert not debug_requested({"KOUJI_DEBUG": "0"})
    assert not debug_requested({})


def test_every_setting_is_documented(root_dir: Path) -> None:
    page = (root_dir / "docs" / "settings.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE))
    assert documented == {item.name for item in fields(Settings)}
    for item in fields(Settings):
        assert f"`KOUJI_{item.name.upper()}`" in page


def test_every_precision_a_setting_allows_can_be_chosen() -> None:
    from kouji.config import PRECISIONS
    from kouji.models.precision import PRECISIONS as COMPUTED

    assert PRECISIONS[0] == "auto"
    assert set(PRECISIONS[1:]) == set(COMPUTED)


@pytest.mark.parametrize(
    ("text", "expected", "contradicted"),
    [
        ("", (True, "none", "spoken"), []),
        ('compliance = "eu"', (True, "none", "spoken"), []),
        ('compliance = "cn"', (True, "start", "spoken"), []),
        ('compliance = "cn"\ndisclosure = "end"\nnotice = "morse"', (True, "end", "morse"), []),
        ('compliance = "cn"\ndisclosure = "none"', (True, "none", "spoken"), ["disclosure"]),
        ('compliance = "eu"\nwatermark = false', (False, "none", "spoken"), ["watermark"]),
        (
            'compliance = "cn"\nwatermark = false\ndisclosure = "none"',
            (False, "none", "spoken"),
            ["watermark", "disclosure"],
        ),
        ('watermark = false\ndisclosure = "end"', (False, "end", "spoken"), []),
    ],
)
def test_presets_decide_only_what_the_operator_did_not(
    tmp_path: Path, text: str, expected: tuple[bool, str, str], contradicted: list[str]
) -> None:
    environ = write(tmp_path, text)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        settings = load_settings(environ)
    assert (settings.watermark, settings.disclosure, settings.notice) == expected
    messages = [str(warning.message) for warning in told]
    assert len(messages) == len(contradicted)
    for name, message in zip(contradicted, messages, strict=True):
        assert f"setting {name!r}" in message
        assert "docs/compliance.md" in message


def test_a_preset_is_named_as_the_origin(tmp_path: Path) -> None:
    settings, origins = load_with_origins(write(tmp_path, 'compliance = "cn"'))
    assert settings.disclosure == "start"
    assert origins["disclosure"] == "the preset cn"
