"""Notices that validation falls behind training, and answers step by step.

The rule is stated once, here; what was seen and applied is kept, so that a resumed run goes on
alike and the report can tell. Plain numbers; knows no model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from kouji.errors import ConfigError


@dataclass(frozen=True)
class OverfittingRule:
    """The `data.overfitting` block.

    Validation has fallen behind when, after smoothing, its loss is more than `gap` above the loss
    on training clips as they are, and has not been lower than before for `wait` evaluations.
    Each answer then has `wait` evaluations to help before the next one.

    smoothing: weight of the past in the smoothed losses
    strength:  factor on the augmentation, the first answer
    label_smoothing, dropout: added to the recipe's own, the second answer; the third: the end
    """

    gap: float = 0.3
    wait: int = 3
    smoothing: float = 0.5
    strength: float = 1.5
    label_smoothing: float = 0.1
    dropout: float = 0.2

    def __post_init__(self) -> None:
        allowed = {
            "gap": self.gap > 0,
            "wait": self.wait >= 1,
            "smoothing": 0 <= self.smoothing < 1,
            "strength": 1 <= self.strength <= 4,
            "label_smoothing": 0 <= self.label_smoothing <= 0.5,
            "dropout": 0 <= self.dropout <= 0.8,
        }
        for name, is_allowed in allowed.items():
            if not is_allowed:
                raise ConfigError(
                    f"data.overfitting.{name} is out of range",
                    seen=getattr(self, name),
                    allowed="gap > 0, wait >= 1, smoothing in [0, 1), strength 1 to 4, "
                    "label_smoothing to 0.5, dropout to 0.8",
                )

    @classmethod
    def from_dict(cls, values: dict[str, Any] | bool | None) -> OverfittingRule | None:
        """Read the block; false: nobody watches. ConfigError for unknown keys and values."""
        if values is False:
            return None
        if values is None or values is True:
            return cls()
        if not isinstance(values, dict):
            raise ConfigError(
                "data.overfitting is wrong", seen=values, allowed="a mapping or false"
            )
        kinds = {item.name: type(item.default) for item in fields(cls)}
        for key, value in values.items():
            if key not in kinds:
                raise ConfigError(
                    f"unknown key {key!r} in data.overfitting",
                    seen=value,
                    allowed=", ".join(kinds),
                )
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not is_number or (kinds[key] is int and type(value) is not int):
                raise ConfigError(
                    f"data.overfitting.{key} has a wrong type",
                    seen=value,
                    allowed=kinds[key].__name__,
                )
        return cls(**values)


@dataclass(frozen=True)
class Answer:
    """One time that validation had fallen behind.

    since_step:             of the best smoothed validation loss
    train_loss, valid_loss: smoothed, at `step`
    applied:                what was done about it
    """

    step: int
    since_step: int
    train_loss: float
    valid_loss: float
    best_valid_loss: float
    applied: str

    @property
    def gap(self) -> float:
        """How far validation lies above training."""
        return self.valid_loss - self.train_loss

    def line(self) -> str:
        """The same in words."""
        return (
            f"validation is {self.gap:.3f} behind training (loss {self.valid_loss:.3f} against "
            f"{self.train_loss:.3f}; best {self.best_valid_loss:.3f} at step {self.since_step}): "
            f"{self.applied}"
        )


class OverfittingWatch:
    """Follows the losses of a run by its rule; `level` answers have been given."""

    def __init__(self, rule: OverfittingRule) -> None:
        self.rule = rule
        self.answers: list[Answer] = []
        self._train: float | None = None
        self._valid: float | None = None
        self._best: tuple[float, int] | None = None  # smoothed validation loss, step
        self._stale = 0  # evaluations since the best or the last answer

    @property
    def level(self) -> int:
        """0: as the recipe says; 1: stronger augmentation; 2: and regularisation; 3: the end."""
        return len(self.answers)

    @property
    def strength(self) -> float:
        """Factor on the augmentation."""
        return self.rule.strength if self.level >= 1 else 1.0

    @property
    def label_smoothing(self) -> float:
        """To be added to the recipe's."""
        return self.rule.label_smoothing if self.level >= 2 else 0.0

    @property
    def dropout(self) -> float:
        """To be added to the model's."""
        return self.rule.dropout if self.level >= 2 else 0.0

    @property
    def is_done(self) -> bool:
        """Whether all answers were given and none helped."""
        return self.level >= 3

    def observe(self, step: int, train_loss: float, valid_loss: float) -> str | None:
        """Enter an evaluation; returns the line of an answer, if one is due.

        Losses that are not finite are left out.
        """
        if not abs(train_loss) + abs(valid_loss) < float("inf") or self.is_done:
            return None
        self._train = self._smoothed(self._train, train_loss)
        self._valid = self._smoothed(self._valid, valid_loss)
        if self._best is None or self._valid < self._best[0]:
            self._best, self._stale = (self._valid, step), 0
            return None
        self._stale += 1
        if self._stale < self.rule.wait or self._valid - self._train <= self.rule.gap:
            return None
        self._stale = 0
        best, since = self._best
        answer = Answer(step, since, self._train, self._valid, best, self._next())
        self.answers.append(answer)
        return answer.line()

    def _smoothed(self, past: float | None, new: float) -> float:
        return new if past is None else self.rule.smoothing * (past - new) + new

    def _next(self) -> str:
        rule = self.rule
        return (
            f"augmentation {rule.strength:g} times as strong",
            f"label smoothing +{rule.label_smoothing:g}, dropout +{rule.dropout:g}",
            "nothing more to apply, the run ends",
        )[self.level]

    def state(self) -> dict[str, Any]:
        """JSON that `restore` takes back."""
        return {
            "train": self._train,
            "valid": self._valid,
            "best": self._best,
            "stale": self._stale,
            "answers": [asdict(answer) for answer in self.answers],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        best = state["best"]
        self._train, self._valid, self._stale = state["train"], state["valid"], state["stale"]
        self._best = None if best is None else (best[0], best[1])
        self.answers = [Answer(**answer) for answer in state["answers"]]

    def report(self) -> dict[str, Any]:
        """JSON: the rule, when validation fell behind, by how much, what was applied."""
        return {
            "rule": asdict(self.rule),
            "answers": [{**asdict(item), "gap": item.gap} for item in self.answers],
        }

    def summary(self) -> list[str]:
        """The same as lines for people."""
        if not self.answers:
            return ["validation did not fall behind training"]
        return [f"step {item.step}: {item.line()}" for item in self.answers]
