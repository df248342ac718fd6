"""One master at a time, and what it does while it is the one."""

import logging
from collections.abc import Callable, Sequence

from queuer.options import MasterSettings
from queuer.worker.loop import Loop

logger = logging.getLogger(__name__)

#: How often the office is kept, and looked at, at least, in the time within which a silent holder loses it.
KEPT = 8

#: Something to do in every round, with the settings in force.
Duty = Callable[[MasterSettings], None]


class Elector:
    """Tries to hold the office, and sees to the duties while it does.

    Args:
        hold: Takes or keeps the office. Tells whether it is held, and the settings in force.
        duties: Done in every round, each on its own: one that fails keeps no other from being done.
    """

    def __init__(self, hold: Callable[[], tuple[bool, MasterSettings]], duties: Sequence[Duty]) -> None:
        self._hold = hold
        self._duties = duties
        self._is_master = False
        self._loop = Loop("master", self._step)
        self.start = self._loop.start
        self.stop = self._loop.stop
        #: Says that the office may have become vacant.
        self.wake = self._loop.wake
        #: Says that the database can be reached again.
        self.resume = self._loop.resume

    def _step(self) -> float | None:
        was_master, (self._is_master, settings) = self._is_master, self._hold()
        if self._is_master and not was_master:
            logger.info("this worker is the master now")
        if self._is_master:
            self._do(settings)
        # Often enough to keep the office, and to find it vacant soon after its holder has died.
        return min(settings.master_poll_interval, settings.lock_timeout_minutes * 60 / KEPT)

    def _do(self, settings: MasterSettings) -> None:
        failed: Exception | None = None
        for duty in self._duties:
            try:
                duty(settings)
            except Exception as error:  # noqa: BLE001 - raised again when the other duties are done
                failed = error
        if failed is not None:
            raise failed
