"""The contract's `new_queuer_with_engine`: a queuer that joins the engine of an application."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine, event, text
from sqlalchemy.ext.asyncio import create_async_engine
from support.applications import ASYNC_DRIVERS, DRIVERS, async_engine_of, engine_of
from support.contract import Gate, ended, eventually

from queuer import (
    BatchJob,
    ConfigurationError,
    DatabaseConfiguration,
    DatabaseUnavailable,
    Queuer,
    new_queuer_with_engine,
    new_static_queuer,
)

Join = Callable[..., Queuer]


@pytest.fixture
def join() -> Iterator[Join]:
    """Makes queuers on engines, and stops them before the engines are disposed of."""
    with ExitStack() as stack:

        def make(engine: Engine, **more: Any) -> Queuer:
            q = new_queuer_with_engine("test", 4, engine, **more)
            stack.callback(engine.dispose)
            stack.callback(q.stop, timeout=0)
            return q

        yield make


@pytest.mark.parametrize("driver", DRIVERS)
def test_it_adds_runs_and_finds_jobs(config: DatabaseConfiguration, join: Join, driver: str) -> None:
    q = join(engine_of(config, driver))
    q.add_task_with_name(lambda number: number + 1, "add")
    q.start()
    assert ended(q, q.add_job("add", 1)).result == 2
    [rid] = q.add_jobs([BatchJob("add", [2])])
    assert eventually(lambda: q.wait_for_job_finished(rid)).result == 3
    assert asyncio.run(q.add_job_async("add", 3)).parameters == [3]
    assert len(asyncio.run(q.add_jobs_async([BatchJob("add", [4])]))) == 1


def test_the_engine_is_never_disposed_of(config: DatabaseConfiguration, join: Join) -> None:
    engine = engine_of(config)
    disposed: list[Engine] = []
    event.listen(engine, "engine_disposed", disposed.append)
    with engine.connect() as connection:
        q = join(engine)
        q.start()
        q.stop()
        assert connection.scalar(text("SELECT 1")) == 1
    assert disposed == []
    q.start()  # and goes on with it
    assert q.get_jobs() == []


def test_a_pool_of_five_is_enough_for_any_number_of_slots(config: DatabaseConfiguration, join: Join) -> None:
    engine = engine_of(config, pool_size=5, max_overflow=0, pool_timeout=5)
    q = new_queuer_with_engine("test", 50, engine)
    try:
        q.add_task_with_name(lambda: q.add_job("other").id, "adds")
        q.start()
        for rid in q.add_jobs([BatchJob("adds")] * 200):
            found = q.wait_for_job_finished(rid)
            assert found is not None
            assert found.result
    finally:
        q.stop()
        engine.dispose()


def test_while_nothing_happens_it_holds_none_of_the_pools_connections(
    config: DatabaseConfiguration, join: Join
) -> None:
    engine = engine_of(config, pool_size=5, max_overflow=0)
    q = join(engine)
    q.start()
    eventually(lambda: engine.pool.checkedout() == 0)  # type: ignore[attr-defined]
    assert len(q.get_connections()) <= 2 + engine.pool.checkedin()  # type: ignore[attr-defined]


def test_an_exhausted_pool_does_not_silence_the_heartbeat(config: DatabaseConfiguration, join: Join) -> None:
    engine = engine_of(config, pool_size=1, max_overflow=0, pool_timeout=1)
    q = join(engine)
    outside = new_static_queuer(config)  # does not wait its turn for the pool's only connection
    try:
        q.start()
        before = outside.get_worker(q.get_current_worker_rid()).heartbeat_at
        q.stop()
        with engine.connect():
            q.start()  # which says that it lives
            assert outside.get_worker(q.get_current_worker_rid()).heartbeat_at > before
    finally:
        outside.stop()


def test_the_applications_hooks_and_credentials_count(config: DatabaseConfiguration, join: Join) -> None:
    """Every connection comes about as the application's do: here the engine's URL alone would lead nowhere."""
    engine = create_engine("postgresql+psycopg://nobody@127.0.0.1:1/nowhere")
    opened: list[object] = []

    @event.listens_for(engine, "do_connect")
    def lead(_dialect: object, _record: object, _args: list[Any], parameters: dict[str, Any]) -> None:
        parameters.clear()
        parameters |= config.connection_parameters

    event.listen(engine, "connect", lambda *_: opened.append(_))
    statements: list[str] = []
    event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
    q = join(engine)
    gate = Gate()
    q.add_task_with_name(gate, "gate")
    q.start()
    job = q.add_job("gate")
    gate.wait_entered()
    assert len(opened) >= 3  # the listener's and the heartbeat's, too
    gate.go_on.set()
    ended(q, job)
    assert any("INSERT INTO" in statement for statement in statements)


def test_it_works_without_a_pool(config: DatabaseConfiguration, join: Join) -> None:
    q = join(engine_of(config, poolclass=NullPool))
    q.add_task_with_name(lambda: "done", "task")
    q.start()
    assert ended(q, q.add_job("task")).result == "done"


@pytest.mark.parametrize("level", ["AUTOCOMMIT", "SERIALIZABLE"])
def test_isolation_levels_of_the_engine_are_for_the_application(
    config: DatabaseConfiguration, join: Join, level: str
) -> None:
    q = join(engine_of(config, isolation_level=level))
    q.add_task_with_name(lambda: "done", "task")
    q.start()
    jobs = [q.add_job("task") for _ in range(20)]
    assert {ended(q, job).result for job in jobs} == {"done"}


def test_json_functions_of_the_engine_are_for_the_application(config: DatabaseConfiguration, join: Join) -> None:
    def refuse(_: object) -> Any:
        raise AssertionError("the queue's JSON is none of the application's")

    q = join(engine_of(config, json_serializer=refuse, json_deserializer=refuse))
    q.add_task_with_name(lambda **values: values, "task")
    q.start()
    big = 10**400
    assert ended(q, q.add_job("task", big=big)).result == {"big": big}


@pytest.mark.parametrize(
    ("translate", "given", "found"),
    [
        ({}, None, "public"),
        ({None: "tenant"}, None, "tenant"),
        ({None: "tenant"}, "queue", "queue"),
        ({"queue": "tenant_queue"}, "queue", "tenant_queue"),
    ],
)
def test_the_schema_is_where_the_engines_map_puts_it(
    empty_config: DatabaseConfiguration, join: Join, translate: dict[Any, str], given: str | None, found: str
) -> None:
    engine = engine_of(empty_config).execution_options(schema_translate_map=translate)
    q = join(engine, schema=given)
    q.add_job("task")
    with engine.connect() as connection:
        assert connection.scalar(text(f"SELECT count(*) FROM {found}.job")) == 1


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("is_list", [True, False])
def test_hosts_and_what_they_must_be_are_those_of_the_engine(
    config: DatabaseConfiguration, join: Join, driver: str, is_list: bool
) -> None:
    hosts, ports = ",".join([config.host] * 2), ",".join([str(config.port)] * 2)
    query = {"target_session_attrs": "any"} | ({"host": hosts, "port": ports} if is_list else {})
    url = engine_of(config, driver).url.update_query_dict(query)
    q = join(create_engine(url))
    assert q.get_job(q.add_job("task").rid).task_name == "task"


@pytest.mark.owner
@pytest.mark.parametrize("driver", ASYNC_DRIVERS)
def test_an_async_engine_is_taken_too(config: DatabaseConfiguration, driver: str) -> None:
    async def main() -> None:
        async with async_engine_of(config, driver, pool_size=5, max_overflow=0) as engine:
            q = new_queuer_with_engine("test", 4, engine)

            async def add(number: int) -> int:
                return number + 1

            q.add_task(add)
            async with q:
                job = await q.add_job_async(add, 1)
                found = await q.wait_for_job_finished_async(job.rid)
                assert found is not None
                assert found.result == 2
                rids = await asyncio.gather(*(q.add_job_async("other") for _ in range(30)))
                assert len(rids) == 30
            async with engine.connect() as connection:  # still the application's
                assert await connection.scalar(text("SELECT count(*) FROM job")) == 30

    asyncio.run(main())


def test_one_that_only_adds(config: DatabaseConfiguration) -> None:
    engine = engine_of(config)
    q = new_static_queuer(engine=engine)
    with engine.begin() as connection:
        job = q.in_session(connection).add_job("task")
    assert q.get_job(job.rid).task_name == "task"
    assert q.get_workers() == []
    q.stop()
    engine.dispose()


@pytest.mark.parametrize("engine", [None, "postgresql://", DatabaseConfiguration()], ids=repr)
def test_what_is_no_engine(engine: Any) -> None:
    with pytest.raises(TypeError, match="allowed is a SQLAlchemy Engine or AsyncEngine"):
        new_queuer_with_engine("test", 1, engine)


def test_another_database_is_a_clear_error() -> None:
    with pytest.raises(ConfigurationError, match="the engine is of 'sqlite'; allowed is one of PostgreSQL"):
        new_queuer_with_engine("test", 1, create_engine("sqlite://"))


@pytest.mark.parametrize("is_async", [True, False])
def test_an_unreachable_server_is_said_without_the_password(is_async: bool) -> None:
    make: Any = create_async_engine if is_async else create_engine
    with pytest.raises(DatabaseUnavailable, match="127.0.0.1") as caught:
        new_queuer_with_engine("test", 1, make("postgresql+psycopg://me:secret@127.0.0.1:1/app"))
    assert "secret" not in str(caught.value)


def test_arguments_are_checked_before_anything_is_opened() -> None:
    engine = create_engine("postgresql+psycopg://127.0.0.1:1/app")
    with pytest.raises(ValueError, match="max_concurrency is 0"):
        new_queuer_with_engine("test", 0, engine)
    with pytest.raises(TypeError, match="schema is 5"):
        new_queuer_with_engine("test", 1, engine, schema=5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="allowed is one of them"):
        new_static_queuer(DatabaseConfiguration(), engine=engine)
    for alone in ({"schema": "queue"}, {"listen_url": "postgresql://server"}):
        with pytest.raises(ValueError, match="schema and listen_url go with an engine"):
            new_static_queuer(**alone)  # type: ignore[arg-type]
