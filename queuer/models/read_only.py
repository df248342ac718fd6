"""Keeps applications from writing the queue's rows through a session, past what the queuer has to do as well.

That is for what a session flushes. Statements, which is all that our own repositories use, pass.
"""

from typing import Any, NoReturn

from sqlalchemy import event, inspect
from sqlalchemy.orm import DeclarativeBase, object_session

from queuer.errors import ReadOnlyModel

_DOORS = {
    "job": "add one with add_job, in this very transaction with in_session(session).add_job; end one with cancel_job",
    "job_archive": "run one again with readd_job_from_archive, delete one with delete_job",
    "worker": "stop one with stop_worker or stop_worker_gracefully",
    "master": "give MasterSettings to start()",
}


def guard(base: type[DeclarativeBase]) -> None:
    """Lets a flush that would write a row of one of these models raise `ReadOnlyModel`."""
    event.listen(base, "before_insert", _on_insert, propagate=True)
    event.listen(base, "before_update", _on_update, propagate=True)
    event.listen(base, "before_delete", _on_delete, propagate=True)


def _on_insert(_mapper: object, _connection: object, row: object) -> None:
    _refuse(row, "was added to")


def _on_update(_mapper: object, _connection: object, row: object) -> None:
    session = object_session(row)
    # also called for rows that only a collection of the application's has changed, such as a backref's
    if session is None or session.is_modified(row, include_collections=False):
        changed = [each.key for each in inspect(row, raiseerr=True).attrs if each.history.has_changes()]
        _refuse(row, f"was changed ({', '.join(changed)}) in")


def _on_delete(_mapper: object, _connection: object, row: object) -> None:
    _refuse(row, "was deleted in")


def _refuse(row: Any, what_was_done: str) -> NoReturn:
    raise ReadOnlyModel(
        f"{row!r} {what_was_done} a SQLAlchemy session, where the queue's rows can only be read: a worker may hold them"
        f" at this moment. Through the queuer: {_DOORS[row.__tablename__]}. To change an object as a value of your own,"
        " take it out with session.expunge(…) first"
    )
