"""Who runs what: claiming jobs, knowing when the next is due, and giving them back."""

from collections.abc import Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BindParameter,
    Double,
    Integer,
    Text,
    any_,
    bindparam,
    cast,
    extract,
    func,
    literal,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import Session

from queuer.events import added_channel
from queuer.models import IS_QUEUED, IS_RUNNING, IS_SCHEDULED, Job
from queuer.repositories.notify import changed_ids, schema_of, telling
from queuer.states import JobStatus
from queuer.values import ClaimedJob

_MINE = Job.task_name == any_(bindparam("tasks", type_=ARRAY(Text)))
# Stable, unlike clock_timestamp(), so the index on scheduled_at can be searched for it.
_NOW = func.statement_timestamp()


def _claim_statement() -> Any:
    """Chooses due jobs and marks them as running, in one statement.

    Rows are locked in CTEs: in a plain `IN (SELECT … LIMIT)` the planner may run the subquery again and lock more than
    the limit. And they are handed over as an array: PostgreSQL can't know how many a LIMIT with an expression lets
    through, and would guess a tenth of the table and scan it all to join.
    """
    limit: BindParameter[int] = bindparam("limit", type_=Integer)
    due = select(Job.id).where(IS_SCHEDULED, Job.scheduled_at <= _NOW, _MINE).order_by(Job.scheduled_at).limit(limit)
    due_ids = due.with_for_update(skip_locked=True).cte("due")
    rest = limit - select(func.count()).select_from(due_ids).scalar_subquery()
    queued = select(Job.id).where(IS_QUEUED, _MINE).order_by(Job.id).limit(rest)
    queued_ids = queued.with_for_update(skip_locked=True).cte("queued")
    chosen = union_all(select(due_ids.c.id), select(queued_ids.c.id))
    return (
        update(Job)
        .where(Job.id == any_(func.array(chosen.scalar_subquery())))
        .values(
            status=JobStatus.RUNNING,
            worker_rid=bindparam("worker"),
            attempts=Job.attempts + 1,
            started_at=func.clock_timestamp(),
        )
        .returning(
            Job.id,
            Job.rid,
            Job.task_name,
            Job.parameters,
            Job.parameters_keyed,
            Job.options_json,
            Job.attempts,
            func.jsonb_array_length(Job.failures),
        )
    )


_CLAIM = _claim_statement()


def claim(session: Session, worker_rid: UUID, tasks: Sequence[str], limit: int) -> list[ClaimedJob]:
    """Takes up to `limit` due jobs of these tasks for a worker: scheduled ones that are due first, then the oldest.

    What another worker is just claiming is passed over, never waited for.
    """
    found = session.execute(_CLAIM, {"worker": worker_rid, "tasks": list(tasks), "limit": limit})
    return sorted((ClaimedJob(*row) for row in found), key=attrgetter("id"))  # RETURNING promises no order


def seconds_until_due(session: Session, tasks: Sequence[str]) -> float | None:
    """When the next scheduled job of these tasks is due, in seconds by the database's clock; None = there is none.

    Not above zero when one is due already.
    """
    until = cast(extract("epoch", Job.scheduled_at - func.clock_timestamp()), Double)
    query = select(until).where(IS_SCHEDULED, _MINE).order_by(Job.scheduled_at).limit(1)
    return session.scalar(query, {"tasks": list(tasks)})


_GIVE_BACK = telling(
    update(Job)
    .where(IS_RUNNING, Job.worker_rid == bindparam("worker"))
    .values(status=JobStatus.QUEUED, worker_rid=None, started_at=None)
    .returning(Job.id)
    .cte("given"),
    literal(""),
)


def give_back(session: Session, worker_rid: UUID) -> set[int]:
    """Queues again whatever the worker runs, tells the others, and returns the ids of those jobs."""
    channel = added_channel(schema_of(session) or "public")
    return changed_ids(session, _GIVE_BACK, channel, {"worker": worker_rid})
