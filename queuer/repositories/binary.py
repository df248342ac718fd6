"""Arrays as PostgreSQL takes them in binary: reading them as texts would be a tenth of its work for an ended job.

Each function takes the elements and the connection's encoding. Source: `array_recv` and the types' own `…_recv` in
PostgreSQL; lengths and numbers are big-endian.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain, repeat
from struct import Struct, pack
from typing import Any
from uuid import UUID

from sqlalchemy import Double, Integer, Text, Uuid

Pack = Callable[[Sequence[Any], str], bytes]

_HEADER = Struct("!iiIii")  # dimensions, whether there may be NULLs, type of the elements, how many, index of the first
_LENGTH = Struct("!i")
_NULL = _LENGTH.pack(-1)
_UUID_LENGTH = _LENGTH.pack(16)


def _array(oid: int, count: int, elements: bytes) -> bytes:
    return _HEADER.pack(1, 1, oid, count, 1) + elements


def _numbers(oid: int, code: str, size: int, values: Sequence[float], _encoding: str) -> bytes:
    each_with_its_length = chain.from_iterable(zip(repeat(size), values, strict=False))
    return _array(oid, len(values), pack("!" + f"i{code}" * len(values), *each_with_its_length))


def _uuids(values: Sequence[UUID], _encoding: str) -> bytes:
    elements = [b"", *[value.int.to_bytes(16) for value in values]]
    return _array(2950, len(values), _UUID_LENGTH.join(elements))


def _texts(values: Sequence[str | None], encoding: str) -> bytes:
    return _array(25, len(values), b"".join([_text(value, encoding) for value in values]))


def _text(value: str | None, encoding: str) -> bytes:
    if value is None:
        return _NULL
    encoded = value.encode(encoding)
    return _LENGTH.pack(len(encoded)) + encoded


#: By the type of the elements.
PACKS: Mapping[type[Any], Pack] = {
    Integer: partial(_numbers, 23, "i", 4),
    Double: partial(_numbers, 701, "d", 8),
    Uuid: _uuids,
    Text: _texts,
}
