"""Wires the services of one worker together, starts them, and stops them in order."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import Any
from uuid import UUID

from queuer import events
from queuer.database import migrate
from queuer.database.database import Database
from queuer.database.listener import Heard, Listener
from queuer.errors import DatabaseUnavailable, JobCancelled, JobInterrupted, SchemaTooNew
from queuer.events import Channel
from queuer.master.elector import Elector
from queuer.master.rescuer import Rescuer
from queuer.operations import presence, upkeep, work
from queuer.operations.finish import compose, finish
from queuer.operations.presence import Abilities, Identity
from queuer.operations.transactions import AsyncJobTransaction, JobTransaction
from queuer.options import MasterSettings
from queuer.sealing import opened_claim, sealed_outcome
from queuer.states import WorkerRequest, WorkerStatus
from queuer.tasks import TaskRegistry
from queuer.values import Beat, Claim, ClaimedJob, HeldJob, Outcome
from queuer.worker.attempt import ending_of
from queuer.worker.claimer import Claimer
from queuer.worker.heartbeat import Heartbeat
from queuer.worker.missing_keys import MissingKeys
from queuer.worker.planner import Planner
from queuer.worker.reporter import Reporter
from queuer.worker.runner import GRACE, Runner
from queuer.worker.thread_watch import ThreadWatch
from queuer.worker.transactions import Transactions

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Workplace:
    """What a worker works with.

    Args:
        database: For claiming and finishing.
        heart: For the heartbeat and the master alone, so that a busy pool can't silence them: a connection, and another
            while both need one, so that the heart beats while the master waits for a lock.
        for_tasks: For the sessions that tasks get.
        identity: Under which the worker is known.
        tasks, functions: What it can run, and its next-interval functions.
        asked: Told when somebody asked the worker to stop.
    """

    database: Database
    heart: Database
    for_tasks: Database
    listener: Listener
    identity: Identity
    tasks: TaskRegistry
    functions: TaskRegistry
    asked: Callable[[WorkerRequest], None]

    @property
    def abilities(self) -> Abilities:
        return Abilities(self.tasks.names(), self.functions.names(), self.database.cipher.key_ids)


class Supervisor:
    """A worker that runs. Used once: a new start makes a new one.

    Args:
        takes_jobs: Whether it claims jobs, or sees to the master's duties alone.
        settings: Put in force when this worker becomes the master.
    """

    def __init__(self, place: Workplace, settings: MasterSettings | None, *, takes_jobs: bool) -> None:
        self._place = place
        self._rid = place.identity.rid
        self._takes_jobs = takes_jobs
        self._is_stopping = False
        self._is_claim_lost = False  # it may have taken jobs, and nobody was told which
        self._has_planned = False
        self._thread_watch = ThreadWatch()
        # Outcomes that can't be written must not pile up without end while the database is away.
        self._most_unwritten = max(1000, 10 * place.identity.max_concurrency)

        self._reporter = Reporter(self._finish, self._tell_room, is_busy=self._is_busy)
        self._planner = Planner(self._next_interval_func)
        self._runner = Runner(
            place.identity.max_concurrency,
            place.identity.on_error,
            find=place.tasks.get,
            report=lambda outcome: self._reporter.report(self._planner.plan(outcome)),
            freed=self._tell_room,
            transactions=Transactions(self._begin, self._begin_async),
            unseal=partial(opened_claim, place.database.cipher),
        )
        self._missing_keys = MissingKeys(lambda: work.missing_key(place.database, place.abilities))
        self._claimer = Claimer(
            claim=self._claim,
            claim_named=self._claim_named,
            room=self._room,
            run=self._run,
            ran_dry=self._missing_keys.look,
        )
        self._heartbeat = Heartbeat(
            self._runner,
            self._reporter,
            beat=self._look_and_beat,
            held=self._held,
            give_back=self._give_back,
            asked=place.asked,
        )
        rescuer = Rescuer(self._rescue, lambda: self._heartbeat.heard_for, brings_settings=settings is not None)
        self._elector = Elector(
            lambda: upkeep.hold_office(place.heart, self._rid, settings), [rescuer.round, self._prune]
        )

    def start(self) -> None:
        """Returns when the worker takes jobs. Raises `DatabaseUnavailable`, and then nothing runs."""
        self._held()  # fails at once when the database is away, where listening would keep trying
        compose(self._place.database)  # now, not when the first job ends
        with ExitStack() as undo:
            for channel, heard in self._channels():
                self._place.listener.listen(channel, heard)
                undo.callback(self._place.listener.unlisten, channel, heard)
            self._beat()
            undo.pop_all()
        self._heartbeat.start()
        self._elector.start()
        self._runner.start()
        self._reporter.start()
        if self._takes_jobs:
            self._claimer.start()

    def _channels(self) -> list[tuple[Channel, Heard]]:
        schema = self._place.database.config.schema
        channels: list[tuple[Channel, Heard]] = [(events.steering(schema), self._steered)]
        if self._takes_jobs:
            channels.append((events.added(schema), self._added))
        return channels

    def abilities_changed(self) -> None:
        """Lets the worker take jobs of tasks that were just added, and makes them known."""
        if (request := self._beat().asked_to) is not None:  # the heartbeat will not hear of it again
            self._place.asked(request)
        self._claimer.tell()

    @property
    def state(self) -> str:
        return "stopping" if self._is_stopping else "running"

    def hurry(self) -> None:
        """Lets a `stop` that waits for running jobs wait no longer."""
        self._runner.hurry()

    def runs(self, rid: UUID | None) -> bool:
        """Whether this job runs here."""
        return any(attempt.job.rid == rid for attempt in self._runner.running())

    def stop(self, timeout: float, *, cancel_jobs: bool) -> None:
        """Takes no more jobs, lets the running ones end for `timeout` seconds, and takes the rest back from them."""
        self._is_stopping = True
        deadline, reason = monotonic() + timeout, "the worker stops"
        with ExitStack() as then:  # from the last to the first, each also when one before it failed
            then.callback(self._wind_up, deadline)
            then.callback(self._runner.close)
            then.callback(self._runner.interrupt, JobInterrupted(reason))  # should Ctrl+C end the waiting
            self._runner.let_go()
            with self._place.database.impatient(GRACE):
                self._claimer.stop()
            self._runner.let_go()  # what a claim under way has brought
            if not self._runner.wait_idle(max(0.0, deadline - monotonic())):
                self._runner.interrupt(JobCancelled(reason) if cancel_jobs else JobInterrupted(reason))
                self._runner.wait_idle(GRACE)

    def _wind_up(self, deadline: float) -> None:
        """What is left to do when nothing runs any more, within a few seconds more than outcomes may take."""
        left = max(GRACE, deadline - monotonic())
        with ExitStack() as then:
            for database in (self._place.database, self._place.heart):
                then.enter_context(database.impatient(left + GRACE))
            then.callback(self._say_goodbye)
            then.callback(self._write_what_is_left, left)
            then.callback(self._elector.stop)
            then.callback(self._heartbeat.stop)

    def _write_what_is_left(self, timeout: float) -> None:
        for attempt in self._runner.running():  # they do not react; what they come to will be dropped
            if outcome := attempt.settle(ending_of(None, attempt.interrupted_by)):
                self._reporter.report(outcome)
        try:
            self._reporter.stop(timeout)
        except DatabaseUnavailable as error:
            logger.warning("%d outcomes are lost, and their jobs will run again: %s", self._reporter.backlog, error)

    def _say_goodbye(self) -> None:
        for channel, heard in self._channels():
            self._place.listener.unlisten(channel, heard)
        for word in (self._give_all_back, self._leave_office, self._say_stopped):
            try:
                word()
            except Exception as error:  # noqa: BLE001 - whatever the database says, the worker has stopped
                logger.warning("stopped without a word to the database; running jobs will be rescued: %s", error)

    def _give_all_back(self) -> None:
        work.give_back(self._place.database, self._rid)

    def _leave_office(self) -> None:
        upkeep.leave_office(self._place.heart, self._rid)

    def _say_stopped(self) -> None:
        presence.beat(self._place.heart, self._place.identity, WorkerStatus.STOPPED, self._place.abilities)

    # -- What the services are given

    def _run(self, jobs: Sequence[ClaimedJob]) -> None:
        self._thread_watch.ran({job.task_name for job in jobs})
        self._runner.run(jobs)
        if not self._has_planned:  # while the first jobs run; their slots would wait for it when they come free
            self._has_planned = True
            work.plan_claims(self._place.database, self._rid)

    def _claim(self, limit: int, marks: Mapping[str, int], *, queued_only: bool) -> Claim:
        return self._claimed(partial(work.claim, limit=limit, marks=marks, queued_only=queued_only))

    def _claim_named(self, rids: Sequence[UUID]) -> Claim:
        return self._claimed(partial(work.claim_named, rids=rids))

    def _claimed(self, claim: Callable[[Database, UUID, Abilities], Claim]) -> Claim:
        if self._is_claim_lost:
            self._heartbeat.return_unknown()
        self._is_claim_lost = True  # should it fail, for whatever reason
        claimed = claim(self._place.database, self._rid, self._place.abilities)
        self._is_claim_lost = False
        return claimed

    def _finish(self, outcomes: Sequence[Outcome]) -> None:
        finish(self._place.database, self._rid, outcomes)

    def _begin(self, session_class: type[Any]) -> JobTransaction:
        return JobTransaction(self._place.for_tasks, self._rid, self._as_written, session_class)

    async def _begin_async(self, session_class: type[Any]) -> AsyncJobTransaction:
        return await AsyncJobTransaction.begin(self._place.for_tasks, self._rid, self._as_written, session_class)

    def _as_written(self, outcome: Outcome) -> Outcome:
        return sealed_outcome(self._place.database.cipher, self._planner.plan(outcome))

    def _beat(self) -> Beat:
        self._thread_watch.look()
        return presence.beat(self._place.heart, self._place.identity, WorkerStatus.RUNNING, self._place.abilities)

    def _look_and_beat(self) -> Beat:
        try:
            migrate.check(self._place.heart)
        except SchemaTooNew as error:
            if not self._is_stopping:
                logger.error("the worker stops when its running jobs have ended: %s", error)  # noqa: TRY400 - no trace
                self._place.asked(WorkerRequest.STOP_GRACEFULLY)
        return self._beat()

    def _held(self) -> Sequence[HeldJob]:
        return presence.held_jobs(self._place.heart, self._rid)

    def _give_back(self, jobs: Sequence[HeldJob]) -> None:
        work.give_back(self._place.database, self._rid, jobs)

    def _rescue(self, stale_after: float) -> None:
        upkeep.rescue(self._place.heart, stale_after)

    def _prune(self, settings: MasterSettings) -> None:
        upkeep.prune(self._place.heart, settings)

    def _next_interval_func(self, name: str) -> Callable[..., object] | None:
        function = self._place.functions.get(name)
        return function.fn if function else None

    def _steered(self, payload: str | None) -> None:
        if payload is None:  # the listener has its connection again, and so may all others
            for service in (self._heartbeat, self._elector, self._reporter, self._claimer):
                service.resume()
        if payload == str(self._rid):
            self._heartbeat.wake()
        if payload == upkeep.VACANT:
            self._elector.wake()
        if payload == upkeep.SETTINGS:
            self._elector.wake()
            self._heartbeat.wake()

    def _added(self, payload: str | None) -> None:
        self._claimer.tell(events.read_added(payload or ""))

    def _room(self, *, is_draining: bool) -> int:
        may_take = not self._is_stopping and self._reporter.backlog < self._most_unwritten
        return self._runner.room(is_draining=is_draining) if may_take else 0

    def _is_busy(self) -> bool:
        return self._runner.waiting > 0 or self._claimer.is_draining

    def _tell_room(self) -> None:
        self._claimer.tell_room()
