"""Which of the jobs that were added are undone since, because their savepoint or transaction was rolled back."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Connection, event
from sqlalchemy.exc import InvalidRequestError


class Entry:
    """Something that is done in a transaction."""

    is_undone = False
    #: Nothing undoes it any more.
    is_final = False

    def undo(self) -> None:
        self.is_undone = not self.is_final


_SAVEPOINT = object()


class Journal:
    """Follows connections from the first entry on. Of savepoints it needs to know no more than how they are nested."""

    def __init__(self) -> None:
        #: Of each connection: entries that can still be undone, and the savepoints between them.
        self._open: WeakKeyDictionary[Connection, list[Any]] = WeakKeyDictionary()
        self._listening: list[tuple[Connection, str, Any]] = []

    def note(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """These are done, in the connection's transaction as it is now."""
        if connection.connection.dbapi_connection.autocommit:  # type: ignore[union-attr] # every driver has it
            return
        if connection not in self._open:
            self._open[connection] = []
            self._listen(connection)
        self._open[connection] += entries

    def close(self) -> None:
        for connection, name, fn in self._listening:
            with suppress(InvalidRequestError):
                event.remove(connection, name, fn)
        self._listening.clear()

    def _listen(self, connection: Connection) -> None:
        handlers: dict[str, Callable[..., None]] = {
            "savepoint": self._begun,
            "release_savepoint": self._released,
            "rollback_savepoint": self._rolled_back_to,
            "commit": self._committed,
            "rollback": self._rolled_back,
        }
        for name, fn in handlers.items():
            event.listen(connection, name, fn)
            self._listening.append((connection, name, fn))

    def _begun(self, connection: Connection, _name: str | None) -> None:
        self._open[connection].append(_SAVEPOINT)

    def _released(self, connection: Connection, _name: str, _context: None) -> None:
        # The innermost of those that were seen, or an older one, in which all that is noted was done.
        marks = [index for index, entry in enumerate(self._open[connection]) if entry is _SAVEPOINT]
        if marks:
            del self._open[connection][marks[-1]]

    def _rolled_back_to(self, connection: Connection, _name: str, _context: None) -> None:
        entries = self._open[connection]
        while entries and (entry := entries.pop()) is not _SAVEPOINT:
            entry.undo()

    def _committed(self, connection: Connection) -> None:
        self._open[connection].clear()

    def _rolled_back(self, connection: Connection) -> None:
        for entry in self._open[connection]:
            if entry is not _SAVEPOINT:
                entry.undo()
        self._open[connection].clear()
