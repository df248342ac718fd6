"""One LISTEN connection for all channels that this process wants to hear of."""

import logging
import select
import socket
import threading
from collections.abc import Callable
from contextlib import closing, suppress

import psycopg
from psycopg import sql

from queuer.config import DatabaseConfiguration
from queuer.database.engines import LIVENESS, translated
from queuer.errors import DatabaseUnavailable
from queuer.retry import reconnect_delay

logger = logging.getLogger(__name__)

#: Called with the payload; with None when notifications may have been missed, so that everything has to be looked at.
Heard = Callable[[str | None], None]


class Listener:
    """A thread that listens, and reconnects by itself. Its callbacks must be quick and may not raise."""

    def __init__(self, config: DatabaseConfiguration) -> None:
        self._config = config
        self._heard: dict[str, Heard] = {}
        self._listening: set[str] = set()
        self._state = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()

    def listen(self, channel: str, heard: Heard, timeout: float = 10.0) -> None:
        """Calls `heard` for every notification on `channel` from now on. Starts the thread if need be.

        Returns when the server listens, so what is committed afterwards is heard.

        Raises:
            DatabaseUnavailable: It did not within `timeout` seconds. It goes on trying.
        """
        with self._state:
            self._heard[channel] = heard
            if channel in self._listening:
                return
            if self._thread is None:
                self._stopping.clear()
                self._doorbell, self._button = socket.socketpair()
                self._thread = threading.Thread(target=self._run, name="queuer listener", daemon=True)
                self._thread.start()
            self._press()
            if not self._state.wait_for(lambda: channel in self._listening, timeout):
                raise DatabaseUnavailable(
                    f"can't listen on host {self._config.host}, port {self._config.port}, database"
                    f" {self._config.database!r}: no answer within {timeout:g} s"
                )

    def close(self) -> None:
        """Ends the thread and its connection. `listen` may start them again."""
        with self._state:
            thread, self._thread = self._thread, None
            self._heard.clear()
        if thread is None:
            return
        self._stopping.set()
        self._press()
        thread.join()
        self._doorbell.close()
        self._button.close()

    def _press(self) -> None:
        """Makes the thread look up from its socket."""
        with suppress(OSError):
            self._button.send(b"!")

    def _run(self) -> None:
        tries = 0
        while not self._stopping.is_set():
            try:
                with translated(self._config), closing(self._connect()) as connection:
                    tries = 0
                    self._hear(connection)
            except DatabaseUnavailable as error:
                tries += 1
                delay = reconnect_delay(tries)
                logger.warning("not listening; trying again in %.1f s: %s", delay, error)
                self._stopping.wait(delay)
            finally:
                with self._state:
                    self._listening.clear()

    def _connect(self) -> psycopg.Connection:
        url = self._config.url.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(url, autocommit=True, **LIVENESS, application_name="queuer listener")

    def _hear(self, connection: psycopg.Connection) -> None:
        while not self._stopping.is_set():
            self._subscribe(connection)
            ready, _, _ = select.select([connection.fileno(), self._doorbell.fileno()], [], [])
            if self._doorbell.fileno() in ready:
                self._doorbell.recv(4096)
            for notification in connection.notifies(timeout=0):
                self._tell(notification.channel, notification.payload)

    def _subscribe(self, connection: psycopg.Connection) -> None:
        with self._state:
            new = set(self._heard) - self._listening
        for channel in new:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            # After a reconnect something may have been missed; at the first time one look too many does no harm.
            self._tell(channel, None)
        if new:
            with self._state:
                self._listening |= new
                self._state.notify_all()

    def _tell(self, channel: str, payload: str | None) -> None:
        if heard := self._heard.get(channel):
            heard(payload)
