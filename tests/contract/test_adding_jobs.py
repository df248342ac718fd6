"""The contract's "Adding jobs", on the public API alone."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, text

from queuer import BatchJob, InvalidParameters, JobStatus, OnError, Options, Queuer, TaskNotRegistered


def greet(name: str, *, times: int = 1) -> str:
    return f"hello {name}" * times


def test_a_job_reads_back_as_it_was_added(q: Queuer) -> None:
    q.add_task(greet)
    options = Options(on_error=OnError(max_retries=7), metadata={"a": [1]})
    job = q.add_job_with_options(options, greet, "you", times=2)
    assert (job.task_name, job.parameters, job.parameters_keyed) == ("greet", ["you"], {"times": 2})
    assert (job.status, job.options) == (JobStatus.QUEUED, options)
    found = q.get_job(job.rid)
    assert (found.id, found.parameters, found.options) == (job.id, job.parameters, job.options)


def test_the_callers_options_are_never_changed(q: Queuer) -> None:
    metadata = {"a": [1]}
    options = Options(metadata=metadata)
    q.add_job_with_options(options, "task")
    assert metadata == {"a": [1]}
    assert options == Options(metadata={"a": [1]})


def test_options_of_another_type_are_refused(q: Queuer) -> None:
    with pytest.raises(TypeError, match="options is 'task'; allowed is an Options or None"):
        q.add_job_with_options("task", "other")


def test_an_unregistered_callable_is_an_error_and_a_name_is_not(q: Queuer) -> None:
    with pytest.raises(TaskNotRegistered, match="test_adding_jobs.greet is not a task here; register it with add_task"):
        q.add_job(greet, "you")
    assert q.add_job("greet", "you").task_name == "greet"


@pytest.mark.parametrize("name", ["", "x" * 101])
def test_a_name_has_1_to_100_characters(q: Queuer, name: str) -> None:
    with pytest.raises(ValueError, match="the task's name is"):
        q.add_job(name)


@pytest.mark.parametrize(("parameters", "keyed"), [((), {}), (("a", "b"), {}), (("a",), {"time": 1})])
@pytest.mark.parametrize("task", [greet, "greet"])
def test_a_job_that_could_only_fail_is_refused_at_once(q: Queuer, task: Any, parameters: Any, keyed: Any) -> None:
    q.add_task(greet)
    with pytest.raises(TypeError, match=r"task 'greet' takes \(name: str, \*, times: int = 1\)"):
        q.add_job(task, *parameters, **keyed)
    assert q.get_jobs() == []


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({"a": [1, {2}]}, r"parameters\[0\]\['a'\]\[1\] is of type set"),
        (float("nan"), r"parameters\[0\] is nan"),
        (float("inf"), r"parameters\[0\] is inf"),
        ("\0", r"parameters\[0\] has a NUL character"),
        ("\udc80", r"parameters\[0\] has the lone surrogate"),
        (b"bytes", r"parameters\[0\] is of type bytes.*base64"),
        ({1: 2}, r"parameters\[0\] has a key of type int"),
        (object(), r"parameters\[0\] is of type object"),
    ],
)
def test_what_json_can_not_hold_is_refused_with_its_path(q: Queuer, value: Any, says: str) -> None:
    with pytest.raises(InvalidParameters, match=says):
        q.add_job("task", value)
    with pytest.raises(InvalidParameters, match=says.replace(r"parameters\[0\]", r"parameters_keyed\['p'\]")):
        q.add_job("task", p=value)
    with pytest.raises(InvalidParameters, match=says.replace(r"parameters\[0\]", r"metadata\['m'\]")):
        q.add_job_with_options(Options(metadata={"m": value}), "task")
    with pytest.raises(InvalidParameters, match=says):
        q.add_jobs([BatchJob("task", [1]), BatchJob("task", [value])])
    assert q.get_jobs() == []


@pytest.mark.parametrize("value", ["\\u0000", "é☃𝄞", "\x01\x7f", 10**100, -0.0, 0.1, 5e-324, "", [], {}, [[[]]]])
def test_what_json_can_hold_arrives(q: Queuer, value: Any) -> None:
    job = q.add_job("task", value)
    rids = q.add_jobs([BatchJob("task", [value])])
    assert q.get_job(job.rid).parameters == q.get_job(rids[0]).parameters == [value]


def test_one_megabyte_is_no_trouble(q: Queuer) -> None:
    assert q.get_job(q.add_job("task", "x" * 1_000_000).rid).parameters == ["x" * 1_000_000]


def test_a_batch_is_added_in_the_order_given(q: Queuer) -> None:
    q.add_task(greet)
    options = Options(on_error=OnError(max_retries=1))
    rids = q.add_jobs(
        [
            BatchJob(task=greet, parameters=["a"]),
            BatchJob(task=greet, parameters=["b"], parameters_keyed={"times": 2}),
            BatchJob(task="other", options=options),
            BatchJob(task="other", parameters=[1], options=options),
        ]
    )
    jobs = [q.get_job(rid) for rid in rids]
    assert [job.id for job in jobs] == sorted(job.id for job in jobs)
    assert [(job.task_name, job.parameters, job.parameters_keyed) for job in jobs] == [
        ("greet", ["a"], {}),
        ("greet", ["b"], {"times": 2}),
        ("other", [], {}),
        ("other", [1], {}),
    ]
    assert [job.options for job in jobs] == [Options(), Options(), options, options]


def test_a_batch_is_added_whole_or_not_at_all_and_says_which_item_was_wrong(q: Queuer) -> None:
    q.add_task(greet)
    with pytest.raises(TypeError, match="task 'greet' takes") as caught:
        q.add_jobs([BatchJob(greet, ["fine"]), BatchJob(greet, [])])
    assert caught.value.__notes__ == ["in item 1 of the batch; none of its jobs was added"]
    with pytest.raises(TypeError, match="the item is 'greet'; allowed is a BatchJob"):
        q.add_jobs([BatchJob(greet, ["fine"]), "greet"])
    assert q.get_jobs() == []


def test_a_batch_may_be_a_generator(q: Queuer) -> None:
    def numbers() -> Iterator[BatchJob]:
        for n in range(1000):
            yield BatchJob("task", [n])

    assert len(set(q.add_jobs(numbers()))) == 1000
    assert q.add_jobs([]) == []


def test_a_generator_may_use_its_list_again(q: Queuer) -> None:
    def of_one_list() -> Iterator[BatchJob]:
        parameters: list[object] = []
        for n in range(600):
            parameters[:] = [n, "a\nb\r\x0b\x1c\x7f", None, n % 2 == 0]
            yield BatchJob("task", parameters)

    rids = q.add_jobs(of_one_list())
    found = q.get_jobs(entries=600)[::-1]
    assert [job.rid for job in found] == rids
    assert [job.parameters for job in found] == [[n, "a\nb\r\x0b\x1c\x7f", None, n % 2 == 0] for n in range(600)]


def _mixed(plain: int, others: int) -> Iterator[BatchJob]:
    """Jobs of which the first are all alike, and the last are not."""
    yield from (BatchJob("task", [n]) for n in range(plain))
    for n in range(plain, plain + others):
        yield BatchJob("task", [n], options=Options(metadata={"n": n})) if n % 2 else BatchJob("task", [n])


@pytest.mark.parametrize(("plain", "others"), [(0, 1), (1, 3), (499, 1), (500, 0), (500, 2), (1200, 700), (0, 700)])
def test_a_large_batch_may_be_of_all_kinds(q: Queuer, plain: int, others: int) -> None:
    rids = q.add_jobs(_mixed(plain, others))
    jobs = [*q.get_jobs(entries=1000)]
    while len(jobs) < len(rids):
        jobs += q.get_jobs(last_id=jobs[-1].id, entries=1000)
    assert [job.rid for job in jobs[::-1]] == rids
    assert [job.parameters for job in jobs[::-1]] == [[n] for n in range(plain + others)]
    assert [job.options.metadata for job in jobs[::-1]] == [
        {"n": n} if n >= plain and n % 2 else None for n in range(plain + others)
    ]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("others", [0, 1, 600])
def test_a_large_batch_is_added_whole_or_not_at_all(q: Queuer, others: int, *, is_async: bool) -> None:
    def broken() -> Iterator[BatchJob]:
        yield from _mixed(600, others)
        raise KeyError("no more")

    add = (lambda batch: asyncio.run(q.add_jobs_async(batch))) if is_async else q.add_jobs
    with pytest.raises(KeyError, match="no more"):
        add(broken())
    assert q.get_jobs() == []
    assert len(q.add_jobs(_mixed(600, others))) == 600 + others  # on the same connection


def test_while_a_large_batch_is_asked_for_more_others_can_begin_to_listen(q: Queuer, engine: Engine) -> None:
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'"
    in_here = "database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    found: list[Any] = []

    def slow() -> Iterator[BatchJob]:
        yield from _mixed(600, 600)
        with engine.connect() as connection:
            found.append(connection.scalar(text(f"{held} AND {in_here}")))

    assert len(q.add_jobs(slow())) == 1200
    assert found == [0]


def test_any_language_adds_a_job_with_a_plain_insert_and_workers_wake(q: Queuer, engine: Engine) -> None:
    q.add_task(greet)
    with q:
        with engine.begin() as connection:
            insert = "INSERT INTO job (task_name, parameters) VALUES ('greet', '[\"you\"]') RETURNING rid"
            rid = connection.scalar(text(insert))
        ended = q.wait_for_job_finished(rid, timeout_seconds=4)  # sooner than the claimer would poll
    assert ended is not None
    assert ended.result == "hello you"


BREAK_ONCE = """
CREATE SEQUENCE tries;
CREATE FUNCTION break_once() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF nextval('tries') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER break_once AFTER INSERT ON job FOR EACH STATEMENT EXECUTE FUNCTION break_once();
"""


@pytest.mark.owner
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_a_connection_that_breaks_while_a_job_is_added_costs_no_job_and_makes_no_second(
    q: Queuer, engine: Engine, kind: str
) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql(BREAK_ONCE)
    job = q.add_job("task", 1) if kind == "sync" else asyncio.run(q.add_job_async("task", 1))
    assert [found.rid for found in q.get_jobs()] == [job.rid]
    q.stop()
