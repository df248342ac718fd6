"""One side of the comparison: a script that does each step in a process of its own, on a database made for it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from queuer import DatabaseConfiguration

HERE = Path(__file__).parent


class Side:
    """The script at `path`. Each measurement gets a database of its own on the server of `config`."""

    def __init__(self, name: str, path: Path, config: DatabaseConfiguration, folder: Path) -> None:
        self.name = name
        self._path = path
        self._config = config
        self._marks = folder / f"{name}.marks"
        self._serial = 0
        self._environ = {
            **os.environ,
            "PYTHONPATH": str(HERE),
            "BENCH_COUNT_FILE": str(self._marks),
            "QUEUER_DB_HOST": config.host,
            "QUEUER_DB_PORT": str(config.port),
            "QUEUER_DB_USERNAME": config.username,
            "QUEUER_DB_DATABASE": config.database,
            "QUEUER_DB_SSLMODE": config.sslmode,
        }
        if config.password:
            self._environ["QUEUER_DB_PASSWORD"] = config.password
        self.info: dict[str, Any] = self.step("info")

    def step(self, step: str, timeout: float = 600, **arguments: object) -> dict[str, Any]:
        """Does one step, and returns what it measured."""
        given = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
        command = [sys.executable, str(self._path), step, *given]
        done = subprocess.run(command, env=self._environ, capture_output=True, text=True, timeout=timeout, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.name}: {step} failed: {done.stderr[-2000:]}")
        measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return measured

    @contextmanager
    def database(self) -> Iterator["psycopg.Connection[Any]"]:
        """A fresh database, and a connection to look into it."""
        self._serial += 1
        name = f"queuer_bench_{self.name}_{os.getpid()}_{self._serial}"
        with connect(self._config) as server:
            server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        self._environ["QUEUER_DB_DATABASE"] = name
        try:
            self.step("setup")
            with connect(replace(self._config, database=name)) as connection:
                yield connection
        finally:
            for path in self._marks.parent.glob(f"{self._marks.name}*"):
                path.unlink()
            with connect(self._config) as server:
                server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))

    @contextmanager
    def workers(self, kind: str, config: str, count: int = 1) -> Iterator[Sequence["subprocess.Popen[bytes]"]]:
        """Worker processes, which are stopped in the end."""
        command = [sys.executable, str(self._path), "worker", "--kind", kind, "--config", config]
        started = [subprocess.Popen(command, env=self._environ, stdin=subprocess.DEVNULL) for _ in range(count)]
        try:
            yield started
        finally:
            for worker in started:
                worker.send_signal(signal.SIGTERM)
            for worker in started:
                with suppress(subprocess.TimeoutExpired):
                    worker.wait(5)
                worker.kill()
                worker.wait()

    @property
    def marked(self) -> int:
        """How many bytes the jobs of this measurement have written."""
        return self._marks.stat().st_size if self._marks.exists() else 0

    def began(self, skip: int) -> dict[int, float]:
        """When the job of each number began, but for the first `skip` bytes of marks."""
        lines = self._marks.read_bytes()[skip:].decode().splitlines()
        return {int(number): float(at) for number, at in (line.split() for line in lines)}

    @property
    def first_start(self) -> float:
        """When the first job of all workers began."""
        return min(float(path.read_text()) for path in self._marks.parent.glob(f"{self._marks.name}.start.*"))

    def wait_for(self, marks: int, seconds: float) -> float:
        """Returns when so many bytes are written, or the seconds have passed: the instant."""
        deadline = time.time() + seconds
        while self.marked < marks and time.time() < deadline:
            time.sleep(0.003)
        return time.time()


def connect(config: DatabaseConfiguration) -> "psycopg.Connection[Any]":
    return psycopg.connect(autocommit=True, **config.connection_parameters)


def settle(connection: "psycopg.Connection[Any]") -> None:
    """The same starting point for all: statistics as they are, and no checkpoint in the midst of it."""
    connection.execute("VACUUM ANALYZE")
    connection.execute("CHECKPOINT")


def memory(pid: int) -> tuple[float, float]:
    """MB that a process occupies, now and at most."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmRSS"].split()[0]) / 1024, int(lines["VmHWM"].split()[0]) / 1024


def cpu_seconds(pid: int) -> float:
    """Seconds of a core that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
