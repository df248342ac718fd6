"""Single jobs for who runs them without a worker: the tests of an application. On any PostgreSQL driver."""

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import Text, case, cast, func, or_, select, update
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import Session

from queuer.models import IS_QUEUED, IS_SCHEDULED, Job
from queuer.states import JobStatus
from queuer.values import ClaimedJob

_INSTANTS = array([func.coalesce(Job.occurrence_at, Job.created_at), func.clock_timestamp()])
_IS_DUE = or_(IS_QUEUED, IS_SCHEDULED & (Job.scheduled_at <= func.clock_timestamp()))


def take(session: Session, worker_rid: UUID, rid: UUID, *, before_due: bool = False) -> ClaimedJob | None:
    """Marks a job that waits as running, by a worker that need not be known. None = it does not wait, or is not due.

    Args:
        before_due: Also when it is scheduled for later.
    """
    taken = (
        update(Job)
        .where(Job.rid == rid, or_(IS_QUEUED, IS_SCHEDULED) if before_due else _IS_DUE)
        .values(
            status=JobStatus.RUNNING,
            worker_rid=worker_rid,
            attempts=Job.attempts + 1,
            started_at=func.clock_timestamp(),
        )
        .returning(
            Job.id,
            Job.rid,
            Job.task_name,
            cast(Job.parameters, Text).label("parameters"),
            cast(Job.parameters_keyed, Text).label("parameters_keyed"),
            cast(Job.options_json, Text).label("options"),
            Job.attempts.label("attempt"),
            func.jsonb_array_length(Job.failures).label("failures"),
            Job.cancel_requested_at.is_not(None).label("is_cancelled"),
            Job.schedule_count,
            case((Job.options_json.has_key("schedule"), _INSTANTS)).label("instants"),
            Job.series_rid,
            Job.key_id,
        )
        .execution_options(synchronize_session=False)
    )
    row = session.execute(taken).mappings().one_or_none()
    return ClaimedJob(**row) if row else None


def scheduled(session: Session, rids: Collection[UUID], until: datetime | None = None) -> list[tuple[UUID, str]]:
    """The scheduled ones among these jobs, and among the later runs of those that recur, with the names of their
    tasks; the next to run first.

    Args:
        until: Only those that are due by then.
    """
    query = select(Job.rid, Job.task_name).where(IS_SCHEDULED, or_(Job.rid.in_(rids), Job.series_rid.in_(rids)))
    if until is not None:
        query = query.where(Job.scheduled_at <= until)
    return [(rid, task_name) for rid, task_name in session.execute(query.order_by(Job.scheduled_at, Job.id))]
