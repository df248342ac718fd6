"""Looking for changes where notifications can't be heard: whatever the order in which transactions commit."""

from collections.abc import Sequence

import pytest
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from support.jobs import FIRST, new_job, succeeded, to_retry

from queuer.database.database import Database
from queuer.operations import watch
from queuer.operations.watch import Added, Ended, Updated
from queuer.repositories import jobs, results
from queuer.repositories.claims import claim
from queuer.repositories.held import give_back
from queuer.values import ClaimedJob


def add(database: Database, count: int = 1) -> Sequence[int]:
    return database.run(lambda session: [jobs.insert_one(session, new_job()).id for _ in range(count)])


def start(database: Database) -> ClaimedJob:
    (claimed,) = database.run(lambda session: claim(session, FIRST, ["task"], limit=1))
    return claimed


def end(database: Database, job: ClaimedJob, elapsed: float = 0.0) -> None:
    database.run(lambda session: results.archive(session, FIRST, [succeeded(job, elapsed=elapsed)]))


def test_added_jobs_are_found_once_also_when_they_are_over(database: Database) -> None:
    add(database)
    added = Added(database)
    assert not any(added.look())
    first, second = add(database, 2)
    start(database)  # the one from before
    end(database, start(database))
    assert set(added.look().ids) == {first, second}
    assert not any(added.look())


def test_a_transaction_that_commits_late_is_not_passed_over(database: Database, engine: Engine) -> None:
    with Session(engine) as late, Session(engine) as later:
        before = jobs.insert_one(late, new_job()).id  # not committed before the watch begins
        added = Added(database)
        after = jobs.insert_one(later, new_job()).id
        (newest,) = add(database)
        assert set(added.look().ids) == {newest}
        late.commit()
        assert set(added.look().ids) == {before}
        later.commit()
        assert set(added.look().ids) == {after}
    assert not any(added.look())


def test_an_id_that_nobody_uses_is_not_waited_for_without_end(
    database: Database, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "PATIENCE", 0.0)
    added = Added(database)
    with Session(engine) as late:
        jobs.insert_one(late, new_job())
        (newest,) = add(database)
        assert set(added.look().ids) == {newest}
        assert not any(added.look())  # and forgets it
        late.commit()
    assert not any(added.look())


def test_more_than_one_look_can_find(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    added = Added(database)
    monkeypatch.setattr(watch, "MOST_FOUND", 2)
    ids = add(database, 5)
    looks = [sorted(added.look().ids) for _ in range(4)]
    assert looks == [list(ids[:2]), list(ids[2:4]), list(ids[4:]), []]


def test_ended_jobs_are_found_once(database: Database) -> None:
    add(database, 2)
    end(database, start(database))
    ended = Ended(database)
    assert not any(ended.look())
    job = start(database)
    end(database, job)
    assert set(ended.look().rids) == {job.rid}
    assert not any(ended.look())


def test_a_job_whose_outcome_is_written_very_late_is_found_when_it_was_seen_to_run(database: Database) -> None:
    add(database)
    job = start(database)
    ended = Ended(database)
    end(database, job, elapsed=-3600.0)  # it ended an hour ago, as far as the clock of the database goes
    assert set(ended.look().rids) == {job.rid}
    assert not any(ended.look())


def test_starts_retries_and_give_backs_are_updates_and_ends_are_not(database: Database) -> None:
    add(database)
    updated = Updated(database)
    job = start(database)
    assert set(updated.look().rids) == {job.rid}
    database.run(lambda session: results.reschedule(session, FIRST, [to_retry(job, delay=0.0)]))
    assert set(updated.look().rids) == {job.rid}
    start(database)
    assert set(updated.look().rids) == {job.rid}
    database.run(lambda session: give_back(session, FIRST))
    assert set(updated.look().rids) == {job.rid}
    assert not any(updated.look())
    again = start(database)
    assert set(updated.look().rids) == {job.rid}
    end(database, again)
    assert not any(updated.look())


def test_what_was_started_and_is_over_between_two_looks_is_an_update(database: Database) -> None:
    add(database)
    updated = Updated(database)
    job = start(database)
    end(database, job)
    assert set(updated.look().rids) == {job.rid}
    assert not any(updated.look())
