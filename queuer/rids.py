"""The rids of new jobs: UUIDs of version 7, which grow with time, so an index of them grows at its end.

The clock is this machine's and serves that alone: nobody reads an instant from a rid.
"""

import os
from collections.abc import Iterator
from time import time_ns
from uuid import UUID, SafeUUID

#: Rids that share one look at the clock and one request for random bytes.
_AT_ONCE = 256

_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_RANDOM = ~(0xFFFFFFFFFFFF << 80 | 0xF << 76 | 0b11 << 62) & (1 << 128) - 1


def new_rid() -> UUID:
    """A rid that no other job has or will have."""
    return _rid(time_ns(), os.urandom(16))


def new_rids() -> Iterator[UUID]:
    """New rids without end."""
    while True:
        now, random = time_ns(), os.urandom(16 * _AT_ONCE)
        for start in range(0, len(random), 16):
            yield _rid(now, random[start : start + 16])


def _rid(now: int, random: bytes) -> UUID:
    number = now // 1_000_000 << 80 | _VERSION_AND_VARIANT | int.from_bytes(random) & _RANDOM
    # As UUID(int=number) does, without its checks, which take longer than all the rest.
    rid = object.__new__(UUID)
    object.__setattr__(rid, "int", number)
    object.__setattr__(rid, "is_safe", SafeUUID.unknown)
    return rid
