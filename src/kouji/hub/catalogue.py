"""What `kouji pull` knows by name: `catalogue.json`, read and checked.

A repository lists its files once with size and SHA-256; a model is a choice of them. A hash we
do not know is null: then the hub's own word is taken the first time and kept (`pull`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from kouji.errors import UsageError

HUBS = ("huggingface", "modelscope")
FORMAT = 1


@dataclass(frozen=True)
class RemoteFile:
    """One file of a model.

    path:   inside the repository, and inside the model's folder
    size:   in bytes; None if unknown
    sha256: of its content; None if unknown
    """

    path: str
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class Place:
    """Where a hub keeps a model; `revision` is a commit where one is known."""

    repo: str
    revision: str


@dataclass(frozen=True)
class Model:
    """One name of `kouji pull --list`; `places` by hub."""

    name: str
    title: str
    licence: str
    places: Mapping[str, Place]
    files: tuple[RemoteFile, ...]

    @property
    def num_bytes(self) -> int:
        """Size of the files whose size is known."""
        return sum(file.size or 0 for file in self.files)


@cache
def load_catalogue() -> Mapping[str, Model]:
    """All models by name, in the order of the list."""
    return read_catalogue(json.loads((files("kouji.hub") / "catalogue.json").read_text("utf-8")))


def read_catalogue(document: Mapping[str, Any]) -> dict[str, Model]:
    """Models of a catalogue in its JSON form."""
    assert document["format"] == FORMAT
    return {
        name: _model(name, entry, document["repositories"][entry["repository"]])
        for name, entry in document["models"].items()
    }


def find_model(name: str) -> Model:
    """The model of this name; UsageError lists those there are."""
    known = load_catalogue()
    if name not in known:
        raise UsageError("no such model to pull", seen=name, allowed=", ".join(known))
    return known[name]


def _model(name: str, entry: Mapping[str, Any], repository: Mapping[str, Any]) -> Model:
    facts = repository["files"]
    return Model(
        name,
        entry["title"],
        repository["licence"],
        {hub: Place(**repository[hub]) for hub in HUBS if hub in repository},
        tuple(RemoteFile(path, **facts[path]) for path in entry["files"]),
    )
