"""Architecture of a sound classifier: what it hears, what it answers, and how wide it is.

Travels with the checkpoint; an unknown key is an error. Knows no weights and no training.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from kouji.audio.features import MelConfig
from kouji.errors import ConfigError

Architecture = Literal["two-conv", "resnet18", "convnext", "tdnn"]
ARCHITECTURES: tuple[str, ...] = get_args(Architecture)


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """Shapes of one classifier.

    labels:         what it tells apart, in the order of its outputs
    architecture:   two-conv (a baseline), resnet18 (He et al. 2016, one input channel),
                    convnext (after Liu et al. 2022, small) or tdnn (for words)
    width:          channels of the first stage; 0: the architecture's own
    sample_rate:    samples are resampled to it
    window_seconds: the network hears so much at once; longer sound is heard in windows
    """

    labels: tuple[str, ...]
    architecture: Architecture = "resnet18"
    width: int = 0
    sample_rate: int = 22050
    n_fft: int = 1024
    hop_length: int = 512
    num_mels: int = 64
    fmin: float = 0.0
    window_seconds: float = 5.0
    dropout: float = 0.0

    def __post_init__(self) -> None:
        self._check_types()
        if len(self.labels) < 2 or len(set(self.labels)) < len(self.labels):
            raise ConfigError(
                "a classifier needs labels", seen=self.labels, allowed="two or more, each once"
            )
        if self.architecture not in ARCHITECTURES:
            raise ConfigError(
                "unknown architecture", seen=self.architecture, allowed=", ".join(ARCHITECTURES)
            )
        if self.window_samples < self.n_fft or self.width < 0 or not 0 <= self.dropout < 1:
            raise ConfigError(
                "the sizes of a classifier do not fit",
                seen=(self.window_seconds, self.width, self.dropout),
                allowed="a window of one spectrum or more, width >= 0, dropout in [0, 1)",
            )
        self.mel  # noqa: B018  raises what does not fit

    def _check_types(self) -> None:
        """Raise ConfigError for what YAML or JSON read as something else than is meant."""
        for item in fields(self):
            value, kind = getattr(self, item.name), type(item.default)
            allowed = (int, float) if kind is float else (kind,)
            if kind in (int, float) and type(value) not in allowed:
                raise ConfigError(
                    f"{item.name} of a classifier is wrong",
                    seen=repr(value),
                    allowed="a whole number" if kind is int else "a number",
                )
        if not all(isinstance(label, str) for label in self.labels):
            raise ConfigError("labels of a classifier are wrong", seen=self.labels, allowed="texts")

    @property
    def mel(self) -> MelConfig:
        """The log-mel it hears."""
        return MelConfig(
            sample_rate=self.sample_rate,
            n_fft=self.n_fft,
            hop_length=self.hop_length,
            win_length=self.n_fft,
            power=2,
            padding="center",
            num_mels=self.num_mels,
            fmin=self.fmin,
            norm=None,
            floor=1e-6,
        )

    @property
    def window_samples(self) -> int:
        """Samples of one window."""
        return round(self.window_seconds * self.sample_rate)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ClassifierConfig:
        """Build from a JSON or YAML mapping; an unknown key is a ConfigError."""
        known = {item.name for item in fields(cls)}
        for key in values:
            if key not in known:
                raise ConfigError(
                    "unknown key in classifier config", seen=key, allowed=", ".join(sorted(known))
                )
        return cls(**{**values, "labels": tuple(values.get("labels", ()))})

    def to_dict(self) -> dict[str, Any]:
        """The JSON form; `from_dict` takes it back."""
        return asdict(self)
