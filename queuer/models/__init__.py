"""The tables as SQLAlchemy models. Read them with any `select`; write through the queuer or the repositories."""

from queuer.models import read_only
from queuer.models.archive import JobArchive
from queuer.models.base import IS_OURS, Base
from queuer.models.job import IS_QUEUED, IS_RUNNING, IS_SCHEDULED, Job, JobRecord
from queuer.models.master import Master
from queuer.models.worker import Worker

__all__ = [
    "IS_OURS",
    "IS_QUEUED",
    "IS_RUNNING",
    "IS_SCHEDULED",
    "Base",
    "Job",
    "JobArchive",
    "JobRecord",
    "Master",
    "Worker",
]

read_only.guard(Base)
for _table in Base.metadata.tables.values():
    _table.info[IS_OURS] = True
