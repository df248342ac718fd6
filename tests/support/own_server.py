"""A PostgreSQL of a test's own, which it may restart, fill and slow down. The binaries are the embedded server's."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg

from queuer import DatabaseConfiguration
from support import programs

#: Few connections, so that they can be used up; the superuser always gets in.
SETTINGS = {
    "listen_addresses": "''",
    "max_connections": 100,
    "superuser_reserved_connections": 10,
    "commit_siblings": 0,
    "log_line_prefix": "'%m [%p] %a '",
    "log_min_error_statement": "panic",
    "deadlock_timeout": "'200ms'",
}


class Server:
    """The server whose data lies in `directory`/data, on a unix socket in `directory`."""

    database = "postgres"
    superuser = "postgres"
    #: One that is not.
    user = "somebody"

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._data = directory / "data"

    @property
    def log(self) -> Path:
        return self._data / "server.log"

    def create(self) -> None:
        self._run("initdb", "--auth=trust", "--encoding=utf8", "-U", self.superuser, "-D", str(self._data))
        config = self._data / "postgresql.conf"
        more = SETTINGS | {"unix_socket_directories": f"'{self.directory}'"}
        with config.open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in more.items())
        self.start()
        self.execute(f"CREATE ROLE {self.user} LOGIN")

    @property
    def config(self) -> DatabaseConfiguration:
        """For the superuser, on the socket."""
        return DatabaseConfiguration(str(self.directory), database=self.database, username=self.superuser)

    def start(self) -> None:
        self._control("start")

    def restart(self) -> None:
        """As after a crash: nobody is asked to leave, and the server recovers from its log."""
        self._control("restart", "-m", "immediate")

    def stop(self) -> None:
        self._control("stop", "-m", "fast")

    def connect(self, user: str = superuser, **options: Any) -> psycopg.Connection:
        """A connection in autocommit, which waits for nobody for long, who might wait for whoever asks."""
        return psycopg.connect(
            host=str(self.directory),
            user=user,
            dbname=self.database,
            autocommit=True,
            options="-c lock_timeout=1s -c statement_timeout=20s",
            **options,
        )

    def execute(self, statement: str) -> list[tuple[Any, ...]]:
        with self.connect() as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def _control(self, *arguments: str) -> None:
        self._run("pg_ctl", "-w", "-t", "60", "-D", str(self._data), "-l", str(self.log), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        with (self.directory / "pg_ctl.log").open("ab") as output:
            programs.run(program, *arguments, output=output)


@contextmanager
def running() -> Iterator[Server]:
    """A new server, which is gone afterwards, with its data."""
    directory = Path(mkdtemp(prefix="queuer-postgresql-"))
    directory.chmod(0o755)
    if (user := programs.user()) is not None:
        shutil.chown(directory, user)
    server = Server(directory)
    try:
        server.create()
        yield server
    finally:
        with suppress(subprocess.CalledProcessError):
            server.stop()
        try:
            shutil.rmtree(directory)
        except OSError as error:
            print(f"could not remove {directory}: {error}", file=sys.stderr)
