"""Adding many jobs at once: all of them, or none when one is refused."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import FunctionType, MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, cast
from uuid import UUID

from queuer import additions
from queuer.cipher import Cipher
from queuer.context import current_rid
from queuer.database.database import Database, Work
from queuer.foreign import is_a, shown
from queuer.operations.enqueue import prepare
from queuer.options import Options
from queuer.payload import is_plain
from queuer.repositories import jobs
from queuer.rids import AT_ONCE, new_rids
from queuer.tasks import Task, TaskRegistry
from queuer.values import NewJob, PlainJobs, one_by_one

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


_NO_KEYED: Mapping[str, Any] = MappingProxyType({})


class BatchJob(NamedTuple):  # a frozen dataclass takes five times as long to make
    """One of the jobs that `add_jobs` adds.

    Args:
        task: A registered callable, or a name.
        parameters, parameters_keyed: The arguments of the call.
        options: As for `add_job_with_options`.
    """

    task: Any
    parameters: Sequence[Any] = ()
    parameters_keyed: Mapping[str, Any] = _NO_KEYED
    options: Options | None = None


def add_batch(database: Database, registry: TaskRegistry, batch: Iterable[BatchJob]) -> list[UUID]:
    """Adds many jobs."""
    rids = database.run_single(adding_batch(registry, batch, database.cipher), tries=1)
    additions.tell_settled(rids)
    return rids


async def add_batch_async(database: Database, registry: TaskRegistry, batch: Iterable[BatchJob]) -> list[UUID]:
    """`add_batch` for a coroutine."""
    rids = await database.run_single_async(adding_batch(registry, batch, database.cipher), tries=1)
    await additions.tell_settled_async(rids)
    return rids


def adding_batch(registry: TaskRegistry, batch: Iterable[BatchJob], cipher: Cipher) -> Work[list[UUID]]:
    """The work of adding many jobs by COPY."""

    def work(session: "Session") -> list[UUID]:
        notes: list[NewJob] = []
        rids = jobs.insert_many(session, additions.noted(_prepared(registry, batch, cipher), notes))
        additions.tell_inserted(session, notes)
        return rids

    return work


def adding_batch_in_savepoint(registry: TaskRegistry, batch: Iterable[BatchJob], cipher: Cipher) -> Work[list[UUID]]:
    """`adding_batch` in a transaction that goes on when a job is refused: the batch may be a generator, so that may
    happen when others have been sent."""

    def work(session: "Session") -> list[UUID]:
        with session.begin_nested():
            return adding_batch(registry, batch, cipher)(session)

    return work


def _prepared(registry: TaskRegistry, batch: Iterable[BatchJob], cipher: Cipher) -> Iterator[NewJob | PlainJobs]:
    gathered, is_clear = _Gathered(registry, current_rid()), not cipher.has_keys
    for number, item in enumerate(batch):
        try:
            if is_clear and gathered.takes(item):
                if gathered.is_full:
                    yield from gathered.given()
                continue
            yield from gathered.given()
            _check_item(item)
            yield prepare(registry, item.task, item.parameters, item.parameters_keyed, item.options, cipher)
        except Exception as error:
            error.add_note(f"in item {number} of the batch; none of its jobs was added")
            raise
    yield from gathered.given()


class _Gathered:
    """Items of which all that is left to do is to look at the task. Most jobs of large batches are like that.

    Args:
        parent_rid: The job that adds them.
    """

    def __init__(self, registry: TaskRegistry, parent_rid: UUID | None) -> None:
        self._registry = registry
        self._parent_rid = parent_rid
        self._resolved: dict[object, tuple[str, Task | None]] = {}
        self._names: list[str] = []
        self._parameters: list[Sequence[Any]] = []

    def takes(self, item: object) -> bool:
        """Takes an item, if it is one of those."""
        if not _is_bare(item):
            return False
        task, parameters, _, _ = item
        name, known = self._resolved.get(task) or self._resolved.setdefault(task, self._registry.resolve(task))
        if known is not None and not (known.arguments is None and known.fits(len(parameters))):
            return False
        self._names.append(name)
        self._parameters.append(parameters[:])  # whose list it is may change it
        return True

    @property
    def is_full(self) -> bool:
        return len(self._names) >= AT_ONCE

    def given(self) -> Iterator[NewJob | PlainJobs]:
        """What was taken since the last time."""
        if self._names:
            plain = PlainJobs(new_rids(len(self._names)), self._names, self._parameters)
            self._names, self._parameters = [], []
            yield from [plain] if self._parent_rid is None else self._children(plain)

    def _children(self, plain: PlainJobs) -> Iterator[NewJob]:
        return (job._replace(parent_rid=self._parent_rid) for job in one_by_one([plain]))


def _is_bare(item: object) -> TypeGuard[BatchJob]:
    return (
        type(item) is BatchJob
        and type(item.parameters) is list
        and item.options is None
        and (item.parameters_keyed is _NO_KEYED or (type(item.parameters_keyed) is dict and not item.parameters_keyed))
        and type(item.task) in (FunctionType, str)
        and is_plain(item.parameters)
    )


def _check_item(item: object) -> None:
    if not is_a(item, BatchJob):
        raise TypeError(f"the item is {shown(item)}; allowed is a BatchJob")
    job = cast("BatchJob", item)
    if not is_a(job.parameters, (list, tuple)) or not is_a(job.parameters_keyed, Mapping):
        raise TypeError(f"the item has no list of parameters, or no dict of keyed ones: {shown(item)}")
