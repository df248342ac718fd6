"""A TCP proxy between queuer and PostgreSQL, for what networks do."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from queuer import DatabaseConfiguration

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(eq=False)
class Link:
    """A connection through the proxy. While it is not open nothing passes, though all that is sent is acknowledged."""

    is_open: asyncio.Event
    near: asyncio.StreamWriter
    far: asyncio.StreamWriter


class Proxy:
    """Passes bytes on, until told otherwise. Its methods may be called from any thread."""

    def __init__(self, config: DatabaseConfiguration, loop: asyncio.AbstractEventLoop) -> None:
        self._behind = config
        self._loop = loop
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._swallows = False
        self._server: asyncio.Server
        #: The way to the database that leads through here.
        self.config: DatabaseConfiguration
        #: Connections that were made so far.
        self.accepted = 0

    def forget(self) -> None:
        """Lets nothing more pass on the connections that there are, and closes none. New ones are passed on."""
        self._do(lambda: [link.is_open.clear() for link in self._links])

    def swallow(self, swallows: bool) -> None:
        """Lets nothing pass on any connection, old or new, and closes none; or passes on what was held up."""
        self._swallows = swallows
        self._do(lambda: [link.is_open.clear() if swallows else link.is_open.set() for link in self._links])

    def cut(self) -> None:
        """Closes all connections, with a reset."""
        self._do(lambda: [writer.transport.abort() for link in self._links for writer in (link.near, link.far)])

    def _do(self, what: Callable[[], object]) -> None:
        async def do() -> None:
            what()

        self.call(do())

    def call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)

    async def open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.config = replace(self._behind, host="127.0.0.1", port=port, sslmode="disable")

    async def close(self) -> None:
        self._server.close()
        for link in self._links:
            link.is_open.set()
            link.near.transport.abort()
            link.far.transport.abort()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if task := asyncio.current_task():
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            far_reader, far_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        link = Link(asyncio.Event(), writer, far_writer)
        if not self._swallows:
            link.is_open.set()
        self._links.add(link)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pump(link, reader, far_writer))
                both.create_task(_pump(link, far_reader, writer))
        finally:
            self._links.discard(link)

    async def _connect(self) -> Streams:
        host, port = self._behind.host, self._behind.port
        if Path(host).is_absolute():
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await asyncio.open_connection(host, port)


async def _pump(link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            await link.is_open.wait()
            writer.write(data)
            await writer.drain()
    await link.is_open.wait()  # a connection that is closed behind a hole is not seen to be
    writer.close()


@contextmanager
def proxy_to(config: DatabaseConfiguration) -> Iterator[Proxy]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="proxy")
    thread.start()
    proxy = Proxy(config, loop)
    try:
        proxy.call(proxy.open())
        yield proxy
        proxy.call(proxy.close())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
