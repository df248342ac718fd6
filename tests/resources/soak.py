"""`make resources`: 500,000 jobs and 200 starts and stops, and what they leave behind. Fails when anything grows."""

import os
import sys
import tempfile
from pathlib import Path
from time import monotonic

from support.growth import Taken, run_jobs, start_and_stop

from queuer import DatabaseConfiguration
from queuer.database import embedded

JOBS = int(os.environ.get("JOBS", "500000"))
CYCLES = int(os.environ.get("CYCLES", "200"))

#: MB that the memory may grow by, from the end of the first tenth on.
MOST = 16.0


def main() -> int:
    url = os.environ.get("QUEUER_TEST_DATABASE_URL")
    if url:
        return soak(DatabaseConfiguration.from_url(url))
    with tempfile.TemporaryDirectory(prefix="queuer-soak-") as folder:
        data = Path(folder) / "data"
        try:
            return soak(embedded.start(data))
        finally:
            embedded.stop(data)


def soak(config: DatabaseConfiguration) -> int:
    failed = 0
    for what, count, work in (
        ("jobs", JOBS, lambda look: run_jobs(config, JOBS, JOBS // 50, look)),
        ("starts and stops", CYCLES, lambda look: start_and_stop(config, CYCLES, look)),
    ):
        seen: dict[int, Taken] = {}
        begun_at = monotonic()
        work(seen.__setitem__)
        first, last = seen[min(done for done in seen if done >= count // 10)], seen[max(seen)]
        grown = last.memory - first.memory
        is_steady = grown < MOST and (last.threads, last.files, last.connections) <= (
            first.threads,
            first.files,
            first.connections,
        )
        failed += not is_steady
        print(f"{count} {what} in {monotonic() - begun_at:.0f} s\n  after a tenth: {first}\n  at the end:    {last}")
        print(f"  {'steady' if is_steady else 'GROWN'}: {grown:+.1f} MB, {MOST:.0f} allowed", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
