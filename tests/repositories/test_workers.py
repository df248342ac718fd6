from sqlalchemy.orm import Session
from support.jobs import FIRST, SECOND

from queuer import OnError, WorkerStatus
from queuer.repositories import workers


def test_a_registered_worker_is_known_and_ready(session: Session) -> None:
    workers.register(session, FIRST, "worker", 3, OnError(timeout=5))
    worker = workers.find(session, FIRST)
    assert worker is not None
    assert (worker.name, worker.status, worker.max_concurrency, worker.tasks) == ("worker", WorkerStatus.READY, 3, [])
    assert worker.on_error["timeout"] == 5
    assert workers.find(session, SECOND) is None


def test_a_heartbeat_tells_what_is_new_and_learns_how_long_silence_may_last(session: Session) -> None:
    workers.register(session, FIRST, "worker", 3, None)
    assert workers.beat(session, FIRST, WorkerStatus.RUNNING, ["a", "b"]) == 120
    worker = workers.find(session, FIRST)
    assert worker is not None
    assert (worker.status, worker.tasks, worker.on_error) == (WorkerStatus.RUNNING, ["a", "b"], None)
    assert worker.heartbeat_at > worker.created_at


def test_a_worker_that_nobody_knows_learns_that(session: Session) -> None:
    assert workers.beat(session, FIRST, WorkerStatus.RUNNING, []) is None
