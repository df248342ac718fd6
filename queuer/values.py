"""What travels between the layers: frozen values, no ORM instances. The hot path is made of these."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from types import MappingProxyType
from typing import Any, NamedTuple
from uuid import UUID

from msgspec import Struct

from queuer.options import NO_OPTIONS, Options
from queuer.states import JobStatus, WorkerRequest

#: Attempts at a job, and runs of a series, at most: the tables take no more.
MOST_ATTEMPTS = MOST_RUNS = 1_000_000_000


class NewJob(NamedTuple):
    """A job that was checked and is ready to be inserted. The rid is picked by who adds it."""

    rid: UUID
    task_name: str
    parameters: Sequence[Any] | str = ()
    parameters_keyed: dict[str, Any] | str | None = None
    options: Options = NO_OPTIONS
    parent_rid: UUID | None = None
    #: The metadata as a text, in place of that in the options, when the job is encrypted.
    sealed_metadata: str | None = None
    #: Of the key by which it is encrypted: then the parameters are texts.
    key_id: str | None = None

    @property
    def options_json(self) -> dict[str, Any]:
        written = self.options.to_json()
        return written if self.sealed_metadata is None else written | {"metadata": self.sealed_metadata}

    @property
    def is_plain(self) -> bool:
        """Whether all that there is to say of the job is its task and its positional parameters."""
        is_bare = self.options is NO_OPTIONS and self.parent_rid is None and not self.parameters_keyed
        return is_bare and self.key_id is None

    @property
    def status(self) -> JobStatus:
        return JobStatus.QUEUED if self.scheduled_at is None else JobStatus.SCHEDULED

    @property
    def scheduled_at(self) -> datetime | None:
        return self.options.schedule.start if self.options.schedule else None

    @property
    def series_rid(self) -> UUID | None:
        return self.rid if self.options.schedule and self.options.schedule.is_recurring else None


class PlainJobs(NamedTuple):
    """New jobs of which there is nothing to say but their rids, tasks and positional parameters, which JSON holds as
    they are. Column by column: to make a value for each takes longer than to write its row."""

    rids: Sequence[UUID]
    task_names: Sequence[str]
    parameters: Sequence[Sequence[Any]]


def one_by_one(jobs: Iterable[NewJob | PlainJobs]) -> Iterator[NewJob]:
    """Each of these jobs by itself."""
    for job in jobs:
        if isinstance(job, PlainJobs):
            yield from map(NewJob, *job)
        else:
            yield job


#: An attempt at a job, which is known by its rid: a failover that lost the last jobs gives their ids to others.
AttemptKey = tuple[UUID, int]


# There is one of each of these two for every job of a drain. A struct is made and read in half of a named tuple's time,
# and without `gc` it costs Python's collector nothing: neither can be part of a cycle.


class ClaimedJob(Struct, frozen=True, gc=False):
    """A job as the worker gets it: JSON texts, as whoever wrote the row wrote them, read job by job; None = empty.

    (rid, attempt) fences: what the worker says of the job counts only while that attempt is still its own.
    """

    id: int
    rid: UUID
    task_name: str
    parameters: str
    parameters_keyed: str | None
    options: str | None
    attempt: int
    failures: int
    is_cancelled: bool = False
    schedule_count: int = 1
    #: Of a job with a schedule: the planned start of this run, and when it was claimed.
    instants: Sequence[datetime] | None = None
    series_rid: UUID | None = None
    #: Of the key by which its parameters and metadata are encrypted.
    key_id: str | None = None

    @property
    def key(self) -> AttemptKey:
        return self.rid, self.attempt


NO_MARKS: Mapping[str, int] = MappingProxyType({})


class Claim(NamedTuple):
    """What a worker gets when it asks for jobs."""

    #: The oldest first.
    jobs: Sequence[ClaimedJob]
    #: When the next scheduled job that it could take is due, by the database's clock; not above zero when one is due
    #: that somebody else holds; None = there is none, or nobody looked.
    seconds_until_due: float | None = None
    #: Of each task that had any, the highest id of the queued jobs that were taken: all before it are taken, too.
    marks: Mapping[str, int] = NO_MARKS


class HeldJob(NamedTuple):
    """A job that a worker runs, according to the database."""

    rid: UUID
    attempt: int
    is_cancelled: bool

    @property
    def key(self) -> AttemptKey:
        return self.rid, self.attempt


class Beat(NamedTuple):
    """What a worker learns from its heartbeat."""

    asked_to: WorkerRequest | None
    #: Seconds of silence after which a worker counts as dead.
    worker_stale_after: float


class Connection(NamedTuple):
    """A connection that a queuer has to the database, as PostgreSQL sees it."""

    pid: int
    database: str
    username: str
    application_name: str
    #: "active", "idle", "idle in transaction" …
    state: str
    connected_at: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Which jobs are wanted: up to `entries` with an id below `last_id`, newest first; 0 = from the newest of all.

    Args:
        text: Only those whose task name, rid or status contains it.
    """

    last_id: int = 0
    entries: int = 100
    status: JobStatus | None = None
    worker_rid: UUID | None = None
    text: str | None = None


class Verdict(Enum):
    """What becomes of a job after an attempt."""

    SUCCEEDED = auto()
    FAILED = auto()
    CANCELLED = auto()
    RETRY = auto()
    #: There was no slot for it after all: it is queued again.
    UNBEGUN = auto()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed. Texts are fit for PostgreSQL.

    Args:
        length: Characters that the message had before it was cut.
    """

    type: str
    message: str
    traceback: str
    length: int = 0

    @property
    def error(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type

    def words(self) -> dict[str, str]:
        """What a task may have put its secrets into."""
        return {"message": self.message, "traceback": self.traceback}

    def to_json(self) -> dict[str, str]:
        """What an entry of the job's `failures` gets of it."""
        return {"type": self.type, **self.words()}


@dataclass(frozen=True, slots=True)
class SealedFailure(Failure):
    """A failure that is encrypted but for its type; message and traceback are empty.

    Args:
        sealed_error: What `error` was.
        sealed: What `words` were.
    """

    sealed_error: str = ""
    sealed: str = ""

    @property
    def error(self) -> str:
        return self.sealed_error

    def to_json(self) -> dict[str, str]:
        return {"type": self.type, "sealed": self.sealed}


class Ending(NamedTuple):
    """What a task came to, in texts, so that it can also come from another process."""

    #: JSON text of what it returned, in a list.
    results: str | None = None
    #: What it raised instead.
    failure: Failure | None = None
    #: Another attempt could but fail the same way.
    is_final: bool = False


class Outcome(Struct, frozen=True, gc=False):
    """How an attempt ended."""

    job: ClaimedJob
    verdict: Verdict
    #: Seconds from the claim to the end, by a monotonic clock: the database adds them to its own instants.
    elapsed: float
    #: JSON text, when it succeeded.
    results: str | None = None
    failure: Failure | None = None
    #: Seconds until the retry, when there is one.
    delay: float = 0.0
    #: When the series goes on, if it does.
    next_run_at: datetime | None = None
    #: Why it does not, although it should.
    series_error: str | None = None
    #: Whether the failure is added to those that the row keeps.
    is_kept: bool = True

    @property
    def length(self) -> int:
        """About how many characters it takes to write."""
        failure = len(self.failure.message) + len(self.failure.traceback) if self.failure else 0
        return len(self.results or "") + failure
