"""Tells when an application's sessions have committed: after the outermost commit, when they can be used again."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from sqlalchemy import Connection, event
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.orm import Session, SessionTransaction


def _ignore(_given: object) -> None:
    """Nobody wants to know."""


class Commits:
    """Follows sessions and connections.

    Args:
        committed: Told of each commit: for a session when it is over, for a connection just before it.
        dropped: Told when a session's transaction ended without one.
    """

    def __init__(self, committed: Callable[[object], None], dropped: Callable[[object], None] = _ignore) -> None:
        self._committed = committed
        self._dropped = dropped
        self._followed: WeakSet[Any] = WeakSet()
        self._has_committed: WeakSet[Session] = WeakSet()
        self._listening: list[tuple[Any, str, Any]] = []

    def follow(self, given: Session | Connection) -> None:
        if given in self._followed:
            return
        self._followed.add(given)
        if isinstance(given, Connection):
            self._listen(given, "commit", self._committed)
        else:
            self._listen(given, "after_commit", self._after_commit)
            self._listen(given, "after_transaction_end", self._after_end)

    def close(self) -> None:
        for target, name, fn in self._listening:
            with suppress(InvalidRequestError):
                event.remove(target, name, fn)
        self._listening.clear()
        self._followed.clear()

    def _listen(self, target: Any, name: str, fn: Callable[..., None]) -> None:
        event.listen(target, name, fn)
        self._listening.append((target, name, fn))

    def _after_commit(self, session: Session) -> None:
        if session.get_nested_transaction() is None:
            self._has_committed.add(session)

    def _after_end(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is not None:
            return
        if session in self._has_committed:
            self._has_committed.discard(session)
            self._committed(session)
        else:
            self._dropped(session)
