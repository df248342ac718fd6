"""Says that jobs wait for a worker with another key."""

import logging
from collections.abc import Callable
from time import monotonic

logger = logging.getLogger(__name__)

#: Seconds between two looks, and so between two warnings, however many jobs wait.
LOOK_EVERY = 60.0


class MissingKeys:
    """Looks now and then for jobs that this worker leaves alone for want of their key.

    Args:
        find: The id of such a key; None = there is no such job.
    """

    def __init__(self, find: Callable[[], str | None]) -> None:
        self._find = find
        self._look_at = 0.0

    def look(self) -> None:
        """To be called when the worker has claimed all that it can, as often as one likes."""
        if monotonic() < self._look_at:
            return
        self._look_at = monotonic() + LOOK_EVERY
        key_id = self._find()
        if key_id is not None:
            logger.warning(
                "jobs wait that are encrypted with the key %r, which this worker does not have; add it to the worker's"
                " list of keys, or start a worker that has it",
                key_id,
            )
