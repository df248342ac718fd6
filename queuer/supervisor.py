"""Wires the services of one worker together, starts them, and stops them in order."""

import logging
from collections.abc import Sequence

from queuer.database.database import Database
from queuer.database.listener import Listener
from queuer.errors import DatabaseUnavailable, JobCancelled, JobInterrupted
from queuer.events import added_channel
from queuer.operations import presence, work
from queuer.operations.finish import finish
from queuer.operations.presence import Identity
from queuer.states import WorkerStatus
from queuer.tasks import TaskRegistry
from queuer.values import ClaimedJob, Outcome
from queuer.worker.claimer import Claimer
from queuer.worker.heartbeat import Heartbeat
from queuer.worker.reporter import Reporter
from queuer.worker.runner import GRACE, Runner

logger = logging.getLogger(__name__)


class Supervisor:
    """A worker that runs. Used once: a new start makes a new one.

    Args:
        database: For claiming and finishing.
        heart: For the heartbeat alone, so that a busy pool can't silence it.
        identity: Under which the worker is known.
    """

    def __init__(
        self, database: Database, heart: Database, listener: Listener, identity: Identity, registry: TaskRegistry
    ) -> None:
        self._database = database
        self._heart = heart
        self._listener = listener
        self._identity = identity
        self._registry = registry
        # Outcomes that can't be written must not pile up without end while the database is away.
        self._most_unwritten = max(1000, 10 * identity.max_concurrency)

        self._reporter = Reporter(self._finish, self._wake)
        self._runner = Runner(
            identity.max_concurrency,
            identity.on_error,
            find=registry.get,
            report=self._reporter.report,
            freed=self._wake,
        )
        self._claimer = Claimer(
            claim=self._claim, seconds_until_due=self._seconds_until_due, room=self._room, run=self._runner.run
        )
        self._heartbeat = Heartbeat(self._beat)

    def start(self) -> None:
        """Returns when the worker takes jobs. Raises `DatabaseUnavailable`, and then nothing runs."""
        self._beat()
        self._listener.listen(added_channel(self._database.config.schema), lambda _payload: self._claimer.tell())
        self._heartbeat.start()
        self._runner.start()
        self._reporter.start()
        self._claimer.start()

    def tasks_changed(self) -> None:
        """Lets the worker take jobs of tasks that were just added, and makes them known."""
        self._beat()
        self._claimer.tell()

    def stop(self, timeout: float, *, cancel_jobs: bool) -> None:
        """Takes no more jobs, lets the running ones end for `timeout` seconds, and takes the rest back from them."""
        self._claimer.stop()
        if not self._runner.wait_idle(timeout):
            reason = "the worker stops"
            self._runner.interrupt(JobCancelled(reason) if cancel_jobs else JobInterrupted(reason))
            self._runner.wait_idle(GRACE)
        self._runner.close()
        self._heartbeat.stop()
        try:
            self._reporter.stop()
            work.give_back(self._database, self._identity.rid)
            presence.beat(self._heart, self._identity, WorkerStatus.STOPPED, self._registry.names())
        except DatabaseUnavailable as error:
            logger.warning("stopped without a word to the database; its running jobs will be rescued: %s", error)

    def _claim(self, limit: int) -> Sequence[ClaimedJob]:
        return work.claim(self._database, self._identity.rid, self._registry.names(), limit)

    def _seconds_until_due(self) -> float | None:
        return work.seconds_until_due(self._database, self._registry.names())

    def _finish(self, outcomes: Sequence[Outcome]) -> None:
        finish(self._database, self._identity.rid, outcomes)

    def _beat(self) -> float:
        return presence.beat(self._heart, self._identity, WorkerStatus.RUNNING, self._registry.names())

    def _room(self) -> int:
        return self._runner.free if self._reporter.backlog < self._most_unwritten else 0

    def _wake(self) -> None:
        self._claimer.wake()
