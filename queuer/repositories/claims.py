"""Who runs what: claiming jobs, knowing when the next is due, and giving them back."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    BindParameter,
    ColumnElement,
    Double,
    Integer,
    Text,
    and_,
    any_,
    bindparam,
    case,
    cast,
    column,
    exists,
    extract,
    func,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import Session
from sqlalchemy.sql.dml import ReturningUpdate

from queuer import events
from queuer.models import IS_QUEUED, IS_RUNNING, IS_SCHEDULED, Job
from queuer.models.base import within_calendar
from queuer.repositories.notify import bound, ids_of, naming, waking
from queuer.states import JobStatus
from queuer.values import MOST_ATTEMPTS, ClaimedJob, HeldJob

_IDS = ARRAY(BigInteger)
_NEXT_INTERVAL = Job.options_json[("schedule", "next_interval")]
_CAN_RUN = and_(
    Job.task_name == any_(bindparam("tasks", type_=ARRAY(Text))),
    or_(
        # also one that is no name at all: whoever takes it says so
        func.jsonb_typeof(_NEXT_INTERVAL).is_distinct_from("string"),
        any_(bindparam("functions", type_=ARRAY(Text))) == _NEXT_INTERVAL.astext,
    ),
)
_CAN_READ = or_(Job.key_id.is_(None), any_(bindparam("keys", type_=ARRAY(Text))) == Job.key_id)
_MINE = and_(_CAN_RUN, _CAN_READ)
# What the next run of a series is reckoned from.
_INSTANTS = array([within_calendar(func.coalesce(Job.occurrence_at, Job.created_at)), func.clock_timestamp()])
# Stable, unlike clock_timestamp(), so the index on scheduled_at can be searched for it.
_NOW = func.statement_timestamp()


def taking(which: ColumnElement[bool], worker: ColumnElement[UUID]) -> ReturningUpdate[Any]:
    """Marks jobs as running, and returns what a `ClaimedJob` holds, in its order."""
    return (
        update(Job)
        .where(which)
        .values(
            status=JobStatus.RUNNING,
            worker_rid=worker,
            attempts=func.least(Job.attempts, MOST_ATTEMPTS - 1) + 1,  # else one row would let every claim fail
            started_at=func.clock_timestamp(),
        )
        .returning(
            Job.id,
            Job.rid,
            Job.task_name,
            # As text: what one row holds may be more than Python reads, and must not lose the others' answer.
            cast(Job.parameters, Text).label("parameters"),
            cast(Job.parameters_keyed, Text).label("parameters_keyed"),
            cast(Job.options_json, Text).label("options"),
            Job.attempts,
            func.jsonb_array_length(Job.failures).label("failures"),
            Job.cancel_requested_at.is_not(None).label("is_cancelled"),
            Job.schedule_count,
            case((Job.options_json.has_key("schedule"), _INSTANTS)).label("instants"),
            Job.series_rid,
            Job.key_id,
        )
    )


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
    is_chosen = Job.id == any_(func.array(chosen.scalar_subquery()))
    taken = taking(is_chosen, bindparam("worker", type_=Job.rid.type)).cte("taken")
    return select(*taken.c, naming(taken, taken.c.id, "updated"))


_CLAIM = _claim_statement()


def claim(
    session: Session,
    worker_rid: UUID,
    tasks: Sequence[str],
    limit: int,
    functions: Sequence[str] = (),
    keys: Sequence[str] = (),
) -> list[ClaimedJob]:
    """Takes up to `limit` due jobs of these tasks for a worker: scheduled ones that are due first, then the oldest.

    Only those that need no next-interval function, or one of `functions`, and that are not encrypted, or by a key with
    one of the ids `keys`.

    What another worker is just claiming is passed over, never waited for.
    """
    mine = {"tasks": list(tasks), "functions": list(functions), "keys": list(keys)}
    parameters = {"worker": worker_rid, "limit": limit, **mine, **bound(session, updated=events.updated)}
    taken = (ClaimedJob(*row[:-1]) for row in session.execute(_CLAIM, parameters))
    return sorted(taken, key=attrgetter("id"))  # RETURNING promises no order


def seconds_until_due(
    session: Session, tasks: Sequence[str], functions: Sequence[str] = (), keys: Sequence[str] = ()
) -> float | None:
    """When the next scheduled job of these tasks is due, in seconds by the database's clock; None = there is none.

    Not above zero when one is due already.
    """
    until = cast(extract("epoch", Job.scheduled_at - func.clock_timestamp()), Double)
    query = select(until).where(IS_SCHEDULED, _MINE).order_by(Job.scheduled_at).limit(1)
    return session.scalar(query, {"tasks": list(tasks), "functions": list(functions), "keys": list(keys)})


def missing_key(
    session: Session, tasks: Sequence[str], functions: Sequence[str] = (), keys: Sequence[str] = ()
) -> str | None:
    """The id of a key that is not among `keys`, by which a job is encrypted that could be claimed else."""
    is_due = or_(IS_QUEUED, and_(IS_SCHEDULED, Job.scheduled_at <= _NOW))
    query = select(Job.key_id).where(is_due, _CAN_RUN, ~_CAN_READ).limit(1)
    return session.scalar(query, {"tasks": list(tasks), "functions": list(functions), "keys": list(keys)})


_HELD = (
    func.unnest(bindparam("ids", type_=_IDS), bindparam("numbers", type_=ARRAY(Integer)))
    .table_valued(column("id", BigInteger), column("attempt", Integer))
    .render_derived(name="held")
)
_IS_ONE_OF_THEM = exists().where(Job.id == _HELD.c.id, Job.attempts == _HELD.c.attempt)
_GIVEN = (
    update(Job)
    .where(IS_RUNNING, Job.worker_rid == bindparam("worker"))
    .where(or_(bindparam("ids", type_=_IDS).is_(None), _IS_ONE_OF_THEM))
    .values(status=JobStatus.QUEUED, worker_rid=None, started_at=None)
    .returning(Job.id)
    .cte("given")
)
_GIVE_BACK = select(ids_of(_GIVEN), waking(_GIVEN), naming(_GIVEN, _GIVEN.c.id, "updated"))


def give_back(session: Session, worker_rid: UUID, attempts: Mapping[int, int] | None = None) -> set[int]:
    """Queues again what the worker runs, tells the others, and returns the ids of those jobs.

    Args:
        attempts: Only these, by the jobs' ids; None = all that it runs.
    """
    ids, numbers = (None, None) if attempts is None else (list(attempts), list(attempts.values()))
    parameters = {
        "worker": worker_rid,
        "ids": ids,
        "numbers": numbers,
        **bound(session, added=events.added, updated=events.updated),
    }
    return set(session.scalar(_GIVE_BACK, parameters) or ())


def held_by(session: Session, worker_rid: UUID) -> list[HeldJob]:
    """What the database says that a worker runs."""
    held = select(Job.id, Job.rid, Job.attempts, Job.cancel_requested_at.is_not(None)).where(
        IS_RUNNING, Job.worker_rid == worker_rid
    )
    return [HeldJob(*row) for row in session.execute(held)]
