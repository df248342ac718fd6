"""Attempts at jobs without a worker, each from its claim to the archive."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from sqlalchemy.exc import DBAPIError

from queuer.database.engines import sqlstate_of
from queuer.errors import QueuerError
from queuer.operations.finish import write
from queuer.repositories import archive, picking, results
from queuer.sealing import opened_claim, sealed_outcome
from queuer.tasks import Task
from queuer.testing.calling import call, on_async_connections
from queuer.testing.places import Place
from queuer.values import ClaimedJob, Outcome, Verdict
from queuer.worker.attempt import Attempt, cancelled, ending_of, refuse
from queuer.worker.planner import Planner

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.orm import Session

    from queuer.additions import Origin
    from queuer.models import JobArchive

#: As a session's, so that what the task commits or rolls back is its own alone.
_JOINED: dict[str, Any] = {"join_transaction_mode": "create_savepoint"}

IN_FAILED_TRANSACTION = "25P02"

#: Stands for the worker in the rows of jobs.
WORKER_RID = uuid4()


@dataclass(frozen=True, slots=True)
class Run:
    """What came of a job.

    Args:
        ended: As the archive has it.
        error: What made it fail, if it did.
    """

    ended: "JobArchive"
    error: Exception | None


def run(place: Place, able: "Origin", task: Task, rid: UUID, *, before_due: bool) -> Run | None:
    """Runs a job until it has ended, its retries without delay. None = it does not wait, or is not due.

    Args:
        able: The queuer that has its task.
        before_due: Also when it is scheduled for later.
    """

    def run_here() -> Run | None:
        return _run(place, able, task, rid, before_due=before_due)

    return on_async_connections(run_here) if task.is_async and place.has_async_engine else run_here()


def _run(place: Place, able: "Origin", task: Task, rid: UUID, *, before_due: bool) -> Run | None:
    while (job := _take(place, rid, before_due=before_due)) is not None:
        outcome, error = _attempt(place, able, task, job)
        if outcome.verdict is not Verdict.RETRY:
            return Run(_ended(place, task, rid), error if outcome.verdict is Verdict.FAILED else None)
        before_due = True  # the retry waits for its delay
    return None


def _take(place: Place, rid: UUID, *, before_due: bool) -> ClaimedJob | None:
    with place.session() as session:
        return picking.take(session, WORKER_RID, rid, before_due=before_due)


def _attempt(place: Place, able: "Origin", task: Task, job: ClaimedJob) -> tuple[Outcome, Exception | None]:
    if job.is_cancelled:
        return _finish(place, able, cancelled(job)), None
    try:
        attempt = Attempt(opened_claim(able.cipher, job), task, able.on_error)
    except Exception as error:  # noqa: BLE001 - a row that makes no sense fails alone
        return _finish(place, able, refuse(job, error)), error
    return _attempt_in_session(place, able, attempt) if task.session else _attempt_alone(place, able, attempt)


def _attempt_alone(place: Place, able: "Origin", attempt: Attempt) -> tuple[Outcome, Exception | None]:
    value, error = call(attempt)
    outcome, error = _settled(attempt, value, error)
    try:
        return _finish(place, able, outcome), error
    except DBAPIError as refused:
        if sqlstate_of(refused) != IN_FAILED_TRANSACTION:
            raise
        raise QueuerError(
            f"task {attempt.task.name!r} has left the transaction of the test in a failed state; let it roll back its"
            " session, as it has to in production, or take one as a parameter"
        ) from error or refused


def _attempt_in_session(place: Place, able: "Origin", attempt: Attempt) -> tuple[Outcome, Exception | None]:
    """With a session whose transaction is also that of the job's end."""
    with place.transaction() as connection:
        savepoint = connection.begin_nested()
        session = _join(attempt, connection)
        try:
            value, error = call(attempt)
            if error is None:
                session.commit()  # flushes, and releases the task's savepoint
        except Exception as refused:  # noqa: BLE001 - a constraint
            value, error = None, refused
        finally:
            session.close()
        outcome, error = _settled(attempt, value, error)
        if outcome.verdict is Verdict.SUCCEEDED and not _is_held(place, connection, attempt.job):
            outcome = cancelled(attempt.job)
        if outcome.verdict is Verdict.SUCCEEDED:
            savepoint.commit()
        else:
            savepoint.rollback()
        with place.session_on(connection) as own:
            return _write(own, able, outcome), error


def _is_held(place: Place, connection: "Connection", job: ClaimedJob) -> bool:
    """Whether nobody, not the task itself either, wants the job cancelled."""
    with place.session_on(connection) as session:
        return results.hold(session, WORKER_RID, job)


def _join(attempt: Attempt, connection: "Connection") -> Any:
    """Gives the task its session on the connection, and returns the sync one that it is, or stands on."""
    parameter = attempt.task.session
    assert parameter is not None  # noqa: S101 - for the type checker
    session = parameter.session_class(**_JOINED)
    attempt.join(session)
    sync = session.sync_session if parameter.is_async else session
    sync.bind = connection  # also under an AsyncSession, whose own bind could only be that of an async driver
    return sync


def _settled(attempt: Attempt, value: Any, error: Exception | None) -> tuple[Outcome, Exception | None]:
    ending = ending_of(value, error)
    if error is None and ending.failure is not None:  # JSON can't hold what it returned
        error = QueuerError(ending.failure.error)
    outcome = attempt.settle(ending)
    assert outcome is not None  # noqa: S101 - for the type checker: nothing interrupts it
    return outcome, error


def _finish(place: Place, able: "Origin", outcome: Outcome) -> Outcome:
    with place.session() as session:
        return _write(session, able, outcome)


def _write(session: "Session", able: "Origin", outcome: Outcome) -> Outcome:
    functions = able.functions

    def find(name: str) -> Any:
        found = functions.get(name) if functions is not None else None
        return found and found.fn

    planned = Planner(find).plan(outcome)
    if not write(session, WORKER_RID, [sealed_outcome(able.cipher, planned)]):
        raise QueuerError(f"the end of job {outcome.job.rid} can't be written: it is no longer there")
    return planned


def _ended(place: Place, task: Task, rid: UUID) -> "JobArchive":
    with place.session() as session:
        (ended,) = archive.find(session, [rid])
        session.expunge(ended)
    ended.unseal(place.origin.cipher)
    if task.result is not None:
        ended.read_result(task.result.read)
    return ended
