"""What has ended and can't be written is kept in memory, up to a limit: beyond that nothing more is claimed."""

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from support.contract import eventually

from queuer import BatchJob, DatabaseConfiguration, MasterSettings, Queuer

MOST = 1000
JOBS = 1200


@pytest.mark.owner
def test_what_can_not_be_written_keeps_the_worker_from_taking_more(q: Queuer, config: DatabaseConfiguration) -> None:
    runs: list[None] = []
    q.add_task_with_name(lambda: runs.append(None), "task")
    q.add_jobs(BatchJob("task") for _ in range(JOBS))
    options: dict[str, Any] = config.connection_parameters
    running = "SELECT count(*) FROM job WHERE status = 'RUNNING'"
    with psycopg.connect(**options) as holder, psycopg.connect(**options, autocommit=True) as look:
        holder.execute("LOCK TABLE job_archive IN EXCLUSIVE MODE")  # jobs can be claimed, and none can end
        q.start(MasterSettings(worker_stale_after=1.5))

        def claimed() -> int:
            (count,) = look.execute(running).fetchone() or (0,)
            assert count < MOST + 2 * 4, "it claims on and on"  # those for its slots, and as many for the next ones
            return int(count)

        eventually(lambda: claimed() >= MOST, timeout=30)
        late = q.add_job("task")  # which is told to the worker
        before = q.get_worker(q.get_current_worker_rid()).heartbeat_at
        a_second_later = before + timedelta(seconds=1)
        eventually(lambda: claimed() and q.get_worker(q.get_current_worker_rid()).heartbeat_at > a_second_later)
        holder.rollback()
        assert q.wait_for_job_finished(late.rid, 30) is not None
        q.stop()
    assert q.get_jobs() == []
    assert len(runs) == JOBS + 1  # by runs, not by attempts: one may have waited for a slot in vain
