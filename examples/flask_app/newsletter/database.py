"""The newsletter's database, which also is the queue's."""

from datetime import datetime
from uuid import UUID, uuid4

from flask_sqlalchemy import SQLAlchemy
from sqlalchemy import DateTime, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


db = SQLAlchemy(model_class=Base)


class Subscriber(db.Model):  # type: ignore[name-defined, misc] # made while running
    __tablename__ = "newsletter_subscriber"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid4)
    email: Mapped[str] = mapped_column(unique=True)
    welcomed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))


def create_tables() -> None:
    """What Alembic would do. Any number of processes may begin with it at once."""
    with db.engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('newsletter tables'))"))
        db.metadata.create_all(connection)
