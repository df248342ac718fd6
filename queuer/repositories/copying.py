"""Jobs as rows of PostgreSQL's binary COPY. The driver would take longer for a row than all the rest does."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain, groupby
from struct import Struct
from typing import NamedTuple
from uuid import UUID

from queuer.payload import compact, compact_lists
from queuer.values import NewJob, PlainJobs, one_by_one

# A tenth of the server's time for a plain job goes into columns that say nothing of it.
_OF_PLAIN: tuple[str, ...] = ("rid", "task_name", "parameters")
_OF_ALL: tuple[str, ...] = (*_OF_PLAIN, "parameters_keyed", "options", "status")
_OF_ALL += ("parent_rid", "series_rid", "scheduled_at", "occurrence_at", "key_id")

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"

#: So many jobs are looked at before anything is sent: where there are fewer, one statement does it.
A_FEW = 500

#: Bytes that are sent at once.
LARGEST = 30_000

_length = Struct("!i").pack
_microseconds = Struct("!q").pack
_NULL = _length(-1)
_JSONB_VERSION = b"\x01"
_start_of_jsonb = Struct("!ib").pack  # its length, and the version
_START = Struct("!hi").pack  # the number of columns, and the length of a rid
_START_OF_PLAIN, _START_OF_ALL = _START(len(_OF_PLAIN), 16), _START(len(_OF_ALL), 16)
_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Part(NamedTuple):
    """Jobs that one COPY takes."""

    #: The columns that it names.
    columns: Sequence[str]
    #: What is to be sent.
    chunks: Iterator[bytes]


def parts(jobs: Iterable[NewJob | PlainJobs], rids: list[UUID]) -> tuple[bool, Iterator[Part]]:
    """What is to be copied for these jobs, one part after the other; and whether that is one part at most.

    Takes a generator without keeping its jobs, so the plain jobs at its beginning are a part of their own; unless they
    are few. Appends the rids to `rids` as the jobs are sent.
    """
    rest = iter(jobs)
    first = list(_first(rest))
    is_one = sum(map(_count, first)) < A_FEW
    are_plain = not is_one or all(map(_is_plain, first))

    def plain_so_far(job: NewJob | PlainJobs) -> bool:
        nonlocal are_plain
        are_plain = are_plain and _is_plain(job)
        return are_plain

    grouped = groupby(chain(first, rest), plain_so_far)
    return is_one, (_part(part, rids, are_plain=key) for key, part in grouped)


def _first(jobs: Iterator[NewJob | PlainJobs]) -> Iterator[NewJob | PlainJobs]:
    """A few, or all that there are."""
    count = 0
    while count < A_FEW and (job := next(jobs, None)) is not None:
        yield job
        count += _count(job)


def _count(job: NewJob | PlainJobs) -> int:
    return len(job.rids) if isinstance(job, PlainJobs) else 1


def _is_plain(job: NewJob | PlainJobs) -> bool:
    return isinstance(job, PlainJobs) or job.is_plain


def _part(jobs: Iterable[NewJob | PlainJobs], rids: list[UUID], *, are_plain: bool) -> Part:
    if are_plain:
        return Part(_OF_PLAIN, _chunks(map(_plain_rows, jobs), rids))
    return Part(_OF_ALL, _chunks((([job.rid], _row(job)) for job in one_by_one(jobs)), rids))


def _chunks(rows: Iterable[tuple[Sequence[UUID], bytes]], rids: list[UUID]) -> Iterator[bytes]:
    sent: list[bytes] = [_HEADER]
    size = 0
    for its_rids, written in rows:
        rids += its_rids
        sent.append(written)
        size += len(written)
        if size >= LARGEST:
            yield b"".join(sent)
            sent.clear()
            size = 0
    yield b"".join((*sent, _TRAILER))


def _plain_rows(job: NewJob | PlainJobs) -> tuple[Sequence[UUID], bytes]:
    if not isinstance(job, PlainJobs):
        return [job.rid], _plain_row(job.rid, _name(job.task_name), compact(job.parameters))
    named = zip(job.rids, map(_name, job.task_names), compact_lists(job.parameters), strict=True)
    return job.rids, b"".join([_plain_row(*each) for each in named])


def _plain_row(rid: UUID, name: bytes, json: bytes) -> bytes:
    return b"".join((_START_OF_PLAIN, rid.int.to_bytes(16), name, _start_of_jsonb(len(json) + 1, 1), json))


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
