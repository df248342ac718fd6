"""The half of the façade that runs jobs. A `Queuer` is a `StaticQueuer` that also is a worker."""

import asyncio
import atexit
import logging
import signal
import threading
from collections.abc import Callable
from datetime import datetime
from inspect import iscoroutinefunction
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self
from uuid import UUID, uuid4

from queuer import collector
from queuer.additions import Origin, origins
from queuer.arguments import timeout_of
from queuer.client import StaticQueuer
from queuer.context import current_rid, in_child_process
from queuer.database.sources import Source
from queuer.errors import QueuerError
from queuer.foreign import is_a, shown
from queuer.models import Worker
from queuer.operations import presence
from queuer.operations.presence import Identity
from queuer.options import MasterSettings, OnError, check_name
from queuer.states import WorkerRequest, WorkerStatus
from queuer.supervisor import Supervisor, Workplace
from queuer.tasks import ExecutorName, Task, TaskRegistry

logger = logging.getLogger(__name__)


class Queuer(StaticQueuer):
    """Adds jobs, finds them, and runs them once it is started. Made by `new_queuer` and its like.

    Safe to use from several threads and event loops. Not across a fork: make one in each process.
    """

    _has_start = True

    def __init__(self, name: str, max_concurrency: int, source: Source, on_error: OnError | None = None) -> None:
        super().__init__(source, application_name=f"queuer {name}")
        self._place = Workplace(
            database=source.for_worker(f"queuer {name} worker"),
            heart=source.heart(f"queuer {name} heartbeat"),
            for_tasks=source.for_tasks(f"queuer {name} tasks", max_concurrency),
            listener=self._listener,
            identity=Identity(uuid4(), name, max_concurrency, on_error),
            tasks=self._registry,
            functions=TaskRegistry(what="next-interval function", adding="add_next_interval_func"),
            asked=self._asked,
        )
        origins[self._database] = Origin(
            self._registry,
            self._database.config,
            on_error,
            self._place.functions,
            self._place.for_tasks,
            self._database.cipher,
        )
        self._supervisor: Supervisor | None = None
        self._one_at_a_time = threading.Lock()  # start and stop
        self._stopper: int | None = None  # the thread that stops it
        self._status = WorkerStatus.READY  # while it does not run
        self._tell_stopped: Callable[[], None] = _tell_nobody
        try:
            self._beat()
        except BaseException:
            self._close()
            raise

    def __repr__(self) -> str:
        state = self._supervisor.state if self._supervisor else "not running"
        return f"<Queuer {self._place.identity.name!r} {state} worker={self._place.identity.rid}>"

    def get_current_worker_rid(self) -> UUID:
        """The rid under which this queuer is known as a worker."""
        return self._place.identity.rid

    # -- What it can run

    def add_next_interval_func(self, fn: Callable[[datetime, int], datetime], /) -> Worker:
        """Registers a next-interval function under its own name, for schedules that name it.

        It is called as `fn(scheduled_at, schedule_count)` when a run has ended, with the planned start and the number
        of that run (the first is 1), and returns the planned start of the next, a later datetime. It must be quick.

        Raises:
            TypeError: Not a callable, or one without a name.
            TaskAlreadyRegistered: The name is taken.
        """
        return self._add_next_interval_func(fn, None)

    def add_next_interval_func_with_name(self, fn: Callable[[datetime, int], datetime], name: str, /) -> Worker:
        """Registers a next-interval function under a name. Raises like `add_next_interval_func`, and `ValueError`."""
        return self._add_next_interval_func(fn, check_name("the function's name", name))

    def _add_next_interval_func(self, fn: object, name: str | None) -> Worker:
        if iscoroutinefunction(fn):
            raise TypeError(f"{shown(fn)} is a coroutine function; allowed is a plain one, which returns a datetime")
        function = self._place.functions.add(fn, name)
        self._make_known(lambda: self._place.functions.remove(function))
        return self.get_worker(self._place.identity.rid)

    def _add_task(self, fn: object, name: str | None, executor: ExecutorName) -> Task:
        task = super()._add_task(fn, name, executor)
        self._make_known(lambda: self._registry.remove(task))
        return task

    def _make_known(self, undo: Callable[[], None]) -> None:
        """Tells the database what the worker can run; when that fails, takes back what was added."""
        supervisor = self._supervisor
        try:
            if supervisor is not None:
                supervisor.abilities_changed()
            else:
                self._beat()
        except BaseException:
            undo()
            raise

    # -- Running

    def start(self, master_settings: MasterSettings | None = None) -> None:
        """Begins to run jobs, in threads of its own. Returns when the worker is ready to take them.

        Args:
            master_settings: Put in force when this worker becomes the master; None = those in force stay.

        Raises:
            QueuerError: It runs already.
            DatabaseUnavailable: The server can't be reached; nothing was started.
        """
        self._start(master_settings, takes_jobs=True)

    def start_without_worker(self, master_settings: MasterSettings | None = None) -> None:
        """Like `start`, with the listeners and the master's duties, but without taking jobs."""
        self._start(master_settings, takes_jobs=False)

    def _start(self, master_settings: MasterSettings | None, *, takes_jobs: bool) -> None:
        if master_settings is not None and not is_a(master_settings, MasterSettings):
            raise TypeError(f"master_settings is {shown(master_settings)}; allowed is a MasterSettings or None")
        self._database.check_process()
        name = self._place.identity.name
        if in_child_process():
            raise QueuerError(
                f"queuer {name!r} can't start in a child process, which only runs tasks of a worker. The child imports"
                ' the script: put start(), and whatever else it does, under `if __name__ == "__main__":`'
            )
        with self._one_at_a_time:
            if self._supervisor is not None:
                raise QueuerError(f"queuer {name!r} runs already; stop() it before another start()")
            supervisor = Supervisor(self._place, master_settings, takes_jobs=takes_jobs)
            try:
                self._subscriptions.open()
                supervisor.start()
            except BaseException:
                self._subscriptions.stop()
                raise
            self._supervisor = supervisor
            # A process that ends without stop() gives its jobs back all the same.
            atexit.register(self._stop_at_exit)
        logger.info("queuer %r runs, at most %d jobs at once", name, self._place.identity.max_concurrency)

    def stop(self, timeout: float = 30.0, cancel_jobs: bool = False) -> None:  # noqa: FBT001, FBT002 - the contract's
        """Takes no more jobs, lets the running ones end, and closes all threads and connections.

        Safe twice, and when it was never started. `start()` works again afterwards.

        Args:
            timeout: Seconds that running jobs may take to end; infinite = no limit. The rest is interrupted and queued
                again.
            cancel_jobs: Let the interrupted ones end CANCELLED instead.

        Raises:
            QueuerError: Called by a task that this queuer runs: it would wait for itself.
        """
        limit = timeout_of(timeout)
        self._database.check_process()
        supervisor = self._supervisor
        if supervisor is not None and supervisor.runs(current_rid()):
            raise QueuerError("a task can't stop the queuer that runs it; use stop_worker(get_current_worker_rid())")
        if supervisor is not None and self._stopper == threading.get_ident():  # by a signal, in the midst of stop()
            supervisor.hurry()
            return
        with self._one_at_a_time:
            self._stopper = threading.get_ident()
            try:
                self._stop(limit, cancel_jobs=cancel_jobs)
            finally:
                self._stopper = None
                self._tell_stopped()

    def _stop(self, timeout: float, *, cancel_jobs: bool) -> None:
        if self._supervisor is not None:
            atexit.unregister(self._stop_at_exit)
            try:
                self._supervisor.stop(timeout, cancel_jobs=cancel_jobs)
            finally:
                self._supervisor = None
                self._status = WorkerStatus.STOPPED
            logger.info("queuer %r has stopped", self._place.identity.name)
        self._close()

    def run(self, master_settings: MasterSettings | None = None) -> None:
        """Starts if need be, blocks until SIGTERM or SIGINT, or until somebody stops the worker, and then stops.

        A second signal stops at once: running jobs are interrupted and queued again. To be called in the main thread.
        """
        happened: SimpleQueue[str] = SimpleQueue()  # unlike a lock, safe to use in a signal handler
        handlers = {
            number: signal.signal(number, lambda *_: happened.put("signal"))
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        self._tell_stopped = lambda: happened.put("stopped")
        try:
            if self._supervisor is None:
                self.start(master_settings)
            with collector.tuned(self._place.identity.max_concurrency):  # the process is the worker's
                if _next(happened) == "signal":
                    threading.Thread(target=self.stop, name="queuer stop").start()
                    while _next(happened) == "signal":
                        self._hurry()
        finally:
            self._tell_stopped = _tell_nobody
            for number, handler in handlers.items():
                signal.signal(number, handler)

    def _hurry(self) -> None:
        supervisor = self._supervisor
        if supervisor is not None:
            supervisor.hurry()

    def _asked(self, request: WorkerRequest) -> None:
        """Somebody asked this worker to stop. In a thread of its own, since it is the heartbeat's that hears of it."""
        logger.info("queuer %r was asked to %s", self._place.identity.name, request.value)
        if request is WorkerRequest.STOP:
            self._hurry()  # should it be stopping gracefully
        if (supervisor := self._supervisor) is not None and supervisor.state == "stopping":
            return
        timeout = 0.0 if request is WorkerRequest.STOP else threading.TIMEOUT_MAX
        threading.Thread(target=self.stop, args=[timeout], name="queuer stop").start()

    def _stop_at_exit(self) -> None:
        if self._database.is_in_own_process():
            self.stop(timeout=0)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.stop)

    def _beat(self) -> None:
        if in_child_process():
            return  # a queuer that comes with the module of a task adds jobs and looks them up, but is no worker
        presence.beat(self._place.heart, self._place.identity, self._status, self._place.abilities)

    def _close(self) -> None:
        super()._close()
        self._place.database.close()
        self._place.heart.close()
        self._place.for_tasks.close()


def _next(happened: SimpleQueue[str]) -> str:
    """Waits for what happens next.

    Looks up now and then: Python runs a signal's handler in this thread, and a signal that arrives just before the wait
    begins does not end it.
    """
    while True:
        try:
            return happened.get(timeout=0.2)
        except Empty:
            continue


def _tell_nobody() -> None:
    """Nobody waits in `run()` for the queuer to stop."""
