"""What tasks write in their `session` is there exactly once, however often workers are killed."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from queuer import BatchJob, DatabaseConfiguration, JobStatus, Queuer

pytestmark = pytest.mark.owner  # it makes tables next to the queue's

DEATHS = 200
JOBS = 1500


@pytest.mark.timeout(250)
def test_every_effect_is_there_once_after_200_kills(q: Queuer, config: DatabaseConfiguration, engine: Engine) -> None:
    seed = str(random.SystemRandom().randrange(2**32))
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE ledger (rid uuid NOT NULL)"))  # with no constraint that would help
    rids = q.add_jobs(BatchJob("pay" if n % 2 else "pay_async") for n in range(JOBS))
    script = Path(__file__).parent / "mortal_worker.py"
    url = config.url.render_as_string(hide_password=False)
    command = [sys.executable, script, url, seed, str(DEATHS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-3000:]}"
    deaths: dict[str, int] = json.loads(done.stdout)
    print(f"seed {seed}: died {deaths}")
    with engine.begin() as connection:
        effects = [row.rid for row in connection.execute(text("SELECT rid FROM ledger"))]
        statuses = {row.status for row in connection.execute(text("SELECT DISTINCT status FROM job_archive"))}
        archived = [row.rid for row in connection.execute(text("SELECT rid FROM job_archive"))]
    assert sorted(effects) == sorted(rids), f"seed {seed}"
    assert sorted(archived) == sorted(rids), f"seed {seed}"
    assert statuses == {JobStatus.SUCCEEDED.value}
    assert sum(deaths.values()) == DEATHS, "the jobs did not last"
