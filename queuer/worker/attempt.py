"""One attempt at one job, from the claim to its outcome."""

import json
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

from queuer.context import CurrentJob
from queuer.errors import InvalidParameters, JobCancelled, JobInterrupted, JobTimeout
from queuer.options import NO_RETRY, OnError, Options
from queuer.payload import call_arguments, encode, readable
from queuer.retry import next_retry
from queuer.tasks import Task
from queuer.values import ClaimedJob, Failure, Outcome, Verdict

#: What an attempt can be interrupted with. An instance is the reason; the task sees its class raised.
Interrupt = JobTimeout | JobCancelled | JobInterrupted

#: Characters of a traceback that are kept, from its end.
LONGEST_TRACEBACK = 20_000


class Attempt:
    """A claimed job with its task, ready to run.

    Raises:
        ValueError: The row's options make no sense: any program may have written it.
        InvalidParameters: The row's parameters are no arguments.
    """

    def __init__(self, job: ClaimedJob, task: Task, on_error: OnError | None) -> None:
        options = Options.from_json(json.loads(job.options))
        self.parameters: Sequence[Any]
        self.parameters_keyed: Mapping[str, Any]
        self.parameters, self.parameters_keyed = call_arguments(
            json.loads(job.parameters), json.loads(job.parameters_keyed)
        )
        self.job = job
        self.task = task
        self.on_error = options.on_error or on_error or NO_RETRY
        self.context = CurrentJob(job.rid, job.attempt, job.task_name, options.metadata or {})
        self.claimed_at = monotonic()
        #: When the watchdog has to look at it, by the monotonic clock.
        self.look_at = self.claimed_at + (self.on_error.timeout or float("inf"))
        self.interrupted_by: Interrupt | None = None
        self._unreadable: InvalidParameters | None = None
        self._deliver: Callable[[Interrupt], None] | None = None
        self._lock = threading.Lock()

    @property
    def key(self) -> tuple[int, int]:
        """What fences: the job, and which attempt at it."""
        return self.job.id, self.job.attempt

    def enter(self, deliver: Callable[[Interrupt], None]) -> None:
        """The task begins. `deliver` brings an interrupt into it; it is called once at most."""
        with self._lock:
            self._deliver = deliver
            if self.interrupted_by is not None:
                deliver(self.interrupted_by)

    def read_arguments(self) -> None:
        """Converts the arguments as the task's annotations say; called where the task runs, for classes run code.

        Raises:
            InvalidParameters: One can't be converted.
        """
        if self.task.arguments is None:
            return
        try:
            self.parameters, self.parameters_keyed = self.task.arguments.read(self.parameters, self.parameters_keyed)
        except InvalidParameters as unreadable:
            self._unreadable = unreadable  # as it would be to another attempt
            raise

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
        if isinstance(self.interrupted_by, JobInterrupted):
            return None
        if isinstance(self.interrupted_by, JobCancelled):
            return self._outcome(Verdict.CANCELLED, failure=describe(self.interrupted_by, error))
        if self.interrupted_by is not None:
            return self._failed(describe(self.interrupted_by, error))
        if error is not None:
            return self._failed(describe(error, error), for_good=error is self._unreadable)
        try:
            results = encode([value], "results")
        except InvalidParameters as refused:  # another attempt would return the like
            return self._outcome(Verdict.FAILED, failure=describe(refused, None))
        return self._outcome(Verdict.SUCCEEDED, results=results)

    def _failed(self, failure: Failure, *, for_good: bool = False) -> Outcome:
        delay = None if for_good else next_retry(self.on_error, self.job.failures + 1)
        if delay is None:
            return self._outcome(Verdict.FAILED, failure=failure)
        return self._outcome(Verdict.RETRY, failure=failure, delay=delay)

    def _outcome(self, verdict: Verdict, **more: Any) -> Outcome:
        return Outcome(self.job, verdict, monotonic() - self.claimed_at, **more)


def refuse(job: ClaimedJob, error: Exception) -> Outcome:
    """The outcome of a job that can't be run at all."""
    return Outcome(job, Verdict.FAILED, 0.0, failure=describe(error, None))


def cancelled(job: ClaimedJob) -> Outcome:
    """The outcome of a job that was cancelled before this attempt began."""
    failure = describe(JobCancelled("the job was cancelled"), None)
    return Outcome(job, Verdict.CANCELLED, 0.0, failure=failure)


def describe(reason: BaseException, raised: BaseException | None) -> Failure:
    """`reason` in words, with the traceback of what was raised in the task."""
    try:
        message = str(reason)
    except Exception as error:  # noqa: BLE001 - a task's exception may do anything in __str__
        message = f"(its message can't be read: {type(error).__name__})"
    trace = "".join(traceback.format_exception(raised)) if raised is not None else ""
    return Failure(type(reason).__name__, readable(message), readable(trace[-LONGEST_TRACEBACK:]))
