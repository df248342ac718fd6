"""The table of jobs that are queued, scheduled or running, and the columns it shares with the archive."""

from datetime import datetime
from typing import Any, ClassVar
from uuid import UUID

from sqlalchemy import BigInteger, FetchedValue, Identity, Index, SmallInteger, Text, event, func, text
from sqlalchemy.orm import Mapped, QueryContext, mapped_column
from sqlalchemy.orm.attributes import set_committed_value

from queuer import sealing
from queuer.cipher import Cipher
from queuer.models.base import Base, Json, status_type, told
from queuer.options import Options
from queuer.states import JobStatus

IS_QUEUED = text("status = 'QUEUED'")
IS_SCHEDULED = text("status = 'SCHEDULED'")
IS_RUNNING = text("status = 'RUNNING'")
#: That of a scheduled job or a retry.
HAS_INSTANT = text("scheduled_at > '-infinity'")


class JobRecord(Base):
    """What a job is, wherever it is kept. All instants are the database's."""

    __abstract__ = True

    rid: Mapped[UUID] = mapped_column(server_default=func.gen_random_uuid())
    status: Mapped[JobStatus] = mapped_column(status_type(JobStatus), server_default=JobStatus.QUEUED.value)
    task_name: Mapped[str] = mapped_column(Text)
    parameters: Mapped[Any] = mapped_column(server_default=text("'[]'"))
    parameters_keyed: Mapped[Any] = mapped_column(Json(empty=dict), nullable=True)
    #: `on_error`, `schedule` and `metadata` as JSON; see `queuer.options` for their shape.
    options_json: Mapped[Any] = mapped_column("options", Json(empty=dict), nullable=True)

    # Named queues, priorities and unique jobs are to come; no worker reads these three yet.
    queue: Mapped[str] = mapped_column(Text, server_default="default")
    priority: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    unique_key: Mapped[str | None] = mapped_column(Text)

    #: The job that added this one while it ran.
    parent_rid: Mapped[UUID | None]
    #: The rid of the first run of a recurring job; all its runs share it.
    series_rid: Mapped[UUID | None]
    #: Runs of the series so far, this one included.
    schedule_count: Mapped[int] = mapped_column(server_default=text("1"))
    #: The planned start of this run, which a retry does not change; None = `created_at`.
    occurrence_at: Mapped[datetime | None]

    #: The attempts that were started so far. Never goes back: with the worker it fences.
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    #: How often a worker died under the job.
    losses: Mapped[int] = mapped_column(SmallInteger, server_default=text("0"))
    #: Of each failed attempt: attempt, started_at, ended_at, worker_rid, type, message, traceback.
    failures: Mapped[Any] = mapped_column(Json(empty=list), nullable=True)
    #: The worker that runs the job, or ran it last.
    worker_rid: Mapped[UUID | None]

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    #: Not before this instant; None = at once.
    scheduled_at: Mapped[datetime | None]
    started_at: Mapped[datetime | None]

    #: Of the key by which the parameters and the metadata are encrypted: a worker without it leaves the job alone.
    key_id: Mapped[str | None] = mapped_column(Text)

    #: Whether `unseal` had to leave something closed.
    _is_left_sealed: ClassVar[bool] = False

    @property
    def sealed(self) -> bool:
        """Whether a field is encrypted with a key that was not at hand, or is damaged. It reads as None then."""
        return self._is_left_sealed or sealing.is_any_sealed(self._record())

    def unseal(self, cipher: Cipher) -> None:
        """Decrypts the fields in place, without a change that a session would write; see `queuer.sealing`."""
        record = self._record()
        if not sealing.is_any_sealed(record):
            return
        opener = sealing.Opener(cipher, record)
        for name, value in opener.opened().items():
            set_committed_value(self, "options_json" if name == "options" else name, value)
        self.__dict__["_is_left_sealed"] = bool(opener.troubles)

    def _record(self) -> dict[str, Any]:
        names = (name for name in sealing.READ if hasattr(type(self), name))
        return {"options": self.options_json, **{name: getattr(self, name) for name in names}}

    @property
    def options(self) -> Options:
        """What was asked for the job. Options that another program wrote and that make no sense read as none."""
        try:
            return Options.from_json(self.options_json)
        except (ValueError, TypeError, OverflowError):
            return Options()


@event.listens_for(JobRecord, "load", propagate=True)
def _unseal(job: JobRecord, context: QueryContext) -> None:
    database: Any = context.session.info.get("database")  # our own sessions have it; others load what is there
    if database is not None:
        job.unseal(database.cipher)


class Job(JobRecord):
    """A job that has not ended."""

    __tablename__ = "job"
    # What the columns may hold is for domains to say, which the migrations make: PostgreSQL would read and compile each
    # CHECK anew for every statement.
    __table_args__ = (
        # Any job is found by its rid, the primary key. Ids say which is older; no index has them all, since each index
        # costs a fifth of a bulk add: see `queuer.repositories.in_order`.
        #
        # claim: the oldest jobs of a task that are due at once. By the name's hash, which is of a fixed size: with the
        # name itself, adding many jobs costs the server a fifteenth more.
        Index(
            "ix_job_queued",
            text("hashtext(task_name)"),
            "id",
            postgresql_where=text("scheduled_at IS NULL"),
            postgresql_with={"deduplicate_items": "off"},
        ),
        # claim: scheduled jobs and retries that have become due, and when the next one will.
        Index("ix_job_scheduled", "task_name", "scheduled_at", postgresql_where=text("scheduled_at IS NOT NULL")),
        # get_jobs: newest first, with the index of queued ones. By a predicate that no claim's condition implies, else
        # the planner might read all of this one for it.
        Index("ix_job_scheduled_id", "id", postgresql_where=HAS_INSTANT),
        # what a worker runs, and what a dead one ran. BRIN: a claim changes the status, and with any other index on it
        # would have to enter the row anew into all of them. There are three statuses: for as many as PostgreSQL expects
        # its summary of a range is a kilobyte, which it decompresses for each row.
        Index(
            "ix_job_running",
            "status",
            postgresql_using="brin",
            postgresql_ops={"status": "text_bloom_ops (n_distinct_per_range = 16)"},
            postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
        ),
    )

    #: Of version 7; the database makes one for jobs of other programs, by the function `queuer_new_rid`.
    rid: Mapped[UUID] = mapped_column(primary_key=True, server_default=FetchedValue())
    #: Grows with each job that is added.
    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), sort_order=-1)
    #: Someone wants a running job to be cancelled; its worker sees to it.
    cancel_requested_at: Mapped[datetime | None]

    def __repr__(self) -> str:
        return told(self, "id", "rid", "task_name", "status", "attempts")
