"""Jobs as rows of PostgreSQL's binary COPY. The driver would take longer for a row than all the rest does."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from struct import Struct
from uuid import UUID

from queuer.payload import compact
from queuer.states import JobStatus
from queuer.values import NewJob

#: The columns of a row, in its order.
COLUMNS: tuple[str, ...] = ("rid", "status", "task_name", "parameters", "parameters_keyed", "options")
COLUMNS += ("parent_rid", "series_rid", "scheduled_at", "occurrence_at", "key_id")

HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

#: Rows that are sent at once.
_AT_ONCE = 500

_length = Struct("!i").pack
_microseconds = Struct("!q").pack
_NULL = _length(-1)
_JSONB_VERSION = b"\x01"
_START = Struct("!hi").pack(len(COLUMNS), 16)  # the number of columns, and the length of a rid
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def chunks(jobs: Iterable[NewJob], rids: list[UUID]) -> Iterator[bytes]:
    """What is to be sent for these jobs, in pieces. Appends their rids to `rids`."""
    sent: list[bytes] = [HEADER]
    for job in jobs:
        rids.append(job.rid)
        sent.append(_row(job))
        if len(sent) >= _AT_ONCE:
            yield b"".join(sent)
            sent.clear()
    yield b"".join((*sent, TRAILER))


def _row(job: NewJob) -> bytes:
    parameters = compact(job.parameters)
    start = (_START, job.rid.int.to_bytes(16))
    if job.is_plain:
        length = _length(len(parameters) + 1)
        return b"".join((*start, _queued(job.task_name), length, _JSONB_VERSION, parameters, _NOTHING_MORE))
    json = (_json(parameters), _json(compact(job.parameters_keyed or {})), _json(compact(job.options_json)))
    planned = _instant(job.scheduled_at)
    more = (*json, _uuid(job.parent_rid), _uuid(job.series_rid), planned, planned, _text(job.key_id))
    return b"".join((*start, _text(job.status), _text(job.task_name), *more))


@lru_cache(maxsize=1000)
def _queued(task_name: str) -> bytes:
    return _text(JobStatus.QUEUED) + _text(task_name)


def _json(text: bytes) -> bytes:
    return _length(len(text) + 1) + _JSONB_VERSION + text


def _text(value: str | None) -> bytes:
    return _NULL if value is None else _length(len(value.encode())) + value.encode()


def _uuid(value: UUID | None) -> bytes:
    return _NULL if value is None else _length(16) + value.bytes


def _instant(value: datetime | None) -> bytes:
    return _NULL if value is None else _length(8) + _microseconds((value - _EPOCH) // _MICROSECOND)


_NOTHING_MORE = 2 * _json(b"{}") + 5 * _NULL
