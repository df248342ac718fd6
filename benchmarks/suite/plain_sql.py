"""The floor: hand-written SQL with psycopg, and no library. What the queue can be expected to come close to."""

import asyncio
import time
from typing import Any

import psycopg
from _common import SLEEP, conf, main, mark, mark_latency, mark_start, pace, time_each, time_single
from psycopg.types.json import Jsonb

from queuer import DatabaseConfiguration

TABLES = """
CREATE TABLE job (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, status text NOT NULL DEFAULT 'QUEUED', task_name text NOT NULL,
  parameters jsonb NOT NULL DEFAULT '[]', created_at timestamptz NOT NULL DEFAULT now(), started_at timestamptz);
CREATE INDEX job_queued ON job (id) WHERE status = 'QUEUED';
CREATE TABLE job_archive (
  id bigint PRIMARY KEY, status text NOT NULL, task_name text NOT NULL, parameters jsonb NOT NULL,
  created_at timestamptz NOT NULL, started_at timestamptz, finished_at timestamptz NOT NULL);
"""
FINISH = """
WITH d AS (DELETE FROM job WHERE id = ANY(%s) RETURNING id, task_name, parameters, created_at, started_at)
INSERT INTO job_archive SELECT id, 'SUCCEEDED', task_name, parameters, created_at, started_at, now() FROM d"""
CLAIM = """
c AS (SELECT id FROM job WHERE status = 'QUEUED' ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)
UPDATE job SET status = 'RUNNING', started_at = now() FROM c WHERE job.id = c.id
RETURNING job.id, job.task_name, job.parameters"""
INSERT = "INSERT INTO job (task_name, parameters) VALUES (%s, %s)"
CLAIM_ALONE = "WITH " + CLAIM
FINISH_AND_CLAIM = FINISH.replace("INSERT", ", a AS (INSERT") + "),\n" + CLAIM
INSERT_AND_TELL = f"WITH i AS ({INSERT} RETURNING id) SELECT pg_notify('job', id::text) FROM i"

# B: claims so many, runs them, archives them, in two commits. comb: archives the last batch and claims the next in one.
INFO = {
    "drain": "comb=500",
    "drain_by_default": "B=10",
    "latency": "B=10",
    "sleep": "c=100",
}


def connect() -> "psycopg.Connection[Any]":
    parameters = DatabaseConfiguration.from_env().connection_parameters
    return psycopg.connect(autocommit=True, prepare_threshold=0, **parameters)


def setup() -> None:
    with connect() as connection:
        connection.execute(TABLES, prepare=False)


def single(n: int) -> float:
    with connect() as connection:
        cursor = connection.cursor()
        return time_single(lambda i: cursor.execute(INSERT, ("noop", Jsonb([i]))), n)


def bulk(n: int, kind: str) -> float:
    with connect() as connection:
        began = time.perf_counter()
        with connection.cursor().copy("COPY job (task_name, parameters) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["text", "jsonb"])
            for i in range(n):
                copy.write_row((kind, Jsonb([i])))
        return time.perf_counter() - began


def produce(n: int, interval: float) -> list[list[float]]:
    with connect() as connection:
        cursor = connection.cursor()
        return pace(lambda i: cursor.execute(INSERT_AND_TELL, ("lat", Jsonb([i]))), n, interval)


def get(ids: list[str]) -> list[float]:
    with connect() as connection:
        cursor = connection.cursor()
        query = "SELECT * FROM job_archive WHERE id = %s"
        return time_each(lambda id: cursor.execute(query, (int(id),)).fetchone(), ids)


def worker(kind: str, config: str) -> None:
    given = conf(config)
    if kind == "sleep":
        asyncio.run(sleep(given["c"]))
        return
    connection, ear = connect(), connect()
    ear.execute("LISTEN job", prepare=False)
    cursor = connection.cursor()
    ended: list[int] = []
    while True:
        if "comb" in given:
            rows = cursor.execute(FINISH_AND_CLAIM, (ended, given["comb"])).fetchall()
        else:
            rows = cursor.execute(CLAIM_ALONE, (given["B"],)).fetchall()
        ended = []
        if not rows:
            list(ear.notifies(timeout=0.5, stop_after=1))
        for id, task, parameters in rows:
            (mark if task == "noop" else mark_latency)(*parameters)
            ended.append(id)
        if "comb" not in given and ended:
            cursor.execute(FINISH, (ended,))


async def sleep(most: int) -> None:
    parameters = DatabaseConfiguration.from_env().connection_parameters
    connection = await psycopg.AsyncConnection.connect(autocommit=True, prepare_threshold=0, **parameters)
    ended: list[int] = []
    running: set[asyncio.Task[None]] = set()
    changed = asyncio.Event()

    async def job(id: int, number: int) -> None:
        mark_start()
        await asyncio.sleep(SLEEP)
        mark(number)
        ended.append(id)
        changed.set()

    while True:
        changed.clear()
        batch, ended[:] = list(ended), []
        rows = await (await connection.execute(FINISH_AND_CLAIM, (batch, most - len(running)))).fetchall()
        for id, _, (number,) in rows:
            task = asyncio.create_task(job(id, number))
            running.add(task)
            task.add_done_callback(running.discard)
        if not ended:
            await asyncio.wait([asyncio.ensure_future(changed.wait())], timeout=0.2)


if __name__ == "__main__":
    main(globals())
