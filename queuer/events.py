"""What travels through NOTIFY: the channels and their payloads.

A channel is database-wide, so its name carries the schema: hashed, because a schema's name may be as long as a
channel's. The trigger in the migrations computes the same name for `added`.
"""

import hashlib
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple
from uuid import UUID

from queuer.rids import rid_of

#: Jobs that one notification names at most: 50 rids of 37 bytes stay far below the 8,000 that PostgreSQL allows.
NAMED_AT_MOST = 50

#: Ids from the first to the last that a range may span: anybody can notify, and each of them is looked up.
MOST_IN_RANGE = 10_000_000

_ID = r"[1-9][0-9]{0,18}"
_RID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_RIDS = re.compile(rf"{_RID}(?:,{_RID})*")
_ADDED = re.compile(rf"(?P<first>{_ID})(?:-(?P<last>{_ID})|:(?P<rids>{_RIDS.pattern}))")
_HIGHEST_ID = 2**63 - 1


class Added(NamedTuple):
    """The jobs that a notification of `added` names.

    Args:
        ids: From the first to the last of many; of few the first alone; empty = nobody knows which there are.
        rids: Of a few, all of them.
    """

    ids: Sequence[int] = ()
    rids: Collection[UUID] = ()


NOBODY_KNOWS = Added()


@dataclass(frozen=True, slots=True)
class Channel:
    """A name to LISTEN to, and the key of the advisory lock that says that somebody does.

    Who listens holds the lock shared; who would notify tries it exclusively, and if it gets it nobody is there to tell.
    """

    name: str
    key: int
    #: Seconds between two looks at what it would tell of, where notifications can't be heard.
    poll_interval: float = 0.5


def added(schema: str) -> Channel:
    """Jobs were added, given back, or wait for a retry: workers look."""
    return _channel("added", schema)


def updated(schema: str) -> Channel:
    """Jobs were started, given back, or wait for a retry: listeners are called."""
    return _channel("updated", schema)


def ended(schema: str) -> Channel:
    """Jobs went into the archive: those who wait for them look, and listeners are called."""
    return _channel("ended", schema)


def steering(schema: str) -> Channel:
    """A worker was asked for something: it looks for what."""
    return replace(_channel("steering", schema), poll_interval=5.0)  # a look writes: it is a heartbeat


@cache
def _channel(kind: str, schema: str) -> Channel:
    digest = hashlib.sha256(schema.encode()).hexdigest()[:16]
    name = f"queuer_{kind}_{digest}"
    return Channel(name, int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], signed=True))


def read_added(payload: str) -> Added:
    """What a notification of `added` names: `5:` and the rids of a few jobs, of which 5 is the first; `5-99` of many.
    The trigger in the migrations writes them, and `jobs.insert_plain`.

    Anything else that somebody notified names none.
    """
    read = _ADDED.fullmatch(payload)
    if read is None:
        return NOBODY_KNOWS
    first = int(read["first"])
    if read["rids"]:
        return Added(range(first, first + 1), _rids_of(read["rids"])) if first <= _HIGHEST_ID else NOBODY_KNOWS
    last = int(read["last"])
    return Added(range(first, last + 1)) if last <= _HIGHEST_ID and 0 <= last - first < MOST_IN_RANGE else NOBODY_KNOWS


def read_rids(payload: str) -> set[UUID]:
    """The rids that a notification of `ended` or `updated` names."""
    return _rids_of(payload) if _RIDS.fullmatch(payload) else set()


def _rids_of(texts: str) -> set[UUID]:
    return {rid_of(text) for text in texts.split(",")}
