"""The rids of new jobs: UUIDs of version 7, which grow with time, so an index of them grows at its end.

After the 48 bits of milliseconds come 12 of their fraction (method 3 of RFC 9562, section 6.2), 8 that count the rids
of one look at the clock (method 1), and 54 at random.

The clock is this machine's and serves that alone: nobody reads an instant from a rid.
"""

import os
from collections.abc import Callable
from time import time_ns
from uuid import UUID, SafeUUID

#: Rids that share one look at the clock and one request for random bytes, at most.
AT_ONCE = 256

_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62
_MILLISECOND = 1_000_000
_FRACTIONS = 1 << 12
_COUNTED = 54
_RANDOM_BITS = (1 << _COUNTED) - 1

_UNKNOWN = SafeUUID.unknown

# As UUID(int=number) does, without its checks, which take longer than all the rest.
_new = object.__new__
_set_number: Callable[[UUID, int], None] = UUID.__dict__["int"].__set__
_set_safety: Callable[[UUID, SafeUUID], None] = UUID.__dict__["is_safe"].__set__


def new_rid() -> UUID:
    """A rid that no other job has or will have."""
    return _uuid(_beginning() | int.from_bytes(os.urandom(8)) & _RANDOM_BITS)


def new_rids(count: int) -> list[UUID]:
    """Rids that no other jobs have or will have, each greater than the one before: `AT_ONCE` at most."""
    beginning = _beginning()
    numbers = enumerate(memoryview(os.urandom(8 * count)).cast("Q"))
    return [_uuid(beginning | number << _COUNTED | random & _RANDOM_BITS) for number, random in numbers]


def rid_of(text: str) -> UUID:
    """`UUID(text)`, of a text that is known to be one as PostgreSQL writes it."""
    return _uuid(int(text.replace("-", ""), 16))


def _beginning() -> int:
    milliseconds, rest = divmod(time_ns(), _MILLISECOND)
    return milliseconds << 80 | rest * _FRACTIONS // _MILLISECOND << 64 | _VERSION_AND_VARIANT


def _uuid(number: int) -> UUID:
    uuid = _new(UUID)
    _set_number(uuid, number)
    _set_safety(uuid, _UNKNOWN)
    return uuid
