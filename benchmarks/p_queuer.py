"""queuer itself, for a harness that measures queues side by side; see its README for what the functions mean.

Run there by `BENCH_ADAPTERS=…/benchmarks run.py --peers floor,queuer`. The project's own benchmark, `make bench`, uses
it as well.
"""

import asyncio
import itertools
import logging
import time

from _common import (  # the harness': it brings its folder along
    DB,
    HOST,
    PORT,
    SLEEP,
    conf,
    main,
    mark,
    mark_latency,
    mark_start,
    pace,
    time_each,
    time_single,
)

from queuer import BatchJob, DatabaseConfiguration, Queuer, StaticQueuer, new_queuer_with_db, new_static_queuer

#: Jobs of one `add_jobs` in `bulk`: of a million jobs, the rids alone would be 110 MB.
CHUNK = 50_000

INFO = {
    "kind": "pg",
    "remaining_sql": "SELECT count(*) FROM job",
    # c = max_concurrency; async=1: coroutines on the worker's event loop instead of functions in its threads
    "configs": ["c=10", "c=10,async=1", "c=100", "c=500", "c=1000", "c=1000,async=1", "c=2000"],
    "best": "c=2000",
    "latency_config": "c=10",
    "sleep_config": "c=100,async=1",
    # the same for `make bench`
    "drain": "c=2000",
    "drain_by_default": "c=10",
    "latency": "c=10",
    "sleep": "c=100,async=1",
    "n_factor": {"c=10": 1, "c=10,async=1": 1, "c=100": 3, "c=500": 5, "c=1000": 5, "c=1000,async=1": 5, "c=2000": 5},
    "grow": {
        "table": "job",
        "each": {"rid": "queuer_new_rid()"},  # of version 7, as those that queuers pick
        "foreign": {"task_name": "'foreign'"},
        "future": {"status": "'SCHEDULED'", "scheduled_at": "now() + interval '1 day'"},
        "ended": {
            "table": "job_archive",
            "id": "rid",
            "each": {"id": "1000000 + g", "rid": "gen_random_uuid()", "ended_at": "now() + g * interval '1 ms'"},
        },
        "stream": f"generator, add_jobs by {CHUNK}",
    },
    "notes": "new_queuer_with_db, defaults but for max_concurrency; every attempt, its times and results archived",
}


def noop(i: int) -> None:
    mark(i)


def lat(i: int) -> None:
    mark_latency(i)


def sleep(i: int) -> None:
    mark_start()
    time.sleep(SLEEP)
    mark(i)


async def noop_async(i: int) -> None:
    mark(i)


async def lat_async(i: int) -> None:
    mark_latency(i)


async def sleep_async(i: int) -> None:
    mark_start()
    await asyncio.sleep(SLEEP)
    mark(i)


THREADS = {"noop": noop, "lat": lat, "sleep": sleep}
COROUTINES = {"noop": noop_async, "lat": lat_async, "sleep": sleep_async}


def config() -> DatabaseConfiguration:
    if DatabaseConfiguration.is_in_env():  # of `make bench`
        return DatabaseConfiguration.from_env()
    return DatabaseConfiguration(HOST, PORT, DB, "postgres", sslmode="disable")


def producer() -> StaticQueuer:
    return new_static_queuer(config())


def setup() -> None:
    producer().stop()


def single(n: int) -> float:
    q = producer()
    q.add_task(noop)
    return time_single(lambda i: q.add_job(noop, i), n)


def bulk(n: int, kind: str) -> float:
    q = producer()
    task = THREADS[kind]
    q.add_task(task)
    q.get_jobs(entries=1)  # connects, as the others have when their time begins
    began = time.perf_counter()
    jobs = (BatchJob(task, [i]) for i in range(n))
    for _ in range(0, n, CHUNK):
        q.add_jobs(itertools.islice(jobs, CHUNK))
    return time.perf_counter() - began


def produce(n: int, interval: float) -> list[list[float]]:
    q = producer()
    q.get_jobs(entries=1)  # connects, as the floor has when it begins to add
    return pace(lambda i: q.add_job("lat", i), n, interval)


def get(ids: list[str]) -> list[float]:
    q = producer()
    return time_each(q.get_job_ended, ids)


def worker(_kind: str, config_text: str) -> None:
    given = conf(config_text)
    logging.disable(logging.INFO)
    q: Queuer = new_queuer_with_db("bench", given["c"], "", config())
    for name, task in (COROUTINES if given.get("async") else THREADS).items():
        q.add_task_with_name(task, name)
    q.run()


if __name__ == "__main__":
    main(globals())
