"""Jobs as rows of PostgreSQL's binary COPY. The driver would take longer for a row than all the rest does."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain, groupby, islice
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from queuer.payload import compact
from queuer.values import NewJob

# A tenth of the server's time for a plain job goes into columns that say nothing of it.
_OF_PLAIN: tuple[str, ...] = ("rid", "task_name", "parameters")
_OF_ALL: tuple[str, ...] = (*_OF_PLAIN, "parameters_keyed", "options", "status")
_OF_ALL += ("parent_rid", "series_rid", "scheduled_at", "occurrence_at", "key_id")

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"

#: Rows that are sent at once.
AT_ONCE = 500

_length = Struct("!i").pack
_microseconds = Struct("!q").pack
_NULL = _length(-1)
_JSONB_VERSION = b"\x01"
_start_of_jsonb = Struct("!ib").pack  # its length, and the version
_START = Struct("!hi").pack  # the number of columns, and the length of a rid
_START_OF_PLAIN, _START_OF_ALL = _START(len(_OF_PLAIN), 16), _START(len(_OF_ALL), 16)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

# What a plain job says beyond its rid, task and positional parameters; to compare takes less than `is_plain`.
_MORE = slice(3, None)
_NOTHING_MORE = NewJob(UUID(int=0), "")[_MORE]


class Part(NamedTuple):
    """Jobs that one COPY takes."""

    #: The columns that it names.
    columns: Sequence[str]
    #: What is to be sent.
    chunks: Iterator[bytes]


def parts(jobs: Iterable[NewJob], rids: list[UUID]) -> tuple[bool, Iterator[Part]]:
    """What is to be copied for these jobs, one part after the other; and whether that is one part at most.

    Takes a generator without keeping its jobs, so the plain jobs at its beginning are a part of their own; unless they
    are few. Appends the rids to `rids` as the jobs are sent.
    """
    rest = iter(jobs)
    first = list(islice(rest, AT_ONCE))
    is_one = len(first) < AT_ONCE
    are_plain = not is_one or all(job.is_plain for job in first)

    def plain_so_far(job: NewJob) -> bool:
        nonlocal are_plain
        are_plain = are_plain and (job[_MORE] == _NOTHING_MORE or job.is_plain)
        return are_plain

    grouped = groupby(chain(first, rest), plain_so_far)
    return is_one, (_part(part, rids, are_plain=key) for key, part in grouped)


def _part(jobs: Iterable[NewJob], rids: list[UUID], *, are_plain: bool) -> Part:
    columns, row = (_OF_PLAIN, _plain_row) if are_plain else (_OF_ALL, _row)
    return Part(columns, _chunks(row, jobs, rids))


def _chunks(row: Callable[[NewJob], bytes], jobs: Iterable[NewJob], rids: list[UUID]) -> Iterator[bytes]:
    sent: list[bytes] = [_HEADER]
    for job in jobs:
        rids.append(job.rid)
        sent.append(row(job))
        if len(sent) >= AT_ONCE:
            yield b"".join(sent)
            sent.clear()
    yield b"".join((*sent, _TRAILER))


def _plain_row(job: NewJob) -> bytes:
    rid, task_name, parameters, *_ = job
    json = compact(parameters)
    return b"".join((_START_OF_PLAIN, rid.int.to_bytes(16), _name(task_name), _start_of_jsonb(len(json) + 1, 1), json))


def _row(job: NewJob) -> bytes:
    start = (_START_OF_ALL, job.rid.int.to_bytes(16), _name(job.task_name), _json(job.parameters))
    more = (_unless_empty(job.parameters_keyed), _unless_empty(job.options_json), _text(job.status))
    planned = _instant(job.scheduled_at)
    return b"".join((*start, *more, _uuid(job.parent_rid), _uuid(job.series_rid), planned, planned, _text(job.key_id)))


@lru_cache(maxsize=1000)
def _name(task_name: str) -> bytes:
    return _text(task_name)


def _unless_empty(value: object) -> bytes:
    return _json(value) if value else _NULL


def _json(value: object) -> bytes:
    text = compact(value)
    return _length(len(text) + 1) + _JSONB_VERSION + text


def _text(value: str | None) -> bytes:
    return _NULL if value is None else _length(len(value.encode())) + value.encode()


def _uuid(value: UUID | None) -> bytes:
    return _NULL if value is None else _length(16) + value.bytes


def _instant(value: datetime | None) -> bytes:
    return _NULL if value is None else _length(8) + _microseconds((value - _EPOCH) // _MICROSECOND)
