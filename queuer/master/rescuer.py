"""Takes jobs back from workers that have died."""

from collections.abc import Callable

from queuer.options import MasterSettings


class Rescuer:
    """Rescues, but only when silence means death.

    While the database was away nobody could be heard. So nobody is called silent before this process itself has been
    heard without a gap for as long as a worker may be silent.

    Args:
        rescue: Takes jobs back from workers that have been silent for so many seconds.
        heard_for: Seconds for which this process has been heard without a gap; infinite when it knows of none.
    """

    def __init__(self, rescue: Callable[[float], None], heard_for: Callable[[], float]) -> None:
        self._rescue = rescue
        self._heard_for = heard_for

    def round(self, settings: MasterSettings) -> None:
        if self._heard_for() >= settings.worker_stale_after:
            self._rescue(settings.worker_stale_after)
