"""Adding jobs in a transaction of the caller's: `q.in_session(session)`."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, overload
from uuid import UUID

from queuer.database.callers import CallersTransactions
from queuer.models import Job
from queuer.operations import batch, enqueue
from queuer.operations.batch import BatchJob
from queuer.options import Options
from queuer.session_parameters import AnySession
from queuer.tasks import TaskRegistry

if TYPE_CHECKING:
    from queuer.database.callers import Given, GivenAsync

P = ParamSpec("P")


class SessionJobs:
    """Adds jobs in the transaction of a `Session`, a `scoped_session` or a `Connection`.

    They are there when the caller commits, and never if not. Nothing of the caller's is committed, flushed or expired.
    What is the caller's mistake is refused before anything is written, and leaves the transaction as it was.

    Every method raises what that of the queuer does, but no `DatabaseUnavailable`: it is the caller's connection, and
    its errors are SQLAlchemy's. And:

    Raises:
        QueuerError: No job can be added there, because it is closed, in autocommit, read-only, failed, bound to another
            database than the queuer's, or in use by another thread.
    """

    def __init__(self, callers: CallersTransactions, registry: TaskRegistry, given: "Given") -> None:
        self._callers = callers
        self._registry = registry
        self._given = given

    @overload
    def add_job(
        self, task: Callable[Concatenate[AnySession, P], Any], /, *parameters: P.args, **parameters_keyed: P.kwargs
    ) -> Job: ...
    @overload
    def add_job(self, task: Callable[P, Any], /, *parameters: P.args, **parameters_keyed: P.kwargs) -> Job: ...
    @overload
    def add_job(self, task: str, /, *parameters: Any, **parameters_keyed: Any) -> Job: ...
    def add_job(self, task: Any, /, *parameters: Any, **parameters_keyed: Any) -> Job:
        """As `Queuer.add_job`. What it returns is detached from the session."""
        job = enqueue.prepare(self._registry, task, parameters, parameters_keyed, None, self._callers.cipher)
        return self._callers.run(self._given, enqueue.adding(job))

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
        """As `Queuer.add_job_with_options`."""
        job = enqueue.prepare(self._registry, task, parameters, parameters_keyed, options, self._callers.cipher)
        return self._callers.run(self._given, enqueue.adding(job))

    def add_jobs(self, batch_jobs: Iterable[BatchJob], /) -> list[UUID]:
        """As `Queuer.add_jobs`: by COPY on that very connection where the driver is psycopg, else by INSERT.

        In a savepoint: when one of them is refused, none is added, and the transaction goes on.
        """
        work = batch.adding_batch_in_savepoint(self._registry, batch_jobs, self._callers.cipher)
        return self._callers.run(self._given, work)


class AsyncSessionJobs:
    """`SessionJobs` for an `AsyncSession`, `async_scoped_session` or `AsyncConnection`; its methods are awaited."""

    def __init__(self, callers: CallersTransactions, registry: TaskRegistry, given: "GivenAsync") -> None:
        self._callers = callers
        self._registry = registry
        self._given = given

    @overload
    async def add_job(
        self, task: Callable[Concatenate[AnySession, P], Any], /, *parameters: P.args, **parameters_keyed: P.kwargs
    ) -> Job: ...
    @overload
    async def add_job(self, task: Callable[P, Any], /, *parameters: P.args, **parameters_keyed: P.kwargs) -> Job: ...
    @overload
    async def add_job(self, task: str, /, *parameters: Any, **parameters_keyed: Any) -> Job: ...
    async def add_job(self, task: Any, /, *parameters: Any, **parameters_keyed: Any) -> Job:
        """As `SessionJobs.add_job`."""
        job = enqueue.prepare(self._registry, task, parameters, parameters_keyed, None, self._callers.cipher)
        return await self._callers.run_async(self._given, enqueue.adding(job))

    @overload
    async def add_job_with_options(
        self,
        options: Options | None,
        task: Callable[Concatenate[AnySession, P], Any],
        /,
        *parameters: P.args,
        **parameters_keyed: P.kwargs,
    ) -> Job: ...
    @overload
    async def add_job_with_options(
        self, options: Options | None, task: Callable[P, Any], /, *parameters: P.args, **parameters_keyed: P.kwargs
    ) -> Job: ...
    @overload
    async def add_job_with_options(
        self, options: Options | None, task: str, /, *parameters: Any, **parameters_keyed: Any
    ) -> Job: ...
    async def add_job_with_options(
        self, options: Options | None, task: Any, /, *parameters: Any, **parameters_keyed: Any
    ) -> Job:
        """As `SessionJobs.add_job_with_options`."""
        job = enqueue.prepare(self._registry, task, parameters, parameters_keyed, options, self._callers.cipher)
        return await self._callers.run_async(self._given, enqueue.adding(job))

    async def add_jobs(self, batch_jobs: Iterable[BatchJob], /) -> list[UUID]:
        """As `SessionJobs.add_jobs`."""
        work = batch.adding_batch_in_savepoint(self._registry, batch_jobs, self._callers.cipher)
        return await self._callers.run_async(self._given, work)
