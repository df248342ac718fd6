"""Notices threads that tasks start and leave behind: each of them keeps memory, and a system has only so many."""

import logging
import threading
from collections.abc import Iterable

logger = logging.getLogger(__name__)

#: Threads more than there were that are worth a word: beyond the usual pools of libraries, which are bounded.
MANY = 50

#: Names of threads that are said.
NAMED = 10

OURS = "queuer "


class ThreadWatch:
    """Counts the threads of this process that are not the worker's own.

    Nothing says which task has started a thread: so those are named that ran while the threads became more.
    """

    def __init__(self) -> None:
        self._known = _foreign()
        self._ran: set[str] = set()

    def ran(self, tasks: Iterable[str]) -> None:
        """Takes note of tasks that run."""
        self._ran.update(tasks)

    def look(self) -> None:
        """Warns when there are many more than when it looked first, or warned last. To be called now and then."""
        alive = _foreign()
        self._known &= alive
        new = alive - self._known
        if len(new) < MANY:
            return
        logger.warning(
            "%d threads were started in this process and still run, which the worker did not start: %s%s; these tasks"
            " ran meanwhile: %s; a task has to end what it starts",
            len(new),
            ", ".join(sorted(thread.name for thread in new)[:NAMED]),
            ", …" if len(new) > NAMED else "",
            ", ".join(sorted(self._ran)) or "none",
        )
        self._known, self._ran = alive, set()


def _foreign() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not thread.name.startswith(OURS)}
