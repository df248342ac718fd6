"""Takes jobs back from workers that have died."""

from collections.abc import Callable
from time import monotonic

from queuer.options import MasterSettings


class Rescuer:
    """Rescues, but only when silence means death.

    While the database was away nobody could be heard. So nobody is called silent before this process itself has been
    heard without a gap for as long as a worker may be silent. And when that time was shortened, the workers beat as
    rarely as before until they have heard of it: they get the new time.

    Args:
        rescue: Takes jobs back from workers that have been silent for so many seconds.
        heard_for: Seconds for which this process has been heard without a gap; infinite when it knows of none.
        brings_settings: Whether the settings of the first round may be new to the workers.
    """

    def __init__(
        self, rescue: Callable[[float], None], heard_for: Callable[[], float], *, brings_settings: bool = False
    ) -> None:
        self._rescue = rescue
        self._heard_for = heard_for
        self._stale_after = float("inf") if brings_settings else 0.0
        self._lowered_at = float("-inf")

    def round(self, settings: MasterSettings) -> None:
        stale_after = settings.worker_stale_after
        if stale_after < self._stale_after:
            self._lowered_at = monotonic()
        self._stale_after = stale_after
        if min(self._heard_for(), monotonic() - self._lowered_at) >= stale_after:
            self._rescue(stale_after)
