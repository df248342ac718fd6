import pytest
from support.jobs import claimed

from queuer.tasks import Task
from queuer.worker.attempt import Attempt
from queuer.worker.slots import Slots


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Office:
    """A hundred slots, and the time."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.slots = Slots(100, self.clock)
        assert self.slots.to_prefetch(is_draining=True) == 0  # before anything is known

    def add(self, count: int) -> list[Attempt]:
        attempts = [Attempt(claimed(id=n), Task("task", print), None) for n in range(count)]
        self.slots.add(attempts)
        return attempts

    def turn_over(self, seconds: float, count: int = 100) -> None:
        """As many attempts end, one after the other, in so many seconds."""
        attempts = self.add(count)
        assert self.slots.fill() == attempts
        for attempt in attempts:
            self.clock.now += seconds / count
            self.slots.end(attempt)

    def to_prefetch(self) -> int:
        return self.slots.to_prefetch(is_draining=True)


@pytest.fixture
def office() -> Office:
    return Office()


def test_slots_are_filled_in_order(office: Office) -> None:
    attempts = office.add(103)
    assert office.slots.fill() == attempts[:100]
    assert (office.slots.free, len(office.slots.row), len(office.slots)) == (0, 3, 103)
    assert office.slots.fill() == []
    for ended in (7, 50):
        office.slots.end(attempts[ended])
    assert office.slots.fill() == attempts[100:102]
    assert (office.slots.free, len(office.slots.row)) == (0, 1)


def test_who_is_withdrawn_gets_no_slot(office: Office) -> None:
    attempts = office.add(103)
    office.slots.fill()
    assert not office.slots.withdraw(attempts[0])
    assert office.slots.withdraw(attempts[101])
    assert not office.slots.withdraw(attempts[101])
    office.slots.end(attempts[101])
    for ended in range(3):
        office.slots.end(attempts[ended])
    assert office.slots.fill() == [attempts[100], attempts[102]]
    assert office.slots.free == 1


@pytest.mark.parametrize(("seconds", "prefetched"), [(0.0, 0), (0.05, 100), (0.25, 20), (5.0, 1), (60.0, 0)])
def test_as_many_are_prefetched_as_slots_come_free_in_fifty_milliseconds(
    office: Office, seconds: float, prefetched: int
) -> None:
    office.turn_over(seconds)
    assert office.to_prefetch() == prefetched
    assert office.to_prefetch() == prefetched


def test_none_are_before_a_slot_has_come_free_for_each(office: Office) -> None:
    office.turn_over(0.01, count=99)
    assert office.to_prefetch() == 0
    office.turn_over(0.001, count=1)
    assert office.to_prefetch() > 0


def test_none_are_when_slots_come_free_no_more(office: Office) -> None:
    office.turn_over(0.25)
    assert office.to_prefetch() == 20
    office.add(120)
    office.slots.fill()
    for seconds, prefetched in [(0.25, 20), (0.25, 10), (4.5, 1), (10.0, 0)]:
        office.clock.now += seconds
        assert office.to_prefetch() == prefetched


def test_none_are_when_one_was_given_back_until_all_slots_have_come_free(office: Office) -> None:
    office.turn_over(0.25)
    assert office.to_prefetch() == 20
    attempts = office.add(300)
    office.slots.fill()
    for attempt in attempts[100:]:
        assert office.slots.withdraw(attempt)
        office.slots.end(attempt)
    for ended in range(99):
        office.clock.now += 0.005
        office.slots.end(attempts[ended])
    assert office.to_prefetch() == 0
    office.clock.now += 0.005
    office.slots.end(attempts[99])
    assert office.to_prefetch() == 10


def test_all_that_wait_can_be_withdrawn(office: Office) -> None:
    attempts = office.add(103)
    office.slots.fill()
    assert office.slots.withdraw_all() == attempts[100:]
    assert (office.slots.withdraw_all(), len(office.slots.row)) == ([], 0)


def test_an_idle_worker_prefetches_none_and_starts_over_when_it_is_busy(office: Office) -> None:
    office.turn_over(0.25)
    assert office.slots.to_prefetch(is_draining=False) == 0
    office.clock.now += 60.0
    assert office.slots.to_prefetch(is_draining=False) == 0
    assert office.to_prefetch() == 0
    office.turn_over(0.25)
    assert office.to_prefetch() == 20
