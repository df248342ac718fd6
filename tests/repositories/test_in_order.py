"""Live jobs by their ids, for which there is no index of its own."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, delete, insert, select, text
from sqlalchemy.orm import Session
from support.jobs import FIRST, new_job

from queuer import Job, JobStatus, Options, Schedule
from queuer.repositories import in_order, jobs, search
from queuer.repositories.claims import claim
from queuer.values import Page

LATER = Options(schedule=Schedule(start=datetime.now(UTC) + timedelta(hours=1)))


@pytest.fixture
def added(session: Session, monkeypatch: pytest.MonkeyPatch) -> Sequence[Job]:
    """Jobs of several tasks, queued, scheduled, and running; the newest first. Few are looked through at once."""
    monkeypatch.setattr(search, "FIRST_LOOK", 2)
    for n in range(40):
        jobs.insert_one(session, new_job(f"task {n % 7}", n, options=LATER if n % 5 == 0 else None))
    claim(session, FIRST, ["task 1", "task 2"], limit=5)
    session.execute(insert(Job).values(task_name="another program's", status=JobStatus.SCHEDULED))
    return session.scalars(select(Job).order_by(Job.id.desc())).all()


def paged(session: Session, **wanted: object) -> Iterator[Job]:
    last_id = 0
    while page := jobs.page(session, Page(last_id=last_id, entries=3, **wanted)):  # type: ignore[arg-type]
        assert len(page) <= 3
        yield from page
        last_id = page[-1].id


def test_the_pages_show_all_jobs_the_newest_first(session: Session, added: Sequence[Job]) -> None:
    assert list(paged(session)) == added


@pytest.mark.parametrize("status", [JobStatus.QUEUED, JobStatus.SCHEDULED, JobStatus.RUNNING])
def test_the_pages_of_a_status_leave_none_out(session: Session, added: Sequence[Job], status: JobStatus) -> None:
    wanted = [job for job in added if job.status is status]
    assert len(wanted) > 4
    assert list(paged(session, status=status)) == wanted


def test_the_pages_of_a_search_and_of_a_worker_leave_none_out(session: Session, added: Sequence[Job]) -> None:
    assert list(paged(session, text="ASK 3")) == [job for job in added if job.task_name == "task 3"]
    assert list(paged(session, worker_rid=FIRST)) == [job for job in added if job.worker_rid == FIRST]
    assert list(paged(session, text="of nobody")) == []


def test_jobs_are_found_by_their_ids_and_the_newest_is_known(session: Session, added: Sequence[Job]) -> None:
    some = list(added[::6])
    assert set(jobs.find_by_ids(session, [job.id for job in some])) == set(some)
    assert in_order.newest_id(session) == added[0].id
    session.execute(delete(Job))
    assert in_order.newest_id(session) == 0


@pytest.mark.owner
def test_of_many_jobs_few_are_read(engine: Engine) -> None:
    with Session(engine) as setup, setup.begin():
        rows = "SELECT 'task ' || n % 7, CASE WHEN n % 2 = 0 THEN now() END FROM generate_series(1, 5000) n"
        setup.execute(
            insert(Job).from_select(["task_name", "scheduled_at"], text(rows).columns(Job.task_name, Job.scheduled_at))
        )
        setup.execute(text("ANALYZE job"))
    with Session(engine) as session, session.begin():
        before = _rows_read(session)
        page = jobs.page(session, Page(entries=10))
        assert [job.id for job in page] == list(range(5000, 4990, -1))
        assert len(jobs.page(session, Page(entries=10, text="task 3"))) == 10
        assert len(jobs.find_by_ids(session, range(100, 110))) == 10
        assert _rows_read(session) - before < 3000


def _rows_read(session: Session) -> int:
    """In this transaction, and by nobody else."""
    read = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'job'"
    return int(session.scalar(text(read)) or 0)
