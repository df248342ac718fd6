"""A small cut of `make resources`: nothing grows with the jobs that were run, or with starts and stops."""

import threading
from pathlib import Path

import pytest
from support.growth import Taken, run_jobs, start_and_stop

from queuer import DatabaseConfiguration

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="it is read from Linux's /proc")


@pytest.mark.timeout(300)
def test_jobs_leave_nothing_behind(config: DatabaseConfiguration) -> None:
    seen: list[Taken] = []
    run_jobs(config, 20_000, 4_000, lambda _done, taken: seen.append(taken))
    first, last = seen[1], seen[-1]
    _assert_no_growth(seen, first, last)


def test_starts_and_stops_leave_nothing_behind(config: DatabaseConfiguration) -> None:
    seen: list[Taken] = []
    before = set(threading.enumerate())
    start_and_stop(config, 10, lambda _done, taken: seen.append(taken))
    assert set(threading.enumerate()) <= before
    first, last = seen[2], seen[-1]
    _assert_no_growth(seen, first, last)


def _assert_no_growth(seen: list[Taken], first: Taken, last: Taken) -> None:
    """Less may be in use: what other tests of this process left behind has been collected meanwhile."""
    assert last.threads <= first.threads
    assert last.files <= first.files
    assert last.connections <= first.connections
    assert last.memory - first.memory < 8, [taken.memory for taken in seen]
