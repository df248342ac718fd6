"""Checks of arguments that many public methods take."""

import threading
from uuid import UUID

from queuer.foreign import plain_number, plain_text, plain_uuid, shown


def timeout_of(seconds: object) -> float:
    """Takes seconds, infinite ones too. Raises `ValueError` for anything else."""
    number = plain_number(seconds)
    if number is None or not number >= 0:
        raise ValueError(f"the timeout is {shown(seconds)}; allowed is a number of seconds, 0 or more")
    return float(min(number, threading.TIMEOUT_MAX))


def uuid_of(rid: object) -> UUID:
    """Takes a UUID or its text. Raises `ValueError` for anything else."""
    try:
        return plain_uuid(rid) or UUID(plain_text(rid))
    except Exception:  # noqa: BLE001 - whatever it is, it is none
        raise ValueError(f"rid is {shown(rid)}; allowed is a UUID, or its text") from None
