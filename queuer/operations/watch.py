"""Looking for what has happened to jobs since the last look, where notifications can't be heard.

Each of these says nothing of what was there when it was made. Not safe to use from several threads.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta
from time import monotonic
from typing import NamedTuple, Protocol
from uuid import UUID

from queuer.database.database import Database
from queuer.repositories import changes
from queuer.repositories.changes import State
from queuer.states import JobStatus

#: Ids are given before the transactions that use them commit, and these commit in another order, or never. An id that
#: was passed over is waited for so many seconds; not more than so many at once.
PATIENCE = 60.0
MOST_MISSING = 1000

#: Jobs that one look finds at most; the next one finds the others.
MOST_FOUND = 10_000

#: An outcome is written after the job has ended, by so much at most, as a rule.
LATENESS = timedelta(seconds=2)


class Found(NamedTuple):
    """Jobs, by their ids or by their rids."""

    ids: Collection[int] = ()
    rids: Collection[UUID] = ()


class Watch(Protocol):
    """Finds what has happened since the last look."""

    def look(self) -> Found:
        """The jobs. Raises `DatabaseUnavailable`; the next look finds them then."""
        ...


class Added:
    """Looks for jobs that were added."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._newest = max(0, database.run(changes.newest_id) - MOST_MISSING)
        self._missing: dict[int, float] = {}
        self.look()

    def look(self) -> Found:
        found = self._database.run(
            lambda session: changes.ids_after(session, self._newest, self._missing.keys(), MOST_FOUND)
        )
        now, before = monotonic(), self._newest
        self._newest = max([before, *found])
        passed_over = range(max(before, self._newest - MOST_MISSING) + 1, self._newest)
        self._missing |= dict.fromkeys(passed_over, now + PATIENCE)
        waited_for = [(id, until) for id, until in self._missing.items() if id not in found and until > now]
        self._missing = dict(waited_for[-MOST_MISSING:])
        return Found(ids=found)


class Ended:
    """Looks for jobs that went into the archive."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._since = database.run(changes.clock)
        self._running: set[UUID] = set()
        self._told: Mapping[UUID, int] = {}
        self.look()

    def look(self) -> Found:
        return Found(rids=self.look_at_attempts().keys())

    def look_at_attempts(self) -> Mapping[UUID, int]:
        """The same, with how often each was started."""
        now = self._database.run(changes.clock)
        running = self._database.run(changes.running)
        # Whatever was seen to run is missed by no clock, should its outcome be written very late.
        no_longer = self._running - running
        ended = self._database.run(
            lambda session: changes.ended_after(session, self._since - LATENESS, no_longer - self._told.keys())
        )
        new = {rid: attempts for rid, attempts in ended.items() if rid not in self._told}
        self._since, self._running, self._told = now, running, ended
        return new


class Updated:
    """Looks for jobs that were started, given back, or wait for a retry."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._ended = Ended(database)
        self._known: Mapping[UUID, State] = {}
        self.look()

    def look(self) -> Found:
        known = self._known
        found = self._database.run(lambda session: changes.under_way(session, known.keys()))
        ended = self._ended.look_at_attempts()
        self._known = {rid: state for rid, state in found.items() if state[1] is not JobStatus.QUEUED}
        changed = [rid for rid, state in found.items() if state != known.get(rid)]
        started = [rid for rid, attempts in ended.items() if attempts > known.get(rid, (0, None))[0]]
        return Found(rids=dict.fromkeys([*changed, *started]).keys())
