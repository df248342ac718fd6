"""What is being done in a database, and an end to it when there is no time left: it waits for a lock, or for a server
that is gone."""

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import psycopg

from queuer.config import DatabaseConfiguration
from queuer.database.engines import unavailable

logger = logging.getLogger(__name__)

#: Seconds between two tries to end what is still under way.
AGAIN_AFTER = 1.0


class UnderWay:
    """The units of work that threads are at, each with its connection once it has one."""

    def __init__(self, config: DatabaseConfiguration) -> None:
        self._config = config
        self._connections: dict[object, psycopg.Connection[Any] | None] = {}
        self._is_over = False

    @contextmanager
    def entered(self) -> Iterator[Callable[[psycopg.Connection[Any]], None]]:
        """A unit of work. It calls what it is given when it has its connection.

        Raises:
            DatabaseUnavailable: `end` did not help others before.
        """
        key = self.begin()
        try:
            yield partial(self.is_at, key)
        finally:
            self.leave(key)

    def begin(self) -> object:
        """Enters a unit of work: the same without a context manager, around small statements. Returns what to `leave`.

        Raises:
            DatabaseUnavailable: As for `entered`.
        """
        if self._is_over:
            raise unavailable(self._config, TimeoutError("it took too long, and there is no time left"))
        key = object()
        self._connections[key] = None
        return key

    def is_at(self, key: object, connection: psycopg.Connection[Any]) -> None:
        """Says on which connection a unit of work is done."""
        self._connections[key] = connection

    def leave(self, key: object) -> None:
        """Ends a unit of work."""
        del self._connections[key]

    def end(self, *, breaks: bool) -> None:
        """Ends it all: it raises `DatabaseUnavailable`.

        The server is asked to cancel it, so that it takes no effect later on.

        Args:
            breaks: That did not help. Break the connections, too, and let nothing new begin until `resume`.
        """
        keys = list(self._connections)
        if breaks and keys:
            self._is_over = True
        for key in keys:
            connection = self._connections.get(key)
            if connection is None:  # it has just ended, or is still being opened
                continue
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=1)
            if breaks and key in self._connections:
                break_off(connection)

    def resume(self) -> None:
        """Lets work begin again."""
        self._is_over = False


@contextmanager
def impatient(seconds: float, under_way: UnderWay) -> Iterator[None]:
    """Once the block has taken so many seconds, ends what is under way, again and again until the block has ended."""
    has_ended = threading.Event()

    def watch() -> None:
        if has_ended.wait(min(seconds, threading.TIMEOUT_MAX)):
            return
        logger.warning("the database takes too long; what it is at is cancelled")
        breaks = False
        while not has_ended.is_set():
            under_way.end(breaks=breaks)
            breaks = True
            has_ended.wait(AGAIN_AFTER)

    watcher = threading.Thread(target=watch, name="queuer impatience", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        has_ended.set()
        watcher.join()
        under_way.resume()


def break_off(connection: psycopg.Connection[Any]) -> None:
    """Lets the thread that waits for an answer on this connection find it broken."""
    with suppress(psycopg.Error, OSError), socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)
