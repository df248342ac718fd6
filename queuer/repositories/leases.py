"""The office of the master: one row, one holder, by the database's clock."""

from dataclasses import asdict, fields
from uuid import UUID

from sqlalchemy import case, func, literal_column, or_, select, update
from sqlalchemy.orm import Session
from sqlalchemy.types import Interval

from queuer import events
from queuer.models import Master
from queuer.options import MasterSettings
from queuer.repositories.notify import tell

_MINUTE = literal_column("interval '1 minute'", Interval)

#: What the steering channel carries when the office has become vacant.
VACANT = "master"
#: What it carries when other settings are in force.
SETTINGS = "settings"


def hold(session: Session, worker_rid: UUID, settings: MasterSettings | None) -> Master | None:
    """Takes the office if it is vacant or its holder has been silent for too long, or keeps it. None = someone has it.

    Args:
        settings: Put in force with the office; None = those in force stay.
    """
    now = func.clock_timestamp()
    is_mine = Master.worker_rid == worker_rid
    # Before the time is up, so that whoever looks now and then has the office when it is.
    is_silent = Master.heartbeat_at < now - Master.lock_timeout_minutes * 0.75 * _MINUTE
    held = (
        update(Master)
        .where(or_(Master.worker_rid.is_(None), is_mine, is_silent))
        .values(
            worker_rid=worker_rid,
            heartbeat_at=now,
            elected_at=case((is_mine, Master.elected_at), else_=now),
            **(asdict(settings) if settings else {}),
        )
        .returning(Master)
    )
    before = settings_of(current(session)) if settings else None
    office = session.scalars(held.execution_options(populate_existing=True)).one_or_none()
    if office is not None and settings != before:
        tell(session, events.steering, SETTINGS)  # else workers would beat as rarely as before
    return office


def release(session: Session, worker_rid: UUID) -> bool:
    """Leaves the office, if this worker holds it, and tells the others. Tells whether it did."""
    left = update(Master).where(Master.worker_rid == worker_rid).values(worker_rid=None).returning(Master.id)
    if session.scalar(left) is None:
        return False
    tell(session, events.steering, VACANT)
    return True


def current(session: Session) -> Master:
    """The office as it stands."""
    return session.scalars(select(Master)).one()


def settings_of(office: Master) -> MasterSettings:
    """The settings in force."""
    return MasterSettings(**{field.name: getattr(office, field.name) for field in fields(MasterSettings)})


def salt(session: Session) -> bytes | None:
    """The salt of the keys that are derived from passphrases; None = somebody has deleted the row."""
    found = session.scalar(select(Master.salt))
    return found and found.bytes
