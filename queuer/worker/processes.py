"""Runs tasks in child processes, which can be killed and may crash. Each is kept, and gets one job after another.

A thread attends to each child, rather than one to all of them: starting a process blocks, sending to one may, and what
is known of a child (which job it has, whether it was told to end) stays within one thread. Threads are few, since
children are: never more than the worker has slots.
"""

import logging
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from operator import attrgetter
from queue import SimpleQueue

from queuer.errors import JobInterrupted, ProcessDied, QueuerError, TaskNotImportable
from queuer.values import Ending, Outcome
from queuer.worker.attempt import Attempt, Done, describe, ending_of
from queuer.worker.child import KILL_AFTER, ChildProcess
from queuer.worker.serve import Call

logger = logging.getLogger(__name__)


class ProcessExecutor:
    """Runs tasks in child processes. They are made as they are needed; the runner's slots are their limit.

    Args:
        begun: Told when the time of an attempt begins to count: when its child is ready.
    """

    def __init__(self, done: Done, begun: Callable[[Attempt], None]) -> None:
        self._done = done
        self._begun = begun
        self._attendants: list[Attendant] = []
        self._idle: deque[Attendant] = deque()  # those with a warm child on the right
        self._lock = threading.Lock()

    def run(self, attempts: Sequence[Attempt]) -> None:
        attendants: list[Attendant] = []
        try:
            for _ in attempts:
                attendants.append(self._attendant())  # noqa: PERF401 - should one fail, the others are there
        except Exception:
            with self._lock:
                self._idle.extendleft(attendants)
            raise
        for attendant, attempt in zip(attendants, attempts, strict=True):
            attendant.attend(attempt)

    def close(self) -> None:
        with self._lock:
            attendants, self._attendants = self._attendants, []
            self._idle.clear()
        for attendant in attendants:
            attendant.close()
        for attendant in attendants:
            attendant.join()

    def _attendant(self) -> "Attendant":
        with self._lock:
            if self._idle:
                return self._idle.pop()
            attendant = Attendant(len(self._attendants) + 1, self._attended, self._begun)
            self._attendants.append(attendant)
            return attendant

    def _attended(self, attendant: "Attendant", attempt: Attempt, outcome: Outcome | None) -> None:
        with self._lock:  # before the slot is free, so that its next job finds this child rather than makes another
            if attendant.is_warm:
                self._idle.append(attendant)
            else:
                self._idle.appendleft(attendant)
        self._done(attempt, outcome)


class Attendant:
    """A thread that runs attempts in a child process, and in another one once that has ended."""

    def __init__(
        self,
        number: int,
        attended: "Callable[[Attendant, Attempt, Outcome | None], None]",
        begun: Callable[[Attempt], None],
    ) -> None:
        self._attended = attended
        self._begun = begun
        self._given: SimpleQueue[Attempt | None] = SimpleQueue()
        self._attempt: Attempt | None = None
        self._child: ChildProcess | None = None
        self._thread = threading.Thread(target=self._run, name=f"queuer child {number}", daemon=True)
        self._thread.start()

    @property
    def is_warm(self) -> bool:
        return self._child is not None

    def attend(self, attempt: Attempt) -> None:
        """Begins this attempt. The one before must be done."""
        self._attempt = attempt
        self._given.put(attempt)

    def close(self) -> None:
        """Ends the child, and the attempt that it may be at, which is given back."""
        if (attempt := self._attempt) is not None:
            attempt.interrupt(JobInterrupted("the worker stops"))
        self._given.put(None)

    def join(self) -> None:
        self._thread.join(timeout=2 * KILL_AFTER)
        if self._thread.is_alive():
            logger.warning("%s is still busy with its process; it is left behind", self._thread.name)

    def _run(self) -> None:
        while (attempt := self._given.get()) is not None:
            outcome = self._outcome(attempt)
            self._attempt = None
            self._attended(self, attempt, outcome)
        self._end_child()

    def _outcome(self, attempt: Attempt) -> Outcome | None:
        try:
            ending = self._ending(attempt)
        except QueuerError as error:  # its traceback would show nothing but this file
            ending = Ending(failure=describe(error, None), is_final=error.is_final)
        except Exception as error:  # noqa: BLE001 - there may be no room for another process
            ending = ending_of(None, error)
        attempt.leave()  # from here on nobody tells the child to end
        if self._child is not None and self._child.was_told_to_end:
            self._end_child()
        return attempt.settle(ending)

    def _ending(self, attempt: Attempt) -> Ending:
        """What the task comes to.

        Raises:
            TaskNotImportable: A child could not find the task.
            ProcessDied: The child has ended.
        """
        attempt.suspend_time()
        call = _call(attempt)
        child = self._ready_child()
        attempt.enter(lambda _reason: child.tell_to_end())
        try:
            refusal = child.begin(call)
            if refusal is not None:
                return refusal
            attempt.begin_time()
            self._begun(attempt)
            return child.ending()
        except Exception as error:  # whatever it is: a child that we do not understand is of no use
            attempt.leave()
            self._end_child()
            raise ProcessDied(f"the child process of task {attempt.task.name!r} {child.death(call)}") from error

    def _ready_child(self) -> ChildProcess:
        if self._child is not None and self._child.exit_code is not None:
            self._end_child()  # somebody killed it while it was idle
        if self._child is None:
            with _no_interrupts():
                self._child = ChildProcess()
        return self._child

    def _end_child(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.end()


@contextmanager
def _no_interrupts() -> Iterator[None]:
    """A child inherits this: until it ignores SIGINT by itself, a Ctrl-C in the terminal must not end it."""
    resource_tracker.ensure_running()  # it starts with the first child else, and would unblock it again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _call(attempt: Attempt) -> Call:
    """What a child has to know. Raises `TaskNotImportable` when the name of the task does not lead to it."""
    fn = attempt.task.fn
    module, qualname = getattr(fn, "__module__", None), getattr(fn, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(qualname, str) or not _leads_to(module, qualname, fn):
        raise TaskNotImportable(
            f"the task {attempt.task.name!r} can't run in a child process, which could not import {fn!r}; allowed is"
            " what a module has at its top level under its own name: move it there. Lambdas, nested functions, partials"
            " and bound methods can't be; of several decorators, that of the task must be the outermost"
        )
    return Call(module, qualname, attempt.parameters, dict(attempt.parameters_keyed), attempt.current_job)


def _leads_to(module: str, qualname: str, fn: object) -> bool:
    try:
        return bool(attrgetter(qualname)(sys.modules[module]) == fn)
    except (KeyError, AttributeError):
        return False
