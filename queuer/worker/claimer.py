"""Asks for jobs: exactly as many as there are free slots, and only when there may be some."""

from collections.abc import Callable, Sequence
from time import monotonic

from queuer.values import ClaimedJob
from queuer.worker.loop import Loop

#: Seconds after which it asks although nothing was heard: the net under the notifications.
POLL_INTERVAL = 5.0

#: Seconds after a claim within which scheduled jobs that become due are left to the next one: a storm of them must not
#: cost a claim each. Far below the 50 ms that a start may be late; the first of them starts on time.
TICK = 0.02

#: Seconds between two claims while a job is due that this worker does not get, because somebody holds its row: a moment
#: at first, and doubled each time, else it would spin.
SHORTEST_WAIT = 0.005
LONGEST_WAIT = 0.5


class Claimer:
    """Claims jobs and hands them to the runner.

    Args:
        claim: Takes up to so many due jobs.
        seconds_until_due: When the next scheduled job will be due.
        room: How many jobs may be run now. `wake` has to be called when it grows.
        run: Begins jobs.
    """

    def __init__(
        self,
        *,
        claim: Callable[[int], Sequence[ClaimedJob]],
        seconds_until_due: Callable[[], float | None],
        room: Callable[[], int],
        run: Callable[[Sequence[ClaimedJob]], None],
    ) -> None:
        self._claim = claim
        self._seconds_until_due = seconds_until_due
        self._room = room
        self._run = run
        self._loop = Loop("claimer", self._step)
        self._news = True
        self._ask_at = 0.0
        self._shut_out = 0  # claims in a row that did not get what was due
        self.start = self._loop.start
        self.stop = self._loop.stop
        #: Says that there may be more room.
        self.wake = self._loop.wake
        #: Says that the database can be reached again.
        self.resume = self._loop.resume

    def tell(self) -> None:
        """Says that there may be new jobs."""
        self._news = True
        self._loop.wake()

    def _step(self) -> float | None:
        room = self._room()
        if room <= 0:
            return None
        if not self._news and (wait := self._ask_at - monotonic()) > 0:
            return wait
        self._news = False  # before asking: news that come meanwhile must count
        self._ask_at = 0.0  # should asking fail, ask again
        jobs = self._claim(room)
        self._run(jobs)
        if len(jobs) == room:  # there may be more where these came from
            self._news = True
            return 0
        wait = self._wait_for(self._seconds_until_due())
        self._ask_at = monotonic() + wait
        return wait

    def _wait_for(self, due: float | None) -> float:
        if due is None or due > 0:
            self._shut_out = 0
            return POLL_INTERVAL if due is None else min(POLL_INTERVAL, max(TICK, due))
        self._shut_out += 1
        return float(min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** min(self._shut_out, 16)))
