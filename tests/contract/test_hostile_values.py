"""Whatever is passed: it makes a job that runs, or a documented error and nothing else."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, text
from support.hostile import Recipe, make, recipes
from support.servers import Databases

from queuer import (
    BatchJob,
    DatabaseConfiguration,
    JobArchive,
    JobStatus,
    MasterSettings,
    OnError,
    Options,
    Queuer,
    QueuerError,
    Schedule,
    StaticQueuer,
    new_queuer_with_db,
    new_static_queuer,
)
from queuer.database import engines
from queuer.foreign import is_a

#: A quarter of what the profile wants, for each of the many doors.
SOME = settings(max_examples=settings.default.max_examples // 4)

# Hypothesis takes the worker's threads, which draw their delays meanwhile, for the strategies.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

DOCUMENTED = (QueuerError, TypeError, ValueError)

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5)


def echo(*parameters: Any, **parameters_keyed: Any) -> Any:
    return first_of(parameters, parameters_keyed)


def first_of(parameters: Any, parameters_keyed: Any) -> Any:
    return next(iter((*parameters, *parameters_keyed.values())), None)


TODO: SimpleQueue[Callable[[], Any]] = SimpleQueue()


def do() -> Any:
    """The task of one example."""
    return TODO.get_nowait()()


def run(q: Queuer, example: Callable[[], Any]) -> JobArchive | None:
    TODO.put(example)
    return q.wait_for_job_finished(q.add_job(do).rid)


@pytest.fixture(scope="module")
def module_config(databases: Databases) -> Iterator[DatabaseConfiguration]:
    with databases.migrated() as config:
        yield config


@pytest.fixture(scope="module")
def busy(module_config: DatabaseConfiguration) -> Iterator[Queuer]:
    """A queuer that runs, for all examples."""
    q = new_queuer_with_db("test", 4, "", module_config)
    q.add_task(echo)
    q.add_task(do)
    with q:
        yield q


@pytest.fixture(scope="module")
def static(module_config: DatabaseConfiguration) -> Iterator[StaticQueuer]:
    q = new_static_queuer(module_config)
    yield q
    q.stop()


@pytest.fixture(scope="module")
def count(module_config: DatabaseConfiguration) -> Iterator[Callable[[], int]]:
    engine: Engine = engines.create(module_config, application_name="tests")
    query = text("SELECT (SELECT count(*) FROM public.job) + (SELECT count(*) FROM public.job_archive)")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield lambda: connection.scalar(query)
    engine.dispose()


@pytest.mark.parametrize("door", ["single", "batch"])
@given(data=st.data())
def test_parameters_make_a_job_that_runs_or_an_error(
    busy: Queuer, count: Callable[[], int], door: str, data: st.DataObject
) -> None:
    parameters = [make(each) for each in data.draw(st.lists(recipes, max_size=2))]
    drawn = data.draw(st.dictionaries(words | st.just("self"), recipes, max_size=2))
    keyed = {name: make(each) for name, each in drawn.items()}
    metadata = make(data.draw(st.just(Recipe("plain", (None,))) | recipes))
    before = count()
    try:
        options = Options(metadata=metadata)
        if door == "batch":
            (rid,) = busy.add_jobs([BatchJob("echo", parameters, keyed, options)])
        else:
            rid = busy.add_job_with_options(options, "echo", *parameters, **keyed).rid
    except DOCUMENTED:
        assert count() == before
        return
    ended = busy.wait_for_job_finished(rid)
    assert ended is not None
    assert ended.status is JobStatus.SUCCEEDED
    assert ended.result == first_of(ended.parameters, ended.parameters_keyed)
    assert count() == before + 1


@given(recipe=recipes)
def test_results_make_a_job_succeed_or_fail(busy: Queuer, recipe: Recipe) -> None:
    ended = run(busy, lambda: make(recipe))
    assert ended is not None
    assert (ended.status is JobStatus.FAILED) == bool(ended.error)


@given(recipe=recipes, kind=st.sampled_from([ValueError, KeyError, SystemExit, UnicodeError, ExceptionGroup]))
def test_errors_make_a_job_fail(busy: Queuer, recipe: Recipe, kind: type) -> None:
    def fail() -> None:
        value = make(recipe)
        raise value if issubclass(type(value), BaseException) else kind(value)

    ended = run(busy, fail)
    assert ended is not None
    assert ended.status is JobStatus.FAILED
    assert ended.error


CALLS: dict[str, Callable[[Queuer, Any, Any], Any]] = {
    "add_job": lambda q, a, b: q.add_job(a, b),
    "add_job_with_options": lambda q, a, b: q.add_job_with_options(a, b),
    "add_jobs": lambda q, a, b: q.add_jobs([a, b]),
    "BatchJob": lambda q, a, b: q.add_jobs([BatchJob("nobody's", a, b)]),
    "BatchJob.options": lambda q, a, b: q.add_jobs([BatchJob(a, [], {}, b)]),
    "OnError": lambda q, a, b: OnError(timeout=a, retry_delay=b),
    "OnError.max_retries": lambda q, a, b: OnError(max_retries=a, retry_backoff=b),
    "OnError.backoff": lambda q, a, b: OnError(retry_backoff=b),
    "Schedule": lambda q, a, b: Schedule(start=a, max_count=b),
    "Schedule.interval": lambda q, a, b: Schedule(interval=a, next_interval=b),
    "Schedule.max_count": lambda q, a, b: Schedule(max_count=a, next_interval=b),
    "Options": lambda q, a, b: Options(on_error=a, schedule=b),
    "MasterSettings": lambda q, a, b: MasterSettings(retention_archive=a, worker_stale_after=b),
    "start": lambda q, a, b: q.start(a),
    "stop": lambda q, a, b: q.stop(timeout=a) if not is_a(a, (int, float)) else None,
    "get_job": lambda q, a, b: q.get_job(a),
    "get_jobs": lambda q, a, b: q.get_jobs(a, last_id=b),
    "get_jobs.entries": lambda q, a, b: q.get_jobs(None, entries=b),
    "get_jobs_ended": lambda q, a, b: q.get_jobs_ended(a, 0, b),
    "get_jobs_by_worker_rid": lambda q, a, b: q.get_jobs_by_worker_rid(a, b),
    "get_jobs_by_search": lambda q, a, b: q.get_jobs_by_search(a),
    "get_jobs_ended_by_search": lambda q, a, b: q.get_jobs_ended_by_search(a, 0, b),
    "get_worker": lambda q, a, b: q.get_worker(a),
    "get_workers_by_search": lambda q, a, b: q.get_workers_by_search(a),
    "wait_for_job_finished": lambda q, a, b: q.wait_for_job_finished(a, 0 if b is True else b),
    "wait_for_job_added": lambda q, a, b: q.wait_for_job_added(a) if not is_a(a, (int, float)) else None,
    "cancel_job": lambda q, a, b: q.cancel_job(a),
    "cancel_all_jobs_by_worker": lambda q, a, b: q.cancel_all_jobs_by_worker(a, b),
    "readd_job_from_archive": lambda q, a, b: q.readd_job_from_archive(a),
    "delete_job": lambda q, a, b: q.delete_job(a),
    "stop_worker": lambda q, a, b: q.stop_worker(a),
    "add_next_interval_func_with_name": lambda q, a, b: q.add_next_interval_func_with_name(a, b),
    "listen_for_job_insert": lambda q, a, b: q.listen_for_job_insert(a).close(),
    "new_queuer_with_db": lambda q, a, b: new_queuer_with_db(a, b, "", 5),
    "new_queuer_with_db.options": lambda q, a, b: new_queuer_with_db("name", 1, "", a, b),
    "from_url": lambda q, a, b: DatabaseConfiguration.from_url(a),
}


@pytest.mark.parametrize("name", CALLS)
@SOME
@given(first=recipes, second=recipes)
def test_public_methods_raise_documented_errors_alone(busy: Queuer, name: str, first: Recipe, second: Recipe) -> None:
    with suppress(*DOCUMENTED):
        CALLS[name](busy, make(first), make(second))


@pytest.mark.parametrize("keyed", [NotImplemented, make(Recipe("hostile", ("object", ("__bool__",))))])
def test_keyed_parameters_that_can_be_neither_true_nor_false_are_refused(busy: Queuer, keyed: Any) -> None:
    with pytest.raises(TypeError, match="no dict of keyed ones"):
        busy.add_jobs([BatchJob("echo", [], keyed)])


def test_what_can_not_say_what_it_is_is_no_task(busy: Queuer) -> None:
    with pytest.raises(TypeError, match="allowed is a registered callable or a name"):
        busy.add_job(make(Recipe("hostile", ("object", ("__class__",)))))


#: Of one that runs nothing, so that what it is given stays there.
REGISTERING: dict[str, Callable[[StaticQueuer, Any, Any], Any]] = {
    "add_task": lambda q, a, b: q.add_task(a, executor=b),
    "add_task.thread": lambda q, a, b: q.add_task(a),
    "add_task_with_name": lambda q, a, b: q.add_task_with_name(a, b),
    "task": lambda q, a, b: q.task(name=a, executor=b),
    "add_job": lambda q, a, b: q.add_job(a),
}


@pytest.mark.parametrize("name", REGISTERING)
@SOME
@given(first=recipes, second=recipes)
def test_whatever_is_registered(static: StaticQueuer, name: str, first: Recipe, second: Recipe) -> None:
    with suppress(*DOCUMENTED):
        REGISTERING[name](static, make(first), make(second))
