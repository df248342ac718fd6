"""W1 to W5: what one queue does in a second, next to what plain SQL does."""

import time
from collections.abc import Callable
from typing import Any

from sides import Side, settle

SINGLES, BATCH, SLEEPERS, PINGS = 3000, 50_000, 2000, 300
BACKLOG, SMALL_BACKLOG = 100_000, 20_000


def single(side: Side) -> float:
    """W1: jobs a second, added one after another by one process."""
    with side.database():
        return SINGLES / float(side.step("single", n=SINGLES)["seconds"])


def bulk(side: Side) -> float:
    """W2: jobs a second, added at once."""
    with side.database():
        return BATCH / float(side.step("bulk", n=BATCH)["seconds"])


def drain(side: Side, config: str, count: int, workers: int = 1, kind: str = "noop") -> float:
    """W3, W3b, W5: jobs a second, from the first start until nothing is left in the table."""
    with side.database() as connection:
        side.step("bulk", n=count, kind=kind)
        settle(connection)
        with side.workers(kind, config, workers):
            side.wait_for(count, 120)
            deadline = time.time() + 60
            while connection.execute("SELECT count(*) FROM job").fetchone() != (0,) and time.time() < deadline:
                time.sleep(0.003)
            return count / (time.time() - side.first_start)


def latency(side: Side, config: str) -> dict[str, float]:
    """W4: milliseconds from the add to the start on an idle worker, at the median and at the 99th percentile."""
    with side.database(), side.workers("lat", config):
        time.sleep(3)
        side.step("produce", n=3, interval=0.1)
        time.sleep(1)
        before = side.marked
        sent = side.step("produce", n=PINGS)["sent"]
        time.sleep(1)
        began = side.began(before)
    late = sorted(1000 * (began[int(number)] - at) for number, at in sent if int(number) in began)
    return {"p50": late[len(late) // 2], "p99": late[len(late) * 99 // 100]}


#: What a side comes to in each workload.
MEASURE: dict[str, Callable[[Side], Any]] = {
    "W1": single,
    "W2": bulk,
    "W3": lambda side: drain(side, side.info["drain"], BACKLOG),
    "W3 default": lambda side: drain(side, side.info["drain_by_default"], SMALL_BACKLOG),
    "W3b": lambda side: drain(side, side.info["drain"], BACKLOG, workers=2),
    "W4": lambda side: latency(side, side.info["latency"]),
    "W5": lambda side: drain(side, side.info["sleep"], SLEEPERS, kind="sleep"),
}
