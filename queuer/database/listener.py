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
from queuer.events import Channel
from queuer.retry import reconnect_delay

logger = logging.getLogger(__name__)

#: Called with the payload; with None when notifications may have been missed, so that everything has to be looked at.
Heard = Callable[[str | None], None]


class Listener:
    """A thread that listens, and reconnects by itself. What it calls must be quick and may not raise."""

    def __init__(self, config: DatabaseConfiguration) -> None:
        self._config = config
        self._heard: dict[Channel, list[Heard]] = {}
        self._listening: set[Channel] = set()
        self._state = threading.Condition()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def listen(self, channel: Channel, heard: Heard, timeout: float = 10.0) -> None:
        """Calls `heard` for every notification on `channel` from now on. Starts the thread if need be.

        Returns when the server listens, so what is committed afterwards is heard.

        Raises:
            DatabaseUnavailable: It did not within `timeout` seconds; then nothing is listened to.
        """
        with self._state:
            self._heard.setdefault(channel, []).append(heard)
            if channel in self._listening:
                return
            if self._thread is None:
                self._start()
            self._press()
            if self._state.wait_for(lambda: channel in self._listening, timeout):
                return
        self.unlisten(channel, heard)
        raise DatabaseUnavailable(
            f"can't listen on host {self._config.host}, port {self._config.port}, database"
            f" {self._config.database!r}: no answer within {timeout:g} s"
        )

    def unlisten(self, channel: Channel, heard: Heard) -> None:
        """Takes back a `listen`. Safe twice."""
        with self._state:
            registered = self._heard.get(channel, [])
            if heard in registered:
                registered.remove(heard)
            if not registered:
                self._heard.pop(channel, None)
            if self._thread is not None:
                self._press()

    def close(self) -> None:
        """Ends the thread and its connection, and forgets who listens. `listen` starts them again."""
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

    def _start(self) -> None:
        self._stopping.clear()
        self._doorbell, self._button = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="queuer listener", daemon=True)
        self._thread.start()

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
            except Exception:
                logger.exception("the listener failed, and starts again")
                self._stopping.wait(reconnect_delay(1))
            finally:
                with self._state:
                    self._listening.clear()

    def _connect(self) -> psycopg.Connection:
        url = self._config.url.set(drivername="postgresql").render_as_string(hide_password=False)
        return psycopg.connect(url, autocommit=True, **LIVENESS, application_name="queuer listener")

    def _hear(self, connection: psycopg.Connection) -> None:
        while not self._stopping.is_set():
            self._follow(connection)
            # Before waiting: what came while `_follow` talked to the server has been read from the socket already.
            for notification in connection.notifies(timeout=0):
                self._tell(notification.channel, notification.payload)
            ready, _, _ = select.select([connection.fileno(), self._doorbell.fileno()], [], [])
            if self._doorbell.fileno() in ready:
                self._doorbell.recv(4096)

    def _follow(self, connection: psycopg.Connection) -> None:
        """Makes the server listen to what is wanted, and no more."""
        with self._state:
            wanted = set(self._heard)
        for channel in wanted - self._listening:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel.name)))
            # Says that somebody listens. Waits for those who have just found that nobody does to commit, and after
            # that one look at everything misses nothing.
            connection.execute("SELECT pg_advisory_lock_shared(%s)", [channel.key])
            self._tell(channel.name, None)
        for channel in self._listening - wanted:
            connection.execute(sql.SQL("UNLISTEN {}").format(sql.Identifier(channel.name)))
            connection.execute("SELECT pg_advisory_unlock_shared(%s)", [channel.key])
        with self._state:
            self._listening = wanted
            self._state.notify_all()

    def _tell(self, name: str, payload: str | None) -> None:
        with self._state:
            heard = [each for channel, registered in self._heard.items() if channel.name == name for each in registered]
        for each in heard:
            each(payload)
