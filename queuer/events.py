"""What travels through NOTIFY: the channels and their payloads.

A channel is database-wide, so its name carries the schema: hashed, because a schema's name may be as long as a
channel's. The trigger in the migrations computes the same name for `added`.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from uuid import UUID

#: Jobs that one notification names at most: 50 rids of 37 bytes stay far below the 8,000 that PostgreSQL allows.
NAMED_AT_MOST = 50

#: Ids from the first to the last that a range may span: anybody can notify, and each of them is looked up.
MOST_IN_RANGE = 10_000_000

_ID = r"[1-9][0-9]{0,18}"
_IDS = re.compile(rf"{_ID}(,{_ID})*|{_ID}-{_ID}")
_HIGHEST_ID = 2**63 - 1


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


def read_ids(payload: str) -> Sequence[int]:
    """The ids that a notification of `added` or `updated` names: `1,2,3`, or `5-99` for a range.

    Anything else that somebody notified names none.
    """
    if not _IDS.fullmatch(payload):
        return []
    ids = [int(id) for id in re.split("[-,]", payload)]
    if max(ids) > _HIGHEST_ID:
        return []
    if "-" not in payload:
        return ids
    named = range(ids[0], ids[1] + 1)
    return named if ids[1] - ids[0] < MOST_IN_RANGE else []


def read_rids(payload: str) -> set[UUID]:
    """The rids that a notification of `ended` names."""
    try:
        return {UUID(rid) for rid in payload.split(",")}
    except ValueError:
        return set()
