"""The jobs that a test's code adds: `queuer_jobs`."""

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, cast
from uuid import UUID

from queuer import additions
from queuer.additions import origins
from queuer.options import Options
from queuer.sealing import opened_new
from queuer.tasks import TaskRegistry
from queuer.testing.calls import bound, expected, names_of, shown
from queuer.testing.commits import Commits
from queuer.testing.journal import Entry, Journal
from queuer.values import NewJob

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


class AddedJob(Entry):
    """A job as it was added.

    Attributes:
        rid: Of the job.
        task_name: The name of its task.
        parameters, parameters_keyed: The arguments as JSON holds them: a datetime is text, a tuple a list.
        options: What was asked for the job; an empty `Options` when nothing was.
        parent_rid: The job in which it was added, if any.
        given: The session or connection in which it was added; None = one of the queuer's own.
    """

    def __init__(self, job: NewJob, tasks: TaskRegistry, given: object) -> None:
        self.rid: UUID = job.rid
        self.task_name: str = job.task_name
        self.parameters: Sequence[Any] = list(job.parameters)
        self.parameters_keyed: Mapping[str, Any] = cast("dict[str, Any]", job.parameters_keyed or {})
        self.options: Options = job.options
        self.parent_rid: UUID | None = job.parent_rid
        self.given = given
        self._tasks = tasks

    def has(self, parameters: Sequence[Any], parameters_keyed: Mapping[str, Any]) -> bool:
        """Whether these are its arguments, by position or by name."""
        wanted = bound(self._tasks, self.task_name, expected(parameters), expected(parameters_keyed))
        return wanted == bound(self._tasks, self.task_name, self.parameters, self.parameters_keyed)

    def __repr__(self) -> str:
        call = shown(self.task_name, self.parameters, self.parameters_keyed)
        return call if self.options == Options() else f"{call} with {self.options!r}"


class AddedJobs:
    """Notes the jobs that any queuer of this process adds while it is open, and asserts what they are.

    A job is noted when `add_job` returns, whether or not its transaction is committed yet. It is taken out again when
    its savepoint or transaction is rolled back. What a session has committed stays, whatever the test does with it.

        with AddedJobs() as jobs:
            register_user(session, "ada")
        jobs.assert_added(send_welcome, "ada")

    In each assertion the task is a registered callable or a name. Without arguments it stands for all its jobs,
    whatever theirs are; with some, for those that have exactly these, passed by position or by name. Arguments are
    compared in the form that JSON gives them, and what JSON can't hold by its own `==`, like `unittest.mock.ANY`.
    """

    def __init__(self) -> None:
        self._noted: list[AddedJob] = []
        self._journal = Journal()
        self._commits = Commits(self._committed)

    def __enter__(self) -> Self:
        additions.watchers.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        additions.watchers.remove(self)
        self._journal.close()
        self._commits.close()

    @property
    def added(self) -> list[AddedJob]:
        """The jobs that were added and not rolled back, in the order in which they were added."""
        return [job for job in self._noted if not job.is_undone]

    @property
    def rolled_back(self) -> list[AddedJob]:
        """The jobs whose savepoint or transaction was rolled back."""
        return [job for job in self._noted if job.is_undone]

    def clear(self) -> None:
        """Forgets what was added so far."""
        self._noted.clear()

    def find(self, task: Callable[..., Any] | str, /, *parameters: Any, **parameters_keyed: Any) -> list[AddedJob]:
        """Those that fit, in the order in which they were added.

        Raises:
            TaskNotRegistered: No queuer of this process has the callable as a task.
        """
        return self._find(task, parameters, parameters_keyed)

    def count(self, task: Callable[..., Any] | str, /, *parameters: Any, **parameters_keyed: Any) -> int:
        """How many fit. Raises like `find`."""
        return len(self._find(task, parameters, parameters_keyed))

    def assert_added(self, task: Callable[..., Any] | str, /, *parameters: Any, **parameters_keyed: Any) -> AddedJob:
        """Asserts that at least one fits, and returns the latest of them. Raises like `find`."""
        __tracebackhide__ = True
        found = self._find(task, parameters, parameters_keyed)
        if not found:
            raise AssertionError(f"{_wanted(task, parameters, parameters_keyed)} was not added; {self._told()}")
        return found[-1]

    def assert_added_once(
        self, task: Callable[..., Any] | str, /, *parameters: Any, **parameters_keyed: Any
    ) -> AddedJob:
        """Asserts that exactly one fits, and returns it. Raises like `find`."""
        __tracebackhide__ = True
        found = self._find(task, parameters, parameters_keyed)
        if len(found) != 1:
            times = f"{len(found)} times" if found else "not at all"
            wanted = _wanted(task, parameters, parameters_keyed)
            raise AssertionError(f"{wanted} was added {times}, wanted is once; {self._told()}")
        return found[0]

    def assert_added_with_options(
        self, options: Options, task: Callable[..., Any] | str, /, *parameters: Any, **parameters_keyed: Any
    ) -> AddedJob:
        """Asserts that at least one fits and has exactly these options, and returns the latest of them. Raises like
        `find`."""
        __tracebackhide__ = True
        found = [job for job in self._find(task, parameters, parameters_keyed) if job.options == options]
        if not found:
            wanted = f"{_wanted(task, parameters, parameters_keyed)} with {options!r}"
            raise AssertionError(f"{wanted} was not added; {self._told()}")
        return found[-1]

    def assert_not_added(self, task: Callable[..., Any] | str, /, *parameters: Any, **parameters_keyed: Any) -> None:
        """Asserts that none fits. Raises like `find`."""
        __tracebackhide__ = True
        if self._find(task, parameters, parameters_keyed):
            raise AssertionError(f"{_wanted(task, parameters, parameters_keyed)} was added; {self._told()}")

    def _find(self, task: object, parameters: Sequence[Any], parameters_keyed: Mapping[str, Any]) -> list[AddedJob]:
        names = names_of(task)
        is_any = not parameters and not parameters_keyed
        found = (job for job in self.added if job.task_name in names)
        return [job for job in found if is_any or job.has(parameters, parameters_keyed)]

    def _told(self) -> str:
        lines = [*map(repr, self.added), *(f"{job!r} (rolled back)" for job in self.rolled_back)]
        return "\n  ".join(["these jobs were:", *lines]) if lines else "no job was"

    # -- What queuers tell

    def inserted(self, session: "Session", jobs: Sequence[NewJob]) -> None:
        origin = origins[session.info["database"]]
        given = session.info.get("given")
        noted = [AddedJob(opened_new(origin.cipher, job), origin.tasks, given) for job in jobs]
        self._noted += noted
        self._journal.note(session.connection(), noted)
        if given is not None:
            self._commits.follow(given)

    def settled(self, rids: Sequence[UUID]) -> None:
        """Nothing more to note."""

    async def settled_async(self, rids: Sequence[UUID]) -> None:
        """Nothing more to note."""

    def _committed(self, given: object) -> None:
        for job in self.added:
            job.is_final = job.is_final or job.given is given


def _wanted(task: object, parameters: Sequence[Any], parameters_keyed: Mapping[str, Any]) -> str:
    name = task if isinstance(task, str) else getattr(task, "__name__", repr(task))
    return shown(name, parameters, parameters_keyed) if parameters or parameters_keyed else f"a job of {name}"
