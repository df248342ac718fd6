"""Calls tasks here and now: plain functions in this thread, coroutines on the event loop that runs, or on one for each.

Nothing interrupts them. Nobody catches what ends a test: an outcome of pytest's, or Ctrl+C.
"""

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy.util import await_only, greenlet_spawn
from sqlalchemy.util.concurrency import in_greenlet

from queuer.context import enter_job
from queuer.errors import QueuerError
from queuer.worker.attempt import Attempt

T = TypeVar("T")


def call(attempt: Attempt) -> tuple[Any, Exception | None]:
    """What the task returned, or raised."""
    context = contextvars.copy_context()  # what a task sets there must not reach the test
    try:
        value = context.run(_begin, attempt)
        return (_complete(value, context) if attempt.task.is_async else value), None
    except SystemExit as exit_:
        error = QueuerError(f"the task raised SystemExit({exit_.code!r})")
        error.__cause__ = exit_
        return None, error
    except Exception as raised:  # noqa: BLE001 - whatever a task raises
        return None, raised


def _begin(attempt: Attempt) -> Any:
    enter_job(attempt)
    parameters, parameters_keyed = attempt.arguments()
    return attempt.task.fn(*parameters, **parameters_keyed)


def _complete(coroutine: Coroutine[Any, Any, Any], context: contextvars.Context) -> Any:
    in_task = _as_task(coroutine, context)
    if in_greenlet():  # an async session commits: the test's own loop runs the task, on the session's connection
        return await_only(in_task)
    return _on_a_loop(in_task)


async def _as_task(coroutine: Coroutine[Any, Any, Any], context: contextvars.Context) -> Any:
    return await asyncio.get_running_loop().create_task(coroutine, context=context)


def _on_a_loop(coroutine: Coroutine[Any, Any, T]) -> T:
    if not _is_loop_running():
        return _run(coroutine)
    with ThreadPoolExecutor(1) as thread:  # for which this one waits: something sync was called in a coroutine
        return thread.submit(contextvars.copy_context().run, _run, coroutine).result()


def _run(coroutine: Coroutine[Any, Any, T]) -> T:
    loop = asyncio.new_event_loop()  # unlike asyncio.run, it leaves the thread's own loop alone
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _is_loop_running() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def in_coroutine(fn: Callable[[], T]) -> T:
    """Calls a function that may use connections of an async driver, and call coroutine tasks."""
    return await greenlet_spawn(fn)


def on_async_connections(fn: Callable[[], T]) -> T:
    """Likewise where no coroutine runs: on an event loop of its own."""
    return fn() if in_greenlet() else _on_a_loop(greenlet_spawn(fn))
