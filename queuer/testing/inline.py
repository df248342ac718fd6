"""Jobs that run in the test's process when the test's code commits: `queuer_inline`."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self
from uuid import UUID

from queuer import additions
from queuer.additions import Origin, origins
from queuer.errors import QueuerError
from queuer.models import JobArchive
from queuer.repositories import picking
from queuer.repositories.direct import schema_of
from queuer.testing import attempts
from queuer.testing.calling import in_coroutine
from queuer.testing.commits import Commits
from queuer.testing.journal import Entry, Journal
from queuer.testing.places import Place
from queuer.values import NewJob

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

#: Jobs that those of one commit may add, and those again.
MOST_JOBS = 1000


class _Waiting(Entry):
    """A job that was added and has not been run."""

    def __init__(
        self, rid: UUID, task_name: str, place: Place, given: object = None, *, before_due: bool = False
    ) -> None:
        self.rid = rid
        self.task_name = task_name
        self.place = place
        self.given = given
        self.before_due = before_due


class InlineJobs:
    """Runs the jobs that any queuer of this process adds while it is open, here, without a worker.

    A job that was added with `in_session` runs when its session commits, on the connection of that session: within a
    transaction that the test will roll back, if there is one. Others run before `add_job` returns. See docs/testing.md.

    Args:
        on_failure: "raise" raises what made a job fail for good out of that commit or `add_job`, when all its jobs have
            been run and written down. "record" leaves it to the test to look at `ended`. May be changed at any time.
    """

    def __init__(self, *, on_failure: Literal["raise", "record"] = "raise") -> None:
        self.on_failure = on_failure
        #: The jobs that were run, in the order in which they ended, as the archive has them.
        self.ended: list[JobArchive] = []
        self._waiting: list[_Waiting] = []
        self._seen: list[_Waiting] = []
        self._lock = threading.Lock()  # a test client may run the application in threads of its own
        self._journal = Journal()
        self._commits = Commits(self._committed, self._dropped)
        #: Of the commit at hand: the jobs that are still to be run.
        self._queue: ContextVar[deque[_Waiting] | None] = ContextVar("queuer_inline", default=None)

    def __enter__(self) -> Self:
        additions.watchers.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        additions.watchers.remove(self)
        self._journal.close()
        self._commits.close()

    # -- What a test asks for

    def run(self) -> int:
        """Runs what was added and is not scheduled for later, also before its transaction is committed.

        For applications that work on a `Connection` with savepoints, whose last commit nobody can tell from others.
        Returns how many jobs have ended. Raises what made jobs fail, unless failures are recorded.
        """
        return self._drain(self._take_out(lambda _job: True))

    async def run_async(self) -> int:
        """`run` for a test that is a coroutine."""
        return await in_coroutine(self.run)

    def run_scheduled(self, until: datetime | None = None) -> int:
        """Runs jobs that are scheduled for later, as if their time had come.

        Args:
            until: Those that are due by then, again and again when they recur. None = each that is scheduled now, once.

        Returns how many jobs have ended. Raises what made jobs fail, unless failures are recorded.
        """
        ended = 0
        while chosen := self._scheduled(until):
            ended += self._drain(chosen)
            if until is None:
                break
            if ended > MOST_JOBS:
                raise QueuerError(f"more than {MOST_JOBS} jobs were run; give an earlier `until`")
        return ended

    async def run_scheduled_async(self, until: datetime | None = None) -> int:
        """`run_scheduled` for a test that is a coroutine."""
        return await in_coroutine(lambda: self.run_scheduled(until))

    @contextmanager
    def recording_failures(self) -> Iterator[Self]:
        """Leaves it to the test to look at `ended`, for as long as the block lasts."""
        before, self.on_failure = self.on_failure, "record"
        try:
            yield self
        finally:
            self.on_failure = before

    # -- What queuers and sessions tell

    def inserted(self, session: "Session", jobs: Sequence[NewJob]) -> None:
        given = session.info.get("given")
        database = session.info["database"]
        connection = session.connection()
        place = Place(origins[database], connection, given is None, schema_of(session) or "public")
        waiting = [_Waiting(job.rid, job.task_name, place, given) for job in jobs]
        with self._lock:
            self._waiting += waiting
            self._seen += waiting
        self._journal.note(connection, waiting)
        if given is not None:
            self._commits.follow(given)

    def settled(self, rids: Sequence[UUID]) -> None:
        wanted = set(rids)
        self._drain(self._take_out(lambda job: job.rid in wanted))

    async def settled_async(self, rids: Sequence[UUID]) -> None:
        await in_coroutine(lambda: self.settled(rids))

    def _committed(self, given: object) -> None:
        self._drain(self._take_out(lambda job: job.given is given))

    def _dropped(self, given: object) -> None:
        self._take_out(lambda job: job.given is given)

    # -- Running them

    def _take_out(self, is_wanted: Callable[[_Waiting], bool]) -> list[_Waiting]:
        with self._lock:
            chosen = [job for job in self._waiting if is_wanted(job)]
            self._waiting = [job for job in self._waiting if not is_wanted(job)]
        return [job for job in chosen if not job.is_undone]

    def _drain(self, jobs: Sequence[_Waiting]) -> int:
        """Runs these jobs, and those that are added meanwhile behind them: a job never runs inside another."""
        queue = self._queue.get()
        if queue is not None:
            queue.extend(jobs)
            return 0
        queue = deque(jobs)
        token = self._queue.set(queue)
        try:
            runs = list(self._run_all(queue))
        finally:
            self._queue.reset(token)
        self._raise([run.error for run in runs if run.error is not None])
        return len(runs)

    def _run_all(self, queue: deque[_Waiting]) -> Iterator[attempts.Run]:
        left = len(queue) + MOST_JOBS
        while queue:
            job = queue.popleft()
            left -= 1
            if left < 0:
                raise QueuerError(f"one commit has had more than {MOST_JOBS} jobs added by jobs; do they end?")
            run = _run(job)
            if run is None:
                continue
            self.ended.append(run.ended)
            yield run

    def _raise(self, errors: Sequence[Exception]) -> None:
        if not errors or self.on_failure == "record":
            return
        if len(errors) == 1:
            raise errors[0]
        raise ExceptionGroup(f"{len(errors)} jobs failed", errors)

    def _scheduled(self, until: datetime | None) -> list[_Waiting]:
        """What is scheduled of what was added, the later runs of its series included."""
        rids: dict[object, list[UUID]] = {}
        places: dict[object, Place] = {}
        for job in self._seen:
            if not job.is_undone:
                places.setdefault(job.place.key, job.place)
                rids.setdefault(job.place.key, []).append(job.rid)
        chosen: list[_Waiting] = []
        for key, place in places.items():
            with place.session() as session:
                found = picking.scheduled(session, rids[key], until)
            chosen += [_Waiting(rid, task_name, place, before_due=True) for rid, task_name in found]
        return chosen


def _run(job: _Waiting) -> attempts.Run | None:
    """Runs a job with a queuer of this process. None = none has its task, and it waits for a worker of another process;
    or it does not wait."""
    for origin in _by_nearness(job.place.origin):
        task = origin.tasks.get(job.task_name)
        if task is not None:
            run = attempts.run(job.place, origin, task, job.rid, before_due=job.before_due)
            if run is not None and run.error is not None:
                run.error.add_note(f"raised in job {job.rid}, {job.task_name}, which was run inline")
            return run
    return None


def _by_nearness(adder: Origin) -> list[Origin]:
    """The queuer that added a job, then those of the same database, then others; the latest first.

    Earlier tests may have left some that have tasks of the same names.
    """
    latest_first = reversed(list(origins.values()))
    return sorted(
        latest_first, key=lambda origin: (origin is not adder, origin.config.database != adder.config.database)
    )
