"""The contract's "Tasks", on the public API alone."""

from typing import Any

import pytest

import queuer
from queuer import Queuer, TaskAlreadyRegistered, current_job
from queuer.tasks import TaskRegistry


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> TaskRegistry:
    """Tasks that a test declares for all queuers end with it."""
    registry = TaskRegistry()
    monkeypatch.setattr("queuer.tasks.declared", registry)
    monkeypatch.setattr("queuer.producer.declared", registry)
    return registry


def run(q: Queuer, task: Any, /, *parameters: Any, **keyed: Any) -> Any:
    """Adds a job on a queuer that runs, and returns the ended job."""
    ended = q.wait_for_job_finished(q.add_job(task, *parameters, **keyed).rid, timeout_seconds=10)
    assert ended is not None
    return ended


def test_every_form_of_the_decorator_registers_and_leaves_the_function_callable(make_queuer: Any) -> None:
    @queuer.task
    def everywhere() -> str:
        return "everywhere"

    @queuer.task(name="renamed")
    def everywhere_too() -> str:
        return "renamed"

    q = make_queuer()

    @q.task
    def plain() -> str:
        return "plain"

    @q.task()
    def called() -> str:
        return "called"

    @q.task(name="named")
    def anything() -> str:
        return "named"

    @q.task_with_name("also named")
    async def whatever() -> str:
        return "also named"

    assert (plain(), called(), anything(), everywhere()) == ("plain", "called", "named", "everywhere")
    with q:
        for name in ("plain", "called", "named", "also named", "everywhere", "renamed"):
            assert run(q, name).result == name


def test_a_task_that_is_declared_later_reaches_queuers_made_before(q: Queuer) -> None:
    @queuer.task
    def late() -> str:
        return "late"

    with q:
        assert run(q, late).result == "late"


def test_a_taken_name_is_an_error(q: Queuer) -> None:
    q.add_task(print)
    with pytest.raises(TaskAlreadyRegistered, match="the task name 'print' is taken by builtins.print"):
        q.add_task(print)
    with pytest.raises(TaskAlreadyRegistered, match="'print' is taken"):
        q.add_task_with_name(len, "print")


@pytest.mark.parametrize("fn", [None, 5])
def test_what_is_not_callable_is_an_error(q: Queuer, fn: Any) -> None:
    with pytest.raises(TypeError, match=f"{fn} can't be a task"):
        q.add_task(fn)
    with pytest.raises(TypeError, match=f"{fn} can't be the task 'name'"):
        q.add_task_with_name(fn, "name")


def test_a_task_that_is_added_after_start_makes_its_waiting_jobs_run(q: Queuer) -> None:
    with q:
        job = q.add_job("later", 20, b=22)

        def later(a: int, b: int) -> int:
            return a + b

        q.add_task(later)
        ended = q.wait_for_job_finished(job.rid, timeout_seconds=4)  # sooner than the claimer would poll
        assert ended is not None
        assert ended.results == [42]


def test_the_value_is_the_result_and_a_tuple_reads_back_as_a_list(q: Queuer) -> None:
    q.add_task_with_name(lambda *values: values, "tuple")
    with q:
        ended = run(q, "tuple", 1, "é", None, {"a": [True]})
    assert ended.results == [[1, "é", None, {"a": [True]}]]
    assert ended.result == [1, "é", None, {"a": [True]}]


def test_a_task_may_have_keyword_parameters_of_any_name(q: Queuer) -> None:
    def task(**keyed: int) -> dict[str, int]:
        return keyed

    q.add_task(task)
    keyed = {"task": 1, "options": 2, "session": 3, "name": 4, "timeout": 5, "self": 6}
    with q:
        assert run(q, task, **keyed).result == keyed


def test_the_current_job_is_known_inside(q: Queuer) -> None:
    @q.task
    def who() -> list[Any]:
        job = current_job()
        return [str(job.rid), job.attempt, job.task_name, job.metadata]

    with q:
        job = q.add_job_with_options(queuer.Options(metadata={"tenant": 7}), who)
        ended = q.wait_for_job_finished(job.rid)
    assert ended is not None
    assert ended.result == [str(job.rid), 1, "who", {"tenant": 7}]
    assert ended.options.metadata == {"tenant": 7}


def test_a_job_added_while_a_job_runs_knows_its_parent(q: Queuer) -> None:
    @q.task
    def parent() -> str:
        return str(q.add_job("elsewhere").rid)

    @q.task
    async def parent_async() -> str:
        return str(q.add_jobs([queuer.BatchJob("elsewhere")])[0])

    @q.task
    def parent_of_a_bare_one() -> str:
        return str(q.add_jobs([queuer.BatchJob("elsewhere", [1])])[0])

    with q:
        for task in (parent, parent_async, parent_of_a_bare_one):
            ended = run(q, task)
            assert q.get_job(ended.result).parent_rid == ended.rid
    assert q.add_job("elsewhere").parent_rid is None
