"""Conducts one run: starts everything, lets the plan happen, heals it all, and waits until the jobs have ended."""

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

import psycopg
from support.own_server import Server

from chaos.faults import FAULTS, NobodyThere, World
from chaos.fleet import Fleet
from chaos.journal import Journal
from chaos.plan import Step
from queuer import JobNotFound, StaticQueuer, new_static_queuer

#: Seconds between two looks at the processes and the plan.
TICK = 0.05

#: Seconds that the jobs may take to end once nothing breaks any more.
LONGEST_DRAIN = 90.0

#: Seconds that everybody may take to stop when all is well.
LONGEST_GOODBYE = 20.0


@dataclass(slots=True)
class Conductor:
    world: World
    journal: Journal
    _under_way: list[tuple[float, Step, AbstractContextManager[None]]] = field(default_factory=list)

    def conduct(self, steps: list[Step], duration: float) -> None:
        """Returns when the plan is over and all faults have ended."""
        start = monotonic()
        left = list(steps)
        while (now := monotonic() - start) < duration or self._under_way:
            self._end_what_is_over(now)
            while left and left[0].at <= now:
                self._begin(left.pop(0))
            self.world.fleet.keep_up()
            sleep(TICK)

    def drain(self) -> bool:
        """Waits until every job has ended. Tells whether they did in time."""
        fleet = self.world.fleet
        fleet.dismiss(fleet.producers(), LONGEST_GOODBYE)
        until = monotonic() + LONGEST_DRAIN
        with self.world.server.connect() as connection:
            while monotonic() < until:
                fleet.keep_up(producers=0)
                self._cancel_endless_series(connection)
                if connection.execute("SELECT NOT EXISTS (SELECT FROM job)").fetchone() == (True,):
                    return True
                sleep(0.2)
        return False

    def dismiss(self) -> None:
        """Lets the workers stop, now that nothing is wrong."""
        fleet = self.world.fleet
        fleet.dismiss(fleet.workers(), LONGEST_GOODBYE)

    def _begin(self, step: Step) -> None:
        fault = FAULTS[step.kind](self.world, step)
        begun_at = monotonic()
        try:
            fault.__enter__()
        except (NobodyThere, psycopg.errors.LockNotAvailable):
            self.journal.write("nobody there", kind=step.kind)
        except psycopg.OperationalError as error:  # of the conductor's own connection, to a server that starts
            self.journal.write("failed", kind=step.kind, error=str(error))
        else:
            self.journal.write("fault", kind=step.kind, seconds=step.seconds)
            self._under_way.append((step.at + step.seconds + monotonic() - begun_at, step, fault))

    def _end_what_is_over(self, now: float) -> None:
        for each in list(self._under_way):
            until, step, fault = each
            if until <= now:
                self._under_way.remove(each)
                fault.__exit__(None, None, None)
                self.journal.write("over", kind=step.kind)

    def _cancel_endless_series(self, connection: psycopg.Connection) -> None:
        endless = "SELECT rid::text FROM job WHERE options -> 'schedule' ->> 'max_count' = '0'"
        for (rid,) in connection.execute(endless).fetchall():
            self.journal.write("cancelling", rid=rid)
            try:
                self.world.direct.cancel_job(rid)
            except JobNotFound:  # it has just ended; the next run is there now
                self.journal.write("ended already", rid=rid)


def fleet_of(server: Server, port: int, directory: Path, seed: int, journal: Journal) -> Fleet:
    """A fleet that finds the database at this port."""
    url = f"postgresql://{server.user}@127.0.0.1:{port}/{server.database}?sslmode=disable"
    return Fleet(url, directory, seed, journal)


def queuer_past_the_proxy(server: Server) -> StaticQueuer:
    """For what somebody asks of jobs and workers, also when all connections but the superuser's are taken.

    It makes the tables, too, and one that tasks write into.
    """
    q = new_static_queuer(server.config)
    server.execute("CREATE TABLE ledger (token text NOT NULL)")
    server.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {server.user}")
    return q
