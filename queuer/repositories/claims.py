"""Claiming jobs, and knowing when the next is due."""

from collections.abc import Mapping, Sequence
from functools import lru_cache, reduce
from operator import itemgetter
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.orm import Session

from queuer.events import NAMED_AT_MOST
from queuer.models import Job
from queuer.models.base import within_calendar
from queuer.repositories.direct import DIALECT, Direct, rows, written
from queuer.values import MOST_ATTEMPTS, NO_MARKS, Claim, ClaimedJob

# The claim. For each task that the worker has, an index leads to its oldest jobs, so it never matters how many others
# have. `…_share` reads, without a lock, how many of the first jobs of all belong to which task; `due` and `queued` then
# lock that many of each, or others behind those that somebody else is just claiming. So no more are locked than are
# taken, and across the tasks jobs are taken in the order of their insertion.
#
# Both indexes hold running jobs, too: a claim changes no column that stands in an index or its predicate, so the new
# version of a row needs no new entries in any of them.
#
# Rids are handed over as an array, because the planner can't know how many there are, and would scan the table to join.
_MINE = """
WITH mine AS (
    SELECT name, hashtext(name) AS hash, after
    FROM (SELECT unnest(%(tasks)s::text[]) AS name, unnest(%(after)s::bigint[]) AS after) AS given)""".lstrip()
_TAKE_DUE = """
due_share AS (
    SELECT name, count(*) AS share
    FROM (SELECT name
          FROM mine, LATERAL (SELECT scheduled_at FROM {job} WHERE {due} ORDER BY scheduled_at LIMIT %(limit)s) AS head
          ORDER BY scheduled_at
          LIMIT %(limit)s) AS first
    GROUP BY name),
due AS (
    SELECT rid
    FROM due_share, LATERAL (
        SELECT rid FROM {job} WHERE {due} ORDER BY scheduled_at LIMIT share FOR UPDATE SKIP LOCKED) AS head)"""
_TAKE_QUEUED = """
queued_share AS (
    SELECT name, hash, after, count(*) AS share
    FROM (SELECT name, hash, after
          FROM mine, LATERAL (
              SELECT id FROM {job} WHERE {queued} ORDER BY hashtext(task_name), id LIMIT %(limit)s) AS head
          ORDER BY id
          LIMIT {left}) AS first
    GROUP BY name, hash, after),
queued AS (
    SELECT rid
    FROM queued_share, LATERAL (
        SELECT rid FROM {job} WHERE {queued} ORDER BY hashtext(task_name), id LIMIT share
        FOR UPDATE SKIP LOCKED) AS head)"""
_TAKE = """
taken AS ({taken}),
told AS (
    SELECT count(pg_catalog.pg_notify({updated}, names))
    FROM (SELECT string_agg(rid::text, ',') AS names FROM {chunks}) AS named
    WHERE NOT (SELECT pg_catalog.pg_try_advisory_xact_lock({updated_key})))"""
_CHUNKS = "(SELECT rid, (row_number() OVER () - 1) / {named_at_most} AS chunk FROM taken) AS numbered GROUP BY chunk"
_ONE_CHUNK = "taken HAVING count(*) > 0"  # of as many jobs as one notification names: less work
_LOOK_AHEAD = """
next AS (
    SELECT extract(epoch FROM min(scheduled_at) - clock_timestamp())::float8 AS seconds, (SELECT count FROM told)
    FROM mine, LATERAL (
        SELECT scheduled_at FROM {job} WHERE {scheduled} AND rid NOT IN (SELECT rid FROM due)
        ORDER BY scheduled_at LIMIT 1) AS head)"""
_LOCK_NAMED = "SELECT rid FROM {job} WHERE {named} AND coalesce(scheduled_at IS NULL, false) FOR UPDATE SKIP LOCKED"
_LOOK_NOT = "next AS (SELECT NULL::float8 AS seconds, (SELECT count FROM told))"
_RESULT = "\nSELECT next.*, taken.* FROM next LEFT JOIN taken ON true"

# The worker has the next-interval function that the job names, or it names none; what is no text is no name, and who
# takes the job says so. In coalesce(), because the planner would else expect next to no row that names none.
_FITS = """
coalesce(jsonb_typeof(options -> 'schedule' -> 'next_interval') IS DISTINCT FROM 'string'
         OR options -> 'schedule' ->> 'next_interval' = ANY (%(functions)s::text[]), false)"""

# So has it the key by which the job is encrypted.
_READABLE = "coalesce(key_id IS NULL OR key_id = ANY (%(keys)s::text[]), false)"

# Retries, and what was given back, too. A predicate of the index must be repeated to the letter.
_ANY_SCHEDULED = f"task_name = name AND scheduled_at IS NOT NULL AND status <> 'RUNNING' AND {_FITS}"
_SCHEDULED = f"{_ANY_SCHEDULED} AND {_READABLE}"

# Stable, unlike clock_timestamp(), so the index can be searched for it.
_IS_DUE = "scheduled_at <= statement_timestamp()"
_DUE = f"{_SCHEDULED} AND {_IS_DUE}"

# `after` is the id up to which the queued jobs of a task are taken. Before it lie the dead entries of those that ended:
# as long as anybody holds an old snapshot PostgreSQL can't remove them, and would read them again with each claim.
#
# (hashtext(task_name), id) > (hash, after) AND hashtext(task_name) <= hash says that the hashes are the same and
# id > after, in a way that only this index is in order for. That the names are the same, too, stands in coalesce(), as
# in _FITS: else the planner would expect few, and sort them all.
#
# A scheduled job without an instant, which only another program can have added, is due at once.
_ANY_QUEUED = f"""
(hashtext(task_name), id) > (hash, after) AND hashtext(task_name) <= hash AND coalesce(task_name = name, false)
AND scheduled_at IS NULL AND status <> 'RUNNING' AND {_FITS}"""
_QUEUED = f"{_ANY_QUEUED} AND {_READABLE}"

# For who has taken all that there was, and is told of these: they can be looked up. By the primary key: whether they
# are scheduled is asked in coalesce(), because a plan that was made for an empty table might read an index of those
# else, all of it, and serve until the table is analyzed.
_CAN_RUN = f"task_name = ANY (%(tasks)s::text[]) AND status <> 'RUNNING' AND {_FITS} AND {_READABLE}"
_NAMED = f"rid = ANY (%(rids)s::uuid[]) AND {_CAN_RUN}"
_NAMED_ONE = f"rid = %(rid)s AND {_CAN_RUN}"

_TAKING = """
UPDATE {job}
SET status = 'RUNNING', worker_rid = %(worker)s, started_at = clock_timestamp(),
    attempts = least(attempts, {most_attempts} - 1) + 1 -- else one row would let every claim fail
WHERE {which}
RETURNING scheduled_at IS NULL AS was_queued, id, rid, task_name,
    -- as text: what one row holds may be more than Python reads, and must not lose the others' answer
    parameters::text AS parameters, parameters_keyed::text AS parameters_keyed, options::text AS options,
    attempts, CASE WHEN jsonb_typeof(failures) = 'array' THEN jsonb_array_length(failures) ELSE 0 END AS failures,
    cancel_requested_at IS NOT NULL AS is_cancelled,
    schedule_count,
    -- what the next run of a series is reckoned from
    CASE WHEN options ? 'schedule' THEN ARRAY[{planned_at}, clock_timestamp()] END AS instants,
    series_rid, key_id"""
_PLANNED_AT = within_calendar(func.coalesce(Job.occurrence_at, Job.created_at)).compile(dialect=DIALECT)


def taking(which: str) -> str:
    """SQL that marks jobs as running by `%(worker)s`, and returns whether each was queued, then what a `ClaimedJob`
    holds, in its order. For `rows`."""
    return _with_parts(_TAKING, which=which, planned_at=str(_PLANNED_AT), most_attempts=str(MOST_ATTEMPTS))


def _with_parts(template: str, **parts: str) -> str:
    return reduce(lambda text, part: text.replace(f"{{{part[0]}}}", part[1]), parts.items(), template)


def _claiming(*parts: str, chosen: str, left: str = "%(limit)s", chunks: str = _CHUNKS) -> str:
    return _with_parts(
        ",\n".join(parts) + _RESULT,
        due=_DUE,
        queued=_QUEUED,
        scheduled=_SCHEDULED,
        named=_NAMED,
        left=left,
        taken=taking(f"rid = ANY (array({chosen}))"),
        chunks=chunks,
        named_at_most=str(NAMED_AT_MOST),
    )


_CLAIM = _claiming(
    _MINE,
    _TAKE_DUE,
    _TAKE_QUEUED,
    _TAKE,
    _LOOK_AHEAD,
    left="%(limit)s - (SELECT count(*) FROM due)",
    chosen="SELECT rid FROM due UNION ALL SELECT rid FROM queued",
)
# For a worker that drains a backlog, and knows when the next scheduled job is due: a fifth less work for few jobs.
_BACKLOG = (_MINE, _TAKE_QUEUED, _TAKE, _LOOK_NOT)
_CLAIM_QUEUED = _claiming(*_BACKLOG, chosen="SELECT rid FROM queued")
_CLAIM_FEW_QUEUED = _claiming(*_BACKLOG, chosen="SELECT rid FROM queued", chunks=_ONE_CHUNK)
# For an idle worker that is told of a few jobs.
_NEWS = (f"WITH queued AS ({_LOCK_NAMED})", _TAKE, _LOOK_NOT)
_CLAIM_NAMED = _claiming(*_NEWS, chosen="SELECT rid FROM queued", chunks=_ONE_CHUNK)
# Of one job: as much work as that of a claim from a table without tasks and retries.
_TELL_ONE = """,
    CASE WHEN NOT pg_catalog.pg_try_advisory_xact_lock({updated_key})
         THEN pg_catalog.pg_notify({updated}, rid::text) END"""
_TAKE_ONE = _with_parts(taking(f"rid = ({_LOCK_NAMED})"), named=_NAMED_ONE) + _TELL_ONE
_DUE_OF_NAMED = _with_parts(
    """
SELECT extract(epoch FROM min(scheduled_at) - clock_timestamp())::float8
FROM {job} WHERE {named} AND coalesce(scheduled_at IS NOT NULL, false)""",
    named=_NAMED,
)


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
    return list(take(session, worker_rid, tasks, limit, functions, keys).jobs)


def take(
    session: Session | Direct,
    worker_rid: UUID,
    tasks: Sequence[str],
    limit: int,
    functions: Sequence[str] = (),
    keys: Sequence[str] = (),
    marks: Mapping[str, int] = NO_MARKS,
    *,
    queued_only: bool = False,
) -> Claim:
    """`claim`, and what the worker needs to know for the next one.

    Args:
        marks: Of a task, the id up to which its queued jobs are known to be taken.
        queued_only: Neither takes scheduled jobs nor looks when the next is due.
    """
    where = {"limit": limit, "after": [marks.get(task, 0) for task in tasks]}
    parameters = {**_parameters(session, worker_rid, tasks, functions, keys), **where}
    claiming = _CLAIM if not queued_only else _CLAIM_FEW_QUEUED if limit <= NAMED_AT_MOST else _CLAIM_QUEUED
    found = rows(session, claiming, parameters)
    claim, taken = _read(found)
    # Of each task the last: name and id, as they stand in `taking`, of the rows that were queued.
    return claim._replace(marks={row[5]: row[3] for row in taken if row[2]})


def plan(session: Session | Direct, worker_rid: UUID) -> None:
    """Takes nothing, by each of the statements that take queued jobs: a connection of `Direct` plans them once."""
    if isinstance(session, Direct):
        for limit in (1, NAMED_AT_MOST + 1):
            take(session, worker_rid, (), limit, queued_only=True)


def take_named(
    session: Session | Direct,
    worker_rid: UUID,
    rids: Sequence[UUID],
    tasks: Sequence[str],
    functions: Sequence[str] = (),
    keys: Sequence[str] = (),
) -> Claim:
    """`take`, of those jobs alone that have these rids and are queued. Tells when the first of the scheduled ones among
    them is due. For a worker that has taken all others.

    Args:
        rids: `NAMED_AT_MOST` of them at most.
    """
    parameters = {**_parameters(session, worker_rid, tasks, functions, keys), "rids": list(rids)}
    if len(rids) == 1:
        taken = rows(session, _TAKE_ONE, {**parameters, "rid": rids[0]})
        claim = Claim([ClaimedJob(*row[1:-1]) for row in taken])
    else:
        claim, _ = _read(rows(session, _CLAIM_NAMED, parameters))
    if len(claim.jobs) == len(rids):
        return claim
    return claim._replace(seconds_until_due=rows(session, _DUE_OF_NAMED, parameters)[0][0])


def _parameters(
    session: Session | Direct, worker_rid: UUID, tasks: Sequence[str], functions: Sequence[str], keys: Sequence[str]
) -> Mapping[str, Any]:
    given = (worker_rid, tuple(tasks), tuple(functions), tuple(keys))
    return _as_written(session.encoding, *given) if isinstance(session, Direct) else _as_values(*given)


@lru_cache
def _as_written(encoding: str, *given: Any) -> Mapping[str, Any]:
    """Written once: they are the same from one claim of a worker to the next."""
    return {name: written(value, encoding) for name, value in _as_values(*given).items()}


def _as_values(worker_rid: UUID, tasks: Sequence[str], functions: Sequence[str], keys: Sequence[str]) -> dict[str, Any]:
    return {"worker": worker_rid, "tasks": list(tasks), "functions": list(functions), "keys": list(keys)}


def _read(found: list[tuple[Any, ...]]) -> tuple[Claim, Sequence[tuple[Any, ...]]]:
    """What a claim returned, and its rows in the order of the jobs."""
    seconds_until_due = found[0][0]
    if found[0][3] is None:
        return Claim([], seconds_until_due), ()
    found.sort(key=itemgetter(3))  # by id: RETURNING promises no order
    return Claim([ClaimedJob(*row[3:]) for row in found], seconds_until_due), found


# Led by the tasks, as a claim is, and in the order of its indexes: else the planner might read the jobs of all others.
_MISSING_KEY = """
SELECT key_id
FROM mine, LATERAL (
    (SELECT key_id FROM {job} WHERE {queued} AND NOT {readable} ORDER BY hashtext(task_name), id LIMIT 1)
    UNION ALL
    (SELECT key_id FROM {job} WHERE {scheduled} AND {is_due} AND NOT {readable} ORDER BY scheduled_at LIMIT 1)) AS head
LIMIT 1"""
_MISSING_KEY = _with_parts(
    _MINE + _MISSING_KEY, queued=_ANY_QUEUED, scheduled=_ANY_SCHEDULED, is_due=_IS_DUE, readable=_READABLE
)


def missing_key(
    session: Session, tasks: Sequence[str], functions: Sequence[str] = (), keys: Sequence[str] = ()
) -> str | None:
    """The id of a key that is not among `keys`, by which a job is encrypted that could be claimed else."""
    abilities = {"tasks": list(tasks), "functions": list(functions), "keys": list(keys)}
    found = rows(session, _MISSING_KEY, {**abilities, "after": [0] * len(tasks)})
    return found[0][0] if found else None
