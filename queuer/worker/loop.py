"""A thread that repeats one step: when its time has come, or when it is woken."""

import logging
import threading
from collections.abc import Callable

from queuer.errors import DatabaseUnavailable
from queuer.retry import reconnect_delay

logger = logging.getLogger(__name__)

#: Returns the seconds to wait before the next step; 0 = go on at once, None = until woken.
Step = Callable[[], float | None]


class Loop:
    """Runs `step` until stopped. A step that raises is logged and repeated, with growing delays that no wake ends."""

    def __init__(self, name: str, step: Step) -> None:
        self._step = step
        self._woken = threading.Event()
        self._resumed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"queuer {name}", daemon=True)
        self._name = name

    def start(self) -> None:
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def wake(self) -> None:
        """Ends the wait. A wake during a step lets the next one follow at once."""
        if not self._woken.is_set():  # which is told far quicker than it is set
            self._woken.set()

    def resume(self) -> None:
        """Ends the wait, and also the delay after a step that failed: what it needs may be there again."""
        self._woken.set()
        self._resumed.set()

    def stop(self) -> None:
        """Lets the step under way end, and returns when the thread has."""
        self._stopping.set()
        self.resume()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            self._woken.clear()
            self._resumed.clear()
            try:
                wait = self._step()
                failures = 0
            except Exception as error:  # noqa: BLE001 - a worker does not die of one bad step
                failures += 1
                delay = reconnect_delay(failures)
                self._log(error, delay)
                if not self._stopping.is_set():
                    self._resumed.wait(delay)
                continue
            if wait != 0 and not self._stopping.is_set():
                self._woken.wait(wait)

    def _log(self, error: Exception, delay: float) -> None:
        if isinstance(error, DatabaseUnavailable):
            logger.warning("the %s tries again in %.1f s: %s", self._name, delay, error)
        else:
            logger.error("the %s failed, and tries again in %.1f s", self._name, delay, exc_info=error)
