"""What runs in a child process: it takes one call at a time from its worker, and says what the task came to.

Only values of our own cross, made of built-ins: what a task takes arrives as raw JSON values, what it returns or raises
leaves as text. So nothing of a task has to be fit for pickle, and the worker never unpickles what a task made.
"""

import importlib
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from operator import attrgetter
from queue import SimpleQueue
from typing import Any, NoReturn

from queuer.context import Alone, CurrentJob, enter_job
from queuer.errors import TaskNotImportable
from queuer.tasks import Task
from queuer.values import Ending
from queuer.worker.attempt import ending_of

#: Seconds that an idle child may take to end by itself, with what its tasks registered with `atexit`.
LONGEST_END = 1.0


@dataclass(frozen=True, slots=True)
class Call:
    """A job on its way to a child."""

    module: str
    qualname: str
    parameters: list[Any]
    parameters_keyed: dict[str, Any]
    job: CurrentJob

    @property
    def target(self) -> tuple[str, str]:
        return self.module, self.qualname


#: What a child says. None: it has imported the task, which was new to it, and calls it now.
Reply = Ending | None


def serve(connection: Connection) -> None:
    """Answers calls until the worker closes its end of the connection, or is gone."""
    # In a group of its own it does not get the Ctrl-C of the worker's terminal, and neither do the processes that a
    # task starts; and they get the signals that end a task.
    os.setpgrp()
    calls: SimpleQueue[Call | None] = SimpleQueue()
    busy = threading.Event()
    threading.Thread(target=_watch, args=[connection, calls, busy], name="queuer watcher", daemon=True).start()
    tasks: dict[tuple[str, str], Task] = {}
    while (call := calls.get()) is not None:
        _restore_signals()
        ending = _answer(call, tasks, connection)
        _flush()
        busy.clear()
        _send(connection, ending)


def _watch(connection: Connection, calls: "SimpleQueue[Call | None]", busy: threading.Event) -> None:
    """Receives calls, and so sees the worker go, by whichever death: also while a task runs, which it then ends."""
    try:
        while True:
            call = connection.recv()
            busy.set()
            calls.put(call)
    except (EOFError, OSError):
        pass
    if not busy.is_set():
        calls.put(None)
        time.sleep(LONGEST_END)
    _die()


def _die() -> NoReturn:
    """Ends this process at once, with the processes that its tasks started."""
    try:
        os.killpg(os.getpid(), signal.SIGKILL)
    finally:
        os._exit(1)


def _restore_signals() -> None:
    """Before each task, since the one before may have changed them. The worker decides what an interrupt means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})


def _answer(call: Call, tasks: dict[tuple[str, str], Task], connection: Connection) -> Ending:
    value, error = None, None
    try:
        if call.target not in tasks:
            tasks[call.target] = _import(call)
            _send(connection, None)
        enter_job(Alone(call.job))
        value = _call(tasks[call.target], call)
    except BaseException as raised:  # noqa: BLE001 - SystemExit and KeyboardInterrupt fail the job alone, too
        error = raised
    enter_job(None)
    return ending_of(value, error)


def _import(call: Call) -> Task:
    module = importlib.import_module(call.module)
    try:
        return Task(call.job.task_name, attrgetter(call.qualname)(module))
    except AttributeError as error:
        raise TaskNotImportable(
            f"the task {call.job.task_name!r} can't run in a child process, where {call.module} has no"
            f" {call.qualname} ({error}); define it whenever the module is imported: not under"
            ' `if __name__ == "__main__"`, and not in an interactive session'
        ) from error


def _call(task: Task, call: Call) -> Any:
    parameters, parameters_keyed = task.read(call.parameters, call.parameters_keyed)
    if task.is_async:
        import asyncio  # noqa: PLC0415 - half of what a child imports, and most tasks don't need it

        return asyncio.run(task.fn(*parameters, **parameters_keyed))
    return task.fn(*parameters, **parameters_keyed)


def _flush() -> None:
    """What a task printed must not wait for the next one, or be lost when that one is killed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError, OSError):  # a task may have closed it, or taken it away
            stream.flush()


def _send(connection: Connection, reply: Reply) -> None:
    try:
        connection.send(reply)
    except OSError as error:  # the worker is gone, or a task has closed what it had not opened
        print(f"a child process of queuer has lost its worker: {error}", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(1)
