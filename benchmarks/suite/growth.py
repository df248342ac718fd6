"""G1 to G8: what happens to the queue when something around it grows. Compared with its own clean run.

Rows are clones of one that the queue itself has written: triggers off, so that a million take seconds.
"""

import statistics
import time
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import psycopg
from psycopg import sql
from sides import Side, cpu_seconds, memory, settle

JOBS = 100_000
LOOK_UPS = 200

_COLUMNS = """
SELECT attname FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attidentity = ''
AND coalesce(pg_get_expr(adbin, adrelid), '') !~ '(gen_random_uuid|queuer_new_rid)' ORDER BY attnum"""


@dataclass
class Drain:
    """Of the first `count` jobs: jobs a second from the first start, and of each tenth of them."""

    rate: float
    tenths: list[float] = field(default_factory=list)


def clone(
    connection: "psycopg.Connection[Any]", table: str, count: int, changes: dict[str, str], first: int = 1
) -> None:
    """Inserts clones of the row in `pattern`. `changes` are SQL, in which `g` counts the clones."""
    columns = dict.fromkeys([name for (name,) in connection.execute(_COLUMNS, [table])] + list(changes))
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    values = [sql.SQL(changes[name]) if name in changes else sql.Identifier(name) for name in columns]  # type: ignore[arg-type]
    connection.execute(
        sql.SQL("INSERT INTO {} ({}) SELECT {} FROM pattern, generate_series({}, {}) g").format(
            sql.Identifier(table), names, sql.SQL(", ").join(values), first, first + count - 1
        )
    )


def fill(side: Side, connection: "psycopg.Connection[Any]", *parts: tuple[int, dict[str, str]]) -> None:
    """Fills the table of jobs, in this order."""
    side.step("bulk", n=1)
    connection.execute("SET session_replication_role = replica")
    connection.execute("CREATE TEMP TABLE pattern AS SELECT * FROM job")
    connection.execute("DELETE FROM job")
    for count, changes in parts:
        if count:
            clone(connection, "job", count, changes)
    settle(connection)


def drain(side: Side, count: int, seconds: float = 120) -> Drain:
    with side.workers("noop", side.info["drain"]) as (worker,):
        at = [side.wait_for(count * tenth // 10, seconds) for tenth in range(1, 11)]
        assert worker.poll() is None, "the worker ended"
    instants = [side.first_start, *at]
    tenths = [count / 10 / max(0.001, after - before) for before, after in pairwise(instants)]
    return Drain(min(side.marked, count) / (at[-1] - side.first_start), tenths)


def crowded(side: Side, workload: str, rows: int) -> dict[str, Any]:
    """G1: more of its own wait behind. G2: older ones of a task that it does not have. G3: as many for tomorrow."""
    grow = side.info["grow"]
    crowd: tuple[int, dict[str, str]] = {
        "G1": (0, {}),
        "G2": (rows, grow["foreign"]),
        "G3": (rows, grow["future"]),
    }[workload]
    behind = rows if workload == "G1" else 0
    rates = []
    for parts in (((JOBS, {}),), (crowd, (JOBS + behind, {}))):
        with side.database() as connection:
            fill(side, connection, *parts)
            rates.append(drain(side, JOBS))
    return {"ratio": rates[1].rate / rates[0].rate, "clean": rates[0].tenths, "grown": rates[1].tenths}


def held_snapshot(side: Side) -> dict[str, Any]:
    """G4: somebody holds a snapshot all the while, so that nothing dead can be removed."""
    runs = []
    for is_held in (False, True):
        with side.database() as connection:
            fill(side, connection, (5 * JOBS, {}))
            if is_held:
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                connection.execute("SELECT 1")
            runs.append(drain(side, 5 * JOBS, 300))
            if is_held:
                connection.execute("ROLLBACK")
    clean, held = runs
    return {
        "ratio": held.rate / clean.rate,
        "last tenth": held.tenths[-1] / clean.tenths[-1],
        "clean": clean.tenths,
        "grown": held.tenths,
    }


def archive(side: Side, rows: int) -> dict[str, Any]:
    """G5: milliseconds to find one ended job, among 10,000 and among `rows`."""
    ended = side.info["grow"]["ended"]
    found = {}
    with side.database() as connection:
        side.step("bulk", n=1)
        with side.workers("noop", side.info["drain_by_default"]):
            while connection.execute(f"SELECT count(*) FROM {ended['table']}").fetchone() != (1,):
                time.sleep(0.1)
        connection.execute("SET session_replication_role = replica")
        connection.execute(f"CREATE TEMP TABLE pattern AS SELECT * FROM {ended['table']}")
        first = 1
        for count in (10_000, rows):
            clone(connection, ended["table"], count - first + 1, ended["each"], first)
            first = count + 1
            settle(connection)
            percent = min(100, 200_000 / count)
            sample = f"""SELECT id FROM (SELECT {ended["id"]}::text AS id FROM {ended["table"]}
                TABLESAMPLE BERNOULLI ({percent})) AS sampled ORDER BY random() LIMIT {LOOK_UPS + 20}"""
            ids = [id for (id,) in connection.execute(sample)]  # type: ignore[call-overload]
            found[count] = statistics.median(side.step("get", config=",".join(ids))["ms"][20:])
    return {"ratio": found[rows] / found[10_000], "ms": found}


def idle(side: Side, seconds: float = 20) -> dict[str, Any]:
    """G6: statements a second, share of a core, and connections of a worker that has nothing to do."""
    query = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with side.database() as connection, side.workers("noop", side.info["drain_by_default"]) as (worker,):
        time.sleep(20)  # an idle server process tells ten seconds late what it did, such as to start

        def transactions() -> int:
            (count,) = connection.execute(query).fetchone() or (0,)
            return int(count)

        before, used = transactions(), cpu_seconds(worker.pid)
        time.sleep(seconds)
        sent = (transactions() - before - 1) / seconds  # the first look is one
        used = (cpu_seconds(worker.pid) - used) / seconds
        (connections,) = connection.execute(others).fetchone() or (0,)
    return {"statements/s": sent, "cores": used, "connections": connections}


def worker_memory(side: Side) -> dict[str, Any]:
    """G7: MB of a worker, after a fifth of many jobs and after all, and at most."""
    with side.database() as connection:
        fill(side, connection, (2 * JOBS, {}))
        with side.workers("noop", side.info["drain"]) as (worker,):
            side.wait_for(2 * JOBS // 5, 120)
            early, _ = memory(worker.pid)
            side.wait_for(2 * JOBS, 120)
            late, peak = memory(worker.pid)
    return {"after a fifth": early, "after all": late, "peak": peak}


def producer_memory(side: Side, count: int) -> dict[str, Any]:
    """G8: by how many MB a process grows that adds so many jobs out of a generator."""
    with side.database():
        measured = side.step("bulk", n=count)
    return {"growth": measured["peak_mb"] - measured["base_mb"]}
