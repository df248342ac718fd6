from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue

import pytest
from support.jobs import claimed

from queuer.values import ClaimedJob
from queuer.worker.claimer import Claimer


class Table:
    """Jobs that wait, and what the claimer did about them."""

    def __init__(self) -> None:
        self.waiting: list[ClaimedJob] = []
        self.room = 2
        self.due: float | None = None
        self.asked: SimpleQueue[int] = SimpleQueue()
        self.run: SimpleQueue[Sequence[ClaimedJob]] = SimpleQueue()

    def claim(self, limit: int) -> Sequence[ClaimedJob]:
        taken, self.waiting = self.waiting[:limit], self.waiting[limit:]
        self.room -= len(taken)
        self.asked.put(limit)
        return taken


@pytest.fixture
def table() -> Table:
    return Table()


@pytest.fixture
def start(table: Table) -> Iterator[Callable[[], Claimer]]:
    claimer = Claimer(
        claim=table.claim, seconds_until_due=lambda: table.due, room=lambda: table.room, run=table.run.put
    )

    def started() -> Claimer:
        claimer.start()
        return claimer

    yield started
    claimer.stop()


def test_it_asks_for_exactly_the_free_slots(table: Table, start: Callable[[], Claimer]) -> None:
    table.waiting = [claimed(id=n) for n in range(5)]
    claimer = start()
    assert table.asked.get(timeout=5) == 2
    assert [job.id for job in table.run.get(timeout=5)] == [0, 1]
    table.room = 1
    claimer.wake()
    assert table.asked.get(timeout=5) == 1
    table.room = 3
    claimer.wake()
    assert table.asked.get(timeout=5) == 3


def test_without_room_it_asks_nothing(table: Table, start: Callable[[], Claimer]) -> None:
    table.room = 0
    claimer = start()
    claimer.tell()
    table.waiting = [claimed()]
    table.room = 1
    claimer.tell()
    assert table.asked.get(timeout=5) == 1
    assert table.asked.empty()


def test_a_freed_slot_is_no_reason_to_ask_when_there_was_nothing_left(
    table: Table, start: Callable[[], Claimer]
) -> None:
    claimer = start()
    assert table.asked.get(timeout=5) == 2
    assert table.run.get(timeout=5) == []
    claimer.wake()
    claimer.wake()
    table.waiting = [claimed()]
    claimer.tell()
    assert [job.id for job in first_jobs(table)] == [1]
    assert table.asked.qsize() == 1


def first_jobs(table: Table) -> Sequence[ClaimedJob]:
    while not (jobs := table.run.get(timeout=5)):
        pass
    return jobs


def test_it_asks_again_when_the_next_job_is_due(table: Table, start: Callable[[], Claimer]) -> None:
    table.due = 0.05
    start()
    assert table.asked.get(timeout=5) == 2
    table.waiting = [claimed()]
    assert table.asked.get(timeout=1) == 2  # long before it would poll


def test_a_claim_that_fails_is_repeated(table: Table, caplog: pytest.LogCaptureFixture) -> None:
    table.waiting = [claimed()]
    failures = [RuntimeError("once")]

    def claim(limit: int) -> Sequence[ClaimedJob]:
        if failures:
            raise failures.pop()
        return table.claim(limit)

    claimer = Claimer(claim=claim, seconds_until_due=lambda: None, room=lambda: 1, run=table.run.put)
    claimer.start()
    assert len(first_jobs(table)) == 1
    claimer.stop()
    assert "the claimer failed, and tries again in" in caplog.text
