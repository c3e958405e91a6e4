"""Settings: defaults, file, environment, in that order; wrong is an error, unknown a warning."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from kouji.config import ConfigWarning, Settings, debug_requested, load_settings
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
