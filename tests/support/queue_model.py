"""What the queue should do, in plain Python: a model to hold the real one against.

Time passes in whole hours, when the test says so; between two of them things happen one after the other. So an instant
is a pair: the hour, and a number that orders what happened in it.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

from queuer.values import HeldJob

Instant = tuple[int, int]

#: As in `queuer.repositories.upkeep`.
MOST_LOSSES = 3

LIVE = ("QUEUED", "SCHEDULED", "RUNNING")


@dataclass
class ModelJob:
    """A job, live or ended. `id` is the database's: the model takes it over."""

    rid: UUID
    task: str
    planned_at: Instant
    due_at: Instant | None = None
    max_count: int = 1
    function: str | None = None
    #: Hours from when it was added, by the clock that does not move.
    start: Instant | None = None
    id: int = 0
    status: str = "QUEUED"
    attempts: int = 0
    failures: int = 0
    losses: int = 0
    worker: UUID | None = None
    is_cancelled: bool = False
    count: int = 1
    series: UUID | None = None
    is_old: bool = False

    def __post_init__(self) -> None:
        if self.due_at is not None:
            self.status = "SCHEDULED"

    @property
    def is_live(self) -> bool:
        return self.status in LIVE


@dataclass(frozen=True)
class Ended:
    """What the model is told of an outcome."""

    rid: UUID
    attempt: int
    #: SUCCEEDED, FAILED, CANCELLED or RETRY.
    verdict: str
    #: Hours until the retry.
    delay: int = 0


@dataclass
class QueueModel:
    """All jobs by their rid, and the workers that are known, with their states."""

    jobs: dict[UUID, ModelJob] = field(default_factory=dict)
    workers: dict[UUID, str] = field(default_factory=dict)
    silent: set[UUID] = field(default_factory=set)
    hour: int = 0
    number: int = 0
    #: Next runs that the database has inserted by itself, under rids that only it knows.
    unnamed: list[ModelJob] = field(default_factory=list)

    def tick(self) -> Instant:
        self.number += 1
        return self.hour, self.number

    def live(self, *statuses: str) -> Iterator[ModelJob]:
        return (job for job in self.jobs.values() if job.status in (statuses or LIVE))

    def is_due(self, job: ModelJob) -> bool:
        return job.due_at is not None and job.due_at <= (self.hour, self.number)

    # -- What workers do

    def check_claim(self, worker: UUID, can: Collection[str], limit: int, taken: Sequence[Any]) -> None:
        """Asserts that these are what a claim had to take, and notes that the worker has them."""
        chosen = [self.jobs[job.rid] for job in taken]
        mine = [job for job in self.live("QUEUED", "SCHEDULED") if {job.task, job.function or job.task} <= set(can)]
        due = [job for job in mine if self.is_due(job)]  # also what was given back
        first = [job for job in chosen if job.due_at is not None]
        left = [job for job in due if job not in first]
        assert len(first) == min(limit, len(due))
        assert not first or not left or max(job.due_at for job in first) <= min(job.due_at for job in left)
        queued = sorted(job.id for job in mine if job.due_at is None)
        assert [job.id for job in chosen if job.due_at is None] == queued[: limit - len(first)]
        assert [job.id for job in chosen] == sorted(job.id for job in chosen)
        for job, claimed in zip(chosen, taken, strict=True):
            job.status, job.worker = "RUNNING", worker
            job.attempts += 1
            expected = (job.id, job.task, job.attempts, job.failures, job.is_cancelled, job.count)
            told = (claimed.id, claimed.task_name, claimed.attempt, claimed.failures, claimed.is_cancelled)
            assert (*told, claimed.schedule_count) == expected

    def finish(self, worker: UUID, outcomes: Sequence[Ended]) -> None:
        """Outcomes count only while the attempt is still the worker's."""
        retried_at = self.tick()
        for outcome in outcomes:
            for job in self.live("RUNNING"):
                if (job.rid, job.worker, job.attempts) == (outcome.rid, worker, outcome.attempt):
                    self._end(job, outcome, retried_at)

    def _end(self, job: ModelJob, outcome: Ended, retried_at: Instant) -> None:
        job.failures += outcome.verdict in ("FAILED", "RETRY")
        if outcome.verdict == "RETRY":
            hour, number = retried_at
            job.status, job.worker = "SCHEDULED", None
            job.due_at = (hour if job.is_cancelled else hour + outcome.delay, number)
            return
        job.status = "CANCELLED" if job.is_cancelled else outcome.verdict
        self._go_on(job)

    def _go_on(self, job: ModelJob) -> None:
        """Plans the next run of a series: on its grid, the first that lies in the future."""
        if job.max_count == 1 or job.status == "CANCELLED" or (job.max_count and job.count >= job.max_count):
            return
        hour, number = job.planned_at
        at = (max(self.hour, hour) + 1, number)
        series, count = job.series or job.rid, job.count + 1
        self.unnamed.append(
            ModelJob(uuid4(), job.task, at, at, job.max_count, job.function, job.start, count=count, series=series)
        )

    def give_back(self, worker: UUID, held: Sequence[HeldJob] | None) -> set[UUID]:
        mine = [job for job in self.live("RUNNING") if job.worker == worker]
        keys = None if held is None else {one.key for one in held}
        given = [job for job in mine if keys is None or (job.rid, job.attempts) in keys]
        for job in given:
            self._queue_again(job)
        return {job.rid for job in given}

    @staticmethod
    def _queue_again(job: ModelJob) -> None:
        job.status = "CANCELLED" if job.is_cancelled else "QUEUED"
        job.worker = None

    # -- What the master does

    def rescue(self) -> None:
        for worker in self.silent & self.workers.keys():
            if self.workers[worker] == "RUNNING":
                self.workers[worker] = "STOPPED"
        for job in list(self.live("RUNNING")):
            if self.workers.get(job.worker, "STOPPED") != "STOPPED":
                continue
            job.losses += 1
            if job.losses <= MOST_LOSSES or job.is_cancelled:  # one that was cancelled ends so
                self._queue_again(job)
            else:
                job.status = "FAILED"
                if job.function is None:  # else there is nobody to ask
                    self._go_on(job)

    def prune(self) -> None:
        for job in [job for job in self.jobs.values() if job.is_old]:
            del self.jobs[job.rid]
        held = {job.worker for job in self.live("RUNNING")}
        for worker in self.silent - held:
            if self.workers.get(worker) == "STOPPED":
                del self.workers[worker]

    # -- What is asked from outside

    def cancel(self, rid: UUID) -> bool:
        """Tells whether there was a job to cancel."""
        job = self.jobs.get(rid)
        if job is None or not job.is_live:
            return False
        if job.status == "RUNNING":
            job.is_cancelled = True
        else:
            job.status = "CANCELLED"
        return True
