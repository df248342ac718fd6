"""The contract's master: its office and its duties, on the public API alone."""

import re
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine, text
from support.contract import ended, eventually

from queuer import (
    JobNotFound,
    MasterSettings,
    Queuer,
    WorkerNotFound,
    WorkerStatus,
)

#: Everything happens soon, but for a busy machine that stands still for a second.
#: A master that says nothing for 1.5 s is dead.
SMALL = MasterSettings(worker_stale_after=2, master_poll_interval=0.05, lock_timeout_minutes=0.025)


def execute(engine: Engine, statement: str, **parameters: Any) -> None:
    with engine.begin() as connection:
        connection.execute(text(statement), parameters)


def master(q: Queuer) -> UUID | None:
    return q.get_master().worker_rid


def test_one_worker_at_a_time_is_the_master(make_queuer: Any) -> None:
    queuers = [make_queuer() for _ in range(3)]
    for q in queuers:
        q.start(SMALL)
    first = eventually(lambda: master(queuers[0]))
    elected_at = queuers[0].get_master().elected_at
    beat = queuers[0].get_master().heartbeat_at
    assert first in {q.get_current_worker_rid() for q in queuers}
    eventually(lambda: queuers[0].get_master().heartbeat_at > beat + timedelta(seconds=2))  # longer than the lock
    assert (master(queuers[0]), queuers[0].get_master().elected_at) == (first, elected_at)


def test_stop_releases_the_office_and_another_takes_over_at_once(make_queuer: Any) -> None:
    first, second = make_queuer(), make_queuer()
    first.start()  # every 30 s is the default: only a notification is soon enough
    eventually(lambda: master(first) == first.get_current_worker_rid())
    second.start()
    first.stop()
    eventually(lambda: master(second) == second.get_current_worker_rid(), timeout=5)
    second.stop()
    assert master(second) is None


def test_another_takes_over_from_a_dead_one_within_the_lock_timeout(q: Queuer, engine: Engine) -> None:
    execute(
        engine, "UPDATE master SET worker_rid = gen_random_uuid(), heartbeat_at = now(), lock_timeout_minutes = 0.01"
    )
    with q:
        dead = master(q)
        assert dead not in {None, q.get_current_worker_rid()}
        eventually(lambda: master(q) == q.get_current_worker_rid(), timeout=5)


def test_a_master_keeps_its_office_though_it_polls_less_often_than_the_lock_lasts(make_queuer: Any) -> None:
    settings = MasterSettings(master_poll_interval=3600, lock_timeout_minutes=0.025)
    first, second = make_queuer(), make_queuer()
    first.start(settings)
    elected = eventually(lambda: first.get_master().elected_at)
    second.start()
    beat = first.get_master().heartbeat_at
    eventually(lambda: first.get_master().heartbeat_at > beat + timedelta(seconds=2))
    assert first.get_master().elected_at == elected


def test_the_settings_are_kept_in_the_database_and_seen(make_queuer: Any) -> None:
    first, second = make_queuer(), make_queuer()
    settings = MasterSettings(7, 11.5, 3, 90, 1000)
    first.start_without_worker(settings)
    eventually(lambda: master(second))
    first.stop()
    with second:  # which brings none: those in force stay
        eventually(lambda: master(second) == second.get_current_worker_rid())
        found = second.get_master()
    assert (
        MasterSettings(
            found.retention_archive,
            found.master_poll_interval,
            found.lock_timeout_minutes,
            found.worker_stale_after,
            found.worker_delete_after,
        )
        == settings
    )


@pytest.mark.parametrize(
    "field", ["master_poll_interval", "lock_timeout_minutes", "worker_stale_after", "worker_delete_after"]
)
@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e300, True, "5", None])
def test_a_setting_out_of_range_is_a_value_error(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"{field} is {value!r}; allowed")):
        MasterSettings(**{field: value})


@pytest.mark.parametrize("value", [0, -1, 1.5, True, 36_501, 2**31, "5", None])
def test_a_retention_out_of_range_is_a_value_error(value: Any) -> None:
    with pytest.raises(ValueError, match=f"retention_archive is {value!r}; allowed"):
        MasterSettings(retention_archive=value)


def test_settings_of_another_type_are_refused(q: Queuer) -> None:
    for start in (q.start, q.start_without_worker):
        with pytest.raises(TypeError, match="master_settings is 5; allowed is a MasterSettings or None"):
            start(5)  # type: ignore[arg-type]


def test_it_deletes_ended_jobs_that_are_too_old(q: Queuer, engine: Engine) -> None:
    old, young = uuid4(), uuid4()
    insert = """INSERT INTO job_archive (id, rid, status, task_name, ended_at)
        VALUES (:id, :rid, 'SUCCEEDED', 'task', now() - :days * interval '1 day')"""
    execute(engine, insert, id=1, rid=old, days=9)
    execute(engine, insert, id=2, rid=young, days=6)
    q.start_without_worker(MasterSettings(retention_archive=7, master_poll_interval=0.05))

    def is_gone() -> bool:
        try:
            q.get_job_ended(old)
        except JobNotFound:
            return True
        return False

    eventually(is_gone)
    assert q.get_job_ended(young).rid == young


def test_it_deletes_workers_that_stopped_long_ago(make_queuer: Any, engine: Engine) -> None:
    q, stopped, young = make_queuer(), make_queuer(), make_queuer()
    rid = stopped.get_current_worker_rid()
    execute(engine, "UPDATE worker SET heartbeat_at = now() - interval '2 hours' WHERE rid = :rid", rid=rid)
    with q:

        def is_gone() -> bool:
            try:
                q.get_worker(rid)
            except WorkerNotFound:
                return True
            return False

        q.stop()
        q.start(MasterSettings(worker_delete_after=3600, master_poll_interval=0.05))
        eventually(is_gone)
        assert q.get_worker(young.get_current_worker_rid())
    stopped.add_task_with_name(lambda: "done", "task")
    with stopped:  # it registers again under its rid
        assert stopped.get_worker(rid).status is WorkerStatus.RUNNING
        assert ended(stopped, stopped.add_job("task")).result == "done"
