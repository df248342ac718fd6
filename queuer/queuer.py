"""The façade: what people import. Each method checks its arguments, calls one operation and returns its value."""

import atexit
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar, overload
from uuid import UUID, uuid4

from queuer.config import DatabaseConfiguration
from queuer.context import in_child_process
from queuer.database import embedded, engines, migrate
from queuer.database.database import Database
from queuer.database.listener import Listener
from queuer.errors import ConfigurationError, QueuerError
from queuer.events import ended_channel
from queuer.models import Job, JobArchive
from queuer.operations import enqueue, inspect, presence
from queuer.operations.enqueue import BatchJob
from queuer.operations.presence import Identity
from queuer.options import OnError, Options
from queuer.states import JobStatus, WorkerStatus
from queuer.supervisor import Supervisor
from queuer.tasks import ExecutorName, Task, TaskRegistry, declared, register_with
from queuer.waiting import Waiting

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)

#: Environment variable of the key; see `new_queuer`.
KEY_VARIABLE = "QUEUER_ENCRYPTION_KEY"


class Queuer:
    """Adds jobs, finds them, and runs them once it is started. Made by `new_queuer` and its like.

    Safe to use from several threads. Not across a fork: make one in each process.
    """

    def __init__(
        self, name: str, max_concurrency: int, config: DatabaseConfiguration, on_error: OnError | None = None
    ) -> None:
        self._identity = Identity(uuid4(), name, max_concurrency, on_error)
        self._registry = TaskRegistry(declared)
        self._supervisor: Supervisor | None = None
        self._waiting: Waiting | None = None
        self._one_at_a_time = threading.Lock()  # start and stop
        self._waiting_lock = threading.Lock()

        engine = engines.create(config, application_name=f"queuer {name}")
        heart = engines.create(config, application_name=f"queuer {name} heartbeat", pool_size=1)
        self._database = Database(engine, config)
        self._heart = Database(heart, config)
        self._listener = Listener(config)
        try:
            if not in_child_process():  # there the worker has seen to it
                migrate.upgrade(engine, config)
            self._beat(WorkerStatus.READY)
        except BaseException:
            self._close_connections()
            raise

    def __repr__(self) -> str:
        state = "running" if self._supervisor else "not running"
        return f"<Queuer {self._identity.name!r} {state} worker={self._identity.rid}>"

    # -- Tasks

    def add_task(self, task: Callable[..., Any], /, *, executor: ExecutorName = "thread") -> Task:
        """Registers a task under the function's own name, also while the queuer runs.

        Args:
            executor: "thread" runs it in this process: in a thread, or on the event loop when it is a coroutine
                function. "process" runs it in a child process, which a timeout kills and a crash can't carry further.
                The child imports the task, so it must stand at the top level of a module.

        Raises:
            TypeError: Not a callable, or one without a name.
            ValueError: There is no such executor.
            TaskAlreadyRegistered: The name is taken.
        """
        return self._add_task(task, None, executor)

    def add_task_with_name(self, task: Callable[..., Any], name: str, /, *, executor: ExecutorName = "thread") -> Task:
        """Registers a task under a name of 1 to 100 characters. Arguments and errors as for `add_task`."""
        return self._add_task(task, name, executor)

    @overload
    def task(self, fn: Callable[P, R], /) -> Callable[P, R]: ...
    @overload
    def task(
        self, fn: None = None, /, *, name: str | None = None, executor: ExecutorName = "thread"
    ) -> Callable[[Callable[P, R]], Callable[P, R]]: ...
    def task(
        self, fn: Callable[P, R] | None = None, /, *, name: str | None = None, executor: ExecutorName = "thread"
    ) -> Any:
        """The decorator: `@q.task`, `@q.task()` or `@q.task(name="…", executor="process")`.

        The function stays callable as it was. `executor` as for `add_task`.
        """
        return register_with(self._add_task, fn, name, executor)

    def task_with_name(
        self, name: str, /, *, executor: ExecutorName = "thread"
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """The decorator with a name: `@q.task_with_name("…")`."""
        return self.task(name=name, executor=executor)

    def _add_task(self, fn: object, name: str | None, executor: ExecutorName) -> Task:
        task = self._registry.add(fn, name, executor)
        supervisor = self._supervisor
        if supervisor is not None:
            supervisor.tasks_changed()
        else:
            self._beat(WorkerStatus.READY)
        return task

    # -- Adding jobs

    @overload
    def add_job(self, task: Callable[P, Any], /, *parameters: P.args, **parameters_keyed: P.kwargs) -> Job: ...
    @overload
    def add_job(self, task: str, /, *parameters: Any, **parameters_keyed: Any) -> Job: ...
    def add_job(self, task: Any, /, *parameters: Any, **parameters_keyed: Any) -> Job:
        """Adds a job: a call of `task` with these arguments.

        Args:
            task: A registered callable, or a name, which may belong to another process.

        Raises:
            TaskNotRegistered: A callable that is not registered here.
            InvalidParameters: The arguments do not fit the signature, or JSON can't hold them. A `TypeError`.
            DatabaseUnavailable: The server can't be reached.
        """
        return enqueue.add(self._database, enqueue.prepare(self._registry, task, parameters, parameters_keyed, None))

    @overload
    def add_job_with_options(
        self, options: Options | None, task: Callable[P, Any], /, *parameters: P.args, **parameters_keyed: P.kwargs
    ) -> Job: ...
    @overload
    def add_job_with_options(
        self, options: Options | None, task: str, /, *parameters: Any, **parameters_keyed: Any
    ) -> Job: ...
    def add_job_with_options(
        self, options: Options | None, task: Any, /, *parameters: Any, **parameters_keyed: Any
    ) -> Job:
        """Adds a job with error handling, a schedule or metadata of its own. Raises like `add_job`."""
        job = enqueue.prepare(self._registry, task, parameters, parameters_keyed, options)
        return enqueue.add(self._database, job)

    def add_jobs(self, batch_jobs: Iterable[BatchJob], /) -> list[UUID]:
        """Adds many jobs by COPY: all of them, or none when one is refused. Takes a generator as it comes.

        Returns their rids, in the order given. Raises like `add_job`, with a note that says which item.
        """
        return enqueue.add_batch(self._database, self._registry, batch_jobs)

    # -- Finding and waiting

    def get_job(self, rid: UUID | str) -> Job:
        """The job with this rid. Raises `JobNotFound`, which says so when it has ended."""
        return inspect.job(self._database, _uuid(rid))

    def get_job_ended(self, rid: UUID | str) -> JobArchive:
        """The ended job with this rid. Raises `JobNotFound`, which says so when it has not ended."""
        return inspect.job_ended(self._database, _uuid(rid))

    def get_jobs(self, status: JobStatus | str | None = None, last_id: int = 0, entries: int = 100) -> Sequence[Job]:
        """Jobs that have not ended, newest first.

        Args:
            status: Only those that are QUEUED, SCHEDULED or RUNNING.
            last_id: The id of the last job of the page before; 0 = begin with the newest.
            entries: 1 to 1000.

        Raises:
            ValueError: An argument is not allowed.
        """
        return inspect.page(self._database, status, last_id, entries)

    def get_jobs_ended(
        self, status: JobStatus | str | None = None, last_id: int = 0, entries: int = 100
    ) -> Sequence[JobArchive]:
        """Jobs that ended SUCCEEDED, FAILED or CANCELLED, newest first. Arguments as for `get_jobs`."""
        return inspect.page_ended(self._database, status, last_id, entries)

    def wait_for_job_finished(self, rid: UUID | str, timeout_seconds: float = 30.0) -> JobArchive | None:
        """Waits until a job ends, on whichever worker, and returns it; None when `timeout_seconds` have passed.

        Raises:
            JobNotFound: There is no such job.
            DatabaseUnavailable: The server can't be reached.
        """
        job_rid = _uuid(rid)
        with self._expecting().expect(job_rid) as news:
            if ended := inspect.ended(self._database, [job_rid]):
                return ended[0]
            if not inspect.is_live(self._database, job_rid):
                return inspect.job_ended(self._database, job_rid)  # it ended between the two looks, or is not there
            return news(timeout_seconds)

    def _expecting(self) -> Waiting:
        """What waits; on first use it begins to listen."""
        with self._waiting_lock:
            if self._waiting is None:
                self._waiting = Waiting(lambda rids: inspect.ended(self._database, rids))
                self._waiting.start()
            waiting = self._waiting
        self._listener.listen(ended_channel(self._database.config.schema), waiting.tell)
        return waiting

    # -- Running

    def start(self) -> None:
        """Begins to run jobs, in threads of its own. Returns when the worker is ready to take them.

        Raises:
            QueuerError: It runs already, or this is a child process that imports a task.
            DatabaseUnavailable: The server can't be reached; nothing was started.
        """
        if in_child_process():
            raise QueuerError(
                f"queuer {self._identity.name!r} can't start in a child process, which only runs tasks of a worker."
                " The child imports the script: put start(), and whatever else it does, under"
                ' `if __name__ == "__main__":`'
            )
        with self._one_at_a_time:
            if self._supervisor is not None:
                raise QueuerError(f"queuer {self._identity.name!r} runs already; stop() it before another start()")
            supervisor = Supervisor(self._database, self._heart, self._listener, self._identity, self._registry)
            try:
                supervisor.start()
            except BaseException:
                self._close_connections()
                raise
            self._supervisor = supervisor
            # A process that ends without stop() gives its jobs back all the same.
            atexit.register(self.stop, 0.0)
        logger.info("queuer %s runs, at most %d jobs at once", self._identity.name, self._identity.max_concurrency)

    def stop(self, timeout: float = 30.0, cancel_jobs: bool = False) -> None:  # noqa: FBT001, FBT002 - the contract's
        """Takes no more jobs, lets the running ones end, and closes all threads and connections.

        Safe twice, and when it was never started. `start()` works again afterwards.

        Args:
            timeout: Seconds that running jobs may take to end. The rest is interrupted and queued again.
            cancel_jobs: Let the interrupted ones end CANCELLED instead.
        """
        with self._one_at_a_time:
            supervisor, self._supervisor = self._supervisor, None
            if supervisor is not None:
                atexit.unregister(self.stop)
                supervisor.stop(timeout, cancel_jobs=cancel_jobs)
            with self._waiting_lock:
                waiting, self._waiting = self._waiting, None
            if waiting is not None:
                waiting.stop()
            self._close_connections()
        if supervisor is not None:
            logger.info("queuer %s has stopped", self._identity.name)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _beat(self, status: WorkerStatus) -> None:
        if in_child_process():
            return  # a queuer that comes with the module of a task adds jobs and looks them up, but is no worker
        presence.beat(self._heart, self._identity, status, self._registry.names())

    def _close_connections(self) -> None:
        self._listener.close()
        self._database.close()
        self._heart.close()


def new_queuer(name: str, max_concurrency: int, *options: OnError) -> Queuer:
    """A queuer on the database of `QUEUER_DB_*`; with none of them set, on an embedded one (`queuer[embedded]`).

    Makes sure that the schema is at the newest revision, and makes the worker known.

    Args:
        name: Of the worker, 1 to 100 characters. Need not be unique.
        max_concurrency: Jobs that it runs at once, at most.
        options: One `OnError` for jobs that bring none of their own.

    Raises:
        ValueError: An argument is not allowed. Nothing was opened.
        ConfigurationError: A variable is blank or malformed, or the server can't do what is asked.
        DatabaseUnavailable: The server can't be reached.
        SchemaTooNew: A newer queuer migrated the database.
    """
    return new_queuer_with_db(name, max_concurrency, os.environ.get(KEY_VARIABLE, ""), None, *options)


def new_queuer_with_db(
    name: str,
    max_concurrency: int,
    encryption_key: str = "",
    db_config: DatabaseConfiguration | None = None,
    *options: OnError,
) -> Queuer:
    """Like `new_queuer`, on the database that is given; None = that of the environment.

    Args:
        encryption_key: Must be empty: this version can't encrypt, and says so rather than store plain text.
    """
    if not isinstance(name, str) or not 1 <= len(name) <= 100 or "\0" in name:
        raise ValueError(f"name is {name!r}; allowed is a str of 1 to 100 characters")
    if isinstance(max_concurrency, bool) or not isinstance(max_concurrency, int) or not 1 <= max_concurrency < 2**31:
        raise ValueError(f"max_concurrency is {max_concurrency!r}; allowed is a whole number, 1 or more")
    if len(options) > 1 or not all(isinstance(option, OnError) for option in options):
        raise ValueError(f"options are {options!r}; allowed is one OnError, or none")
    if encryption_key:
        raise ConfigurationError(
            f"an encryption key is given, but this version of queuer can't encrypt yet; leave encryption_key empty and"
            f" {KEY_VARIABLE} unset, or keep secrets out of parameters"
        )
    return Queuer(name, max_concurrency, db_config or embedded.configured(), *options)


def _uuid(rid: object) -> UUID:
    try:
        return rid if isinstance(rid, UUID) else UUID(str(rid))
    except ValueError:
        raise ValueError(f"rid is {rid!r}; allowed is a UUID, or its text") from None
