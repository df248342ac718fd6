"""The slots: which jobs run, how many more may, and when their time is up."""

import logging
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Protocol

from queuer.errors import JobTimeout, TaskNotRegistered
from queuer.options import OnError
from queuer.tasks import Task
from queuer.values import ClaimedJob, Outcome
from queuer.worker.attempt import LONGEST_MESSAGE, NEVER, Attempt, Interrupt, cancelled, refuse
from queuer.worker.event_loop import LoopExecutor
from queuer.worker.loop import Loop
from queuer.worker.processes import ProcessExecutor
from queuer.worker.threads import ThreadExecutor
from queuer.worker.transactions import Transactions

logger = logging.getLogger(__name__)

#: Seconds that interrupted tasks get to end when the worker stops.
GRACE = 5.0

#: Seconds until a task that has not ended is interrupted again; that much more each time, up to the second.
REPEAT_AFTER = 0.1
LONGEST_PAUSE = 5.0

#: Tries after which a task is called unstoppable: some five seconds.
STUCK_AFTER = 10


#: From so many slots on a worker asks for more jobs while half of what it has still waits for its turn. With fewer,
#: several claims would be on their way for what one could bring.
MANY_SLOTS = 64


class Executor(Protocol):
    """Where tasks run. Each attempt ends in one call of `done`."""

    def run(self, attempts: Sequence[Attempt]) -> None:
        """Begins these attempts. Returns at once."""

    def close(self) -> None:
        """Ends the executor's threads, but for those that a task holds on to."""


class Runner:
    """Runs claimed jobs, `max_concurrency` at once at most.

    Args:
        find: A task by its name.
        report: Takes each outcome, in the thread that made it.
        freed: Told whenever there is more room.
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
        self._running: set[Attempt] = set()
        self._few = max_concurrency // 2 if max_concurrency >= MANY_SLOTS else 0
        self._is_asked = self._is_awaited = self._is_hurried = False
        self._changed = threading.Condition()
        self._threads = ThreadExecutor(max_concurrency, self._begun, self._done, transactions)
        self._event_loop = LoopExecutor(self._begun, self._done, transactions)
        self._processes = ProcessExecutor(self._done, begun=lambda attempt: self._watch([attempt]))
        self._watchdog = Loop("watchdog", self._look)
        self._next_look = NEVER
        self._ended_before, self._spent_before, self._task_time = 0, 0.0, 0.0

    def start(self) -> None:
        self._watchdog.start()

    def close(self) -> None:
        """Ends the threads and the child processes. Attempts that still run in threads are on their own."""
        self._watchdog.stop()
        self._processes.close()
        self._threads.close()
        self._event_loop.close()

    @property
    def free(self) -> int:
        """How many more jobs may run."""
        return self._max_concurrency - len(self._running)

    def room(self) -> int:
        """How many more jobs to get now: as many as are free, when nearly all that there are have begun.

        `freed` is called when there is more.
        """
        self._is_asked = True  # before looking: what is freed meanwhile must count
        return self._room()

    def _room(self) -> int:
        return self.free if self.waiting <= self._few else 0

    @property
    def waiting(self) -> int:
        """Attempts whose task has not begun."""
        return self._threads.waiting + self._event_loop.waiting

    def task_time(self) -> float:
        """Seconds that tasks in threads and coroutines take: the mean of those that have ended since the last call."""
        ended = self._threads.ended + self._event_loop.ended
        spent = self._threads.spent + self._event_loop.spent
        if ended > self._ended_before:
            self._task_time = (spent - self._spent_before) / (ended - self._ended_before)
            self._ended_before, self._spent_before = ended, spent
        return self._task_time

    def run(self, jobs: Sequence[ClaimedJob]) -> None:
        """Begins these jobs, which must not be more than are free."""
        attempts = [attempt for job in jobs if (attempt := self._prepare(job)) is not None]
        self._running.update(attempts)
        self._watch(attempts)
        by_executor: dict[Executor, list[Attempt]] = {}
        for attempt in attempts:
            by_executor.setdefault(self._executor(attempt.task), []).append(attempt)
        for executor, its_own in by_executor.items():
            executor.run(its_own)

    def running(self) -> list[Attempt]:
        """The attempts that run."""
        return list(self._running)

    def interrupt(self, reason: Interrupt, attempts: Sequence[Attempt] | None = None) -> None:
        """Ends these attempts, or all that run."""
        for attempt in self.running() if attempts is None else attempts:
            self._interrupt(attempt, reason)
        self._watchdog.wake()

    def wait_idle(self, timeout: float) -> bool:
        """Waits until nothing runs any more or somebody is in a hurry, `timeout` seconds at most. Tells which."""
        self._is_awaited = True
        with self._changed:
            self._changed.wait_for(lambda: not self._running or self._is_hurried, timeout)
            self._is_hurried = False
        self._is_awaited = False
        return not self._running

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
            self._running.discard(attempt)
            if self._is_awaited:
                with self._changed:
                    self._changed.notify_all()
            self._begun()

    def _begun(self) -> None:
        """An attempt has begun, or ended: who asked for room may get some."""
        if self._is_asked and self._room() > 0:
            self._is_asked = False
            self._freed()

    def _watch(self, attempts: Sequence[Attempt]) -> None:
        """Wakes the watchdog only if it has to look at one of these before it would by itself."""
        if min((attempt.look_at for attempt in attempts), default=NEVER) < self._next_look:
            self._watchdog.wake()

    def _look(self) -> float | None:
        self._next_look = NEVER  # before looking, so that whoever comes in meanwhile wakes us
        now = monotonic()
        for attempt in self.running():
            if attempt.look_at <= now:
                self._escalate(attempt, now)
        soonest = min((attempt.look_at for attempt in self.running()), default=NEVER)
        if soonest == NEVER:
            return None
        self._next_look = soonest
        return max(0.001, soonest - now)

    def _escalate(self, attempt: Attempt, now: float) -> None:
        if attempt.interrupted_by is None:
            self._interrupt(attempt, JobTimeout(f"the attempt took longer than {attempt.on_error.timeout:g} s"))
            return
        attempt.interrupt_again()
        attempt.tries += 1
        attempt.look_at = now + min(LONGEST_PAUSE, REPEAT_AFTER * attempt.tries)
        if attempt.tries == STUCK_AFTER:
            logger.warning(
                "task %r of job %s does not react to its %s; it keeps its slot until it returns",
                attempt.job.task_name,
                attempt.job.rid,
                type(attempt.interrupted_by).__name__,
            )

    @staticmethod
    def _interrupt(attempt: Attempt, reason: Interrupt) -> None:
        attempt.look_at = monotonic() + REPEAT_AFTER
        attempt.interrupt(reason)


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
