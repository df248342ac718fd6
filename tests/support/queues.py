"""Where a queue is, or shall be, and what is asked of it after migrations."""

import subprocess
import sys

import psycopg

from queuer import DatabaseConfiguration, new_queuer_with_db

OURS = {"job", "job_archive", "worker", "master", "queuer_alembic_version"}


class Place:
    """A database, and where in it the queue shall be."""

    def __init__(self, config: DatabaseConfiguration) -> None:
        self.config = config
        self.url = config.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url, autocommit=True) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def tables(self, schema: str | None = None) -> set[object]:
        listing = "SELECT tablename FROM pg_tables WHERE schemaname = '{}'"
        return {name for (name,) in self.execute(listing.format(schema or self.config.schema))}

    def functions(self) -> int:
        return len(self.execute("SELECT 1 FROM pg_proc WHERE proname LIKE 'queuer%'"))

    def work(self) -> None:
        """Runs a job. With tables that are there already, but not recorded, a queuer could not even be made."""
        with new_queuer_with_db("test", 1, "", self.config) as q:
            q.add_task_with_name(len, "len")
            assert q.wait_for_job_finished(q.add_job("len", "word").rid).result == 4

    def command(self, *arguments: str) -> str:
        """`python -m queuer.migrations`."""
        given = ["-x", f"url={self.url}", "-x", f"schema={self.config.schema}"]
        command = [sys.executable, "-m", "queuer.migrations", *given, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout
