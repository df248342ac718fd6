"""Asks for jobs: as many as there is room for, and only when there may be some."""

import threading
from collections.abc import Callable, Mapping, Sequence
from math import inf
from time import monotonic
from typing import Protocol
from uuid import UUID

from queuer.events import NAMED_AT_MOST, NOBODY_KNOWS, Added
from queuer.values import Claim, ClaimedJob
from queuer.worker.loop import Loop

#: Seconds after which it asks although nothing was heard, and from the very first job on: the net under the
#: notifications.
POLL_INTERVAL = 5.0

#: Seconds after a claim within which scheduled jobs that become due are left to the next one: a storm of them must not
#: cost a claim each. Far below the 50 ms that a start may be late; the first of them starts on time.
TICK = 0.02

#: Seconds between two claims while a job is due that this worker does not get, because somebody holds its row: a moment
#: at first, and doubled each time, else it would spin.
SHORTEST_WAIT = 0.005
LONGEST_WAIT = 0.5


class Claiming(Protocol):
    def __call__(self, limit: int, marks: Mapping[str, int], /, *, queued_only: bool) -> Claim: ...


class Room(Protocol):
    def __call__(self, *, is_draining: bool) -> int: ...


class Claimer:
    """Claims jobs and hands them to the runner.

    It remembers for each task up to which id the queued jobs are taken, and goes on behind it. Jobs that come to lie
    below are named by the notification that tells of them. It also remembers when the next scheduled job is due, and
    asks for none before, unless there are news. Once it has got all that there was it asks for those alone that it is
    told of.

    Args:
        claim: Takes up to so many due jobs, or `queued_only`, and of the queued ones of a task only those behind its
            mark.
        claim_named: Takes the queued ones among these jobs, and tells when the first of the others among them is due.
        room: How many jobs to get now. When there was none, `tell_room` has to be called as soon as there is.
        run: Begins jobs, as soon as there is a slot for each.
        ran_dry: Told when a claim brought less than there was room for, and what it brought has begun.
    """

    def __init__(
        self,
        *,
        claim: Claiming,
        claim_named: Callable[[Sequence[UUID]], Claim],
        room: Room,
        run: Callable[[Sequence[ClaimedJob]], None],
        ran_dry: Callable[[], None],
    ) -> None:
        self._claim = claim
        self._claim_by_name = claim_named
        self._room = room
        self._run = run
        self._ran_dry = ran_dry
        self._loop = Loop("claimer", self._step)
        self._lock = threading.Lock()
        self._told: int | None = 0  # from which id on there are news
        self._named: list[UUID] | None = None  # all that there are; None = there may be others
        self._marks: dict[str, int] = {}
        self._ask_at = self._start_over_at = self._due_at = 0.0
        self._shut_out = 0  # claims in a row that did not get what was due
        self._lacks_room = False
        self.start = self._loop.start
        self.stop = self._loop.stop
        #: Says that the database can be reached again.
        self.resume = self._loop.resume

    @property
    def is_draining(self) -> bool:
        """Whether it asks again as soon as there is room, since the last claim brought all that it was to bring."""
        return self._ask_at == 0.0

    def tell(self, added: Added = NOBODY_KNOWS) -> None:
        """Says that there are new jobs."""
        with self._lock:
            if self._told is None:
                self._named = []
            first = added.ids[0] if added.ids else 0
            self._told = first if self._told is None else min(first, self._told)
            if self._named is not None and 0 < len(added.rids) <= NAMED_AT_MOST - len(self._named):
                self._named += added.rids
            else:
                self._named = None
        self._loop.wake()

    def tell_room(self) -> None:
        """Says that there may be more room."""
        if self._lacks_room:
            self._loop.wake()

    def _step(self) -> float | None:
        self._lacks_room = True  # before asking: whoever makes room meanwhile wakes us
        room = self._room(is_draining=self.is_draining)
        if room <= 0:
            return None
        self._lacks_room = False
        now = monotonic()
        if self._told is None and now < self._ask_at:
            return self._ask_at - now
        idle_until, self._ask_at = self._ask_at, 0.0  # should asking fail, ask again
        has_news, named = self._take_note()
        if 0 < len(named) <= room and now < min(idle_until, self._due_at):
            return self._claim_named(named, idle_until)
        if has_news or now >= self._start_over_at:
            self._due_at = 0.0
        if now >= self._start_over_at:
            self._marks.clear()
            self._start_over_at = now + POLL_INTERVAL
        return self._claim_any(room)

    def _take_note(self) -> tuple[bool, Sequence[UUID]]:
        """Whether anything was told, and the rids of all that is new where they are known. It may lie below the marks.

        What is told from here on is for the next claim.
        """
        with self._lock:
            first, named = self._told, self._named
            self._told = self._named = None
        if first is not None:
            self._marks = {task: min(mark, first - 1) for task, mark in self._marks.items()}
        return first is not None, named or ()

    def _claim_named(self, named: Sequence[UUID], idle_until: float) -> float:
        due_at, self._due_at = self._due_at, 0.0  # should asking fail, ask for all
        jobs, due, _ = self._claim_by_name(named)
        self._due_at = due_at if due is None else min(due_at, monotonic() + due)
        self._ask_at = max(monotonic() + TICK, min(idle_until, self._due_at))
        self._run(jobs)  # last: the sooner this thread rests, the sooner the task's gets the interpreter's lock
        return max(0.0, self._ask_at - monotonic())

    def _claim_any(self, room: int) -> float:
        queued_only = monotonic() < self._due_at
        jobs, due, marks = self._claim(room, self._marks, queued_only=queued_only)
        self._marks |= marks
        if not queued_only:
            self._due_at = inf if due is None else monotonic() + due
        self._run(jobs)
        if len(jobs) == room:  # there may be more where these came from
            return 0
        self._ran_dry()
        wait = self._wait()
        self._ask_at = monotonic() + wait
        return wait

    def _wait(self) -> float:
        due = self._due_at - monotonic()
        if due > 0:
            self._shut_out = 0
            return min(POLL_INTERVAL, max(TICK, due))
        self._shut_out += 1
        return float(min(LONGEST_WAIT, SHORTEST_WAIT * 2 ** min(self._shut_out, 16)))
