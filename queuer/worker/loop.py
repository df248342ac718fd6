"""A thread that repeats one step: when its time has come, or when it is woken."""

import logging
import threading
from collections.abc import Callable

from queuer.errors import DatabaseUnavailable
from queuer.retry import reconnect_delay

logger = logging.getLogger(__name__)

#: Returns the seconds to wait before the next step; 0 = go on at once, None = until woken.
Step = Callable[[], float | None]


class Bell:
    """What `threading.Event` is, for one thread that waits, and hears each ring once: a bare lock, in a fraction of the
    time, which short tasks spend mostly on waking each other's threads."""

    def __init__(self) -> None:
        self._silence = threading.Lock()  # held while it is not rung
        self._silence.acquire()

    def ring(self) -> None:
        if self._silence.locked():
            try:
                self._silence.release()
            except RuntimeError:  # another thread has rung in the same moment
                return

    def wait(self, timeout: float | None) -> None:
        """Returns when it is rung, or was since it was heard last; or after so many seconds."""
        self._silence.acquire(timeout=-1 if timeout is None else timeout)

    def clear(self) -> None:
        """For who then looks at everything that it may have been rung for."""
        self._silence.acquire(blocking=False)


class Loop:
    """Runs `step` until stopped. A step that raises is logged and repeated, with growing delays that no wake ends."""

    def __init__(self, name: str, step: Step) -> None:
        self._step = step
        self._bell = Bell()
        self._resumed = threading.Event()
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name=f"queuer {name}", daemon=True)
        self._name = name
        #: Ends the wait. A wake during a step lets the next one follow at once.
        self.wake = self._bell.ring

    def start(self) -> None:
        self._thread.start()

    def resume(self) -> None:
        """Ends the wait, and also the delay after a step that failed: what it needs may be there again."""
        self._bell.ring()
        self._resumed.set()

    def stop(self) -> None:
        """Lets the step under way end, and returns when the thread has."""
        self._is_stopping = True
        self.resume()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        failures = 0
        while not self._is_stopping:
            self._bell.clear()
            if self._resumed.is_set():
                self._resumed.clear()
            try:
                wait = self._step()
                failures = 0
            except Exception as error:  # noqa: BLE001 - a worker does not die of one bad step
                failures += 1
                delay = reconnect_delay(failures)
                self._log(error, delay)
                if not self._is_stopping:
                    self._resumed.wait(delay)
                continue
            if wait != 0 and not self._is_stopping:
                self._bell.wait(wait)

    def _log(self, error: Exception, delay: float) -> None:
        if isinstance(error, DatabaseUnavailable):
            logger.warning("the %s tries again in %.1f s: %s", self._name, delay, error)
        else:
            logger.error("the %s failed, and tries again in %.1f s", self._name, delay, exc_info=error)
