from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import RFC_4122

import pytest
from sqlalchemy import func, inspect, select, text
from sqlalchemy.orm import Session
from support.jobs import new_job

from queuer import Job, JobStatus, Options, Schedule
from queuer.repositories import jobs
from queuer.repositories.direct import Direct
from queuer.values import NewJob, Page

pytestmark = pytest.mark.owner  # it makes tables next to the queue's

TOMORROW = datetime.now(UTC) + timedelta(days=1)


def test_an_inserted_job_reads_back_whole_and_detached(session: Session) -> None:
    options = Options(metadata={"tenant": 7})
    job = jobs.insert_one(session, new_job("task", 1, ["é", None], options=options))
    assert inspect(job).detached
    assert (job.status, job.attempts, job.failures, job.worker_rid) == (JobStatus.QUEUED, 0, [], None)
    assert (job.parameters, job.parameters_keyed, job.options) == ([1, ["é", None]], {}, options)
    found = jobs.find(session, job.rid)
    assert found is not None
    assert repr(found) == repr(job)


def test_a_job_with_a_start_is_scheduled(session: Session) -> None:
    job = jobs.insert_one(session, new_job(options=Options(schedule=Schedule(start=TOMORROW))))
    assert (job.status, job.scheduled_at) == (JobStatus.SCHEDULED, TOMORROW)
    assert job.series_rid is None


def test_a_recurring_job_begins_a_series(session: Session) -> None:
    job = jobs.insert_one(
        session, new_job(options=Options(schedule=Schedule(max_count=0, interval=timedelta(hours=1))))
    )
    assert (job.series_rid, job.schedule_count) == (job.rid, 1)


def test_copy_inserts_in_order_and_returns_the_rids(session: Session) -> None:
    scheduled = Options(schedule=Schedule(start=TOMORROW), metadata={"a": 1})
    batch = [new_job("task", n, options=scheduled if n == 2 else None) for n in range(4)]
    assert jobs.insert_many(session, iter(batch)) == [job.rid for job in batch]
    found = session.scalars(select(Job).where(Job.rid.in_([job.rid for job in batch])).order_by(Job.id)).all()
    assert [job.parameters for job in found] == [[0], [1], [2], [3]]
    assert [job.status for job in found] == ["QUEUED", "QUEUED", "SCHEDULED", "QUEUED"]
    assert found[2].options == scheduled


def test_copy_of_nothing_is_nothing(session: Session) -> None:
    assert jobs.insert_many(session, []) == []


def test_copy_inserts_none_when_one_is_refused(session: Session) -> None:
    def broken() -> Iterator[NewJob]:
        yield new_job("first")
        raise ValueError("the generator broke")

    before = session.scalar(select(func.count()).select_from(Job))
    with pytest.raises(ValueError, match="the generator broke"), session.begin_nested():
        jobs.insert_many(session, broken())
    assert session.scalar(select(func.count()).select_from(Job)) == before


def test_a_plain_insert_of_another_language_makes_a_valid_job(session: Session) -> None:
    rid = session.scalar(text("INSERT INTO job (task_name, parameters) VALUES ('task', '[1]') RETURNING rid"))
    job = jobs.find(session, rid)
    assert job is not None
    assert (job.status, job.parameters, job.parameters_keyed, job.options) == ("QUEUED", [1], {}, Options())
    assert (job.queue, job.priority, job.attempts, job.schedule_count) == ("default", 0, 0, 1)
    assert job.created_at.tzinfo is not None
    assert (job.rid.version, job.rid.variant) == (7, RFC_4122)
    assert job.rid.int >> 80 == pytest.approx(job.created_at.timestamp() * 1000, abs=60_000)


def test_options_that_make_no_sense_do_not_keep_a_job_from_being_read(session: Session) -> None:
    rid = session.scalar(
        text("""INSERT INTO job (task_name, options) VALUES ('task', '{"on_error": 5}') RETURNING rid""")
    )
    job = jobs.find(session, rid)
    assert job is not None
    assert job.options == Options()
    assert job.options_json == {"on_error": 5}


@pytest.mark.parametrize(
    "columns",
    ["task_name = ''", "task_name = repeat('x', 101)", "status = 'DONE'", "scheduled_at = 'infinity'"],
)
def test_the_table_refuses_rows_that_no_worker_could_handle(session: Session, columns: str) -> None:
    jobs.insert_one(session, new_job())
    with pytest.raises(Exception, match="violates check constraint"):
        session.execute(text(f"UPDATE job SET {columns}"))


def test_pages_go_from_the_newest_to_the_oldest(session: Session) -> None:
    rids = [jobs.insert_one(session, new_job()).rid for _ in range(5)]
    first = jobs.page(session, Page(0, 2))
    second = jobs.page(session, Page(first[-1].id, 2))
    assert [job.rid for job in (*first, *second)] == rids[:0:-1]
    assert jobs.page(session, Page(status=JobStatus.RUNNING)) == []


@pytest.mark.parametrize("parameters", [(), (1, "a", None, True), (1, "é", None, {"a": [1.5]}), (1e22, -0.0)])
def test_a_plain_job_that_goes_past_the_session_is_like_any_other(session: Session, parameters: Any) -> None:
    new = new_job("task", *parameters)
    assert new.is_plain
    direct = Direct(session.connection().connection.driver_connection, None)  # type: ignore[arg-type]
    inserted = jobs.insert_plain(direct, new)
    assert inspect(inserted).detached
    found = jobs.get(session, new.rid)
    names = [attribute.key for attribute in inspect(Job).column_attrs]
    assert {name: vars(inserted)[name] for name in names} == {name: getattr(found, name) for name in names}
    assert repr(inserted.parameters) == repr(found.parameters)


def test_what_was_asked_for_or_is_encrypted_is_not_plain() -> None:
    assert not new_job(options=Options(metadata={})).is_plain
    assert not new_job()._replace(key_id="k").is_plain
    assert not new_job()._replace(parameters_keyed={"a": 1}).is_plain
