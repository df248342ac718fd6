from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import SimpleQueue
from uuid import UUID

import pytest
from support.contract import eventually
from support.jobs import claimed

from queuer.events import NOBODY_KNOWS, Added
from queuer.values import Claim, ClaimedJob
from queuer.worker import claimer as claimer_module
from queuer.worker.claimer import Claimer, Claiming
from queuer.worker.loop import Bell


class Table:
    """Jobs that wait, and what the claimer did about them."""

    def __init__(self) -> None:
        self.waiting: list[ClaimedJob] = []
        self.room = 2
        self.drained: list[bool] = []
        self.due: float | None = None
        self.asked: SimpleQueue[int] = SimpleQueue()
        self.marks: SimpleQueue[Mapping[str, int]] = SimpleQueue()
        self.queued_only: SimpleQueue[bool] = SimpleQueue()
        self.named: SimpleQueue[list[UUID]] = SimpleQueue()
        self.failures: list[Exception] = []
        self.run: SimpleQueue[Sequence[ClaimedJob]] = SimpleQueue()

    def room_for(self, *, is_draining: bool) -> int:
        self.drained.append(is_draining)
        return self.room

    def claim(self, limit: int, marks: Mapping[str, int], /, *, queued_only: bool) -> Claim:
        taken = self._take(self.waiting[:limit])  # first: a test that sees that it was asked may set the room
        self.asked.put(limit)
        self.marks.put(dict(marks))
        self.queued_only.put(queued_only)
        return Claim(taken, None if queued_only else self.due, {job.task_name: job.id for job in taken})

    def claim_named(self, rids: Sequence[UUID]) -> Claim:
        self.named.put(list(rids))
        if self.failures:
            raise self.failures.pop()
        return Claim(self._take([job for job in self.waiting if job.rid in rids]), self.due)

    def _take(self, jobs: Sequence[ClaimedJob]) -> Sequence[ClaimedJob]:
        self.waiting = [job for job in self.waiting if job not in jobs]
        self.room -= len(jobs)
        return jobs


def of(*jobs: ClaimedJob) -> Added:
    """What a notification says of these."""
    return Added(range(jobs[0].id, jobs[0].id + 1), [job.rid for job in jobs])


@pytest.fixture
def table() -> Table:
    return Table()


def made(table: Table, claim: Claiming | None = None, ran_dry: Callable[[], None] = lambda: None) -> Claimer:
    return Claimer(
        claim=claim or table.claim,
        claim_named=table.claim_named,
        room=table.room_for,
        run=table.run.put,
        ran_dry=ran_dry,
    )


@pytest.fixture
def start(table: Table) -> Iterator[Callable[[], Claimer]]:
    claimer = made(table)

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
    claimer.tell_room()
    assert table.asked.get(timeout=5) == 1
    table.room = 3
    claimer.tell_room()
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
    claimer.tell_room()
    claimer.tell_room()
    table.waiting = [claimed()]
    claimer.tell()
    assert [job.id for job in first_jobs(table)] == [1]
    assert table.asked.qsize() == 1


@pytest.mark.parametrize(("room", "wakes"), [(2, 0), (0, 1)])
def test_a_freed_slot_wakes_it_only_when_there_was_none(
    table: Table, monkeypatch: pytest.MonkeyPatch, room: int, wakes: int
) -> None:
    woken: list[Bell] = []
    really_ring = Bell.ring

    def ring(bell: Bell) -> None:
        woken.append(bell)
        really_ring(bell)

    monkeypatch.setattr(Bell, "ring", ring)
    table.room = room
    claimer = made(table)
    claimer.start()
    try:
        eventually(lambda: table.drained if room == 0 else not claimer.is_draining)
        claimer.tell_room()
        assert len(woken) == wakes
    finally:
        claimer.stop()


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

    def claim(limit: int, marks: Mapping[str, int], /, *, queued_only: bool) -> Claim:
        if failures:
            raise failures.pop()
        return table.claim(limit, marks, queued_only=queued_only)

    claimer = made(table, claim)
    claimer.start()
    assert len(first_jobs(table)) == 1
    claimer.stop()
    assert "the claimer failed, and tries again in" in caplog.text


def test_it_goes_on_behind_what_it_took_and_before_what_it_is_told_of(
    table: Table, start: Callable[[], Claimer]
) -> None:
    table.waiting = [claimed(id=7)]
    table.room = 9
    claimer = start()
    assert table.marks.get(timeout=5) == {}
    claimer.tell(Added(range(12, 100)))
    assert table.marks.get(timeout=5) == {"task": 7}
    claimer.tell(Added(range(5, 100)))
    assert table.marks.get(timeout=5) == {"task": 4}
    claimer.tell()
    assert table.marks.get(timeout=5) == {"task": -1}


def test_it_starts_over_now_and_then(
    table: Table, start: Callable[[], Claimer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claimer_module, "POLL_INTERVAL", 0.01)
    table.waiting = [claimed(id=7)]
    start()
    assert [table.marks.get(timeout=5) for _ in range(2)] == [{}, {}]


def test_it_asks_for_scheduled_jobs_only_when_one_may_be_due(table: Table, start: Callable[[], Claimer]) -> None:
    table.waiting = [claimed(id=n) for n in range(9)]
    table.due = 3600
    claimer = start()
    assert table.queued_only.get(timeout=5) is False
    table.room = 2
    claimer.tell_room()
    assert table.queued_only.get(timeout=5) is True
    table.due = 0.05
    table.room = 2
    claimer.tell(of(claimed(id=12)))
    assert table.queued_only.get(timeout=5) is False
    table.room = 9
    claimer.tell_room()
    asked = [table.queued_only.get(timeout=5)]
    while asked[-1]:  # at once what is queued, and in a moment what is due
        asked.append(table.queued_only.get(timeout=5))
    assert len(asked) <= 2


def test_it_drains_until_a_claim_brings_less_than_it_might(table: Table, start: Callable[[], Claimer]) -> None:
    table.waiting = [claimed(id=n) for n in range(3)]
    claimer = start()
    assert len(table.run.get(timeout=5)) == 2
    assert claimer.is_draining
    table.room = 2
    claimer.tell_room()
    assert len(table.run.get(timeout=5)) == 1
    eventually(lambda: not claimer.is_draining)


def test_it_says_that_it_ran_dry_when_the_last_jobs_have_begun(table: Table) -> None:
    table.waiting = [claimed(id=n) for n in range(3)]
    begun_before: SimpleQueue[int] = SimpleQueue()
    claimer = made(table, ran_dry=lambda: begun_before.put(table.run.qsize()))
    claimer.start()
    assert eventually(table.run.qsize) == 1
    table.room = 2
    claimer.tell_room()
    assert begun_before.get(timeout=5) == 2
    claimer.stop()
    assert begun_before.empty()


def test_it_tells_whether_it_drains_when_it_asks_for_room(table: Table, start: Callable[[], Claimer]) -> None:
    """While it does, some may wait for a slot."""
    table.waiting = [claimed(id=n) for n in range(3)]
    claimer = start()
    assert len(table.run.get(timeout=5)) == 2
    table.room = 2
    claimer.tell_room()
    assert len(table.run.get(timeout=5)) == 1
    claimer.tell()
    eventually(lambda: table.drained[-1:] == [False])
    assert table.drained[:2] == [True, True]


@pytest.fixture
def idle(table: Table, start: Callable[[], Claimer]) -> Claimer:
    """A claimer that has got all that there was: nothing."""
    claimer = start()
    assert table.queued_only.get(timeout=5) is False
    assert table.run.get(timeout=5) == []
    return claimer


def test_once_it_has_all_that_there_was_it_asks_for_those_that_it_is_told_of(table: Table, idle: Claimer) -> None:
    table.waiting = [claimed(id=n) for n in (7, 8, 9)]
    told = table.waiting[1]
    idle.tell(of(told))
    assert table.named.get(timeout=5) == [told.rid]
    assert table.run.get(timeout=5) == [told]
    eventually(lambda: not idle.is_draining)
    assert table.queued_only.empty()


@pytest.mark.parametrize(
    "told",
    [NOBODY_KNOWS, Added(range(1, 52)), of(claimed(id=1), claimed(id=2), claimed(id=3))],
    ids=["of nobody knows what", "of many", "of too many"],
)
def test_it_asks_for_any_when_it_is_told(table: Table, idle: Claimer, told: Added) -> None:
    """There is room for two."""
    idle.tell(told)
    assert table.queued_only.get(timeout=5) is False
    assert table.named.empty()


def test_of_news_that_come_while_there_is_no_room_none_is_forgotten(table: Table, idle: Claimer) -> None:
    table.room = 0
    table.waiting = [claimed(id=n) for n in (7, 9)]
    first, last = table.waiting
    idle.tell(of(last))
    idle.tell(of(first))
    table.room = 2
    idle.tell_room()
    assert table.named.get(timeout=5) == [last.rid, first.rid]


def test_when_it_could_not_ask_for_those_it_asks_for_all(table: Table, idle: Claimer) -> None:
    table.failures = [RuntimeError("once")]
    told = claimed()
    idle.tell(of(told))
    assert table.named.get(timeout=5) == [told.rid]
    assert table.queued_only.get(timeout=5) is False


def test_it_remembers_when_those_that_it_was_told_of_are_due(table: Table, idle: Claimer) -> None:
    table.due = 0.05
    told = claimed()
    idle.tell(of(told))
    assert table.named.get(timeout=5) == [told.rid]
    assert table.queued_only.get(timeout=2) is False  # long before it would poll
