"""How late jobs start that are scheduled over ten seconds, on one idle worker, and what the worker sends meanwhile.

    python benchmarks/schedule.py [JOBS]        (by default 1000)

The database is that of QUEUER_DB_*, or the embedded one; use one of its own. A wait of ten seconds before the first
job is due shows what an idle worker sends.
"""

import sys
from datetime import UTC, datetime, timedelta
from time import monotonic, sleep

from sqlalchemy import create_engine, text

from queuer import BatchJob, DatabaseConfiguration, JobArchive, Options, Schedule, new_queuer
from queuer.database import embedded

SECONDS = 10.0


def main(jobs: int) -> None:
    config = embedded.default_configuration()
    q = new_queuer("schedule benchmark", 100)
    q.add_task_with_name(lambda: None, "noop")
    start = datetime.now(UTC) + timedelta(seconds=SECONDS + 1)
    batch = [
        BatchJob("noop", options=Options(schedule=Schedule(start=start + timedelta(seconds=SECONDS * n / jobs))))
        for n in range(jobs)
    ]
    rids = q.add_jobs(batch)
    with q:
        idle = transactions_per_second(config, SECONDS - 1)
        busy = transactions_per_second(config, SECONDS + 2)
        late = sorted(lateness(q.wait_for_job_finished(rid)) for rid in rids)
    print(f"{jobs} jobs over {SECONDS:.0f} s; late in ms: min {late[0]:.1f}, p50 {late[len(late) // 2]:.1f},", end=" ")
    print(f"p99 {late[len(late) * 99 // 100]:.1f}, max {late[-1]:.1f}; before their time: {sum(ms < 0 for ms in late)}")
    print(
        f"statements a second: {idle:.1f} while it waits, {busy:.1f} while {jobs / SECONDS:.0f} jobs a second are due"
    )


def lateness(job: JobArchive | None) -> float:
    """Milliseconds from the planned start to the real one, by the database's clock."""
    if job is None or job.started_at is None or job.scheduled_at is None:
        sys.exit("a job did not run")
    return (job.started_at - job.scheduled_at).total_seconds() * 1000


def transactions_per_second(config: DatabaseConfiguration, seconds: float) -> float:
    """Nearly every statement of a worker is a transaction of its own."""
    engine = create_engine(config.url)
    query = text("SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        before, since = connection.scalar(query) or 0, monotonic()
        sleep(seconds)
        count = (connection.scalar(query) or 0) - before
    engine.dispose()
    return float(count / (monotonic() - since))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
