"""Sealing all rows by one key: those that are clear, and those that were sealed by another."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING, Any
from uuid import UUID

from queuer.cipher import Cipher
from queuer.database.database import Database, Work
from queuer.errors import DecryptionError
from queuer.models import Job
from queuer.repositories import rotation
from queuer.repositories.rotation import Table
from queuer.retry import reconnect_delay
from queuer.sealing import resealed

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


@dataclass(frozen=True, slots=True)
class Rotation:
    """How far a rotation is.

    Args:
        changed: Jobs that it has encrypted with the first key.
        left: About how many it has still to look at; 0 when it is done.
        unreadable: Jobs that it left as they are, since none of the keys opens them.
    """

    changed: int = 0
    left: int = 0
    unreadable: int = 0


@dataclass(frozen=True, slots=True)
class _Batch:
    last_rid: UUID
    changed: int
    unreadable: int


def rotate(database: Database, batch_size: int) -> Iterator[Rotation]:
    """Seals all jobs by the first key, and tells how far it is after each transaction of `batch_size` jobs.

    Stopped at any time, it goes on where it was when it is begun again.
    """
    total = sum(_count(database, table) for table in rotation.TABLES)
    changed = unreadable = tries = 0
    yield Rotation(0, total, 0)
    for table in rotation.TABLES:
        while True:
            before, closed = changed, 0
            for batch in _pass(database, table, batch_size):
                changed += batch.changed
                closed += batch.unreadable
                yield Rotation(changed, max(0, total - changed - unreadable - closed), unreadable + closed)
            if _count(database, table) <= closed:
                break
            # Somebody holds rows, or adds some that are sealed otherwise.
            tries = 0 if changed > before else tries + 1
            Event().wait(reconnect_delay(tries) if tries else 0)
        unreadable += closed
    yield Rotation(changed, 0, unreadable)


def _count(database: Database, table: Table) -> int:
    return database.run_single(lambda session: rotation.count(session, table, database.cipher.key_ids[0]))


def _pass(database: Database, table: Table, size: int) -> Iterator[_Batch]:
    """Goes through a table once, in the order of the rids."""
    last_rid: UUID | None = None
    while True:
        batch = database.run(_rotating(database.cipher, table, last_rid, size))
        if batch is None:
            return
        yield batch
        last_rid = batch.last_rid


def _rotating(cipher: Cipher, table: Table, after: UUID | None, size: int) -> Work[_Batch | None]:
    """The work of one transaction. Returns None when there was nothing to do."""

    def work(session: "Session") -> _Batch | None:
        rows = rotation.lock_batch(session, table, cipher.key_ids[0], after=after, limit=size)
        if not rows:
            return None
        changes = {row["rid"]: changed for row in rows if (changed := _resealed(cipher, row)) is not None}
        rotation.write(session, table, changes)
        if table is Job:
            rotation.wake(session)
        return _Batch(rows[-1]["rid"], len(changes), len(rows) - len(changes))

    return work


def _resealed(cipher: Cipher, row: Mapping[str, Any]) -> dict[str, Any] | None:
    try:
        return resealed(cipher, row)
    except (DecryptionError, TypeError):  # or numbers of another program that Python can't write as JSON
        return None
