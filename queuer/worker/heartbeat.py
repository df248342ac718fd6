"""Says regularly that this worker is alive."""

from collections.abc import Callable

from queuer.worker.loop import Loop


class Heartbeat:
    """Beats four times in the silence after which the worker would count as dead.

    Args:
        beat: Beats once, and returns that silence in seconds.
    """

    def __init__(self, beat: Callable[[], float]) -> None:
        self._beat = beat
        self._loop = Loop("heartbeat", self._step)
        self.start = self._loop.start
        self.stop = self._loop.stop

    def _step(self) -> float | None:
        return self._beat() / 4
