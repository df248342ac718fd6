from sqlalchemy.orm import Session
from support.jobs import FIRST, SECOND

from queuer import OnError, WorkerStatus
from queuer.repositories import steering, workers
from queuer.states import WorkerRequest
from queuer.values import Beat, Page


def test_a_registered_worker_is_known_and_ready(session: Session) -> None:
    workers.register(session, FIRST, "worker", 3, OnError(timeout=5))
    worker = workers.find(session, FIRST)
    assert worker is not None
    assert (worker.name, worker.status, worker.max_concurrency, worker.tasks) == ("worker", WorkerStatus.READY, 3, [])
    assert worker.on_error["timeout"] == 5
    assert workers.find(session, SECOND) is None


def test_a_heartbeat_tells_what_is_new_and_learns_how_long_silence_may_last(session: Session) -> None:
    workers.register(session, FIRST, "worker", 3, None)
    learned = workers.beat(session, FIRST, WorkerStatus.RUNNING, ["a", "b"], ["next"])
    assert learned == Beat(None, 120)
    worker = workers.find(session, FIRST)
    assert worker is not None
    assert (worker.status, worker.tasks, worker.on_error) == (WorkerStatus.RUNNING, ["a", "b"], None)
    assert worker.next_interval_funcs == ["next"]
    assert worker.heartbeat_at > worker.created_at


def test_a_worker_that_nobody_knows_learns_that(session: Session) -> None:
    assert workers.beat(session, FIRST, WorkerStatus.RUNNING, []) is None


def test_what_a_worker_is_asked_for_it_learns_once(session: Session) -> None:
    workers.register(session, FIRST, "worker", 3, None)
    assert steering.ask_worker(session, FIRST, WorkerRequest.STOP)
    assert not steering.ask_worker(session, SECOND, WorkerRequest.STOP)
    asked = [workers.beat(session, FIRST, WorkerStatus.RUNNING, []) for _ in range(2)]
    assert [beat and beat.asked_to for beat in asked] == [WorkerRequest.STOP, None]


def test_workers_are_found_by_what_is_written_of_them(session: Session) -> None:
    for rid, name in ((FIRST, "100%_sure"), (SECOND, "sure")):
        workers.register(session, rid, name, 3, None)

    def found(text: str | None, last_id: int = 0) -> list[str]:
        return [worker.name for worker in workers.page(session, Page(last_id, 10, text=text))]

    assert found(None) == ["sure", "100%_sure"]
    assert found("SURE") == ["sure", "100%_sure"]
    assert found("%_s") == ["100%_sure"]
    assert found(str(SECOND)[:8]) == ["sure"]
    assert found("ready") == ["sure", "100%_sure"]
    assert found("%") == ["100%_sure"]
    first = workers.find(session, SECOND)
    assert first is not None
    assert found(None, first.id) == ["100%_sure"]
