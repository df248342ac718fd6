"""PgBouncer in front of the tests' server."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest

from queuer import DatabaseConfiguration
from support.contract import eventually
from support.programs import free_port

#: Debian puts it where only root looks.
PROGRAM = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")

CONFIGURATION = """
[databases]
* = host={host} port={port} user={user} {password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = {mode}
default_pool_size = {size}
server_round_robin = {round_robin:d}
logfile = {directory}/log
ignore_startup_parameters = extra_float_digits
"""


@contextmanager
def pgbouncer(
    server: DatabaseConfiguration, mode: str = "transaction", *, size: int = 4, round_robin: bool = False
) -> Iterator[DatabaseConfiguration]:
    """The same database through a PgBouncer of its own."""
    if PROGRAM is None:
        pytest.skip("pgbouncer is not installed; apt-get install pgbouncer")
    with TemporaryDirectory(prefix="queuer-pgbouncer-") as name:
        directory, port = Path(name), free_port()
        (directory / "pgbouncer.ini").write_text(
            CONFIGURATION.format(
                host=server.host,
                port=server.port,
                user=server.username,
                password=f"password={server.password}" if server.password else "",
                listen_port=port,
                mode=mode,
                size=size,
                round_robin=round_robin,
                directory=directory,
            )
        )
        user = _unprivileged(server)
        if user is not None:
            shutil.chown(directory, user)
        with subprocess.Popen([PROGRAM, "--quiet", str(directory / "pgbouncer.ini")], user=user) as process:
            try:
                pooled = replace(server, host="127.0.0.1", port=port, sslmode="disable")
                eventually(lambda: _answers(pooled) or process.poll() is not None)
                assert process.poll() is None, (directory / "log").read_text()
                yield pooled
            finally:
                process.terminate()
                process.wait(10)


def _unprivileged(server: DatabaseConfiguration) -> str | None:
    """It refuses to run as root; as whom instead. The embedded server's socket is for its owner alone."""
    if os.geteuid() != 0:
        return None
    owner = Path(server.host).owner() if server.host.startswith("/") else "nobody"
    return "nobody" if owner == "root" else owner


def _answers(config: DatabaseConfiguration) -> bool:
    try:
        with closing(psycopg.connect(**config.connection_parameters)) as connection:
            connection.execute("SELECT 1")
            return True
    except psycopg.OperationalError:
        return False


#: What must not stay behind in a server process that works for others next.
LEFT_BEHIND = """
SELECT 'prepared', name FROM pg_prepared_statements UNION ALL
SELECT 'listens to', pg_listening_channels() UNION ALL
SELECT 'advisory lock', objid::text FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() UNION ALL
SELECT 'set', name FROM pg_settings WHERE source = 'session' AND name ~ 'timeout|keepalives|interval|search_path'
"""


def check_nothing_is_left(pooled: DatabaseConfiguration, processes: int = 1) -> None:
    """Asserts that no session's state of ours is in any of the pooler's so many server processes."""
    with ExitStack() as stack:
        for _ in range(processes):
            connection = stack.enter_context(closing(psycopg.connect(**pooled.connection_parameters)))
            assert connection.execute(LEFT_BEHIND).fetchall() == []  # in a transaction, so each has a process
