"""The applications of examples/, each process of them a real one."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGTERM

import httpx

from queuer import DatabaseConfiguration
from support.servers import connected, variables

Event = tuple[str, dict[str, object]]


@dataclass(frozen=True)
class Application:
    """One of the examples, on a database of the test's."""

    directory: Path
    #: What serves a socket that stands for {socket}.
    web: tuple[str, ...]
    worker: tuple[str, ...]
    config: DatabaseConfiguration

    @contextmanager
    def served(self) -> Iterator["Site"]:
        """A web process, and what asks it. Connections wait in its socket until it has begun."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            command = [part.format(socket=listening.fileno()) for part in self.web]
            with self._process(command, listening.fileno()) as process:
                port = listening.getsockname()[1]
                listening.close()  # the process has it; when that ends, nobody shall wait for an answer
                # A connection for each request: one that is kept may be closed by the server when it is used again.
                limits = httpx.Limits(max_keepalive_connections=0)
                url = f"http://127.0.0.1:{port}"
                with httpx.Client(base_url=url, timeout=40, trust_env=False, limits=limits) as client:
                    yield Site(client, process)

    @contextmanager
    def working(self) -> Iterator[subprocess.Popen[bytes]]:
        """A worker process."""
        with self._process(self.worker) as process:
            yield process

    @contextmanager
    def _process(self, command: list[str] | tuple[str, ...], *fds: int) -> Iterator[subprocess.Popen[bytes]]:
        environ = os.environ | variables(self.config)
        with subprocess.Popen(
            [sys.executable, "-m", *command], cwd=self.directory, env=environ, pass_fds=fds
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:
                    terminated(process)

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        with connected(self.config) as connection:
            return connection.execute(query, parameters).fetchall()


@dataclass(frozen=True)
class Site:
    client: httpx.Client
    process: subprocess.Popen[bytes]

    def events(self, job: str) -> Iterator[Event]:
        """What the site streams about a job, until the stream ends."""
        with self.client.stream("GET", f"/jobs/{job}/events") as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            name = ""
            for line in response.iter_lines():
                field, _, value = line.partition(": ")
                if field == "event":
                    name = value
                elif field == "data":
                    yield name, json.loads(value)


def terminated(process: subprocess.Popen[bytes], timeout: float = 20) -> int:
    """Asks a process to end, and returns its exit code."""
    process.send_signal(SIGTERM)
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
