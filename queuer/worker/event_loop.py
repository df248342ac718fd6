"""Runs coroutines, all on one event loop in a thread of its own."""

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from contextvars import Context

from queuer.context import enter_job
from queuer.values import Outcome
from queuer.worker.attempt import Attempt, Done, Interrupt, ending_of
from queuer.worker.fine_timers import new_event_loop
from queuer.worker.transactions import Transactions, in_async_transaction

logger = logging.getLogger(__name__)


class LoopExecutor:
    """The event loop and its thread, which begin with the first attempt."""

    def __init__(self, begun: Callable[[], None], done: Done, transactions: Transactions) -> None:
        self._tell_begun = begun
        self._done = done
        self._transactions = transactions
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._handed = self._begun = 0  # each counted by one thread at a time

    @property
    def waiting(self) -> int:
        """Attempts that have not begun."""
        return self._handed - self._begun

    def run(self, attempts: Sequence[Attempt]) -> None:
        loop = self._loop or self._start()
        # In the loop's own thread, where a slot has come free, there is nobody to wake.
        is_here = threading.current_thread() is self._thread
        call_soon = loop.call_soon if is_here else loop.call_soon_threadsafe
        # A context of its own: we may be called by the task whose slot this is now, which must not pass its own on.
        self._handed += len(attempts)
        call_soon(self._begin, loop, attempts, context=Context())

    def _start(self) -> asyncio.AbstractEventLoop:
        loop = new_event_loop()
        thread = threading.Thread(target=self._run_loop, args=[loop], name="queuer event loop", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            loop.close()
            raise
        self._loop, self._thread = loop, thread
        return loop

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
        self._begun += 1
        self._tell_begun()
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
        attempt.raise_if_interrupted()  # while it waited for the loop: what cancels it would let it begin first
        enter_job(attempt)
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
