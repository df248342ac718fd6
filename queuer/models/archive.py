"""The table of ended jobs. A TimescaleDB hypertable over `ended_at` where the server has it."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, PrimaryKeyConstraint, Text
from sqlalchemy.orm import Mapped, mapped_column

from queuer.models.job import JobRecord


class JobArchive(JobRecord):
    """A job that succeeded, failed for good, or was cancelled: same id and rid as while it was a `Job`."""

    __tablename__ = "job_archive"
    __table_args__ = (
        CheckConstraint("status IN ('SUCCEEDED', 'FAILED', 'CANCELLED')", name="status"),
        # get_jobs_ended: newest first, by id. A unique key on a hypertable has to contain its time column.
        PrimaryKeyConstraint("id", "ended_at"),
        # get_job_ended, wait_for_job_finished: one job by its rid.
        Index("ix_job_archive_rid", "rid"),
        # retention: rows lie in the order in which they ended, so a few pages of BRIN find the oldest.
        Index("ix_job_archive_ended_at", "ended_at", postgresql_using="brin"),
    )

    id: Mapped[int] = mapped_column(BigInteger, autoincrement=False, sort_order=-1)
    #: `[value]` that the task returned, when it succeeded.
    results: Mapped[Any | None]
    #: `Type: message` of the failure that ended the job.
    error: Mapped[str | None] = mapped_column(Text)
    #: Why the series went no further, when it should have.
    series_error: Mapped[str | None] = mapped_column(Text)
    ended_at: Mapped[datetime]

    @property
    def result(self) -> Any:
        """What the task returned; None also when it did not succeed."""
        return self.results[0] if isinstance(self.results, list) and self.results else None

    def __repr__(self) -> str:
        return f"<JobArchive {self.id} {self.rid} {self.task_name!r} {self.status.value} attempts={self.attempts}>"
