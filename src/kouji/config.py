"""The operator's settings: defaults, then `KOUJI_HOME/config.toml`, then the environment.

This is the only module that reads the environment; nothing in Kouji writes it. What one
caller wants for one request is an option, not a setting, and travels as an argument.
A wrong value is an error; an unknown key is a warning that names it.
"""

from __future__ import annotations

import os
import tomllib
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from kouji.errors import ConfigError

PRECISIONS = ("auto", "float32", "bfloat16", "float16", "int8")
HUBS = ("huggingface", "modelscope")
CONSENT_POLICIES = ("auto", "off", "attest", "verify")
DISCLOSURES = ("none", "start", "end")
NOTICES = ("spoken", "morse")
PRESETS = ("none", "eu", "cn")
LOG_FORMATS = ("text", "json")
LOG_LEVELS = ("debug", "info", "warning", "error")
# Of each preset, the settings it is about: what it sets, then what else would do.
_PRESETS: dict[str, dict[str, tuple[Any, ...]]] = {
    "none": {},
    "eu": {"watermark": (True,)},
    "cn": {"watermark": (True,), "disclosure": ("start", "end"), "notice": ("spoken", "morse")},
}
PREFIX = "KOUJI_"
# Variables with our prefix that are not settings: the debug switch and the tests' data folder.
_NOT_SETTINGS = {"KOUJI_DEBUG", "KOUJI_SHARED", "KOUJI_GOLDENS"}
_TRUE, _FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off")


class ConfigWarning(UserWarning):
    """A key in the operator's file or environment that Kouji does not know."""


def _setting(
    default: Any, *choices: str, low: float | None = None, high: float | None = None
) -> Any:
    """Declare a field with its default and the check that `_checked` applies."""
    return field(default=default, metadata={"choices": choices, "low": low, "high": high})


@dataclass(frozen=True)
class Settings:
    """What the operator of this machine decided; docs/settings.md has a line for each field."""

    home: Path = field(default_factory=lambda: Path.home() / ".local/share/kouji")
    device: str = "auto"
    precision: str = _setting("auto", *PRECISIONS)
    threads: int = _setting(0, low=0)
    min_snr_db: float = 10.0
    min_reference_seconds: float = _setting(1.0, low=0.1)
    max_reference_seconds: float = _setting(300.0, low=1.0)
    max_clipped_fraction: float = _setting(0.01, low=0.0)
    consent: str = _setting("auto", *CONSENT_POLICIES)
    consent_days: int = _setting(0, low=0)
    watermark: bool = True
    compliance: str = _setting("none", *PRESETS)
    disclosure: str = _setting("none", *DISCLOSURES)
    notice: str = _setting("spoken", *NOTICES)
    c2pa_certificate: str = ""
    c2pa_key: str = ""
    engine_seats: int = _setting(0, low=0)
    engine_queue: int = _setting(0, low=0)
    render_batch: int = _setting(8, low=1)
    render_wait_ms: float = _setting(5.0, low=0.0)
    guard: bool = True
    weights_gb: float = _setting(4.0, low=0.1)
    cosyvoice_compat: bool = False
    log_level: str = _setting("warning", *LOG_LEVELS)
    hub: str = _setting("huggingface", *HUBS)
    hub_endpoint: str = ""
    offline: bool = False
    jobs_database: str = ""
    host: str = "127.0.0.1"
    port: int = _setting(7860, low=0, high=65535)
    models: str = "mini"
    default_voice: str = "sample"
    classifier: str = "esc10"
    studio: bool = True
    cors_origins: str = ""
    ref_hosts: str = ""
    max_text_characters: int = _setting(4096, low=1)
    max_classify_seconds: float = _setting(600.0, low=0.1)
    max_body_mb: float = _setting(10.0, low=0.001)
    max_connections: int = _setting(512, low=1)
    serve_seats: int = _setting(0, low=0)
    serve_queue: int = _setting(0, low=0)
    request_seconds: float = _setting(120.0, low=0.1)
    body_seconds: float = _setting(30.0, low=0.1)
    ws_idle_seconds: float = _setting(60.0, low=0.1)
    drain_seconds: float = _setting(30.0, low=0.0)
    log_format: str = _setting("text", *LOG_FORMATS)
    log_text: bool = False

    @property
    def consent_policy(self) -> str:
        """What `consent` means here; a server that others can reach turns `auto` into `verify`."""
        return "attest" if self.consent == "auto" else self.consent

    @property
    def audit_file(self) -> Path:
        """The hash-chained record of what was spoken in whose voice, without any text."""
        return self.home / "audit.jsonl"


_FIELDS = {item.name: item for item in fields(Settings)}


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of this machine.

    environ: stands in for the environment of the process, for tests
    raises:  ConfigError for a wrong value or a config.toml that is not TOML
    """
    return load_with_origins(environ)[0]


def load_with_origins(
    environ: Mapping[str, str] | None = None,
) -> tuple[Settings, dict[str, str]]:
    """The settings, and where each that is not a default came from; else as `load_settings`."""
    environ = os.environ if environ is None else environ
    given = {
        name.removeprefix(PREFIX).lower(): (value, f"environment variable {name}")
        for name, value in environ.items()
        if name.startswith(PREFIX) and name not in _NOT_SETTINGS and value != ""
    }
    home = Path(given["home"][0]).expanduser() if "home" in given else Settings().home
    known: dict[str, Any] = {}
    origins: dict[str, str] = {}
    ours = {**_read_file(home / "config.toml"), **given}
    for name, (value, origin) in {**_of_hugging_face(environ, ours), **ours}.items():
        if name in _FIELDS:
            known[name] = _checked(name, value, origin)
            origins[name] = origin
        else:
            _warn_unknown(name, origin)
    settings, contradictions = with_preset(Settings(**{**known, "home": home}), known)
    for contradiction in contradictions:
        warnings.warn(contradiction, ConfigWarning, stacklevel=3)
    preset = dict.fromkeys(_set_by_preset(settings, known), f"the preset {settings.compliance}")
    return settings, {**preset, **origins}


def with_preset(settings: Settings, decided: Collection[str]) -> tuple[Settings, tuple[str, ...]]:
    """What `compliance` sets wherever the operator decided nothing, and what contradicts it.

    decided: names of the settings that the operator gave
    returns: the settings, and a warning for each decision that is less than the preset asks for
    """
    preset = _PRESETS[settings.compliance]
    chosen = {name: preset[name][0] for name in _set_by_preset(settings, decided)}
    contradictions = tuple(
        f"setting {name!r} is {getattr(settings, name)!r}, but compliance = "
        f"{settings.compliance!r} asks for {' or '.join(map(repr, enough))} (docs/compliance.md)"
        for name, enough in preset.items()
        if name in decided and getattr(settings, name) not in enough
    )
    return replace(settings, **chosen), contradictions


def _set_by_preset(settings: Settings, decided: Collection[str]) -> tuple[str, ...]:
    return tuple(name for name in _PRESETS[settings.compliance] if name not in decided)


def override(settings: Settings, **values: object) -> Settings:
    """The settings with what a command line says on top; None leaves a setting as it is.

    raises: ConfigError for a wrong value
    """
    said = {name: value for name, value in values.items() if value is not None}
    checked: dict[str, Any] = {
        name: _checked(name, value, "the command line") for name, value in said.items()
    }
    return replace(settings, **checked)


def _of_hugging_face(
    environ: Mapping[str, str], ours: Mapping[str, tuple[object, str]]
) -> dict[str, tuple[object, str]]:
    """What its own tools read, as our settings; ours go first, and its mirror serves it alone."""
    found: dict[str, tuple[object, str]] = {}
    endpoint = environ.get("HF_ENDPOINT", "")
    if endpoint and ours.get("hub", (HUBS[0], ""))[0] == HUBS[0]:
        found["hub_endpoint"] = (endpoint, "environment variable HF_ENDPOINT")
    if environ.get("HF_HUB_OFFLINE", "").lower() in _TRUE:
        found["offline"] = (True, "environment variable HF_HUB_OFFLINE")
    return found


def debug_requested(environ: Mapping[str, str] | None = None) -> bool:
    """True if KOUJI_DEBUG asks for tracebacks instead of one-line errors."""
    environ = os.environ if environ is None else environ
    return environ.get("KOUJI_DEBUG", "").lower() not in ("", *_FALSE)


def _read_file(path: Path) -> dict[str, tuple[object, str]]:
    """The keys of config.toml with their origin; an absent file is an empty one."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} is not a TOML file", seen=error, cure="correct or remove it"
        ) from error
    if "home" in content:
        # The file lies in the home: it cannot move the folder it was found in.
        raise ConfigError(f"{path} may not set home", cure="set KOUJI_HOME instead")
    return {name: (value, str(path)) for name, value in content.items()}


def _warn_unknown(name: str, origin: str) -> None:
    allowed = ", ".join(_FIELDS)
    warnings.warn(
        f"unknown setting {name!r} in {origin} is ignored (known: {allowed})",
        ConfigWarning,
        stacklevel=3,
    )


def _checked(name: str, value: object, origin: str) -> object:
    """Convert one value to its field's type, or raise ConfigError naming where it came from."""
    item = _FIELDS[name]
    kind = str(item.type)
    converted = _convert(kind, value)
    choices = item.metadata.get("choices") or ()
    low = item.metadata.get("low")
    high = item.metadata.get("high")
    is_number = isinstance(converted, int | float)
    is_low = is_number and low is not None and converted < low
    is_high = is_number and high is not None and converted > high
    if converted is None or (choices and converted not in choices) or is_low or is_high:
        allowed = ", ".join(choices) or kind + (f" of at least {low}" if low is not None else "")
        allowed += f", at most {high}" if high is not None else ""
        raise ConfigError(
            f"wrong value for setting {name!r} in {origin}", seen=repr(value), allowed=allowed
        )
    return converted


def _convert(kind: str, value: object) -> object | None:
    """`value` as the named type, or None if it is not one; text comes from the environment."""
    if kind == "bool":
        if isinstance(value, str) and value.lower() in (*_TRUE, *_FALSE):
            return value.lower() in _TRUE
        return value if isinstance(value, bool) else None
    if kind in ("int", "float"):
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        try:
            number = float(value)
        except ValueError:
            return None
        if kind == "float":
            return number if abs(number) < float("inf") else None
        return int(number) if number.is_integer() else None
    if kind == "Path":
        return Path(value).expanduser() if isinstance(value, str) else None
    return value if isinstance(value, str) else None
