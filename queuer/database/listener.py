"""One LISTEN connection for all channels that this process wants to hear of."""

import logging
import selectors
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from time import monotonic

import psycopg
from psycopg import sql

from queuer.database import pooling
from queuer.database.engines import translated
from queuer.database.sources import Source
from queuer.database.under_way import break_off
from queuer.errors import DatabaseUnavailable
from queuer.events import Channel
from queuer.retry import reconnect_delay

logger = logging.getLogger(__name__)

#: Seconds of silence after which the server is asked for an answer, which shows whether the connection still works.
QUIET = 5.0

#: Seconds between two looks of the thread at what has become due, where it can't listen.
POLL_INTERVAL = 0.5

#: Called with the payload; with None when notifications may have been missed, so that everything has to be looked at.
Heard = Callable[[str | None], None]

#: Seconds that the server may take to answer when the connection is to be closed.
PATIENCE = 2.0


class Listener:
    """Who wants to hear what, and the thread that listens as long as anybody does. Callbacks must be quick."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._config = source.config.to_listen
        self._heard: Mapping[Channel, Sequence[Heard]] = {}  # replaced, never changed: it is read without the lock
        self._state = threading.Condition()
        self._ear: _Ear | None = None
        self._has_warned = False

    @property
    def is_polling(self) -> bool:
        """Whether notifications can't be heard, because a pooler is in between: None is told again and again instead,
        and things have to be looked at each time.
        """
        ear = self._ear
        return ear is not None and ear.is_polling

    def listen(self, channel: Channel, heard: Heard, timeout: float = 10.0) -> None:
        """Calls `heard` for every notification on `channel` from now on.

        Returns when the server listens, so what is committed afterwards is heard.

        Raises:
            DatabaseUnavailable: It did not within `timeout` seconds; then nothing is listened to.
        """
        with self._state:
            self._heard = {**self._heard, channel: [*self._heard.get(channel, ()), heard]}
            if self._ear is None:
                self._ear = _Ear(self._source, self._state, self._wanted, self._tell, self._warn)
            ear = self._ear
            ear.press()
            self._state.wait_for(lambda: channel in ear.listening or ear.is_closed, timeout)
            if channel in ear.listening:
                return
        self.unlisten(channel, heard)
        raise DatabaseUnavailable(
            f"can't listen on host {self._config.host}, port {self._config.port}, database"
            f" {self._config.database!r}: {ear.trouble or f'no answer within {timeout:g} s'}"
        )

    def unlisten(self, channel: Channel, heard: Heard) -> None:
        """Takes back a `listen`. Safe twice. Nobody left who listens ends the thread and its connection."""
        with self._state:
            left = list(self._heard.get(channel, ()))
            if heard in left:
                left.remove(heard)
            others = {other: registered for other, registered in self._heard.items() if other != channel}
            self._heard = {**others, channel: left} if left else others
            if self._ear is not None:
                self._ear.press()
            unused = None if self._heard else self._take_ear()
        if unused is not None:
            unused.close()

    def catch_up(self, timeout: float = 1.0) -> None:
        """Returns when what was committed before has been heard, if the server can be reached just now."""
        with self._state:
            ear = self._ear
            if ear is None or not ear.listening:
                return
            ear.to_catch_up += 1
            goal = ear.to_catch_up
            ear.press()
            self._state.wait_for(lambda: ear.caught_up >= goal or ear.is_closed or not ear.listening, timeout)

    def close(self) -> None:
        """Ends the thread and its connection, and forgets who listens. `listen` starts them again."""
        with self._state:
            self._heard = {}
            ear = self._take_ear()
        if ear is not None:
            ear.close()

    def _take_ear(self) -> "_Ear | None":
        ear, self._ear = self._ear, None
        return ear

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            logger.warning(
                "notifications can't be heard at host %s, port %s: a pooler there gives each transaction another server"
                " process; looking for news every %g s instead. To hear of them at once, set QUEUER_DB_LISTEN_URL, or"
                " listen_url, to a URL of the server itself",
                self._config.host,
                self._config.port,
                POLL_INTERVAL,
            )

    def _wanted(self) -> set[Channel]:
        with self._state:
            return set(self._heard)

    def _tell(self, name: str, payload: str | None) -> None:
        for channel, registered in self._heard.items():
            if channel.name == name:
                for each in registered:
                    each(payload)


class _Ear:
    """One thread, which listens until it is closed, and reconnects by itself."""

    def __init__(
        self,
        source: Source,
        state: threading.Condition,
        wanted: Callable[[], set[Channel]],
        tell: Callable[[str, str | None], None],
        warn: Callable[[], None],
    ) -> None:
        self._source = source
        self._state = state
        self._wanted = wanted
        self._tell = tell
        self._warn = warn
        #: Whether it can't listen, and what is told is to be looked for.
        self.is_polling = False
        #: What the server listens to. Changes are told by the condition.
        self.listening: set[Channel] = set()
        self.trouble: Exception | None = None
        #: How often it was asked to catch up, and what of that is done.
        self.to_catch_up = self.caught_up = 0
        self._closed = threading.Event()
        self._connection: psycopg.Connection | None = None
        self._doorbell, self._button = socket.socketpair()
        self._button.setblocking(False)  # noqa: FBT003 - the library
        self._thread = threading.Thread(target=self._run, name="queuer listener", daemon=True)
        self._thread.start()

    @property
    def is_closed(self) -> bool:
        return self._closed.is_set()

    def press(self) -> None:
        """Makes the thread look up from its socket. It does anyhow when the button's buffer is full."""
        with suppress(OSError):
            self._button.send(b"!")

    def close(self) -> None:
        with self._state:
            self._closed.set()
            self._state.notify_all()
        self.press()
        if self._thread is not threading.current_thread():
            self._thread.join(PATIENCE)
            while self._thread.is_alive():
                if self._connection is not None:
                    break_off(self._connection)
                self._thread.join(PATIENCE)
        self._button.close()

    def _run(self) -> None:
        failures = 0
        with self._doorbell:
            while not self._closed.is_set():
                try:
                    with translated(self._source.config.to_listen), closing(self._source.connect()) as self._connection:
                        failures = 0
                        self.is_polling = not pooling.keeps_session(self._connection, self._source.connect)
                        if self.is_polling:
                            self._warn()
                            self._poll(self._connection)
                        else:
                            self._hear(self._connection)
                except Exception as error:  # noqa: BLE001 - whatever it is, who listens must hear again
                    failures += 1
                    self._report(error, reconnect_delay(failures))
                with self._state:
                    self.listening = set()

    def _report(self, error: Exception, delay: float) -> None:
        self.trouble = error
        trace = None if isinstance(error, DatabaseUnavailable) else error
        logger.warning("not listening; trying again in %.1f s: %s", delay, error, exc_info=trace)
        self._closed.wait(delay)

    def _hear(self, connection: psycopg.Connection) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(connection.fileno(), selectors.EVENT_READ)
            selector.register(self._doorbell, selectors.EVENT_READ)
            if not self._closed.is_set():
                self._look_up(connection, is_quiet=False)
            while True:
                events = selector.select(QUIET)
                is_pressed = self._doorbell in [key.fileobj for key, _ in events]
                if is_pressed:
                    self._doorbell.recv(4096)
                if self._closed.is_set():  # after that: nobody presses once more
                    return
                if is_pressed or not events:
                    self._look_up(connection, is_quiet=not events)
                else:
                    self._tell_news(connection)

    def _look_up(self, connection: psycopg.Connection, *, is_quiet: bool) -> None:
        """Sees to what it was pressed for, or whether the server still answers. Tells what was notified meanwhile."""
        to_catch_up = self.to_catch_up
        has_talked = self._follow(connection)
        if to_catch_up > self.caught_up or is_quiet:
            connection.execute("SELECT 1")  # before its answer comes what was notified before
            has_talked = True
        if has_talked:  # psycopg keeps what came; and it has been read from the socket, which stays silent
            for kept in connection.notifies(timeout=0):
                self._tell(kept.channel, kept.payload)
        else:
            self._tell_news(connection)
        if to_catch_up > self.caught_up:
            with self._state:
                self.caught_up = to_catch_up
                self._state.notify_all()

    def _tell_news(self, connection: psycopg.Connection) -> None:
        """Tells what has been notified, as fast as can be: a worker that has nothing to do waits for this."""
        connection.pgconn.consume_input()  # psycopg takes longer to read a notification than the server to send it
        while (notified := connection.pgconn.notifies()) is not None:
            # Anybody can notify, in whatever encoding the connection has; what is ours is ASCII.
            self._tell(notified.relname.decode(errors="replace"), notified.extra.decode(errors="replace"))

    def _poll(self, connection: psycopg.Connection) -> None:
        """Tells everybody to look, now and then, as long as the server answers."""
        look_at: dict[Channel, float] = {}
        with selectors.DefaultSelector() as selector:
            selector.register(self._doorbell, selectors.EVENT_READ)
            while not self._closed.is_set():
                to_catch_up, wanted, now = self.to_catch_up, self._wanted(), monotonic()
                connection.execute("SELECT 1")
                is_asked = to_catch_up > self.caught_up
                for channel in wanted:
                    if is_asked or look_at.get(channel, 0) <= now:
                        look_at[channel] = now + channel.poll_interval
                        self._tell(channel.name, None)
                with self._state:
                    self.listening, self.trouble, self.caught_up = wanted, None, to_catch_up
                    self._state.notify_all()
                if selector.select(POLL_INTERVAL):
                    self._doorbell.recv(4096)

    def _follow(self, connection: psycopg.Connection) -> bool:
        """Makes the server listen to what is wanted, and no more. Tells whether it had to be told."""
        wanted = self._wanted()
        if wanted == self.listening and self.trouble is None:
            return False
        for channel in wanted - self.listening:
            connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel.name)))
            # Says that somebody listens. Waits for those who have just found that nobody does to commit, and after
            # that one look at everything misses nothing.
            connection.execute("SELECT pg_advisory_lock_shared(%s)", [channel.key])
            self._tell(channel.name, None)
        for channel in self.listening - wanted:
            connection.execute(sql.SQL("UNLISTEN {}").format(sql.Identifier(channel.name)))
            connection.execute("SELECT pg_advisory_unlock_shared(%s)", [channel.key])
        with self._state:
            self.listening = wanted
            self.trouble = None
            self._state.notify_all()
        return True
