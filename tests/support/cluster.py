"""A primary and a standby that follows it, with the PostgreSQL that the extra `embedded` brings."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import LiteralString

import psycopg

from queuer import DatabaseConfiguration
from support import programs
from support.contract import eventually
from support.programs import free_port

#: Nothing is flushed to disk: a server that is stopped at once still finds what it had written in the system's cache.
QUICK = "fsync = off\nfull_page_writes = off\nwal_level = replica\nhot_standby = on\n"


@dataclass(frozen=True)
class Server:
    """One PostgreSQL server."""

    data: Path
    port: int

    def start(self, *settings: str) -> None:
        options = " ".join(["-k ''", "-h 127.0.0.1", f"-p {self.port}", *(f"-c {each}" for each in settings)])
        programs.run("pg_ctl", "start", "--wait", "-D", self.data, "-l", self.data / "server.log", "-o", options)

    def crash(self) -> None:
        """Ends it as a power failure would: at once, with nothing written and nobody told."""
        programs.run("pg_ctl", "stop", "--wait", "-D", self.data, "-m", "immediate")

    def promote(self) -> None:
        programs.run("pg_ctl", "promote", "--wait", "-D", self.data)

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
    user = programs.user()
    with TemporaryDirectory(prefix="queuer-cluster-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        for data in ("primary", "standby"):
            (directory / data).mkdir(mode=0o700)
            if user is not None:
                shutil.chown(directory / data, user)
        both = Cluster(Server(directory / "primary", free_port()), Server(directory / "standby", free_port()))
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
    programs.run("initdb", "-D", primary.data, "--auth=trust", "--username=postgres", "--encoding=utf8", "--no-sync")
    with (primary.data / "postgresql.conf").open("a") as file:
        file.write(QUICK)
    primary.start(*settings)
    started.append(primary)
    where = f"host=127.0.0.1 port={primary.port} user=postgres"
    programs.run(
        "pg_basebackup", "-D", standby.data, "-d", where, "--write-recovery-conf", "-X", "stream", "-c", "fast", "-N"
    )
    standby.start()
    started.append(standby)
    eventually(lambda: primary.ask("SELECT state FROM pg_stat_replication") == [("streaming",)])
