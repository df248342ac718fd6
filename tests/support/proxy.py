"""A TCP proxy in front of a server, which delays, cuts, swallows and refuses."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

from queuer import DatabaseConfiguration

T = TypeVar("T")

CHUNK = 65_536


class Proxy:
    """Listens on a port of its own on 127.0.0.1, and passes everything on to the server of `config`."""

    def __init__(self, config: DatabaseConfiguration) -> None:
        self._behind = config
        self._pairs: set[_Pair] = set()
        self._delay = 0.0
        self._refuses = False
        self._open = asyncio.Event()
        self._open.set()
        self._loses_answers = False
        #: Connections that came so far.
        self.accepted = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._connected, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def config(self) -> DatabaseConfiguration:
        """For those who are to come through here."""
        return replace(self._behind, host="127.0.0.1", port=self.port, sslmode="disable")

    def close(self) -> None:
        self._call(self._server.close)
        self.cut()
        self.swallow(False)
        self._do(_all_ended())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def delay(self, seconds: float) -> None:
        """From now on everything takes so long, each way."""
        self._delay = seconds

    def cut(self) -> None:
        """Breaks all connections, at both ends."""
        self._call(lambda: [pair.abort() for pair in list(self._pairs)])

    def refuse(self, refuses: bool) -> None:
        """Breaks new connections as soon as they come."""
        self._refuses = refuses

    def swallow(self, swallows: bool) -> None:
        """Passes nothing on, and breaks nothing. What was held up goes on its way afterwards."""
        self._call(self._open.clear if swallows else self._open.set)

    def forget(self) -> None:
        """Passes nothing on any more on the connections that there are, and breaks none. New ones are served."""
        self._call(lambda: [pair.forget() for pair in self._pairs])

    def lose_answers(self, loses: bool) -> None:
        """Lets what the server answers vanish. Connections that there are meanwhile break afterwards, whether or not an
        answer has come: one may be on its way.
        """

        def lose() -> None:
            self._loses_answers = loses
            for pair in list(self._pairs):
                if loses:
                    pair.is_spoilt = True
                elif pair.is_spoilt:
                    pair.abort()

        self._call(lose)

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def _call(self, act: Callable[[], object]) -> None:
        async def called() -> None:
            act()

        self._do(called())

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._behind.host, self._behind.port
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            if self._refuses:
                raise ConnectionRefusedError
            server_reader, server_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        pair = _Pair(writer, server_writer, is_spoilt=self._loses_answers)
        self._pairs.add(pair)
        try:
            await asyncio.gather(
                self._pump(pair, reader, server_writer), self._pump(pair, server_reader, writer, is_answers=True)
            )
        finally:
            self._pairs.discard(pair)
            pair.abort()

    async def _pump(
        self, pair: "_Pair", reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answers: bool = False
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(CHUNK):
                await self._open.wait()
                if self._delay:
                    await asyncio.sleep(self._delay)
                if not (pair.is_forgotten or (is_answers and pair.is_spoilt)):
                    writer.write(data)
                    await writer.drain()
            await self._open.wait()  # what is closed behind a hole is not seen to be
            if pair.is_forgotten:
                await pair.aborted.wait()
            writer.write_eof()


async def _all_ended() -> None:
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)


class _Pair:
    """A connection of a client, and the one to the server that belongs to it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter, *, is_spoilt: bool) -> None:
        self._ends = (client, server)
        self.is_spoilt = is_spoilt
        self.is_forgotten = False
        self.aborted = asyncio.Event()

    def forget(self) -> None:
        self.is_forgotten = True

    def abort(self) -> None:
        self.aborted.set()
        for end in self._ends:
            end.transport.abort()
