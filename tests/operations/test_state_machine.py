"""The queue against a model of it: whatever several workers, a master and users do, in whichever order.

Each example is one transaction, which is rolled back. Hypothesis says how to repeat one that fails.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec import structs
from sqlalchemy import Engine, text
from support.jobs import FAILURE
from support.one_transaction import OneTransaction
from support.queue_model import Ended, ModelJob, QueueModel

from queuer import JobArchive, JobNotFound, MasterSettings, OnError, Options, Schedule, WorkerStatus
from queuer.operations import enqueue, finish, presence, steer, upkeep, work
from queuer.operations.presence import Abilities, Identity
from queuer.repositories import jobs
from queuer.values import ClaimedJob, HeldJob, NewJob, Outcome, Verdict
from queuer.worker.planner import Planner

HOUR = timedelta(hours=1)
TASKS = ("a", "b")
FUNCTION = "hourly"

#: Live jobs that are enough: the fewer there are, the more happens to each.
FEW = 4

SHIFT = [
    (
        "UPDATE job SET scheduled_at = scheduled_at - interval '1 hour', created_at = created_at - interval '1 hour',"
        " occurrence_at = occurrence_at - interval '1 hour', started_at = started_at - interval '1 hour'"
    ),
]
ROWS = text("""
    SELECT rid, id, status, task_name, attempts, coalesce(jsonb_array_length(failures), 0), losses, worker_rid,
        cancel_requested_at IS NOT NULL, schedule_count, series_rid,
        CASE status WHEN 'SCHEDULED' THEN ceil(extract(epoch FROM scheduled_at - clock_timestamp()) / 3600)::int END
    FROM job
    UNION ALL
    SELECT rid, id, status, task_name, attempts, coalesce(jsonb_array_length(failures), 0), losses, NULL, NULL,
        schedule_count, series_rid, NULL
    FROM job_archive""")
_KEPT = ", ".join(column.name for column in JobArchive.__table__.columns if column.name != "ended_at")
AGE = text(f"""
    WITH gone AS (DELETE FROM job_archive WHERE rid = :rid RETURNING *)
    INSERT INTO job_archive ({_KEPT}, ended_at) SELECT {_KEPT}, ended_at - interval '40 days' FROM gone""")

workers = st.sampled_from([0, 0, 0, 1, 2])
delays = st.sampled_from([0, 1])
verdicts = st.sampled_from(["SUCCEEDED", "FAILED", "CANCELLED", "RETRY"])
starts = st.sampled_from([None, -1, 1])


class Queue(RuleBasedStateMachine):
    """The rules: what may happen at any time."""

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self.connection = engine.connect()
        self.connection.execute(text("SET search_path TO public"))
        self.database: Any = OneTransaction(self.connection)
        self.model = QueueModel()
        self.planner = Planner({FUNCTION: lambda at, _count: at + HOUR}.get)
        #: What workers hold, or think that they do, with the hour of the claim.
        self.held: list[tuple[UUID, ClaimedJob, int]] = []

    def teardown(self) -> None:
        self.connection.rollback()
        self.connection.close()

    @initialize()
    def workers_come(self) -> None:
        self.rids = [uuid4() for _ in range(3)]
        for number in range(3):
            self.worker_is_heard(number)

    # -- Users

    @precondition(lambda self: len(list(self.model.live())) < FEW)
    @rule(task=st.sampled_from(TASKS), start=starts, max_count=st.sampled_from([0, 1, 2]), by_function=st.booleans())
    def add(self, task: str, start: int | None, max_count: int, by_function: bool) -> None:
        if max_count == 1:
            schedule = Schedule(start=self.instant(start)) if start else None
        else:
            ahead: dict[str, Any] = {"next_interval": FUNCTION} if by_function else {"interval": HOUR}
            schedule = Schedule(start=self.instant(start) if start else None, max_count=max_count, **ahead)
        self.added([NewJob(uuid4(), task, options=Options(schedule=schedule))], start)

    @precondition(lambda self: len(list(self.model.live())) < FEW)
    @rule(task=st.sampled_from(TASKS), count=st.integers(2, 4), start=starts)
    def add_batch(self, task: str, count: int, start: int | None) -> None:
        options = Options(schedule=Schedule(start=self.instant(start))) if start else Options()
        self.added([NewJob(uuid4(), task, options=options) for _ in range(count)], start)

    def added(self, new: list[NewJob], start: int | None) -> None:
        if len(new) == 1:
            self.database.run(enqueue.adding(new[0]))
        else:
            self.database.run(lambda session: jobs.insert_many(session, new))
        self.note_added(new, start)

    def note_added(self, new: list[NewJob], start: int | None) -> None:
        # now() stands still in a transaction
        self.sql("UPDATE job SET created_at = clock_timestamp() WHERE rid = ANY(:rids)", rids=[job.rid for job in new])
        hour, number = self.model.tick()
        due_at = (hour + start, number) if start else None
        for job in new:
            schedule = job.options.schedule or Schedule()
            planned_at = due_at or (hour, number)
            self.model.jobs[job.rid] = ModelJob(
                job.rid, job.task_name, planned_at, due_at, schedule.max_count, schedule.next_interval
            )
            self.model.jobs[job.rid].start = start and (start, number)
            if schedule.is_recurring:
                self.model.jobs[job.rid].series = job.rid

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        running = [job.rid for job in self.model.live("RUNNING")]
        rid = self.any_rid(data) if not running or data.draw(st.booleans()) else data.draw(st.sampled_from(running))
        if self.model.cancel(rid):
            self.database.run(lambda session: steer.cancel(session, rid))
        else:
            with pytest.raises(JobNotFound):
                self.database.run(lambda session: steer.cancel(session, rid))

    @rule(data=st.data(), kind=st.sampled_from(["readd", "delete"]))
    def take_from_the_archive(self, data: st.DataObject, kind: str) -> None:
        rid = self.any_rid(data)
        ended = self.model.jobs.get(rid)
        does: Callable[..., Any] = getattr(steer, kind)
        if ended is None or ended.is_live:
            with pytest.raises(JobNotFound):
                does(self.database, rid)
        elif kind == "delete":
            does(self.database, rid)
            del self.model.jobs[rid]
        else:
            again = does(self.database, rid)
            self.note_added([NewJob(again.rid, again.task_name, options=again.options)], None)
            job = self.model.jobs[again.rid]
            if ended.start is not None:  # it is kept in the options, where the shift does not reach it
                hours, number = job.start = ended.start
                job.due_at = job.planned_at = (self.model.hour + hours, number)
                job.status = "SCHEDULED"

    # -- Workers

    @rule(worker=workers, limit=st.integers(0, 5), tasks=st.sampled_from([TASKS, TASKS[:1]]), knows=st.booleans())
    def claim(self, worker: int, limit: int, tasks: tuple[str, ...], knows: bool) -> None:
        can = Abilities(tasks, [FUNCTION] if knows else [])
        taken = work.claim(self.database, self.rids[worker], can, limit).jobs
        self.model.tick()
        self.model.check_claim(self.rids[worker], {*tasks, *can.next_interval_funcs}, limit, taken)
        self.held += [(self.rids[worker], job, self.model.hour) for job in taken]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), again=st.booleans())
    def finish(self, data: st.DataObject, again: bool) -> None:
        first = data.draw(st.sampled_from(range(len(self.held))))
        worker = self.held[first][0]
        more = data.draw(st.sets(st.sampled_from([n for n, held in enumerate(self.held) if held[0] == worker])))
        own = [self.held[index] for index in {first, *more}]
        outcomes = [self.outcome(*held, data.draw(verdicts), data.draw(delays)) for held in own]
        for _ in range(1 + again):  # as when nobody knows whether the first write was done
            finish.finish(self.database, worker, [self.planner.plan(outcome) for outcome in outcomes])
            told = [Ended(o.job.rid, o.job.attempt, o.verdict.name, round(o.delay / 3600)) for o in outcomes]
            self.model.finish(worker, told)
        self.held = [held for held in self.held if held not in own]

    def outcome(self, _worker: UUID, job: ClaimedJob, since: int, verdict: str, delay: int) -> Outcome:
        failure = None if verdict == "SUCCEEDED" else FAILURE
        results = "[null]" if verdict == "SUCCEEDED" else None
        elapsed = (self.model.hour - since) * 3600.0
        return Outcome(job, Verdict[verdict], elapsed, results, failure, delay * 3600.0 if verdict == "RETRY" else 0.0)

    @rule(worker=workers, data=st.data())
    def give_back(self, worker: int, data: st.DataObject) -> None:
        known = [HeldJob(job.rid, job.attempts, False) for job in self.model.jobs.values()]
        # attempts that are over among them
        known += [HeldJob(job.rid, job.attempt, False) for _, job, _ in self.held]
        known += [held._replace(rid=uuid4()) for held in known]  # as after a failover
        jobs = data.draw(st.none() | st.lists(st.sampled_from(known or [HeldJob(uuid4(), 1, False)])))
        given = work.give_back(self.database, self.rids[worker], jobs)
        assert given == self.model.give_back(self.rids[worker], jobs)

    @rule(worker=workers)
    def worker_is_heard(self, worker: int) -> None:
        rid = self.rids[worker]
        identity = Identity(rid, "worker", 5, OnError())
        presence.beat(self.database, identity, WorkerStatus.RUNNING, Abilities(TASKS, [FUNCTION]))
        self.sql("UPDATE worker SET heartbeat_at = now() + interval '10 days' WHERE rid = :rid", rid=rid)
        self.model.workers[rid] = "RUNNING"
        self.model.silent.discard(rid)

    @rule(worker=workers)
    def worker_falls_silent(self, worker: int) -> None:
        rid = self.rids[worker]
        self.sql("UPDATE worker SET heartbeat_at = now() - interval '10 days' WHERE rid = :rid", rid=rid)
        self.model.silent.add(rid)

    @rule(worker=workers)
    def worker_dies_at_work(self, worker: int) -> None:
        self.worker_is_heard(worker)
        self.claim(worker, 1, TASKS, knows=True)
        self.worker_falls_silent(worker)
        self.rescue()

    @rule(worker=workers)
    def worker_starts_anew(self, worker: int) -> None:
        rids = [job.rid for job in self.model.live("RUNNING") if job.worker == self.rids[worker]]
        assert work.give_back(self.database, self.rids[worker]) == set(rids)
        self.model.give_back(self.rids[worker], None)
        self.claim(worker, 5, TASKS, knows=True)

    # -- The master, and time

    @rule()
    def rescue(self) -> None:
        upkeep.rescue(self.database, 0.001)
        self.model.rescue()

    @rule()
    def prune(self) -> None:
        upkeep.prune(self.database, MasterSettings(retention_archive=30, worker_delete_after=86_400))
        self.model.prune()

    @rule(data=st.data())
    def a_job_is_old(self, data: st.DataObject) -> None:
        rid = self.any_rid(data)
        job = self.model.jobs.get(rid)
        if job is not None and not job.is_live:
            self.connection.execute(AGE, {"rid": rid})
            job.is_old = True

    @rule()
    def an_hour_passes(self) -> None:
        """The database's clock can't be moved; so what it is compared with moves the other way."""
        for statement in SHIFT:
            self.sql(statement)
        self.model.hour += 1
        self.held = [
            (worker, structs.replace(job, instants=job.instants and [at - HOUR for at in job.instants]), since)
            for worker, job, since in self.held
        ]

    # -- What holds at any time

    @invariant()
    def the_tables_are_as_the_model_says(self) -> None:
        rows = {row[0]: row[1:] for row in self.connection.execute(ROWS)}
        self.name_next_runs(rows)
        assert rows == {rid: self.expected(job) for rid, job in self.model.jobs.items()}

    def name_next_runs(self, rows: dict[UUID, Any]) -> None:
        for rid in rows.keys() - self.model.jobs.keys():
            series, count = rows[rid][9], rows[rid][8]
            (job,) = [job for job in self.model.unnamed if (job.series, job.count) == (series, count)]
            self.model.unnamed.remove(job)
            job.rid = rid
            self.model.jobs[rid] = job
        assert self.model.unnamed == []
        for rid, row in rows.items():
            self.model.jobs[rid].id = self.model.jobs[rid].id or row[0]

    def expected(self, job: ModelJob) -> tuple[Any, ...]:
        of_both = (job.id, job.status, job.task, job.attempts, job.failures, job.losses)
        live = (job.worker, job.is_cancelled) if job.is_live else (None, None)
        hours = job.due_at[0] - self.model.hour if job.status == "SCHEDULED" and job.due_at else None
        return (*of_both, *live, job.count, job.series, hours)

    # -- Means

    def any_rid(self, data: st.DataObject) -> UUID:
        return data.draw(st.sampled_from([*self.model.jobs, UUID(int=0)]))

    def instant(self, hours: int | None) -> datetime:
        now: datetime = self.connection.scalar(text("SELECT clock_timestamp()"))
        return now.astimezone(UTC) + (hours or 0) * HOUR

    def sql(self, statement: str, **parameters: Any) -> None:
        self.connection.execute(text(statement), parameters)


def test_the_queue_does_what_the_model_says(module_engine: Engine) -> None:
    examples = settings.default.max_examples // 2
    bounded = settings(max_examples=examples, stateful_step_count=50, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(lambda: Queue(module_engine), settings=bounded)
