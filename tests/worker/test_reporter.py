import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import pytest
from support.jobs import claimed, succeeded

from queuer import DatabaseUnavailable
from queuer.values import Outcome, Verdict
from queuer.worker import reporter as reporter_module
from queuer.worker.reporter import Reporter

Written = SimpleQueue[Sequence[Outcome]]


def outcome(id: int) -> Outcome:
    return succeeded(claimed(id=id))


def ids(outcomes: Sequence[Outcome]) -> list[int]:
    return [outcome.job.id for outcome in outcomes]


@pytest.fixture
def written() -> Written:
    return SimpleQueue()


@pytest.fixture
def start() -> Callable[[Callable[[Sequence[Outcome]], None]], Reporter]:
    def started(finish: Callable[[Sequence[Outcome]], None]) -> Reporter:
        reporter = Reporter(finish, lambda: None)
        reporter.start()
        return reporter

    return started


def test_whatever_ends_during_a_write_goes_into_the_next(written: Written, start: Callable[..., Reporter]) -> None:
    under_way, go_on = threading.Event(), threading.Event()

    def finish(outcomes: Sequence[Outcome]) -> None:
        under_way.set()
        go_on.wait(5)
        written.put(outcomes)

    reporter = start(finish)
    reporter.report(outcome(1))
    under_way.wait(5)
    for id in (2, 3, 4):
        reporter.report(outcome(id))
    assert reporter.backlog == 4
    go_on.set()
    assert [ids(written.get(timeout=5)), ids(written.get(timeout=5))] == [[1], [2, 3, 4]]
    reporter.stop(timeout=0)
    assert reporter.backlog == 0


def test_what_ends_while_more_is_to_come_is_written_together(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter_module, "GATHER_FOR", 10)
    looks, is_busy = threading.Semaphore(0), threading.Event()

    def busy() -> bool:
        looks.release()
        return is_busy.is_set()

    reporter = Reporter(written.put, lambda: None, is_busy=busy)
    reporter.start()
    is_busy.set()
    reporter.report(outcome(1))
    assert looks.acquire(timeout=5)
    reporter.report(outcome(2))
    is_busy.clear()  # long before it would wait no longer
    assert ids(written.get(timeout=5)) == [1, 2]
    is_busy.set()
    monkeypatch.setattr(reporter_module, "ENOUGH", 1)
    reporter.report(outcome(3))
    assert ids(written.get(timeout=5)) == [3]
    monkeypatch.setattr(reporter_module, "ENOUGH", 9)
    monkeypatch.setattr(reporter_module, "GATHER_FOR", 0.001)
    reporter.report(outcome(4))
    assert ids(written.get(timeout=5)) == [4]
    reporter.stop(timeout=0)


def test_what_can_not_be_written_is_kept_and_written_later(written: Written, start: Callable[..., Reporter]) -> None:
    broken = [DatabaseUnavailable("away"), DatabaseUnavailable("still away")]

    def finish(outcomes: Sequence[Outcome]) -> None:
        if broken:
            raise broken.pop()
        written.put(outcomes)

    reporter = start(finish)
    reporter.report(outcome(1))
    assert ids(written.get(timeout=5)) == [1]
    reporter.stop(timeout=0)


def test_stopping_writes_what_is_left(written: Written) -> None:
    reporter = Reporter(written.put, lambda: None)
    for id in (1, 2):
        reporter.report(outcome(id))
    reporter.stop(timeout=0)
    assert ids(written.get(timeout=5)) == [1, 2]


def test_stopping_without_a_database_says_so() -> None:
    def finish(_outcomes: Sequence[Outcome]) -> None:
        raise DatabaseUnavailable("away")

    reporter = Reporter(finish, lambda: None)
    reporter.report(outcome(1))
    with pytest.raises(DatabaseUnavailable):
        reporter.stop(timeout=0)


def test_one_outcome_that_is_refused_holds_up_no_other(written: Written, start: Callable[..., Reporter]) -> None:
    def finish(outcomes: Sequence[Outcome]) -> None:
        if any(outcome.job.id == 2 and outcome.verdict is Verdict.SUCCEEDED for outcome in outcomes):
            raise ValueError("jsonb refuses it")
        written.put(outcomes)

    reporter = Reporter(finish, lambda: None)
    for id in (1, 2, 3):
        reporter.report(outcome(id))
    reporter.stop(timeout=0)
    one, two, three = (written.get(timeout=5)[0] for _ in range(3))
    assert [one.verdict, two.verdict, three.verdict] == [Verdict.SUCCEEDED, Verdict.FAILED, Verdict.SUCCEEDED]
    assert two.failure is not None
    assert two.failure.error == "ValueError: the outcome was refused by the database: jsonb refuses it"


def test_a_failure_for_which_its_row_has_no_room_ends_the_job_without_it(
    written: Written, start: Callable[..., Reporter]
) -> None:
    def finish(outcomes: Sequence[Outcome]) -> None:
        if any(each.is_kept for each in outcomes):
            raise ValueError("total size of jsonb array elements exceeds the maximum")
        written.put(outcomes)

    reporter = start(finish)
    reporter.report(outcome(1))
    (ended,) = written.get(timeout=5)
    assert (ended.verdict, ended.is_kept) == (Verdict.FAILED, False)
    assert ended.failure is not None
    assert "exceeds the maximum" in ended.failure.error
    reporter.stop(timeout=0)
