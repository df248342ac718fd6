from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from msgspec import structs
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session
from support.jobs import FIRST, SECOND, new_job

from queuer import Job, JobStatus, Options, Schedule
from queuer.models import IS_RUNNING
from queuer.repositories import jobs
from queuer.repositories.claims import claim, take, take_named
from queuer.repositories.held import give_back

TASKS = ["task", "other"]
AN_HOUR = timedelta(hours=1)

EITHER_WAY = pytest.mark.parametrize("queued_only", [False, True], ids=["all", "queued only"])


def at(start: datetime) -> Options:
    return Options(schedule=Schedule(start=start))


def test_the_oldest_are_taken_first_and_marked(session: Session) -> None:
    added = [jobs.insert_one(session, new_job("task", n)) for n in range(3)]
    taken = claim(session, FIRST, TASKS, limit=2)
    assert [job.rid for job in taken] == [job.rid for job in added[:2]]
    assert [(job.parameters, job.attempt, job.failures) for job in taken] == [("[0]", 1, 0), ("[1]", 1, 0)]
    row = session.scalars(select(Job).where(Job.id == taken[0].id)).one()
    assert (row.status, row.worker_rid, row.attempts) == (JobStatus.RUNNING, FIRST, 1)
    assert row.started_at is not None
    assert [job.rid for job in claim(session, SECOND, TASKS, limit=5)] == [added[2].rid]


def test_only_jobs_of_ones_own_tasks_are_taken(session: Session) -> None:
    jobs.insert_one(session, new_job("foreign"))
    mine = jobs.insert_one(session, new_job("other"))
    assert [job.rid for job in claim(session, FIRST, TASKS, limit=5)] == [mine.rid]
    assert claim(session, FIRST, [], limit=5) == []


def test_a_scheduled_job_is_taken_when_it_is_due(session: Session) -> None:
    now = datetime.now(UTC)
    jobs.insert_one(session, new_job(options=at(now + AN_HOUR)))
    due = jobs.insert_one(session, new_job(options=at(now - AN_HOUR)))
    queued = jobs.insert_one(session, new_job())
    assert [job.rid for job in claim(session, FIRST, TASKS, limit=5)] == [due.rid, queued.rid]


def test_due_and_queued_jobs_share_the_limit(session: Session) -> None:
    past = datetime.now(UTC) - AN_HOUR
    due = [jobs.insert_one(session, new_job(options=at(past + n * timedelta(seconds=1)))) for n in range(2)]
    queued = [jobs.insert_one(session, new_job()) for _ in range(2)]
    assert [job.rid for job in claim(session, FIRST, TASKS, limit=1)] == [due[0].rid]
    assert [job.rid for job in claim(session, FIRST, TASKS, limit=2)] == [due[1].rid, queued[0].rid]


@EITHER_WAY
def test_two_workers_never_take_the_same_job(engine: Engine, *, queued_only: bool) -> None:
    with Session(engine) as setup, setup.begin():
        jobs.insert_many(setup, [new_job() for _ in range(3)])
    with Session(engine) as mine, mine.begin(), Session(engine) as theirs, theirs.begin():
        taken = take(mine, FIRST, TASKS, limit=2, queued_only=queued_only).jobs
        # Does not wait for the other transaction either.
        left = take(theirs, SECOND, TASKS, limit=5, queued_only=queued_only).jobs
        assert (len(taken), len(left)) == (2, 1)
        assert {job.id for job in taken}.isdisjoint({job.id for job in left})


@EITHER_WAY
def test_a_claim_locks_no_more_than_it_takes(engine: Engine, *, queued_only: bool) -> None:
    with Session(engine) as setup, setup.begin():
        jobs.insert_many(setup, [new_job() for _ in range(100)])
    with Session(engine) as mine, mine.begin(), Session(engine) as theirs, theirs.begin():
        take(mine, FIRST, TASKS, limit=10, queued_only=queued_only)
        free = theirs.execute(text("SELECT id FROM job FOR UPDATE SKIP LOCKED")).all()
        assert len(free) == 90


@pytest.mark.parametrize("table", ["empty", "large"])
@EITHER_WAY
def test_the_claim_never_scans_the_table(engine: Engine, table: str, *, queued_only: bool) -> None:
    """Neither the custom plan nor the generic one that a prepared statement changes to."""
    with Session(engine) as session:
        if table == "large":
            jobs.insert_many(session, [new_job() for _ in range(20_000)])
            session.commit()
            session.execute(text("ANALYZE job"))
        for mode in ("force_custom_plan", "force_generic_plan"):
            session.execute(text("SET plan_cache_mode = " + mode))
            session.execute(text("SET enable_seqscan = on"))
            before = _rows_read_by_scans(session)
            for _ in range(3):
                take(session, FIRST, TASKS, limit=10, queued_only=queued_only)
            assert _rows_read_by_scans(session) - before <= (0 if table == "large" else 100)
            session.commit()


def _rows_read_by_scans(session: Session) -> int:
    """In this transaction, and by nobody else."""
    return int(session.scalar(text("SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relname = 'job'")) or 0)


def test_queued_jobs_alone_are_taken_for_who_knows_that_no_other_is_due(session: Session) -> None:
    jobs.insert_one(session, new_job(options=at(datetime.now(UTC) - AN_HOUR)))
    first, second = (jobs.insert_one(session, new_job(name)) for name in TASKS)
    got = take(session, FIRST, TASKS, 5, queued_only=True)
    assert ([job.rid for job in got.jobs], got.seconds_until_due) == ([first.rid, second.rid], None)
    assert got.marks == {"task": first.id, "other": second.id}
    assert take(session, FIRST, TASKS, 5, queued_only=True) == ([], None, {})


def test_named_jobs_are_taken_when_they_are_queued_and_for_ones_own_tasks(session: Session) -> None:
    now = datetime.now(UTC)
    first, second, other = (jobs.insert_one(session, new_job(name)) for name in ("task", "task", "other"))
    foreign, later = jobs.insert_one(session, new_job("foreign")), jobs.insert_one(session, new_job(options=at(now)))
    got = take_named(session, FIRST, [other.rid, second.rid, foreign.rid], TASKS)
    assert ([job.rid for job in got.jobs], got.seconds_until_due, got.marks) == ([second.rid, other.rid], None, {})
    assert take_named(session, SECOND, [second.rid, uuid4()], TASKS) == ([], None, {})
    got = take_named(session, FIRST, [first.rid, later.rid], TASKS)
    assert [job.rid for job in got.jobs] == [first.rid]
    assert got.seconds_until_due == pytest.approx(0, abs=60)
    got = take_named(session, FIRST, [later.rid], TASKS)
    assert (got.jobs, got.seconds_until_due) == ([], pytest.approx(0, abs=60))
    assert take_named(session, FIRST, [], TASKS) == ([], None, {})


def test_named_jobs_are_looked_up_and_not_waited_for(engine: Engine) -> None:
    with Session(engine) as setup, setup.begin():
        jobs.insert_many(setup, [new_job() for _ in range(2000)])
        setup.execute(text("ANALYZE job"))
        rids = list(setup.scalars(select(Job.rid).order_by(Job.id).limit(3)))
    with Session(engine) as mine, mine.begin(), Session(engine) as theirs, theirs.begin():
        theirs.execute(select(Job.id).where(Job.rid == rids[0]).with_for_update())
        before = _rows_read_by_scans(mine)
        assert take_named(mine, FIRST, rids[:1], TASKS).jobs == []
        assert [job.rid for job in take_named(mine, FIRST, rids[1:2], TASKS).jobs] == rids[1:2]
        assert [job.rid for job in take_named(mine, FIRST, rids, TASKS).jobs] == rids[2:]
        assert _rows_read_by_scans(mine) == before


def test_when_the_next_one_is_due(session: Session) -> None:
    assert take(session, FIRST, TASKS, limit=0).seconds_until_due is None
    jobs.insert_one(session, new_job("foreign", options=at(datetime.now(UTC))))
    jobs.insert_one(session, new_job(options=at(datetime.now(UTC) + AN_HOUR)))
    assert take(session, FIRST, TASKS, limit=0).seconds_until_due == pytest.approx(3600, abs=60)
    jobs.insert_one(session, new_job(options=at(datetime.now(UTC) - AN_HOUR)))
    assert take(session, FIRST, TASKS, limit=0).seconds_until_due == pytest.approx(-3600, abs=60)


def test_what_is_given_back_is_queued_and_keeps_its_attempts(session: Session) -> None:
    added = [jobs.insert_one(session, new_job()) for _ in range(3)]
    claim(session, FIRST, TASKS, limit=2)
    claim(session, SECOND, TASKS, limit=1)
    assert give_back(session, FIRST) == {added[0].rid, added[1].rid}
    assert give_back(session, FIRST) == set()
    again = claim(session, SECOND, TASKS, limit=5)
    assert [(job.id, job.attempt) for job in again] == [(added[0].id, 2), (added[1].id, 2)]


def test_an_attempt_is_given_back_only_while_it_is_that_one(session: Session) -> None:
    job = jobs.insert_one(session, new_job())
    claim(session, FIRST, TASKS, limit=1)
    give_back(session, FIRST)
    (again,) = claim(session, FIRST, TASKS, limit=1)
    assert again.attempt == 2
    assert give_back(session, FIRST, [structs.replace(again, attempt=1)]) == set()
    another = structs.replace(again, rid=uuid4())  # to which a failover gave its id
    assert give_back(session, FIRST, [another]) == set()
    assert give_back(session, SECOND, [again]) == set()
    assert give_back(session, FIRST, [again]) == {job.rid}


@EITHER_WAY
def test_across_the_tasks_the_oldest_are_taken_first(session: Session, *, queued_only: bool) -> None:
    names = ["task", "other", "other", "task", "other", "task"]
    added = [jobs.insert_one(session, new_job(name)) for name in names]
    for start in (0, 2, 4):
        taken = take(session, FIRST, TASKS, limit=2, queued_only=queued_only).jobs
        assert [job.rid for job in taken] == [job.rid for job in added[start : start + 2]]


def test_a_claim_behind_the_marks_goes_on_there(session: Session) -> None:
    added = [jobs.insert_one(session, new_job(name)) for name in ("task", "task", "other", "task")]
    first = take(session, FIRST, TASKS, limit=2)
    assert first.marks == {"task": added[1].id}
    assert [job.id for job in take(session, FIRST, TASKS, limit=5, marks={"task": added[3].id}).jobs] == [added[2].id]
    assert [job.id for job in take(session, FIRST, TASKS, limit=5, marks={"task": added[3].id - 1}).jobs] == [
        added[3].id
    ]


def test_a_scheduled_job_moves_no_mark(session: Session) -> None:
    queued = jobs.insert_one(session, new_job())
    due = jobs.insert_one(session, new_job(options=at(datetime.now(UTC) - AN_HOUR)))
    first = take(session, FIRST, TASKS, limit=1)
    assert ([job.id for job in first.jobs], first.marks) == ([due.id], {})
    assert [job.id for job in take(session, FIRST, TASKS, limit=1, marks=first.marks).jobs] == [queued.id]


def test_a_scheduled_job_that_is_given_back_is_taken_again(session: Session) -> None:
    due = jobs.insert_one(session, new_job(options=at(datetime.now(UTC) - AN_HOUR)))
    claim(session, FIRST, TASKS, limit=1)
    assert give_back(session, FIRST) == {due.rid}
    assert [job.id for job in claim(session, SECOND, TASKS, limit=1)] == [due.id]


def test_a_claim_writes_to_no_index(engine: Engine) -> None:
    """From PostgreSQL 16 on."""
    with Session(engine) as session:
        jobs.insert_many(session, [new_job("task", n) for n in range(1000)])
        session.commit()
        assert len(claim(session, FIRST, TASKS, limit=1000)) == 1000
        query = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_xact_user_tables WHERE relname = 'job'"
        updated, in_place = session.execute(text(query)).one()
        if int(session.scalar(text("SHOW server_version_num")) or 0) >= 160_000:
            assert updated == in_place == 1000


def test_what_a_worker_runs_is_found_by_its_status(session: Session) -> None:
    """Not by reading all jobs that wait: each heartbeat and each round of the master look."""
    session.execute(text("SET LOCAL enable_seqscan = off"))
    connection = session.connection()
    compiled = (
        select(Job.id)
        .where(IS_RUNNING, Job.worker_rid == FIRST)
        .compile(
            connection,
            schema_translate_map=connection.get_execution_options().get("schema_translate_map"),
            render_schema_translate=True,
            compile_kwargs={"literal_binds": True},
        )
    )
    plan = "\n".join(session.scalars(text(f"EXPLAIN {compiled}")))
    assert "Bitmap Index Scan on ix_job_running" in plan
    assert "Index Cond: ((status)::text = 'RUNNING'::text)" in plan
