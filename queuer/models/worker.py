"""The table of workers: every queuer that can run jobs has a row."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, Text, func, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from queuer.models.base import Base, status_type, told
from queuer.states import WorkerRequest, WorkerStatus


class Worker(Base):
    """One queuer: what it can run, and when it was last heard of."""

    __tablename__ = "worker"
    __table_args__ = (
        CheckConstraint("status IN ('READY', 'RUNNING', 'STOPPED')", name="status"),
        CheckConstraint("asked_to IN ('STOP', 'STOP_GRACEFULLY')", name="asked_to"),
        # heartbeat, get_worker: one worker by its rid.
        Index("uq_worker_rid", "rid", unique=True),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    rid: Mapped[UUID] = mapped_column(server_default=func.gen_random_uuid())
    name: Mapped[str] = mapped_column(Text)
    status: Mapped[WorkerStatus] = mapped_column(status_type(WorkerStatus), server_default=WorkerStatus.READY.value)
    max_concurrency: Mapped[int]
    #: The worker's `OnError`, or null.
    on_error: Mapped[Any | None]
    tasks: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    next_interval_funcs: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'"))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    #: What the worker shall do at its next heartbeat: STOP or STOP_GRACEFULLY.
    asked_to: Mapped[WorkerRequest | None] = mapped_column(status_type(WorkerRequest))
    heartbeat_at: Mapped[datetime] = mapped_column(server_default=func.now())

    def __repr__(self) -> str:
        return told(self, "id", "rid", "name", "status")
