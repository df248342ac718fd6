"""A producer process: adds jobs, and cancels some, through a connection that breaks; says in its journal what it knows.

What it knows is three things: that it is about to add a job, that it was added (and its rid), or that adding raised.
"""

import asyncio
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from chaos.journal import Journal
from chaos.orders import Book, Order
from chaos.tasks import DIRECTORY
from queuer import (
    BatchJob,
    DatabaseConfiguration,
    DatabaseUnavailable,
    JobNotFound,
    OnError,
    Options,
    Schedule,
    StaticQueuer,
    new_static_queuer,
)

#: Seconds between two adds, on average.
MEAN_PAUSE = 0.12
BATCH = 12


def options(order: Order) -> Options:
    """What the order says, in the library's words."""
    on_error = schedule = None
    if order.max_retries is not None:
        on_error = OnError(timeout=order.timeout, max_retries=order.max_retries, retry_delay=0.3)
    if order.start_in is not None or order.runs != 1:
        start = datetime.now(UTC) + timedelta(seconds=order.start_in or 0)
        interval = timedelta(seconds=order.interval) if order.interval and not order.function else None
        schedule = Schedule(start, order.runs, interval, order.function)
    return Options(on_error=on_error, schedule=schedule)


class Producer:
    def __init__(self, name: str, seed: str, q: StaticQueuer, journal: Journal) -> None:
        self._name = name
        self._random = Random(seed)
        self._book = Book(self._random)
        self._q = q
        self._journal = journal
        self._runner = asyncio.Runner()
        self._count = 0
        self._recent: deque[str] = deque(maxlen=60)

    def act(self) -> None:
        """Adds something, or cancels something."""
        acts: list[Callable[[], None]] = [self._add, self._add_async, self._add_batch, self._cancel]
        (act,) = self._random.choices(acts, [10, 6, 1, 2])
        act()
        time.sleep(self._random.expovariate(1 / MEAN_PAUSE))

    def _token(self, order: Order) -> str:
        self._count += 1
        token = f"{self._name}-{self._count}"
        self._journal.write("adding", token=token, order=order.to_json())
        return token

    def _add(self) -> None:
        order = self._book.next()
        token = self._token(order)
        self._note(
            [token],
            lambda: [
                str(self._q.add_job_with_options(options(order), order.task, token, *order.parameters).rid),
            ],
        )

    def _add_async(self) -> None:
        order = self._book.next()
        token = self._token(order)
        adding = self._q.add_job_with_options_async
        self._note(
            [token],
            lambda: [str(self._runner.run(adding(options(order), order.task, token, *order.parameters)).rid)],
        )

    def _add_batch(self) -> None:
        orders = [self._book.quick() for _ in range(BATCH)]
        tokens = [self._token(order) for order in orders]
        batch = [BatchJob(order.task, [token]) for order, token in zip(orders, tokens, strict=True)]
        self._note(tokens, lambda: [str(rid) for rid in self._q.add_jobs(batch)])

    def _note(self, tokens: list[str], add: Callable[[], list[str]]) -> None:
        try:
            rids = add()
        except DatabaseUnavailable as error:
            for token in tokens:
                self._journal.write("raised", token=token, error=str(error))
            return
        for token, rid in zip(tokens, rids, strict=True):
            self._journal.write("added", token=token, rid=rid)
        self._recent.extend(rids)

    def _cancel(self) -> None:
        if not self._recent:
            return
        rid = self._random.choice(list(self._recent)[-25:])
        self._journal.write("cancelling", rid=rid)
        try:
            self._q.cancel_job(rid)
        except JobNotFound:
            self._journal.write("ended already", rid=rid)
        except DatabaseUnavailable:
            self._journal.write("perhaps cancelled", rid=rid)
        else:
            self._journal.write("cancelled", rid=rid)


def connected(url: str) -> StaticQueuer:
    """A queuer, as soon as the database can be reached."""
    while True:
        try:
            return new_static_queuer(DatabaseConfiguration.from_url(url))
        except DatabaseUnavailable:
            time.sleep(0.2)


def main(url: str, name: str, seed: str) -> None:
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    q = connected(url)
    producer = Producer(name, seed, q, Journal(Path(os.environ[DIRECTORY]), "producers"))
    while not stopping:
        producer.act()
    q.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
