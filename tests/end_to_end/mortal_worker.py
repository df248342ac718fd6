"""Workers that kill themselves, one after another, at a point of their work that a seed chooses. Then one that lives.

Each is a fork of this process, which has everything imported and no connection open. Run with a URL, a seed and the
number of deaths; prints as JSON how many died at which point.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from collections import Counter

from sqlalchemy import Engine, NullPool, create_engine, event, text
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session
from sqlalchemy.pool import Pool

from queuer import DatabaseConfiguration, Queuer, current_job, new_queuer_with_db
from queuer.database.database import Database
from queuer.database.engines import execution_options
from queuer.operations import upkeep

WRITE = text("INSERT INTO ledger (rid) VALUES (:rid)")
POINTS = ("begun", "written", "before a statement", "after a statement", "commit", "committed", "any time")


class Fate:
    """Kills the process when a point is reached for the n-th time."""

    def __init__(self, point: str, number: int) -> None:
        self._point = point
        self._left = number

    def reach(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """The points that SQLAlchemy knows, of all engines."""
        event.listen(Engine, "before_cursor_execute", lambda *_: self.reach("before a statement"))
        event.listen(Engine, "after_cursor_execute", lambda *_: self.reach("after a statement"))
        event.listen(Engine, "commit", lambda *_: self.reach("commit"))
        event.listen(Pool, "checkin", lambda *_: self.reach("committed"))


def work(config: DatabaseConfiguration, fate: Fate) -> Queuer:
    q = new_queuer_with_db("mortal", 3, "", config)

    @q.task
    def pay(session: Session) -> None:
        fate.reach("begun")
        session.execute(WRITE, {"rid": current_job().rid})
        fate.reach("written")

    @q.task
    async def pay_async(session: AsyncSession) -> None:
        fate.reach("begun")
        await session.execute(WRITE, {"rid": current_job().rid})
        fate.reach("written")

    fate.watch()
    return q


def live_and_die(config: DatabaseConfiguration, point: str, number: int) -> None:
    """Ends by a signal only."""
    # The point may never be reached, when few jobs are left.
    latest = number / 100 if point == "any time" else 5
    threading.Timer(latest, os.kill, [os.getpid(), signal.SIGKILL]).start()
    work(config, Fate(point, number)).start()
    time.sleep(3600)  # the worker's threads do the rest


def take_back(config: DatabaseConfiguration) -> int:
    """What the master would do when the silence has lasted. Returns how many jobs are left."""
    engine = create_engine(config.url, poolclass=NullPool, execution_options=execution_options(config))
    database = Database(engine, config)
    running = 1
    while running:  # PostgreSQL may not have noticed yet that a process is dead, and locks what it had locked
        upkeep.rescue(database, stale_after=0)
        with engine.begin() as connection:
            running = connection.scalar(text("SELECT count(*) FROM job WHERE status = 'RUNNING'")) or 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE job SET losses = 0"))  # how often a job may be lost is not what is tested
        return connection.scalar(text("SELECT count(*) FROM job")) or 0


def main() -> None:
    url, seed, deaths = sys.argv[1:]
    config, chance = DatabaseConfiguration.from_url(url), random.Random(seed)
    died: Counter[str] = Counter()
    while died.total() < int(deaths) and take_back(config):
        point, number = chance.choice(POINTS), chance.randint(1, 12)
        child = os.fork()
        if child == 0:
            live_and_die(config, point, number)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGKILL, status
        died[point] += 1
    take_back(config)
    with work(config, Fate("never", 1)) as last:
        while jobs := last.get_jobs():
            last.wait_for_job_finished(jobs[0].rid)
    print(json.dumps(died))


if __name__ == "__main__":
    main()
