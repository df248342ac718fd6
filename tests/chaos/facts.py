"""All that is known after a run: the tables, by plain SQL, and the journals. Knows nothing of queuer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
from psycopg.rows import class_row, dict_row

from chaos.journal import read


@dataclass(frozen=True, slots=True)
class Promise:
    """A job that a producer wanted to add.

    Args:
        order: What the checker may expect of it; see `orders.Order`.
        rid: Under which it was added; None = adding raised, or the producer died over it.
    """

    token: str
    order: Mapping[str, Any]
    rid: str | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """An attempt, as the task saw it. Instants are of the system's monotonic clock.

    Args:
        how: "returned", or what was raised; None = the task did not come to say so.
    """

    rid: str
    attempt: int
    pid: int
    token: str
    begun_at: float
    ended_at: float | None = None
    how: str | None = None


@dataclass(frozen=True, slots=True)
class JobRow:
    """A row of `job` or `job_archive`. Instants are seconds since 1970 by the database's clock."""

    id: int
    rid: str
    status: str
    token: str
    attempts: int
    losses: int
    failures: list[dict[str, Any]]
    worker_rid: str | None
    series_rid: str | None
    schedule_count: int
    occurrence_at: float | None
    started_at: float | None
    ended_at: float | None = None
    results: list[Any] | None = None
    error: str | None = None
    series_error: str | None = None


class Dropped(NamedTuple):
    """An outcome that a worker says it dropped, because the job was no longer its own."""

    verdict: str
    rid: str
    attempt: int
    worker_rid: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """What the checker judges.

    Args:
        cancelled: The rids of jobs that somebody asked to cancel.
        live, archive: What is left in `job`, and what is in `job_archive`.
        workers: The rows of `worker`.
        effects: The tokens that tasks wrote in the transactions in which their jobs ended.
        dropped: What workers say about outcomes.
        trouble: What no fault excuses: crashes, errors in the workers' logs, processes that hang.
    """

    promises: list[Promise] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    runs: list[Run] = field(default_factory=list)
    live: list[JobRow] = field(default_factory=list)
    archive: list[JobRow] = field(default_factory=list)
    workers: list[dict[str, Any]] = field(default_factory=list)
    master: str | None = None
    effects: list[str] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)
    trouble: list[str] = field(default_factory=list)


_COMMON = """SELECT id, rid::text, status, parameters->>0 AS token, attempts, losses,
    coalesce(failures, '[]') AS failures, worker_rid::text, series_rid::text, schedule_count,
    extract(epoch FROM occurrence_at)::float8 AS occurrence_at, extract(epoch FROM started_at)::float8 AS started_at"""
LIVE = f"{_COMMON} FROM job ORDER BY id"
ARCHIVE = f"""{_COMMON}, extract(epoch FROM ended_at)::float8 AS ended_at, results, error, series_error
    FROM job_archive ORDER BY id, ended_at"""
WORKERS = "SELECT rid::text, status, asked_to, heartbeat_at <= clock_timestamp() AS is_past FROM worker"
EFFECTS = "SELECT token FROM ledger"
MASTER = "SELECT worker_rid::text FROM master"


def gather(connection: psycopg.Connection[Any], directory: Path) -> Facts:
    """Reads everything. `connection` is past the proxy."""
    with connection.cursor(row_factory=class_row(JobRow)) as jobs:
        live = jobs.execute(LIVE).fetchall()
        archive = jobs.execute(ARCHIVE).fetchall()
    with connection.cursor(row_factory=dict_row) as rows:
        workers = rows.execute(WORKERS).fetchall()
    (master,) = connection.execute(MASTER).fetchone() or (None,)
    return Facts(
        promises=promises(directory),
        cancelled=cancelled(directory),
        runs=runs(directory),
        live=live,
        archive=archive,
        workers=workers,
        master=master,
        effects=[token for (token,) in connection.execute(EFFECTS)],
    )


def promises(directory: Path) -> list[Promise]:
    """What the producers wanted to add, and which of it they were told is added."""
    entries = list(read(directory, "producers"))
    rids = {entry["token"]: entry["rid"] for entry in entries if entry["event"] == "added"}
    return [
        Promise(entry["token"], entry["order"], rids.get(entry["token"]))
        for entry in entries
        if entry["event"] == "adding"
    ]


def cancelled(directory: Path) -> set[str]:
    """Whom somebody asked to cancel. Whether the answer came does not matter."""
    everybody = [*read(directory, "producers"), *read(directory, "conductor")]
    return {entry["rid"] for entry in everybody if entry["event"] == "cancelling"}


def runs(directory: Path) -> list[Run]:
    """The attempts that the tasks know of. One that was begun twice is there twice."""
    entries = list(read(directory, "tasks"))
    ended: dict[tuple[str, int, int], dict[str, Any]] = {}
    for entry in entries:
        if entry["event"] == "ended":
            ended[entry["rid"], entry["attempt"], entry["pid"]] = entry
    found = []
    for entry in entries:
        if entry["event"] == "begun":
            key = (entry["rid"], entry["attempt"], entry["pid"])
            end = ended.get(key, {})
            found.append(Run(*key, entry["token"], entry["at"], end.get("at"), end.get("how")))
    return found
