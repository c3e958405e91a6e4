"""A whole model: which files are missing, room for them, one writer at a time, and the record.

A model is collected in `models/.pulling-<name>` and renamed to `models/<name>` when every file
is there and checked, so a folder of that name is always complete. Its `kouji.lock.json` keeps
the commit and the SHA-256 of every file: later pulls are bound to what the first one saw.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from kouji.config import Settings
from kouji.errors import ModelError, UsageError
from kouji.hub.catalogue import Model, Place, RemoteFile, find_model, load_catalogue
from kouji.hub.download import TIMEOUT, Downloader, Expected, hash_file, part_of
from kouji.hub.sources import FileFacts, Source, choose_source

LOCK_FILE = "kouji.lock.json"
SPARE_BYTES = 64 << 20  # left free on the disk
_PULLING = ".pulling-"


class Watcher(Protocol):
    """Who is told how a pull gets on."""

    def begin(self, num_bytes: int) -> None:
        """So many bytes are to come, as far as sizes are known."""
        ...

    def file(self, path: str) -> None:
        """This file is next."""
        ...

    def advance(self, num_bytes: int) -> None:
        """Bytes gained; negative when a file starts again."""
        ...


class Unwatched:
    """Nobody is told."""

    def begin(self, num_bytes: int) -> None:
        """Nothing."""

    def file(self, path: str) -> None:
        """Nothing."""

    def advance(self, num_bytes: int) -> None:
        """Nothing."""


@dataclass(frozen=True)
class Pulled:
    """What a pull left: the folder, and which files it fetched (the others were there)."""

    folder: Path
    fetched: tuple[str, ...]
    revision: str


@dataclass
class _Record:
    """The lock file of a model.

    files: by path {"sha256", "size", "proof"}; proof: "catalogue", "hub", or "first use" where
           nobody else vouched for the hash
    """

    revision: str = ""
    repo: str = ""
    hub: str = ""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)


def model_folder(home: Path, name: str) -> Path:
    """Where a complete model lies."""
    return home / "models" / name


def installed(home: Path) -> list[Path]:
    """Folders of the models of the catalogue that are complete."""
    return [
        model_folder(home, name) for name in load_catalogue() if state_of(home, name) == "complete"
    ]


def state_of(home: Path, name: str) -> str:
    """`complete`, `begun` or `absent`, by what files there are; contents are not read."""
    model, folder = find_model(name), model_folder(home, name)
    if all((folder / file.path).is_file() for file in model.files):
        return "complete"
    return "begun" if folder.exists() or _draft(home, name).exists() else "absent"


def pull(
    name: str,
    settings: Settings,
    watcher: Watcher | None = None,
    *,
    client: httpx.Client | None = None,
    sleep: Callable[[float], None] | None = None,
) -> Pulled:
    """Bring a model into `<home>/models/<name>`, or what is missing or damaged of it.

    settings: home, hub, hub_endpoint, offline
    client, sleep: for tests
    raises:   UsageError for an unknown name or an operator who is offline, ModelError for what
              the hub refuses, for wrong content, a broken connection or a full disk
    """
    model = find_model(name)
    source = choose_source(settings.hub, settings.hub_endpoint, model.places, name)
    with contextlib.ExitStack() as stack:
        (settings.home / "models").mkdir(parents=True, exist_ok=True)
        stack.enter_context(_locked(settings.home / "models" / f".{name}.lock"))
        if client is None:
            headers = {"User-Agent": "kouji"}
            client = stack.enter_context(httpx.Client(timeout=TIMEOUT, headers=headers))
        job = _Job(model, source, settings, watcher or Unwatched(), client)
        if sleep is not None:
            job.downloader.sleep = sleep
        return job.run()


class _Job:
    """One pull, with the lock held."""

    def __init__(
        self, model: Model, source: Source, settings: Settings, watcher: Watcher,
        client: httpx.Client,
    ) -> None:  # fmt: skip
        self.model, self.settings, self.watcher, self.client = model, settings, watcher, client
        self.final = model_folder(settings.home, model.name)
        self.folder = self.final if self.final.exists() else _draft(settings.home, model.name)
        self.record = _read_record(self.folder / LOCK_FILE)
        # A revision seen once is the revision from then on, unless the catalogue names another.
        is_bound = self.record.repo == source.place.repo and _is_commit(self.record.revision)
        if is_bound and not _is_commit(source.place.revision):
            place = Place(source.place.repo, self.record.revision)
            source = Source(source.hub, source.endpoint, place)
        self.source = source
        self.downloader = Downloader(client, source, watcher.advance)

    def run(self) -> Pulled:
        """Fetch what is not there, then give the folder its name."""
        todo = [file for file in self.model.files if not self._is_here(file)]
        if todo and self.settings.offline:
            raise UsageError(
                "Kouji is told to stay offline, but files are missing",
                seen=f"{self.model.name}: {todo[0].path}" + (", ..." if len(todo) > 1 else ""),
                cure="allow it with KOUJI_OFFLINE=0, or copy the folder from another machine "
                f"to {self.final}",
            )
        todo = [file for file in todo if not self._borrow(file)]
        asked = {file.path: self._ask(file) for file in todo}
        todo = [file for file in todo if not self._borrow(file, asked[file.path])]
        self._require_room(todo, asked)
        for file in todo:
            self._fetch(file, asked[file.path])
        if self.folder != self.final:
            self.folder.replace(self.final)
        return Pulled(self.final, tuple(file.path for file in todo), self.record.revision)

    def _expected(self, file: RemoteFile, facts: FileFacts | None = None) -> tuple[Expected, str]:
        """What a file must be, and who says so."""
        kept = self.record.files.get(file.path, {})
        if file.sha256 is not None:
            return Expected(file.size or (facts.size if facts else None), file.sha256), "catalogue"
        if "sha256" in kept:
            return Expected(kept.get("size"), kept["sha256"]), kept.get("proof", "first use")
        if facts is not None and facts.sha256 is not None:
            return Expected(facts.size, facts.sha256), "hub"
        return Expected(facts.size if facts else None, None), "first use"

    def _is_here(self, file: RemoteFile) -> bool:
        """True if the file is there and is what it must be; a damaged one is thrown away."""
        path = self.folder / file.path
        if not path.is_file():
            return False
        expected, proof = self._expected(file)
        digest = hash_file(path)
        if expected.sha256 not in (None, digest):
            path.unlink()
            return False
        self._note(file, digest, proof)
        return True

    def _borrow(self, file: RemoteFile, facts: FileFacts | None = None) -> bool:
        """Take a file from another pulled model: four models share the same HuBERT and BERT.

        facts: what the hub says, where it was asked; its hash serves where the catalogue has none
        """
        expected, proof = self._expected(file, facts)
        if expected.sha256 is None:
            return False
        target = self.folder / file.path
        for other in (self.settings.home / "models").glob(f"*/{_escaped(file.path)}"):
            if hash_file(other) == expected.sha256:
                target.parent.mkdir(parents=True, exist_ok=True)
                try:
                    os.link(other, target)
                except OSError:  # a file system without links
                    shutil.copyfile(other, part_of(target))
                    part_of(target).replace(target)
                self._note(file, expected.sha256, proof)
                return True
        return False

    def _ask(self, file: RemoteFile) -> FileFacts:
        """What the hub says, where the catalogue does not say it all."""
        if file.sha256 and file.size:
            return FileFacts(file.size, file.sha256)
        try:
            return self._facts(file)
        except ModelError:
            if file.sha256 is None:
                raise
            return FileFacts()  # only the size was asked for; the content is proven by its hash

    def _facts(self, file: RemoteFile) -> FileFacts:
        for wait in (1.0, 2.0, None):
            try:
                return self.source.facts(self.client, file.path)
            except httpx.TransportError as error:
                if wait is None:
                    raise ModelError(
                        "the hub cannot be reached",
                        seen=f"{self.source.endpoint}: {error or type(error).__name__}",
                        cure="check the network, or name a mirror with HF_ENDPOINT or --endpoint",
                    ) from error
                self.downloader.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _require_room(self, todo: list[RemoteFile], asked: dict[str, FileFacts]) -> None:
        sizes = {file.path: file.size or asked[file.path].size or 0 for file in todo}
        parts = [part_of(self.folder / file.path) for file in todo]
        have = sum(part.stat().st_size for part in parts if part.exists())
        needed = sum(sizes.values()) - have
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if needed > 0 and needed + SPARE_BYTES > free:
            raise ModelError(
                "the disk has no room for this model",
                seen=f"{free / 1e6:.0f} MB free at {self.folder}",
                allowed=f"{(needed + SPARE_BYTES) / 1e6:.0f} MB or more",
                cure="make room, or move KOUJI_HOME to another disk",
            )
        self.watcher.begin(sum(sizes.values()))
        self.watcher.advance(have)

    def _fetch(self, file: RemoteFile, facts: FileFacts) -> None:
        self.watcher.file(file.path)
        expected, proof = self._expected(file, facts)
        digest = self.downloader.fetch(file.path, self.folder / file.path, expected)
        place, record = self.source.place, self.record
        if record.repo != place.repo or not _is_commit(record.revision):
            record.hub, record.repo = self.source.hub, place.repo
            record.revision = facts.commit or place.revision
        self._note(file, digest, proof)

    def _note(self, file: RemoteFile, digest: str, proof: str) -> None:
        """Keep what a file is, at once: an interrupted pull goes on from here."""
        size = (self.folder / file.path).stat().st_size
        self.record.files[file.path] = {"sha256": digest, "size": size, "proof": proof}
        _write_record(self.folder / LOCK_FILE, self.model, self.record)


def _read_record(path: Path) -> _Record:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return _Record(
            str(document["revision"]), str(document["repo"]), str(document["hub"]),
            {str(name): dict(facts) for name, facts in document["files"].items()},
        )  # fmt: skip
    except FileNotFoundError:
        return _Record()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(
            "the record of a pulled model is damaged",
            seen=f"{path}: {error}",
            cure=f"remove {path.parent} and pull again",
        ) from error


def _write_record(path: Path, model: Model, record: _Record) -> None:
    document = {
        "model": model.name,
        "licence": model.licence,
        "hub": record.hub,
        "repo": record.repo,
        "revision": record.revision,
        "files": dict(sorted(record.files.items())),
    }
    draft = path.with_suffix(".tmp")
    draft.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One pull of a model at a time; a second one waits here and then finds everything done."""
    with path.open("a") as file:
        with contextlib.suppress(ImportError):  # no fcntl on Windows: single user there
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _draft(home: Path, name: str) -> Path:
    """Where a model is collected; the leading dot keeps it out of every list of models."""
    return home / "models" / (_PULLING + name)


def _is_commit(revision: str) -> bool:
    return len(revision) == 40 and all(char in "0123456789abcdef" for char in revision)


def _escaped(path: str) -> str:
    """A path as `Path.glob` takes it literally."""
    return "".join(f"[{char}]" if char in "*?[" else char for char in path)
