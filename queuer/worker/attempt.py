"""One attempt at one job, from the claim to its outcome."""

import threading
import traceback
from collections.abc import Callable
from dataclasses import replace
from time import monotonic
from typing import Any

from queuer.context import CurrentJob
from queuer.errors import InvalidParameters, JobCancelled, JobInterrupted, JobTimeout, TaskNotImportable
from queuer.options import NO_RETRY, OnError, Options
from queuer.payload import call_arguments, encode, readable
from queuer.retry import next_retry
from queuer.tasks import Task
from queuer.values import ClaimedJob, Ending, Failure, Outcome, Verdict

#: What an attempt can be interrupted with. An instance is the reason; the task sees its class raised.
Interrupt = JobTimeout | JobCancelled | JobInterrupted

NEVER = float("inf")

#: Characters of a traceback that are kept, from its end.
LONGEST_TRACEBACK = 20_000


class Attempt:
    """A claimed job with its task, ready to run.

    Raises:
        ValueError: The row's options make no sense: any program may have written it.
        InvalidParameters: The row's parameters are no arguments.
    """

    def __init__(self, job: ClaimedJob, task: Task, on_error: OnError | None) -> None:
        options = Options.from_json(job.options)
        self.parameters, self.parameters_keyed = call_arguments(job.parameters, job.parameters_keyed)
        self.job = job
        self.task = task
        self.on_error = options.on_error or on_error or NO_RETRY
        self.context = CurrentJob(job.rid, job.attempt, job.task_name, options.metadata or {})
        self.claimed_at = monotonic()
        #: When the watchdog has to look at it, by the monotonic clock.
        self.look_at = NEVER
        self.begin_time()
        self.interrupted_by: Interrupt | None = None
        self._deliver: Callable[[Interrupt], None] | None = None
        self._lock = threading.Lock()

    def begin_time(self) -> None:
        """The time that the attempt may take counts from here."""
        self.look_at = monotonic() + (self.on_error.timeout or NEVER)

    def suspend_time(self) -> None:
        """The time that the attempt may take does not count until it begins anew."""
        self.look_at = NEVER

    def enter(self, deliver: Callable[[Interrupt], None]) -> None:
        """The task begins. `deliver` brings an interrupt into it; it is called once at most."""
        with self._lock:
            self._deliver = deliver
            if self.interrupted_by is not None:
                deliver(self.interrupted_by)

    def leave(self) -> None:
        """The task has ended. Nothing is delivered from here on."""
        with self._lock:
            self._deliver = None

    def interrupt(self, reason: Interrupt) -> None:
        """Ends the attempt from outside. The first reason counts, whatever the task makes of it."""
        with self._lock:
            if self.interrupted_by is None:
                self.interrupted_by = reason
                if self._deliver is not None:
                    self._deliver(reason)

    def conclude(self, value: Any, error: BaseException | None) -> Outcome | None:
        """What becomes of the job, from what the task returned or raised; None = nothing: it is given back."""
        return self.settle(ending_of(value, error))

    def settle(self, ending: Ending) -> Outcome | None:
        """What becomes of the job, from what the task came to; None = nothing: it is given back.

        An interrupt wins over whatever the task made of it.
        """
        if isinstance(self.interrupted_by, JobInterrupted):
            return None
        if self.interrupted_by is not None:
            trace = ending.failure.traceback if ending.failure else ""
            interrupted = replace(describe(self.interrupted_by, None), traceback=trace)
            if isinstance(self.interrupted_by, JobCancelled):
                return self._outcome(Verdict.CANCELLED, failure=interrupted)
            return self._failed(interrupted)
        if ending.failure is None:
            return self._outcome(Verdict.SUCCEEDED, results=ending.results)
        if ending.is_final:
            return self._outcome(Verdict.FAILED, failure=ending.failure)
        return self._failed(ending.failure)

    def _failed(self, failure: Failure) -> Outcome:
        delay = next_retry(self.on_error, self.job.failures + 1)
        if delay is None:
            return self._outcome(Verdict.FAILED, failure=failure)
        return self._outcome(Verdict.RETRY, failure=failure, delay=delay)

    def _outcome(self, verdict: Verdict, **more: Any) -> Outcome:
        return Outcome(self.job, verdict, monotonic() - self.claimed_at, **more)


def ending_of(value: Any, error: BaseException | None) -> Ending:
    """What a task came to that returned `value` or raised `error`."""
    if error is not None:
        return Ending(failure=describe(error, error), is_final=isinstance(error, TaskNotImportable))
    try:
        return Ending(results=encode([value], "results"))
    except InvalidParameters as refused:  # another attempt would return the like
        return Ending(failure=describe(refused, None), is_final=True)


def refuse(job: ClaimedJob, error: Exception) -> Outcome:
    """The outcome of a job that can't be run at all."""
    return Outcome(job, Verdict.FAILED, 0.0, failure=describe(error, None))


def describe(reason: BaseException, raised: BaseException | None) -> Failure:
    """`reason` in words, with the traceback of what was raised in the task."""
    try:
        message = str(reason)
    except Exception as error:  # noqa: BLE001 - a task's exception may do anything in __str__
        message = f"(its message can't be read: {type(error).__name__})"
    trace = "".join(traceback.format_exception(raised)) if raised is not None else ""
    return Failure(type(reason).__name__, readable(message), readable(trace[-LONGEST_TRACEBACK:]))
