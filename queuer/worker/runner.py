"""Runs jobs: from the claim to the outcome."""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from queuer.errors import JobCancelled, TaskNotRegistered
from queuer.options import OnError
from queuer.tasks import Task
from queuer.values import ClaimedJob, Outcome
from queuer.worker.attempt import LONGEST_MESSAGE, Attempt, Interrupt, cancelled, refuse
from queuer.worker.event_loop import LoopExecutor
from queuer.worker.processes import ProcessExecutor
from queuer.worker.slots import Slots
from queuer.worker.threads import ThreadExecutor
from queuer.worker.transactions import Transactions
from queuer.worker.watchdog import Watchdog

logger = logging.getLogger(__name__)

#: Seconds that interrupted tasks get to end when the worker stops.
GRACE = 5.0

#: From so many slots on a worker asks for more jobs while half of what it has still waits for its turn. With fewer that
#: would be a claim for each few jobs.
MANY_SLOTS = 64


class Executor(Protocol):
    """Where tasks run. Each attempt ends in one call of `done`."""

    def run(self, attempts: Sequence[Attempt]) -> None:
        """Begins these attempts. Returns at once. One thread calls at a time.

        Raises:
            Exception: None of them begins: the system has no room for another thread, or no more file descriptors.
        """

    def close(self) -> None:
        """Ends the executor's threads, but for those that a task holds on to."""


class Runner:
    """Runs claimed jobs, `max_concurrency` at once at most. Others wait for a slot.

    Args:
        find: A task by its name.
        report: Takes each outcome, in the thread that made it.
        freed: Told when there is room again, after there was none.
        transactions: For attempts whose task wants a session.
        unseal: Decrypts a job, or raises.
    """

    def __init__(
        self,
        max_concurrency: int,
        on_error: OnError | None,
        *,
        find: Callable[[str], Task | None],
        report: Callable[[Outcome], None],
        freed: Callable[[], None],
        transactions: Transactions,
        unseal: Callable[[ClaimedJob], ClaimedJob] = lambda job: job,
    ) -> None:
        self._max_concurrency = max_concurrency
        self._on_error = on_error
        self._find = find
        self._report = report
        self._freed = freed
        self._unseal = unseal
        self._slots = Slots(max_concurrency)
        self._handing_over = threading.Lock()
        self._prefetch = self._most_not_begun = 0
        self._few = max_concurrency // 2 if max_concurrency >= MANY_SLOTS else 0
        self._is_asked = self._is_awaited = self._is_hurried = False
        self._changed = threading.Condition()
        self._threads = ThreadExecutor(max_concurrency, self._moved_on, self._done, transactions)
        self._event_loop = LoopExecutor(self._moved_on, self._done, transactions)
        self._processes = ProcessExecutor(self._done, begun=lambda attempt: self._watchdog.watch([attempt]))
        self._watchdog = Watchdog(self.running, self._let_go)

    def start(self) -> None:
        self._watchdog.start()

    def close(self) -> None:
        """Ends the threads and the child processes. Attempts that still run in threads are on their own."""
        self._watchdog.stop()
        self._processes.close()
        self._threads.close()
        self._event_loop.close()

    def room(self, *, is_draining: bool = False) -> int:
        """How many more jobs to get now: as many as are free, when nearly all that there are have begun; and a few that
        wait for the next slots while a backlog is drained.

        `freed` is called when there is some, after there was none.
        """
        self._prefetch = self._slots.to_prefetch(is_draining=is_draining)
        self._most_not_begun = max(self._few, self._prefetch)
        self._is_asked = True  # before looking: what is freed meanwhile must count
        room = self._room()
        if room > 0:
            self._is_asked = False
        return room

    def _room(self) -> int:
        if self._not_begun > self._most_not_begun or len(self._slots.row) > self._prefetch // 2:
            return 0
        return self._max_concurrency + self._prefetch - len(self._slots)

    @property
    def waiting(self) -> int:
        """Attempts whose task has not begun."""
        return len(self._slots.row) + self._not_begun

    @property
    def _not_begun(self) -> int:
        """Those among them that have a slot."""
        return self._threads.waiting + self._event_loop.waiting

    def run(self, jobs: Sequence[ClaimedJob]) -> None:
        """Begins these jobs, as soon as there is a slot for each."""
        attempts = [attempt for job in jobs if (attempt := self._prepare(job)) is not None]
        self._slots.add(attempts)
        self._fill_slots()
        if self._slots.row:
            self._watchdog.watch(attempts)

    def _fill_slots(self) -> None:
        with self._handing_over:  # so that those that end at the same time keep the order
            begun = self._slots.fill()
            by_executor: dict[Executor, list[Attempt]] = {}
            for attempt in begun:
                by_executor.setdefault(self._executor(attempt.task), []).append(attempt)
            self._watchdog.watch(begun)  # now: once another thread has work, it wants the interpreter's lock
            refused = [attempt for executor, its_own in by_executor.items() for attempt in _refused(executor, its_own)]
        for attempt in refused:  # the others wait: they would hardly fare better now
            self._report(attempt.once_more())
            self._end(attempt)

    def running(self) -> list[Attempt]:
        """The attempts that run, or wait for a slot."""
        return self._slots.attempts()

    def interrupt(self, reason: Interrupt, attempts: Sequence[Attempt] | None = None) -> None:
        """Ends these attempts, or all that run."""
        for attempt in self.running() if attempts is None else attempts:
            attempt.interrupt(reason)
            if self._slots.withdraw(attempt):
                self._done(attempt, cancelled(attempt.job) if isinstance(reason, JobCancelled) else None)
        self._watchdog.wake()

    def let_go(self) -> None:
        """Gives back what waits for a slot."""
        for attempt in self._slots.withdraw_all():
            self._done(attempt, attempt.unbegun())

    def _let_go(self, attempt: Attempt) -> bool:
        if not self._slots.withdraw(attempt):
            return False
        self._done(attempt, attempt.unbegun())
        return True

    def wait_idle(self, timeout: float) -> bool:
        """Waits until no attempt is left or somebody is in a hurry, `timeout` seconds at most. Tells which."""
        self._is_awaited = True
        with self._changed:
            self._changed.wait_for(lambda: not self._slots or self._is_hurried, timeout)
            self._is_hurried = False
        self._is_awaited = False
        return not self._slots

    def hurry(self) -> None:
        """Ends a `wait_idle`."""
        with self._changed:
            self._is_hurried = True
            self._changed.notify_all()

    def _prepare(self, job: ClaimedJob) -> Attempt | None:
        if job.is_cancelled:  # while another worker ran it, which could not say so any more
            self._report(cancelled(job))
            return None
        try:
            return Attempt(self._unseal(job), self._task(job.task_name), self._on_error)
        except Exception as error:  # noqa: BLE001 - a row that makes no sense fails alone
            self._report(refuse(job, error))
            return None

    def _task(self, name: str) -> Task:
        task = self._find(name)
        if task is None:
            raise TaskNotRegistered(f"the task {name!r} is not registered here")
        return task

    def _executor(self, task: Task) -> Executor:
        if task.executor == "process":
            return self._processes
        return self._event_loop if task.is_async else self._threads

    def _done(self, attempt: Attempt, outcome: Outcome | None) -> None:
        try:
            if outcome is not None:
                if outcome.failure is not None:
                    _name_cut(outcome)
                self._report(outcome)
        finally:
            self._end(attempt)
            self._moved_on()

    def _end(self, attempt: Attempt) -> None:
        self._slots.end(attempt)
        if self._is_awaited:
            with self._changed:
                self._changed.notify_all()

    def _moved_on(self) -> None:
        """An attempt has begun, or ended: others may get its slot, and who asked for room may get some."""
        # Short tasks are handed over by the batch: when more slots are free than attempts are still to begin.
        if self._slots.row and self._slots.free >= min(len(self._slots.row), self._not_begun or 1):
            self._fill_slots()
        if self._is_asked and self._room() > 0:
            self._is_asked = False
            self._freed()


def _refused(executor: Executor, attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    """Those that the executor could not begin."""
    try:
        executor.run(attempts)
    except Exception:
        logger.exception("%d tasks could not begin; their jobs run again in a moment", len(attempts))
        return attempts
    return ()


def _name_cut(outcome: Outcome) -> None:
    failure = outcome.failure
    if failure is not None and failure.length > LONGEST_MESSAGE:
        logger.warning(
            "task %r of job %s raised %s with a message of %d characters, of which %d are kept; make it short",
            outcome.job.task_name,
            outcome.job.rid,
            failure.type,
            failure.length,
            LONGEST_MESSAGE,
        )
