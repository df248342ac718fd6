"""What this process and its connections take, and work that should not make it more."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

from queuer import BatchJob, DatabaseConfiguration, StaticQueuer, new_queuer_with_db, new_static_queuer
from support.contract import eventually

SLOTS = 8
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Taken:
    """Of Linux's /proc: memory in MB, threads, file descriptors; and the queuers' connections to the database."""

    memory: float
    threads: int
    files: int
    connections: int

    def __str__(self) -> str:
        return f"{self.memory:.1f} MB, {self.threads} threads, {self.files} files, {self.connections} connections"


def taken(watch: StaticQueuer) -> Taken:
    connections = len(watch.get_connections())  # first: it opens one
    memory = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE / 1e6
    threads, files = (len(list(Path("/proc/self", folder).iterdir())) for folder in ("task", "fd"))
    return Taken(memory, threads, files, connections)


def run_jobs(config: DatabaseConfiguration, count: int, batch: int, look: Callable[[int, Taken], None]) -> None:
    """Runs jobs on one worker, half of them coroutines and some of which fail; looks after each batch, at rest."""
    watch = new_static_queuer(config)
    with new_queuer_with_db("growth", SLOTS, "", config) as q:
        q.add_task_with_name(_plain, "plain")
        q.add_task_with_name(_coroutine, "coroutine")
        q.add_task_with_name(Barrier(SLOTS).wait, "all at once")  # threads are made as they are needed
        for job in [q.add_job("all at once") for _ in range(SLOTS)]:
            q.wait_for_job_finished(job.rid)
        for done in range(0, count, batch):
            rids = q.add_jobs(BatchJob(("plain", "coroutine")[n % 2], [n]) for n in range(batch))
            q.wait_for_job_finished(rids[-1], timeout_seconds=600)
            eventually(lambda: not q.get_jobs(entries=1), timeout=600)
            look(done + batch, taken(watch))
    watch.stop()


def _plain(number: int) -> int:
    if number % 100 == 0:
        raise ValueError(number)
    return number


async def _coroutine(number: int) -> int:
    return number


def start_and_stop(config: DatabaseConfiguration, times: int, look: Callable[[int, Taken], None]) -> None:
    """Starts a queuer and stops it, again and again, with a job each time; looks after each, when it has stopped."""
    watch = new_static_queuer(config)
    for time in range(times):
        q = new_queuer_with_db("growth", 2, "", config)
        q.add_task_with_name(_plain, "plain")
        for _ in range(2):  # also the same one once more
            with q:
                q.wait_for_job_finished(q.add_job("plain", 1).rid)
        eventually(lambda: len(watch.get_connections()) == 1)  # the server forgets those that were closed in its time
        look(time + 1, taken(watch))
    watch.stop()
