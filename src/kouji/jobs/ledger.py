"""How each job stands, in one table of a database that many processes share.

SQLite in the home, or the PostgreSQL that the operator names; DBOS keeps its tables in the same
database. Knows rows; knows nothing of lines, sound and processes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kouji.config import Settings
from kouji.errors import ConfigError, JobError
from kouji.jobs.job import JobOptions, JobState
from kouji.models.optional import import_library

BUSY_SECONDS = 30  # that a writer waits for another; SQLite has one writer at a time


@dataclass(frozen=True)
class Row:
    """One job as it is kept.

    key:     hash of all its result depends on, and its owner: the same file again is the same job
    wanted:  run, pause or cancel; whoever runs it looks here after each line
    out:     the folder of the result; empty: in the job's own folder
    attempt: grows each time it is begun anew; names the workflow
    characters_done, seconds_spent: of lines spoken since, for the time left
    """

    id: str
    name: str
    owner: str
    key: str
    num_lines: int
    num_characters: int
    options: JobOptions
    is_timed: bool
    out: str = ""
    state: JobState = JobState.WAITING
    wanted: str = "run"
    error: str = ""
    num_done: int = 0
    num_failed: int = 0
    characters_done: int = 0
    characters_left: int = 0
    seconds_spent: float = 0.0
    attempt: int = 1
    version: int = 1
    created: str = field(default_factory=lambda: now())
    updated: str = field(default_factory=lambda: now())

    @property
    def workflow_id(self) -> str:
        """The name of its run in the durable executor."""
        return f"{self.id}.{self.attempt}"

    @property
    def eta_seconds(self) -> float | None:
        """Until the last line is spoken, by the pace so far."""
        if self.state is not JobState.RUNNING or not self.characters_done:
            return None
        return self.characters_left * self.seconds_spent / self.characters_done


def now() -> str:
    """This moment, as it is written down."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def database_url(settings: Settings) -> str:
    """Where jobs are kept, as SQLAlchemy and DBOS read it.

    raises: ConfigError for a database we have no driver for
    """
    sqlalchemy = import_library("sqlalchemy", "keeping jobs", extra="jobs")
    if not settings.jobs_database:
        return f"sqlite:///{settings.home / 'jobs' / 'jobs.sqlite'}"
    try:
        url = sqlalchemy.make_url(settings.jobs_database)
    except sqlalchemy.exc.ArgumentError as error:
        raise ConfigError("jobs_database is not an address", seen="a text that is none") from error
    if url.get_backend_name() == "sqlite":
        return str(settings.jobs_database)
    if url.get_backend_name() not in ("postgresql", "postgres"):
        raise ConfigError(
            "wrong kind of jobs_database",
            seen=url.get_backend_name(),
            allowed="postgresql://user:password@host/name, or empty for SQLite",
        )
    url = url.set(drivername="postgresql+psycopg")
    return str(url.render_as_string(hide_password=False))


class Ledger:
    """The table of jobs; safe to use from many threads and processes."""

    def __init__(self, url: str) -> None:
        """Connect, and make the table where it is missing. raises: JobError"""
        self._sql = sql = import_library("sqlalchemy", "keeping jobs", extra="jobs")
        is_file = url.startswith("sqlite")
        if is_file:
            _make_folder(Path(url.partition("///")[2]).parent)
        arguments = {"timeout": BUSY_SECONDS} if is_file else {}
        self._engine = sql.create_engine(url, connect_args=arguments, pool_pre_ping=not is_file)
        self._table = _table(sql)
        with self._told():
            self._make_table()

    def _make_table(self) -> None:
        try:
            self._table.metadata.create_all(self._engine)
        except self._sql.exc.DBAPIError:  # another process made it in this moment
            self._table.metadata.create_all(self._engine)

    def close(self) -> None:
        """Let go of the connections."""
        self._engine.dispose()

    def add(self, row: Row) -> None:
        """Keep a new job."""
        with self._told(), self._engine.begin() as connection:
            connection.execute(self._table.insert().values(**_packed(asdict(row))))

    def get(self, job_id: str) -> Row | None:
        """A job, or None."""
        return next(iter(self._select(self._table.c.id == job_id)), None)

    def all(self) -> list[Row]:
        """Every job, the newest first."""
        return self._select(None)

    def unfinished(self, key: str) -> Row | None:
        """The newest job of this key that may go on."""
        over = [
            JobState.FINISHED.value,
            JobState.FINISHED_WITH_ERRORS.value,
            JobState.CANCELLED.value,
        ]
        columns = self._table.c
        found = self._select((columns.key == key) & columns.state.notin_(over))
        return next(iter(found), None)

    def update(
        self, job_id: str, expect: Mapping[str, object] | None = None, **values: Any
    ) -> bool:
        """Change some fields of a job, in one step with a look at others.

        expect:  what these fields must hold, else nothing is changed
        returns: whether it was changed
        """
        table = self._table
        changes = {**_packed(values), "updated": now(), "version": table.c.version + 1}
        with self._told(), self._engine.begin() as connection:
            change = table.update().where(table.c.id == job_id)
            for name, value in _packed(dict(expect or {})).items():
                change = change.where(table.c[name] == value)
            return bool(connection.execute(change.values(**changes)).rowcount)

    def wanted(self, job_id: str) -> str:
        """What somebody wants of a running job; `cancel` of one that is gone."""
        query = self._sql.select(self._table.c.wanted).where(self._table.c.id == job_id)
        with self._told(), self._engine.connect() as connection:
            return connection.execute(query).scalar() or "cancel"

    def remove(self, job_id: str) -> None:
        """Forget a job."""
        table = self._table
        with self._told(), self._engine.begin() as connection:
            connection.execute(table.delete().where(table.c.id == job_id))

    def _select(self, condition: Any) -> list[Row]:
        query = self._sql.select(self._table).order_by(self._table.c.created.desc())
        if condition is not None:
            query = query.where(condition)
        with self._told(), self._engine.connect() as connection:
            return [_unpacked(dict(found)) for found in connection.execute(query).mappings()]

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except self._sql.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise JobError(
                "the database of jobs cannot be used",
                seen=" ".join(str(cause).split()),
                cure="check the setting jobs_database, the folder, and the space left",
            ) from error


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise JobError(
            f"cannot write to {folder}",
            seen=error.strerror,
            cure="make KOUJI_HOME a folder you can write to",
        ) from error


def _table(sql: Any) -> Any:
    columns = [sql.Column("id", sql.Text, primary_key=True)]
    for item in fields(Row)[1:]:
        kind = {"int": sql.Integer, "float": sql.Float, "bool": sql.Boolean}
        columns.append(sql.Column(item.name, kind.get(str(item.type), sql.Text), nullable=False))
    return sql.Table("kouji_jobs", sql.MetaData(), *columns)


def _packed(values: dict[str, Any]) -> dict[str, Any]:
    """Values as the database holds them."""
    packed = dict(values)
    if "options" in packed:
        options = packed["options"]
        plain = options if isinstance(options, dict) else asdict(options)
        packed["options"] = json.dumps(plain, default=str, ensure_ascii=False)
    if "state" in packed:
        packed["state"] = JobState(packed["state"]).value
    return packed


def _unpacked(values: dict[str, Any]) -> Row:
    stored = json.loads(values["options"])
    options = JobOptions(**{**stored, "subtitles": tuple(stored["subtitles"])})
    if options.out is not None:
        options = replace(options, out=Path(options.out))
    return Row(**{**values, "options": options, "state": JobState(values["state"])})
