"""The contract's "Encryption": what is hidden, and from whom."""

import asyncio
from datetime import timedelta

import pytest
from conftest import MakeQueuer
from sqlalchemy import Engine, select
from sqlalchemy.orm import Session
from support.contract import ended, eventually
from support.keys import KEY, OTHER_KEY, SECRET, everything
from support.process_tasks import who_and

from queuer import (
    BatchJob,
    DatabaseConfiguration,
    DecryptionError,
    Job,
    JobArchive,
    JobStatus,
    OnError,
    Options,
    Queuer,
    Schedule,
    current_job,
    new_queuer,
    new_static_queuer,
)

METADATA = Options(metadata={"card": SECRET})


@pytest.fixture
def keyed(make_queuer: MakeQueuer) -> Queuer:
    """A queuer with a key and some tasks."""
    q = make_queuer(key=KEY)

    @q.task
    def repeat(word: str, *, times: int = 1) -> dict[str, object]:
        return {"words": [word] * times, "metadata": dict(current_job().metadata)}

    @q.task
    def fail(word: str) -> None:
        raise ValueError(word)

    return q


def test_a_job_goes_through_and_nothing_of_it_can_be_read_in_the_tables(keyed: Queuer, engine: Engine) -> None:
    job = keyed.add_job_with_options(METADATA, "repeat", SECRET, times=2)
    batch = keyed.add_jobs(BatchJob("repeat", [SECRET], {"times": n}, METADATA) for n in range(3))
    keyed.add_jobs([BatchJob("nobody has it", [SECRET])])
    assert (job.parameters, job.parameters_keyed, job.options.metadata) == ([SECRET], {"times": 2}, {"card": SECRET})
    assert not job.sealed
    assert SECRET not in everything(engine)
    with keyed:
        done = ended(keyed, job)
        assert done.result == {"words": [SECRET] * 2, "metadata": {"card": SECRET}}
        for rid in batch:
            assert keyed.wait_for_job_finished(rid, 10)
    assert SECRET not in everything(engine)
    assert [found.parameters for found in keyed.get_jobs_ended()] == [[SECRET]] * 4
    assert keyed.get_job_ended(job.rid).options.metadata == {"card": SECRET}


def test_failures_are_hidden_too(make_queuer: MakeQueuer, engine: Engine) -> None:
    q = make_queuer(OnError(max_retries=1, retry_delay=0), key=KEY)

    @q.task
    def fail(word: str) -> None:
        raise ValueError(word)

    with q:
        done = ended(q, q.add_job(fail, SECRET))
    assert done.error == f"ValueError: {SECRET}"
    assert [(entry["attempt"], entry["message"]) for entry in done.failures] == [(1, SECRET), (2, SECRET)]
    assert all("in fail" in entry["traceback"] for entry in done.failures)
    assert SECRET not in everything(engine)


def test_child_processes_and_coroutines_get_what_was_added(make_queuer: MakeQueuer, engine: Engine) -> None:
    q = make_queuer(key=KEY)
    q.add_task(who_and, executor="process")

    @q.task
    async def echo_async(word: str) -> str:
        await asyncio.sleep(0)
        return word

    async def add_and_wait() -> JobArchive | None:
        job = await q.add_job_async(echo_async, SECRET)
        return await q.wait_for_job_finished_async(job.rid)

    with q:
        assert ended(q, q.add_job_with_options(METADATA, who_and, SECRET)).result == [SECRET, {"card": SECRET}]
        done = asyncio.run(add_and_wait())
    assert done is not None
    assert (done.parameters, done.result) == ([SECRET], SECRET)
    assert SECRET not in everything(engine)


def test_listeners_and_those_who_steer_see_what_the_keys_allow(keyed: Queuer) -> None:
    heard: list[Job | JobArchive] = []
    added = keyed.listen_for_job_insert(heard.append)
    over = keyed.listen_for_job_delete(heard.append)
    with keyed:
        ended(keyed, keyed.add_job("repeat", SECRET))
        eventually(lambda: keyed.get_jobs_ended() and len(heard) == 2)
    assert [job.parameters for job in heard] == [[SECRET]] * 2
    added.close()
    over.close()
    waiting = keyed.add_job("repeat", SECRET)
    assert keyed.cancel_job(waiting.rid).parameters == [SECRET]
    assert keyed.get_jobs_ended_by_search("repea")[0].parameters == [SECRET]


def test_a_series_goes_on_with_what_it_was_added_with(keyed: Queuer, engine: Engine) -> None:
    schedule = Schedule(max_count=3, interval=timedelta(milliseconds=10))
    keyed.add_job_with_options(Options(schedule=schedule, metadata={"card": SECRET}), "repeat", SECRET)
    with keyed:
        runs = eventually(lambda: found if len(found := keyed.get_jobs_ended()) == 3 else None)
    assert len({run.rid for run in runs}) == 3
    assert [run.result for run in runs] == [{"words": [SECRET], "metadata": {"card": SECRET}}] * 3
    assert SECRET not in everything(engine)


def test_a_job_that_another_program_added_in_clear_is_run_and_its_result_hidden(keyed: Queuer, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("""INSERT INTO job (task_name, parameters) VALUES ('repeat', '["clear"]')""")
    with keyed:
        (done,) = eventually(keyed.get_jobs_ended)
    assert done.result == {"words": ["clear"], "metadata": {}}
    with Session(engine) as session:
        assert session.scalars(select(JobArchive.results)).one().startswith("sealed:")


def test_a_job_is_added_again_only_by_who_can_read_it(keyed: Queuer, make_queuer: MakeQueuer, engine: Engine) -> None:
    with keyed:
        job = keyed.add_job_with_options(METADATA, "repeat", SECRET)
        ended(keyed, job)
        again = keyed.readd_job_from_archive(job.rid)
        assert ended(keyed, again).result == {"words": [SECRET], "metadata": {"card": SECRET}}
    for key in ("", OTHER_KEY):
        with pytest.raises(DecryptionError, match=f"job {job.rid} can't be added again: it is encrypted"):
            make_queuer(key=key).readd_job_from_archive(job.rid)
    assert SECRET not in everything(engine)


@pytest.mark.parametrize("key", ["", OTHER_KEY])
def test_who_lacks_the_key_can_look_and_wait_all_the_same(keyed: Queuer, make_queuer: MakeQueuer, key: str) -> None:
    other = make_queuer(key=key)
    waiting = other.get_job(keyed.add_job_with_options(METADATA, "repeat", SECRET).rid)
    assert waiting.sealed
    assert (waiting.parameters, waiting.parameters_keyed, waiting.options.metadata) == (None, None, None)
    assert [job.sealed for job in other.get_jobs()] == [True]
    failing = keyed.add_job("fail", SECRET)
    with keyed:
        done = ended(other, failing)
        ended(other, waiting)
    assert done.sealed
    assert done.status is JobStatus.FAILED
    assert (done.parameters, done.results, done.error, done.result) == (None, None, None, None)
    assert [(entry["type"], entry["message"], entry["traceback"]) for entry in done.failures] == [
        ("ValueError", None, None)
    ]
    assert [job.results for job in other.get_jobs_ended()] == [None, None]


def test_a_session_of_the_applications_own_sees_it_sealed_until_it_asks(keyed: Queuer, engine: Engine) -> None:
    rid = keyed.add_job_with_options(METADATA, "repeat", SECRET).rid
    with Session(engine) as session:
        job = session.scalars(select(Job)).one()
        assert job.sealed
        assert job.parameters.startswith("sealed:")
        keyed.unseal(job)
        assert (job.parameters, job.options.metadata, job.sealed) == ([SECRET], {"card": SECRET}, False)
        assert not session.dirty
        session.commit()
    assert keyed.get_job(rid).parameters == [SECRET]
    assert SECRET not in everything(engine)


def test_the_key_comes_from_the_environment(
    config: DatabaseConfiguration, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("host", "port", "database", "username", "sslmode"):
        monkeypatch.setenv(f"QUEUER_DB_{name.upper()}", str(getattr(config, name)))
    monkeypatch.setenv("QUEUER_DB_PASSWORD", config.password)
    monkeypatch.setenv("QUEUER_ENCRYPTION_KEY", "a passphrase")
    q, static = new_queuer("test", 1), new_static_queuer()
    static.add_job("task", SECRET)
    (job,) = q.get_jobs()
    assert job.parameters == [SECRET]
    assert SECRET not in everything(engine)
    assert static.get_jobs()[0].parameters == [SECRET]
    q.stop()
    static.stop()
