"""Checks of arguments that many public methods take."""

import threading
from uuid import UUID


def timeout_of(seconds: object) -> float:
    """Takes seconds, infinite ones too. Raises `ValueError` for anything else."""
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
        raise ValueError(f"the timeout is {seconds!r}; allowed is a number of seconds, 0 or more")
    return float(min(seconds, threading.TIMEOUT_MAX))


def uuid_of(rid: object) -> UUID:
    """Takes a UUID or its text. Raises `ValueError` for anything else."""
    try:
        return rid if isinstance(rid, UUID) else UUID(str(rid))
    except ValueError:
        raise ValueError(f"rid is {rid!r}; allowed is a UUID, or its text") from None
