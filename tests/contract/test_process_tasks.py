"""What the contract says of `executor="process"`, on the public API alone."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from support import process_tasks as tasks

import queuer
from queuer import DatabaseConfiguration, JobStatus, OnError, Options, Queuer
from queuer.tasks import TaskRegistry


def run(q: Queuer, task: Any, /, *parameters: Any, options: Options | None = None) -> Any:
    """Adds a job on a queuer that runs, and returns the ended job."""
    ended = q.wait_for_job_finished(q.add_job_with_options(options, task, *parameters).rid, timeout_seconds=30)
    assert ended is not None
    return ended


def test_every_way_to_add_a_task_takes_an_executor(q: Queuer, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = TaskRegistry()
    monkeypatch.setattr("queuer.tasks.declared", registry)
    monkeypatch.setattr("queuer.producer.declared", registry)
    for add in (
        q.add_task,
        lambda fn, executor: q.add_task_with_name(fn, "name", executor=executor),
        lambda fn, executor: q.task(executor=executor)(fn),
        lambda fn, executor: q.task_with_name("name", executor=executor)(fn),
        lambda fn, executor: queuer.task(executor=executor)(fn),
    ):
        with pytest.raises(ValueError, match="executor is 'fork'; allowed are 'thread' and 'process'"):
            add(tasks.pid, executor="fork")
    assert q.add_task(tasks.add).executor == "thread"
    assert q.add_task(tasks.pid, executor="process").executor == "process"
    assert q.task_with_name("async", executor="process")(tasks.add_async) is tasks.add_async
    with q:
        assert run(q, tasks.pid).result != os.getpid()
        assert run(q, tasks.add_async, 1).result == 2


def test_a_blocking_task_is_stopped_by_its_timeout_and_retried(q: Queuer, tmp_path: Path) -> None:
    q.add_task(tasks.sleep, executor="process")
    os.mkfifo(tmp_path / "pipe")
    on_error = OnError(timeout=0.1, max_retries=1, retry_delay=0)
    pipe = os.open(tmp_path / "pipe", os.O_RDWR)
    with q:
        job = run(q, tasks.sleep, str(tmp_path / "pipe"), options=Options(on_error=on_error))
    os.close(pipe)
    assert (job.status, job.attempts) == (JobStatus.FAILED, 2)
    assert job.error == "JobTimeout: the attempt took longer than 0.1 s"


def test_a_crash_fails_the_job_and_the_worker_goes_on(q: Queuer) -> None:
    q.add_task(tasks.exit_at_once, executor="process")
    q.add_task(tasks.add, executor="process")
    with q:
        job = run(q, tasks.exit_at_once, 3)
        assert job.status is JobStatus.FAILED
        assert job.error == "ProcessDied: the child process of task 'exit_at_once' exited with code 3"
        assert [failure["type"] for failure in job.failures] == ["ProcessDied"]
        assert run(q, tasks.add, 1).result == 2


def test_a_job_that_is_added_in_a_child_knows_its_parent(
    q: Queuer, config: DatabaseConfiguration, engine: Engine
) -> None:
    q.add_task(tasks.add_job, executor="process")
    with q:
        job = run(q, tasks.add_job, config.url.render_as_string(hide_password=False))
    added, current = job.result
    assert current == str(job.rid)
    assert q.get_job(added).parent_rid == job.rid
    with engine.connect() as connection:
        names = connection.exec_driver_sql("SELECT name FROM worker").scalars().all()
    assert names == ["test"], "a queuer in a child is no worker"


def test_stopping_queues_what_runs_in_a_child_again(q: Queuer, tmp_path: Path) -> None:
    q.add_task(tasks.sleep, executor="process")
    os.mkfifo(tmp_path / "pipe")
    q.start()
    job = q.add_job(tasks.sleep, str(tmp_path / "pipe"))
    with (tmp_path / "pipe").open() as file:
        file.readline()
        q.stop(timeout=0)
        assert file.read() == "", "the child is gone"
    found = q.get_job(job.rid)
    assert (found.status, found.failures) == (JobStatus.QUEUED, [])


SCRIPT = """
import asyncio, json, os, sys
from queuer import DatabaseConfiguration, current_job, new_queuer_with_db

q = new_queuer_with_db("script", 2, "", DatabaseConfiguration.from_url(sys.argv[1]))


@q.task(executor="process")
def parent():
    return [current_job().task_name, os.getpid(), str(q.add_job("elsewhere").rid)]


@q.task(name="child", executor="process")
async def of_another_name():
    await asyncio.sleep(0)
    return os.getpid()


def main():
    with q:
        ended = [q.wait_for_job_finished(q.add_job(task).rid) for task in (parent, "child")]
    for job in ended:
        print(json.dumps([str(job.rid), job.error, job.result]))


"""


def run_script(script: Path, *command: str, config: DatabaseConfiguration) -> "subprocess.CompletedProcess[str]":
    path = os.pathsep.join(filter(None, sys.path))
    url = config.url.render_as_string(hide_password=False)
    return subprocess.run(
        [sys.executable, *command, url],
        cwd=script.parent,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=50,
    )


@pytest.mark.parametrize("command", [["script.py"], ["-m", "script"]], ids=" ".join)
def test_the_tasks_of_a_script_run_in_children(
    q: Queuer, config: DatabaseConfiguration, tmp_path: Path, command: list[str]
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + 'if __name__ == "__main__":\n    main()\n')
    ran = run_script(script, *command, config=config)
    assert (ran.returncode, ran.stderr) == (0, "")
    (rid, error, (name, pid, added)), (_, error_of_second, pid_of_second) = map(json.loads, ran.stdout.splitlines())
    assert (error, error_of_second, name) == (None, None, "parent")
    assert pid == pid_of_second, "the child was kept"
    assert str(q.get_job(added).parent_rid) == rid


def test_a_script_that_starts_its_queuer_whenever_it_is_imported_is_told_so(
    config: DatabaseConfiguration, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT + "main()\n")
    ran = run_script(script, "script.py", config=config)
    assert ran.returncode == 0
    assert "exited with code 1 while it imported __main__" in ran.stdout
    assert "queuer 'script' can't start in a child process, which only runs tasks of a worker" in ran.stderr
