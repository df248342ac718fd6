"""One attempt at one job, from the claim to its outcome."""

import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any

from queuer.context import CurrentJob
from queuer.errors import InvalidParameters, JobCancelled, JobInterrupted, JobTimeout, QueuerError
from queuer.foreign import name_of_type
from queuer.options import NO_OPTIONS, NO_RETRY, OnError, Options
from queuer.payload import call_arguments, encode, read, readable
from queuer.retry import next_retry
from queuer.tasks import Task
from queuer.values import MOST_ATTEMPTS, AttemptKey, ClaimedJob, Ending, Failure, Outcome, Verdict

#: Takes each attempt when it has ended, in the thread in which it did.
Done = Callable[["Attempt", Outcome | None], None]

#: What an attempt can be interrupted with. An instance is the reason; the task sees its class raised.
Interrupt = JobTimeout | JobCancelled | JobInterrupted

NEVER = float("inf")

_NO_KEYED: Mapping[str, Any] = {}  # one for all: nobody changes it, and each costs the garbage collector

#: Seconds until an attempt is made once more that the database did not let begin or end.
AGAIN_AFTER = 1.0

#: Seconds until a task that has not ended is interrupted again: at first.
REPEAT_AFTER = 0.1

#: Seconds after which an attempt that still waits for a slot is given back.
GIVEN_BACK_AFTER = 0.2

#: Characters of a message, and of a traceback from its end, that are kept.
LONGEST_MESSAGE = 10_000
LONGEST_TRACEBACK = 20_000
LONGEST_NAME = 200


class Attempt:
    """A claimed job with its task, ready to run.

    Raises:
        ValueError: The row's options make no sense: any program may have written it.
        InvalidParameters: The row's parameters are no arguments.
    """

    __slots__ = (
        "_cancel_statement",
        "_deliver",
        "_lock",
        "_metadata",
        "_session",
        "claimed_at",
        "interrupted_by",
        "job",
        "look_at",
        "on_error",
        "parameters",
        "parameters_keyed",
        "task",
        "tries",
    )

    def __init__(self, job: ClaimedJob, task: Task, on_error: OnError | None) -> None:
        if job.attempt >= MOST_ATTEMPTS:
            raise ValueError(f"there were {MOST_ATTEMPTS} attempts at the job, and more can't be counted")
        options, keyed = NO_OPTIONS, _NO_KEYED
        if job.options is not None and job.options != "{}":
            options = Options.from_json(read(job.options))
        if job.parameters_keyed is not None and job.parameters_keyed != "{}":
            keyed = read(job.parameters_keyed)
        self.parameters, self.parameters_keyed = call_arguments(read(job.parameters), keyed)
        self.job = job
        self.task = task
        self.on_error = options.on_error or on_error or NO_RETRY
        self._metadata = options.metadata
        self.claimed_at = monotonic()
        #: When the watchdog has to look at it, by the monotonic clock.
        self.look_at = self.claimed_at + GIVEN_BACK_AFTER
        self.interrupted_by: Interrupt | None = None
        #: How often it was interrupted again.
        self.tries = 0
        self._deliver: Callable[[Interrupt], None] | None = None
        self._session: Any = None
        self._cancel_statement: Callable[[], None] | None = None
        self._lock = threading.Lock()

    @property
    def current_job(self) -> CurrentJob:
        """What its task may know of the job."""
        return CurrentJob(self.job.rid, self.job.attempt, self.job.task_name, self._metadata or {})

    @property
    def key(self) -> AttemptKey:
        """What fences: the job, and which attempt at it."""
        return self.job.key

    def join(self, session: object, cancel_statement: Callable[[], None] | None = None) -> None:
        """Gives the task its session, and interrupts what ends the statement that it waits for there."""
        self._session = session
        self._cancel_statement = cancel_statement

    def arguments(self) -> tuple[Sequence[Any], Mapping[str, Any]]:
        """What the task is called with. To be called where the task runs: it runs code of the arguments' classes."""
        parameters, parameters_keyed = self.task.read(self.parameters, self.parameters_keyed)
        if self.task.session is None:
            return parameters, parameters_keyed
        return self.task.session.pass_on(self._session, parameters, parameters_keyed)

    def begin_time(self) -> None:
        """The time that the attempt may take counts from here."""
        timeout = self.on_error.timeout
        self.look_at = monotonic() + timeout if timeout else NEVER
        if self.interrupted_by is not None:  # in the meantime
            self.look_at = monotonic() + REPEAT_AFTER

    def suspend_time(self) -> None:
        """The time that the attempt may take does not count until it begins anew."""
        self.look_at = NEVER

    def enter(self, deliver: Callable[[Interrupt], None]) -> None:
        """The task begins. `deliver` brings an interrupt into it; it is called again until the task has ended."""
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
            is_first = self.interrupted_by is None
            if is_first:
                self.interrupted_by = reason
            # After the reason: begin_time() sets this, too, and then looks for a reason.
            self.look_at = monotonic() + REPEAT_AFTER
            if is_first:
                self._deliver_interrupt()

    def raise_if_interrupted(self) -> None:
        """Raises what it was interrupted with, if it was."""
        if self.interrupted_by is not None:
            raise self.interrupted_by

    def interrupt_again(self, now: float) -> None:
        """An interrupt may be lost in the task: to `except Exception`, or in a place where Python drops exceptions.

        Unless it was interrupted a moment ago.
        """
        with self._lock:
            if self.look_at <= now:
                self._deliver_interrupt()

    def _deliver_interrupt(self) -> None:
        if self._deliver is not None and self.interrupted_by is not None:
            self._deliver(self.interrupted_by)
            if self._cancel_statement is not None:
                self._cancel_statement()

    def settle(self, ending: Ending) -> Outcome | None:
        """What becomes of the job, from what the task came to; None = nothing is to be written: it is given back.

        A timeout or cancelling wins over whatever the task made of it.
        """
        reason = self.interrupted_by
        if reason is None and ending.failure is None:
            return Outcome(self.job, Verdict.SUCCEEDED, monotonic() - self.claimed_at, ending.results)
        if isinstance(reason, JobInterrupted):
            reason = None
            if ending.failure is not None:
                return None
        if reason is not None:
            trace = ending.failure.traceback if ending.failure else ""
            interrupted = replace(describe(reason, None), traceback=trace)
            if isinstance(reason, JobCancelled):
                return self._outcome(Verdict.CANCELLED, failure=interrupted)
            return self._failed(interrupted)
        if ending.failure is None:
            return self._outcome(Verdict.SUCCEEDED, results=ending.results)
        return self._failed(ending.failure, is_final=ending.is_final)

    @property
    def fruitless(self) -> int:
        """The attempts before this one that were no failures, and came to nothing all the same."""
        return self.job.attempt - 1 - self.job.failures

    def once_more(self) -> Outcome:
        """What becomes of the job when the attempt came to nothing for want of the database: that is no failure."""
        return self._outcome(Verdict.RETRY, delay=AGAIN_AFTER)

    def unbegun(self) -> Outcome:
        """What becomes of the job when the attempt does not begin, since no slot came free for it."""
        return self._outcome(Verdict.UNBEGUN)

    def _failed(self, failure: Failure, *, is_final: bool = False) -> Outcome:
        delay = None if is_final else next_retry(self.on_error, self.job.failures + 1)
        if delay is None:
            return self._outcome(Verdict.FAILED, failure=failure)
        return self._outcome(Verdict.RETRY, failure=failure, delay=delay)

    def _outcome(self, verdict: Verdict, **more: Any) -> Outcome:
        return Outcome(self.job, verdict, monotonic() - self.claimed_at, **more)


_NOTHING = Ending(results="[null]")


def ending_of(value: Any, error: BaseException | None) -> Ending:
    """What a task came to that returned `value` or raised `error`. Never raises, whatever their classes do."""
    if value is None and error is None:
        return _NOTHING
    if error is not None:
        is_final = issubclass(type(error), QueuerError) and bool(error.is_final)  # type: ignore[attr-defined]
        return Ending(failure=describe(error, error), is_final=is_final)
    try:
        return Ending(results=encode([value], "results"))
    except InvalidParameters as refused:  # another attempt would return the like
        return Ending(failure=describe(refused, None), is_final=True)
    except BaseException as raised:  # noqa: BLE001 - the value's class raised it, or another thread changes the value
        return Ending(failure=describe(raised, raised), is_final=True)


def refuse(job: ClaimedJob, error: Exception) -> Outcome:
    """The outcome of a job that can't be run at all."""
    return Outcome(job, Verdict.FAILED, 0.0, failure=describe(error, None))


def cancelled(job: ClaimedJob) -> Outcome:
    """The outcome of a job that was cancelled before this attempt began."""
    failure = describe(JobCancelled("the job was cancelled"), None)
    return Outcome(job, Verdict.CANCELLED, 0.0, failure=failure)


def describe(reason: BaseException, raised: BaseException | None) -> Failure:
    """`reason` in words, with the traceback of what was raised in the task. Never raises."""
    message = _text(lambda: str(reason), "message")
    trace = _text(lambda: _traceback(raised), "traceback") if raised is not None else ""
    kind = name_of_type(type(reason))[:LONGEST_NAME]
    return Failure(kind, readable(_cut(message)), readable(trace[-LONGEST_TRACEBACK:]), length=len(message))


def _traceback(raised: BaseException) -> str:
    # A message that is longer than all that is kept must not displace the lines of code.
    return "".join(_cut(part, "\n") for part in traceback.format_exception(raised))


def _cut(text: str, end: str = "") -> str:
    if len(text) <= LONGEST_MESSAGE:
        return text
    mark = f"… ({len(text)} characters)"
    return text[: LONGEST_MESSAGE - len(mark)] + mark + end


def _text(write: Callable[[], str], what: str) -> str:
    try:
        return str.__str__(write())  # may be of a subclass
    except BaseException as error:  # noqa: BLE001 - a task's exception may do anything when it is asked for words
        return f"(its {what} can't be read: {name_of_type(type(error))})"
