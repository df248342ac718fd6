"""The part of the façade that registers tasks and adds jobs.

Each method checks its arguments, calls one operation and returns its value.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, overload
from uuid import UUID

from queuer.additions import Origin, origins
from queuer.database.callers import CallersTransactions, is_async
from queuer.database.database import Database
from queuer.models import Job
from queuer.operations import batch, enqueue
from queuer.operations.batch import BatchJob
from queuer.options import Options, check_name
from queuer.session import AsyncSessionJobs, SessionJobs
from queuer.session_parameters import AnySession
from queuer.tasks import ExecutorName, Task, TaskRegistry, declared, register_with

if TYPE_CHECKING:
    from queuer.database.callers import Given, GivenAsync

P = ParamSpec("P")
R = TypeVar("R")


class Producer:
    """Registers tasks, and adds jobs for them."""

    def __init__(self, database: Database) -> None:
        self._registry = TaskRegistry(declared)
        self._database = database
        self._callers = CallersTransactions(database)
        origins[database] = Origin(self._registry, database.config, cipher=database.cipher)

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
        return self._add_task(task, check_name("the task's name", name), executor)

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
        return self.task(name=check_name("the task's name", name), executor=executor)

    def _add_task(self, fn: object, name: str | None, executor: ExecutorName) -> Task:
        return self._registry.add(fn, name, executor)

    # -- Adding jobs

    @overload
    def add_job(
        self, task: Callable[Concatenate[AnySession, P], Any], /, *parameters: P.args, **parameters_keyed: P.kwargs
    ) -> Job: ...
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
            DatabaseUnavailable: The server can't be reached. When a connection breaks, the job is added once more under
                the same rid: there is never a second one.
        """
        job = enqueue.prepare(self._registry, task, parameters, parameters_keyed, None, self._database.cipher)
        return enqueue.add(self._database, job)

    @overload
    def add_job_with_options(
        self,
        options: Options | None,
        task: Callable[Concatenate[AnySession, P], Any],
        /,
        *parameters: P.args,
        **parameters_keyed: P.kwargs,
    ) -> Job: ...
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
        job = enqueue.prepare(self._registry, task, parameters, parameters_keyed, options, self._database.cipher)
        return enqueue.add(self._database, job)

    def add_jobs(self, batch_jobs: Iterable[BatchJob], /) -> list[UUID]:
        """Adds many jobs by COPY: all of them, or none when one is refused. Takes a generator as it comes.

        Returns their rids, in the order given. Raises like `add_job`, with a note that says which item.
        """
        return batch.add_batch(self._database, self._registry, batch_jobs)

    @overload
    def in_session(self, session: "Given", /) -> SessionJobs: ...
    @overload
    def in_session(self, session: "GivenAsync", /) -> AsyncSessionJobs: ...
    def in_session(self, session: Any, /) -> SessionJobs | AsyncSessionJobs:
        """Adds jobs in the transaction of a SQLAlchemy session: `q.in_session(session).add_job(task, …)`.

        Args:
            session: A `Session`, `scoped_session` or `Connection`, on any PostgreSQL driver; for an `AsyncSession`,
                `async_scoped_session` or `AsyncConnection` the methods are to be awaited.

        Raises:
            TypeError: None of these.
        """
        self._database.check_process()
        kind = AsyncSessionJobs if is_async(session) else SessionJobs
        return kind(self._callers, self._registry, session)

    @overload
    async def add_job_async(
        self, task: Callable[Concatenate[AnySession, P], Any], /, *parameters: P.args, **parameters_keyed: P.kwargs
    ) -> Job: ...
    @overload
    async def add_job_async(
        self, task: Callable[P, Any], /, *parameters: P.args, **parameters_keyed: P.kwargs
    ) -> Job: ...
    @overload
    async def add_job_async(self, task: str, /, *parameters: Any, **parameters_keyed: Any) -> Job: ...
    async def add_job_async(self, task: Any, /, *parameters: Any, **parameters_keyed: Any) -> Job:
        """`add_job` for a coroutine."""
        job = enqueue.prepare(self._registry, task, parameters, parameters_keyed, None, self._database.cipher)
        return await enqueue.add_async(self._database, job)

    @overload
    async def add_job_with_options_async(
        self,
        options: Options | None,
        task: Callable[Concatenate[AnySession, P], Any],
        /,
        *parameters: P.args,
        **parameters_keyed: P.kwargs,
    ) -> Job: ...
    @overload
    async def add_job_with_options_async(
        self, options: Options | None, task: Callable[P, Any], /, *parameters: P.args, **parameters_keyed: P.kwargs
    ) -> Job: ...
    @overload
    async def add_job_with_options_async(
        self, options: Options | None, task: str, /, *parameters: Any, **parameters_keyed: Any
    ) -> Job: ...
    async def add_job_with_options_async(
        self, options: Options | None, task: Any, /, *parameters: Any, **parameters_keyed: Any
    ) -> Job:
        """`add_job_with_options` for a coroutine."""
        job = enqueue.prepare(self._registry, task, parameters, parameters_keyed, options, self._database.cipher)
        return await enqueue.add_async(self._database, job)

    async def add_jobs_async(self, batch_jobs: Iterable[BatchJob], /) -> list[UUID]:
        """`add_jobs` for a coroutine."""
        return await batch.add_batch_async(self._database, self._registry, batch_jobs)
