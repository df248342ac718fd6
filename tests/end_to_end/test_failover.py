"""A primary that dies under load, and the standby that takes its place."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from support.cluster import Cluster, Server, cluster
from support.contract import eventually, line

from queuer import DatabaseUnavailable, StaticQueuer, new_static_queuer

WORKER = """
import os, sys, threading
from queuer import DatabaseConfiguration, MasterSettings, new_queuer_with_db
url, log = sys.argv[1:]
file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
q = new_queuer_with_db("worker", 5, "", DatabaseConfiguration.from_url(url))
@q.task
def note(n):
    os.write(file, b"%d\\n" % n)
    return n
q.start(MasterSettings(worker_stale_after=4, master_poll_interval=0.2, lock_timeout_minutes=0.02))
print("ready", flush=True)
q.run()
"""


@contextmanager
def workers(both: Cluster, log: Path, count: int = 2) -> Iterator[None]:
    url = both.config.url.render_as_string(hide_password=False)
    command = [sys.executable, "-W", "error", "-c", WORKER, url, str(log)]
    with ExitStack() as stack:
        children = [
            stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True)) for _ in range(count)
        ]
        try:
            assert [line(child) for child in children] == ["ready"] * count
            yield
        finally:
            for child in children:
                child.terminate()
        codes = [child.wait(timeout=20) for child in children]
    assert codes == [0] * count


class Adder(threading.Thread):
    """Adds one job after the other, and remembers those that the database has acknowledged."""

    def __init__(self, q: StaticQueuer) -> None:
        super().__init__(name="adder")
        self._q = q
        self._is_over = threading.Event()
        self.acknowledged: list[UUID] = []

    def run(self) -> None:
        number = 0
        while not self._is_over.is_set():
            number += 1
            try:
                self.acknowledged.append(self._q.add_job("note", number).rid)
            except DatabaseUnavailable:  # nobody knows whether there is one; the next will tell when it is over
                continue

    def end(self) -> None:
        self._is_over.set()
        self.join()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def runs(log: Path) -> Counter[int]:
    return Counter(map(int, log.read_text().split()))


def archived(server: Server) -> "Counter[object]":
    return Counter(rid for (rid,) in server.ask("SELECT rid FROM job_archive WHERE status = 'SUCCEEDED'"))


def has_nothing_left(server: Server) -> bool:
    return server.ask("SELECT count(*) FROM job") == [(0,)]


@pytest.mark.timeout(120)
def test_synchronous_replication_loses_nothing_that_was_acknowledged(log: Path) -> None:
    with cluster(is_synchronous=True) as both:
        q = new_static_queuer(both.config)
        adder = Adder(q)
        with workers(both, log):
            adder.start()
            eventually(lambda: archived(both.primary).total() > 200, timeout=30)
            both.primary.crash()
            before = len(adder.acknowledged)
            both.standby.promote()
            eventually(lambda: len(adder.acknowledged) > before + 200, timeout=30)
            adder.end()
            eventually(lambda: has_nothing_left(both.standby), timeout=40)
        done = archived(both.standby)
        q.stop()
    assert set(adder.acknowledged) - set(done) == set()
    assert set(done.values()) == {1}
    assert runs(log).keys() >= set(range(1, before))


@pytest.mark.timeout(120)
def test_asynchronous_replication_loses_what_the_standby_had_not_got_and_no_more(log: Path) -> None:
    with cluster(is_synchronous=False) as both:
        q = new_static_queuer(both.config)
        ended = [q.add_job("note", n).rid for n in range(50)]
        with workers(both, log, count=1):
            eventually(lambda: has_nothing_left(both.primary))
        waiting = [q.add_job("note", n).rid for n in range(100, 150)]
        both.catch_up()
        both.standby.leave_behind()
        for number in range(200, 250):
            q.add_job("note", number)  # acknowledged, and lost
        with workers(both, log):
            eventually(lambda: has_nothing_left(both.primary), timeout=20)
            both.primary.crash()
            both.standby.promote()
            eventually(lambda: has_nothing_left(both.standby), timeout=40)
            assert archived(both.standby) == Counter([*ended, *waiting])
            after = [_add(q, n) for n in range(300, 350)]
            eventually(lambda: has_nothing_left(both.standby), timeout=20)
            assert archived(both.standby) == Counter([*ended, *waiting, *after])
        q.stop()
    assert runs(log) == Counter(
        {n: 2 if 100 <= n < 150 else 1 for n in [*range(50), *range(100, 150), *range(200, 250), *range(300, 350)]}
    )


def _add(q: StaticQueuer, number: int) -> UUID:
    """Adds a job after a failover: the pool may still have connections to what is no more."""
    return eventually(lambda: _try_to_add(q, number))


def _try_to_add(q: StaticQueuer, number: int) -> UUID | None:
    try:
        return q.add_job("note", number).rid
    except DatabaseUnavailable:
        return None
