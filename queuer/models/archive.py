"""The table of ended jobs. A TimescaleDB hypertable over `ended_at` where the server has it."""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import BigInteger, Index, PrimaryKeyConstraint, Text
from sqlalchemy.orm import Mapped, mapped_column

from queuer.models.base import told
from queuer.models.job import JobRecord


class JobArchive(JobRecord):
    """A job that succeeded, failed for good, or was cancelled: same id and rid as while it was a `Job`."""

    __tablename__ = "job_archive"
    __table_args__ = (
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

    #: `(result,)` once it was read back. A value, no function: an ended job can be pickled.
    _read_back: ClassVar[tuple[Any, ...]] = ()

    @property
    def result(self) -> Any:
        """What the task returned; None also when it did not succeed.

        From a queuer that knows the task, of the type that the task's return annotation names; else as JSON has it.
        """
        if self._read_back:
            return self._read_back[0]
        return self.results[0] if isinstance(self.results, list) and self.results else None

    def read_result(self, read: Callable[[Any], Any]) -> None:
        """Converts the result with `read`. A `ValueError` from there leaves it as JSON has it."""
        if isinstance(self.results, list) and self.results:
            with suppress(ValueError):
                self.__dict__["_read_back"] = (read(self.results[0]),)

    def __repr__(self) -> str:
        return told(self, "id", "rid", "task_name", "status", "attempts")
