"""What encryption costs: adding jobs and draining them by one worker, without a key and with one, in turns.

    python benchmarks/encryption.py [JOBS] [ROUNDS]        (by default 5000 and 3)

The jobs do nothing; each carries a word of a hundred characters. The database is that of QUEUER_DB_*, or the embedded
one; use one of its own.
"""

import base64
import os
import sys
from statistics import median
from time import monotonic, sleep

from queuer import BatchJob, DatabaseConfiguration, Queuer, new_queuer_with_db
from queuer.database import embedded

SINGLE = 500


def main(jobs: int, rounds: int) -> None:
    config = embedded.default_configuration()
    keys = {"off": "", "on": base64.b64encode(os.urandom(32)).decode()}
    measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in keys}
    for _ in range(rounds):
        for name, key in keys.items():
            measured[name].append(measure(config, key, jobs))
    print(f"{jobs} jobs, median of {rounds} rounds, in jobs a second: add_job, add_jobs, drain")
    medians = {name: [median(column) for column in zip(*rows, strict=True)] for name, rows in measured.items()}
    for name, figures in medians.items():
        print(f"encryption {name:3}", *(f"{figure:8.0f}" for figure in figures))
    print("on / off      ", *(f"{on / off:8.2f}" for on, off in zip(medians["on"], medians["off"], strict=True)))


def measure(config: DatabaseConfiguration, key: str, jobs: int) -> tuple[float, float, float]:
    """Jobs a second that are added one by one, by COPY, and run."""
    q = new_queuer_with_db("encryption benchmark", 100, key, config)
    q.add_task_with_name(lambda _word: None, "noop")
    since = monotonic()
    for _ in range(SINGLE):
        q.add_job("noop", "x" * 100)
    single = SINGLE / (monotonic() - since)
    since = monotonic()
    q.add_jobs(BatchJob("noop", ["x" * 100]) for _ in range(jobs))
    batch = jobs / (monotonic() - since)
    return single, batch, (jobs + SINGLE) / drain(q)


def drain(q: Queuer) -> float:
    """Seconds until the queue is empty."""
    since = monotonic()
    with q:
        while q.get_jobs(entries=1):
            sleep(0.01)
        return monotonic() - since


if __name__ == "__main__":
    main(*(int(given) for given in [*sys.argv[1:], *("5000", "3")[len(sys.argv) - 1 :]]))
