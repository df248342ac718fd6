"""Runs sync tasks in threads: as few as do for short ones, and one for each where they take long."""

import ctypes
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from queue import SimpleQueue
from time import monotonic
from typing import Any

from queuer.context import enter_job
from queuer.errors import JobCancelled, JobInterrupted, JobTimeout
from queuer.values import Outcome
from queuer.worker.attempt import Attempt, Done, Interrupt, ending_of
from queuer.worker.loop import Loop
from queuer.worker.transactions import Transactions, in_transaction

logger = logging.getLogger(__name__)

INTERRUPTS = (JobTimeout, JobCancelled, JobInterrupted)

#: Seconds between two looks at the row, and looks at an empty one after which nobody looks any more.
LOOK_AFTER = 0.002
QUIET_LOOKS = 50

#: Seconds from which on tasks count as long. To wake a thread takes half as long, and where many are awake they mostly
#: wait for the interpreter's lock: shorter tasks are done sooner one after the other.
LONG = 0.0001

#: By what the number of threads grows from one look to the next while the tasks are long.
GROWTH = 4

#: Looks in a row at which no more threads begin while some of those that there are have not got to work: it is the
#: processor that tasks wait for then, and more threads would wait, too. Not for ever: one may have died.
PATIENT_LOOKS = 25

#: Attempts that end from one look to the next, and seconds that each may take, where fewer threads would do.
MANY = 20
MODERATE = 0.005


class ThreadExecutor:
    """A row of attempts, and threads that take one after the other from its head. `most` threads at most.

    Long tasks get a thread each, as soon as it shows that they are long; short ones share one.
    """

    def __init__(self, most: int, begun: Callable[[], None], done: Done, transactions: Transactions) -> None:
        self._most = most
        self._tell_begun = begun
        self._done = done
        self._transactions = transactions
        self._row: deque[Attempt] = deque()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._busy = self._at_work = 0  # those that were put to work, and those among them that have got to it
        self._allowed = 1  # busy ones
        self._calls: SimpleQueue[None] = SimpleQueue()  # one for each idle thread that is to work
        self._is_closing = False
        self._ended = self._ended_before = 0
        self._spent = self._spent_before = 0.0  # seconds
        self._quiet_looks = 0
        self._held_back = 0  # looks
        self._has_waited = False  # somebody did, at the last look
        self._watcher = Loop("watcher", self._look)
        self._has_watcher = self._is_watched = False

    @property
    def waiting(self) -> int:
        """Attempts that have not begun."""
        return len(self._row)

    def run(self, attempts: Sequence[Attempt]) -> None:
        """Begins these attempts, or lets them wait a moment. Returns at once."""
        if not self._has_watcher:
            self._watcher.start()
            self._has_watcher = True
        self._row.extend(attempts)
        if self._call() < len(attempts) and not self._is_watched:
            self._watcher.wake()

    def close(self) -> None:
        """Ends the threads, but for those that a task holds on to."""
        self._is_closing = True
        self._watcher.stop()
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads:
            thread.join(timeout=0.2)
            if thread.is_alive():
                logger.warning("thread %s is still in a task that can't be interrupted; it is left behind", thread.name)
        self._threads.clear()

    def _call(self) -> int:
        """Puts threads to work on the row, as many as are allowed. Tells how many that are."""
        with self._lock:
            idle = max(0, len(self._threads) - self._busy)  # one that is being made counts as busy already
            wanted = max(0, min(len(self._row), self._allowed - self._busy))
            self._busy += wanted
        for _ in range(min(wanted, idle)):
            self._calls.put(None)
        for _ in range(wanted - idle):
            self._spawn()
        return wanted

    def _spawn(self) -> None:
        name = f"queuer task {len(self._threads) + 1}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._threads.append(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no room for another: those that there are get to it in time
            logger.exception("can't start a thread for tasks")
            with self._lock:
                self._threads.remove(thread)
                self._busy -= 1

    def _look(self) -> float | None:
        """Allows more threads while tasks are long, and fewer where they would stand in each other's way."""
        self._is_watched = False  # before looking: who comes meanwhile wakes us
        self._quiet_looks = 0 if self._row else self._quiet_looks + 1
        if self._quiet_looks > QUIET_LOOKS:
            return None
        self._is_watched = True
        ended, spent = self._ended - self._ended_before, self._spent - self._spent_before
        self._ended_before, self._spent_before = self._ended, self._spent
        if ended >= MANY and spent < ended * MODERATE:
            self._allowed = max(1, self._allowed // GROWTH)
        elif self._row and self._at_work < self._busy and self._held_back < PATIENT_LOOKS:
            self._held_back += 1
        elif self._row and (spent >= ended * LONG if ended else self._has_waited):
            self._held_back = 0
            self._allowed = min(self._most, self._allowed * GROWTH)
            self._call()
        self._has_waited = bool(self._row)
        return LOOK_AFTER

    def _run(self) -> None:
        while True:
            with self._lock:
                self._at_work += 1
            self._work()
            with self._lock:
                self._at_work -= 1
                if self._row and self._busy <= self._allowed:  # who put it there counted on this thread
                    continue
                self._busy -= 1
            self._calls.get()
            if self._is_closing:
                return

    def _work(self) -> None:
        began_at = monotonic()
        while self._row and self._busy <= self._allowed:
            try:
                attempt = self._row.popleft()
            except IndexError:  # another thread was faster
                return
            self._tell_begun()
            # In a context of its own: what one task sets there must not reach the next. An empty one, since a thread
            # may inherit that of who started it.
            run = call if attempt.task.session is None else self._call_in_transaction
            self._done(attempt, Context().run(run, attempt))
            ended_at = monotonic()
            self._spent += ended_at - began_at
            self._ended += 1
            began_at = ended_at

    def _call_in_transaction(self, attempt: Attempt) -> Outcome | None:
        return in_transaction(attempt, self._transactions, call)


def call(attempt: Attempt) -> Outcome | None:
    """Runs the task here and now; another thread may interrupt it by asynchronous exceptions.

    They may arrive between any two lines, also after the task's own. The next one comes after a while only, so that one
    can arrive while another is handled, but no third.
    """
    value, error, has_ended = None, None, False
    try:
        try:
            value = _run_task(attempt)
        except BaseException as raised:  # noqa: BLE001 - SystemExit and KeyboardInterrupt fail the job alone, too
            error = raised
        has_ended = True
        _leave(attempt)
    except INTERRUPTS as late:
        if not has_ended:
            error = late
        _leave(attempt)
    return attempt.settle(ending_of(value, error))


def _run_task(attempt: Attempt) -> Any:
    this_thread = threading.get_ident()
    attempt.enter(lambda reason: _raise_in(this_thread, type(reason)))
    enter_job(attempt)
    parameters, parameters_keyed = attempt.arguments()
    return attempt.task.fn(*parameters, **parameters_keyed)


def _leave(attempt: Attempt) -> None:
    """Returns when no interrupt can arrive any more."""
    while True:
        try:
            attempt.leave()
            if attempt.interrupted_by is not None:  # after leave(), so that none is on its way but what has been sent
                _raise_in(threading.get_ident(), None)
        except INTERRUPTS:
            continue
        return


def _raise_in(thread: int, kind: type[Interrupt] | None) -> None:
    """Raises `kind` in another thread as soon as it runs Python code; None takes back what has not arrived yet."""
    exception = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)
