"""How long to wait before trying again."""

import random

from queuer.options import LONGEST, OnError
from queuer.states import RetryBackoff


def next_retry(on_error: OnError, failures: int) -> float | None:
    """Seconds until the next attempt after `failures` failed ones (this one included), or None for no more.

    Delays before retry k = 1, 2, 3 …: none `d, d, d`; linear `d, 2d, 3d`; exponential `d, 2d, 4d`.
    """
    if failures > on_error.max_retries:
        return None
    match on_error.retry_backoff:
        case RetryBackoff.LINEAR:
            factor = float(failures)
        case RetryBackoff.EXPONENTIAL:
            factor = 2.0 ** min(failures - 1, 64)
        case _:
            factor = 1.0
    return min(on_error.retry_delay * factor, LONGEST)


def reconnect_delay(tries: int) -> float:
    """Seconds to wait before try number `tries` (1, 2, …) to reach the database: doubling up to 10 s, half jitter.

    The jitter keeps the workers of a restarted server from coming back all at once; see "Exponential Backoff And
    Jitter", AWS Architecture Blog, 2015 ("equal jitter").
    """
    ceiling = min(10.0, 0.1 * 2.0 ** min(tries - 1, 16))
    return ceiling / 2 + random.uniform(0, ceiling / 2)  # noqa: S311 - no secret
