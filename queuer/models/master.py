"""The one row that says which worker is the master, and the settings in force for all workers."""

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, SmallInteger, func, text
from sqlalchemy.orm import Mapped, mapped_column

from queuer.models.base import Base, told


class Master(Base):
    """The office of the master. The migration inserts the row; nobody deletes it."""

    __tablename__ = "master"
    __table_args__ = (
        CheckConstraint("id = 1", name="one_row"),
        CheckConstraint(
            "retention_archive > 0 AND least(master_poll_interval, lock_timeout_minutes, worker_stale_after) > 0"
            " AND worker_delete_after > 0",
            name="settings",
        ),
    )

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False, server_default=text("1"))
    #: The worker that holds the office; null = vacant.
    worker_rid: Mapped[UUID | None]
    elected_at: Mapped[datetime | None]
    heartbeat_at: Mapped[datetime | None]
    #: Days that ended jobs are kept.
    retention_archive: Mapped[int] = mapped_column(server_default=text("30"))
    #: Seconds between two rounds of the master's duties.
    master_poll_interval: Mapped[float] = mapped_column(server_default=text("30"))
    #: Minutes after which a silent master loses its office.
    lock_timeout_minutes: Mapped[float] = mapped_column(server_default=text("5"))
    #: Seconds after which a silent worker counts as dead. Workers beat four times as often.
    worker_stale_after: Mapped[float] = mapped_column(server_default=text("120"))
    #: Seconds after which the row of a stopped worker is deleted.
    worker_delete_after: Mapped[float] = mapped_column(server_default=text("86400"))

    #: Of the keys that are derived from passphrases. Not secret, but a passphrase is of no use without it.
    salt: Mapped[UUID] = mapped_column(server_default=func.gen_random_uuid())

    def __repr__(self) -> str:
        return told(self, "worker_rid", "heartbeat_at")
