"""Where tasks run: sync ones in threads, coroutines on one event loop. Each attempt ends in one call of `done`."""

import asyncio
import contextvars
import ctypes
import logging
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, Protocol

from queuer.context import enter_job
from queuer.errors import JobCancelled, JobInterrupted, JobTimeout
from queuer.values import Outcome
from queuer.worker.attempt import Attempt, Interrupt, ending_of
from queuer.worker.transactions import Transactions, in_async_transaction, in_transaction

logger = logging.getLogger(__name__)

INTERRUPTS = (JobTimeout, JobCancelled, JobInterrupted)

Done = Callable[[Attempt, Outcome | None], None]


class Executor(Protocol):
    def run(self, attempts: Sequence[Attempt]) -> None:
        """Begins these attempts. Returns at once."""

    def close(self) -> None:
        """Ends the executor's threads, but for those that a task holds on to."""


class ThreadExecutor:
    """Runs sync tasks. Threads are made as they are needed, `most` at most."""

    def __init__(self, most: int, done: Done, transactions: Transactions) -> None:
        self._most = most
        self._done = done
        self._transactions = transactions
        self._waiting: SimpleQueue[Attempt | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)

    def run(self, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            self._waiting.put(attempt)
            if not self._idle.acquire(blocking=False) and len(self._threads) < self._most:
                self._spawn()

    def close(self) -> None:
        for _ in self._threads:
            self._waiting.put(None)
        for thread in self._threads:
            thread.join(timeout=0.2)
            if thread.is_alive():
                logger.warning("thread %s is still in a task that can't be interrupted; it is left behind", thread.name)
        self._threads.clear()

    def _spawn(self) -> None:
        name = f"queuer task {len(self._threads) + 1}"
        thread = threading.Thread(target=self._run, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no room for another: those that there are get to it in time
            logger.exception("can't start a thread for tasks")
        else:
            self._threads.append(thread)

    def _run(self) -> None:
        while (attempt := self._waiting.get()) is not None:
            # In a context of its own: what one task sets there must not reach the next.
            self._done(attempt, contextvars.copy_context().run(self._call, attempt))
            self._idle.release()

    def _call(self, attempt: Attempt) -> Outcome | None:
        if attempt.task.session is None:
            return call(attempt)
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
    enter_job(attempt.context, lambda: attempt.interrupted_by)
    parameters, parameters_keyed = attempt.arguments()
    return attempt.task.fn(*parameters, **parameters_keyed)


def _leave(attempt: Attempt) -> None:
    """Returns when no interrupt can arrive any more."""
    while True:
        try:
            attempt.leave()
            _raise_in(threading.get_ident(), None)
        except INTERRUPTS:
            continue
        return


def _raise_in(thread: int, kind: type[Interrupt] | None) -> None:
    """Raises `kind` in another thread as soon as it runs Python code; None takes back what has not arrived yet."""
    exception = ctypes.py_object(kind) if kind is not None else None
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), exception)


class LoopExecutor:
    """Runs coroutines, all on one event loop in a thread of its own, which begins with the first of them."""

    def __init__(self, done: Done, transactions: Transactions) -> None:
        self._done = done
        self._transactions = transactions
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def run(self, attempts: Sequence[Attempt]) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=self._run_loop, args=[self._loop], name="queuer event loop", daemon=True
            )
            self._thread.start()
        self._loop.call_soon_threadsafe(self._begin, self._loop, attempts)

    def close(self) -> None:
        if self._loop is None or self._thread is None:
            return
        self._closing = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=1.0)
        if self._thread.is_alive():
            logger.warning("the event loop is blocked by a task that can't be interrupted; it is left behind")

    def _begin(self, loop: asyncio.AbstractEventLoop, attempts: Sequence[Attempt]) -> None:
        for attempt in attempts:
            task = loop.create_task(self._attempt(attempt))
            self._tasks.add(task)  # the loop itself holds tasks only weakly
            task.add_done_callback(self._tasks.discard)

    async def _attempt(self, attempt: Attempt) -> None:
        outcome = None
        try:
            if attempt.task.session is None:
                outcome = await call_async(attempt)
            else:
                outcome = await in_async_transaction(attempt, self._transactions, call_async)
        finally:  # the loop may end while the transaction begins or ends
            self._done(attempt, outcome)

    def _run_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not self._closing:
            try:
                loop.run_forever()
            except BaseException:  # SystemExit from a task that a task made passes through the loop
                logger.exception("a task raised out of the event loop; it goes on")
        _cancel_leftovers(loop)
        loop.close()


async def call_async(attempt: Attempt) -> Outcome | None:
    """Runs a coroutine function's task here."""
    value, error = None, None
    try:
        attempt.enter(_canceller())
        enter_job(attempt.context, lambda: attempt.interrupted_by)
        parameters, parameters_keyed = attempt.arguments()
        value = await attempt.task.fn(*parameters, **parameters_keyed)
    except BaseException as raised:  # noqa: BLE001 - also what would end the loop, and our own cancelling
        error = raised
    attempt.leave()
    return attempt.settle(ending_of(value, error))


def _canceller() -> Callable[[Interrupt], None]:
    """What cancels the asyncio task at hand, from any thread."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def cancel(_reason: Interrupt) -> None:
        if task is not None:
            loop.call_soon_threadsafe(task.cancel)

    return cancel


def _cancel_leftovers(loop: asyncio.AbstractEventLoop) -> None:
    """What tasks started and left behind ends with the worker."""
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left, timeout=0.5))
    loop.run_until_complete(loop.shutdown_asyncgens())
