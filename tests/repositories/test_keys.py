"""Jobs that are encrypted with a key, among others."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, insert, literal, select, text
from sqlalchemy.orm import Session
from support.jobs import FIRST, new_job, succeeded
from support.keys import KEY, SECRET

from queuer import Job, Options, Schedule
from queuer.cipher import Cipher, read_keys
from queuer.repositories import jobs, results
from queuer.repositories.claims import claim, missing_key, take
from queuer.sealing import opened_claim, sealed_new

CIPHER = Cipher(read_keys(KEY, "key"))
(MINE,) = CIPHER.key_ids
TASKS = ["task"]
IN_AN_HOUR = Options(schedule=Schedule(start=datetime.now(UTC) + timedelta(hours=1)))


def test_a_claim_takes_clear_jobs_and_those_whose_key_it_has(session: Session) -> None:
    sealed = jobs.insert_one(session, sealed_new(CIPHER, new_job()))
    clear = jobs.insert_one(session, new_job())
    assert [job.rid for job in claim(session, FIRST, TASKS, limit=5, keys=["another"])] == [clear.rid]
    assert [job.rid for job in claim(session, FIRST, TASKS, limit=5, keys=["another", MINE])] == [sealed.rid]


def test_a_missing_key_is_found_where_a_job_could_be_claimed_with_it(session: Session) -> None:
    jobs.insert_one(session, new_job())
    jobs.insert_one(session, sealed_new(CIPHER, new_job(options=IN_AN_HOUR)))
    jobs.insert_one(session, sealed_new(CIPHER, new_job("foreign")))
    assert missing_key(session, TASKS) is None
    jobs.insert_one(session, sealed_new(CIPHER, new_job()))
    assert missing_key(session, TASKS) == MINE
    assert missing_key(session, TASKS, keys=["another"]) == MINE
    assert missing_key(session, TASKS, keys=["another", MINE]) is None


@pytest.mark.owner
def test_to_look_for_a_missing_key_reads_no_jobs_of_other_tasks(session: Session) -> None:
    for task, count in (("foreign", 30_000), ("task", 3000)):
        jobs_of_task = select(literal(task)).select_from(func.generate_series(1, count))
        session.execute(insert(Job).from_select(["task_name"], jobs_of_task))
    session.execute(text("ANALYZE"))
    assert len(claim(session, FIRST, TASKS, limit=3000)) == 3000
    before = rows_read(session)
    assert missing_key(session, [*TASKS, "sleep"]) is None
    assert rows_read(session) - before < 10_000


def rows_read(session: Session) -> int:
    """By this transaction, from the table of jobs."""
    query = "SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'job'"
    return int(session.scalar(text(query)) or 0)


def test_a_scheduled_job_of_a_missing_key_sets_no_timer(session: Session) -> None:
    jobs.insert_one(session, sealed_new(CIPHER, new_job(options=IN_AN_HOUR)))
    assert take(session, FIRST, TASKS, limit=0).seconds_until_due is None
    assert take(session, FIRST, TASKS, limit=0, keys=[MINE]).seconds_until_due == pytest.approx(
        3600, abs=1800
    )  # from when this was imported


def test_the_next_run_is_inserted_by_who_has_no_key(session: Session) -> None:
    schedule = Schedule(max_count=0, interval=timedelta(seconds=1))
    options = Options(schedule=schedule, metadata={"card": SECRET})
    first = jobs.insert_one(session, sealed_new(CIPHER, new_job("task", SECRET, options=options)))
    (running,) = claim(session, FIRST, TASKS, limit=1, keys=[MINE])
    results.archive(session, FIRST, [succeeded(running)])
    jobs.insert_next_runs(session, {first.rid: datetime.now(UTC) - timedelta(seconds=1)})
    (second,) = claim(session, FIRST, TASKS, limit=1, keys=[MINE])
    assert second.rid != first.rid
    assert SECRET in opened_claim(CIPHER, second).parameters
    assert SECRET in opened_claim(CIPHER, second).options


def test_copied_jobs_are_like_inserted_ones(session: Session) -> None:
    sealed = [sealed_new(CIPHER, new_job("task", SECRET, options=Options(metadata={"n": n}))) for n in range(3)]
    jobs.insert_many(session, sealed)
    found = session.scalars(select(Job).where(Job.rid.in_([job.rid for job in sealed])).order_by(Job.id)).all()
    assert [(job.parameters, job.options_json, job.key_id) for job in found] == [
        (job.parameters, job.options_json, MINE) for job in sealed
    ]
