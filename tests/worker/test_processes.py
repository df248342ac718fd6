import functools
import importlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any

import pytest
from support import process_tasks as tasks
from support.bench import NONE
from support.jobs import claimed

from queuer import OnError
from queuer.errors import JobCancelled, JobInterrupted, JobTimeout
from queuer.tasks import Task, TaskRegistry
from queuer.values import Failure, Outcome, Verdict
from queuer.worker import child as child_module
from queuer.worker.attempt import Attempt
from queuer.worker.processes import ProcessExecutor
from queuer.worker.runner import Runner

SHORT = {"on_error": OnError(timeout=0.1, max_retries=0).to_json()}
RETRIED = {"on_error": OnError(timeout=0, max_retries=1).to_json()}


class Bench:
    """A runner whose tasks all run in child processes."""

    def __init__(self) -> None:
        self.registry = TaskRegistry()
        self.outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self.runner = Runner(
            3, None, find=self.registry.get, report=self.outcomes.put, freed=lambda: None, transactions=NONE
        )
        self.runner.start()

    def begin(self, fn: Callable[..., Any], *parameters: Any, **columns: Any) -> None:
        name = f"{fn!r}"[:100]
        if self.registry.get(name) is None:
            self.registry.add(fn, name, "process")
        self.runner.run([claimed(name, *parameters, **columns)])

    def run(self, fn: Callable[..., Any], *parameters: Any, **columns: Any) -> Outcome:
        self.begin(fn, *parameters, **columns)
        return self.outcome()

    def failure(self, fn: Callable[..., Any], *parameters: Any, **columns: Any) -> Failure:
        failure = self.run(fn, *parameters, **columns).failure
        assert failure is not None
        return failure

    def pid(self) -> int:
        """Of the child that gets the next job."""
        return int((self.run(tasks.pid).results or "").strip("[]"))

    def outcome(self) -> Outcome:
        return self.outcomes.get(timeout=20)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.runner.close()


@pytest.fixture
def pipe(tmp_path: Path) -> str:
    os.mkfifo(tmp_path / "pipe")
    return str(tmp_path / "pipe")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_module, "KILL_AFTER", 0.1)
    monkeypatch.setattr(child_module, "LOOK_EVERY", 0.01)


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# -- What a task takes and gives


@pytest.mark.parametrize("fn", [tasks.add, tasks.add_async, tasks.Tool.add, tasks.Tool.add_of_class])
def test_a_task_gets_its_parameters_and_its_value_is_the_result(bench: Bench, fn: Callable[..., Any]) -> None:
    outcome = bench.run(fn, 5)
    assert (outcome.verdict, outcome.results) == (Verdict.SUCCEEDED, "[6]")
    assert bench.run(fn, 5, parameters_keyed={"b": 3}).results == "[8]"


@pytest.mark.parametrize("fn", [tasks.who, tasks.who_async])
def test_a_task_knows_its_job(bench: Bench, fn: Callable[..., Any]) -> None:
    outcome = bench.run(fn, attempt=3, options={"metadata": {"a": 1}})
    assert (outcome.results or "").endswith(',3,{"a":1}]]')


def test_any_exception_fails_the_job_alone(bench: Bench) -> None:
    pid = bench.pid()
    for fn in (tasks.fail, tasks.fail_async):
        for kind, error in tasks.FAILURES.items():
            outcome = bench.run(fn, kind)
            assert outcome.verdict is Verdict.FAILED
            assert outcome.failure is not None
            assert outcome.failure.error.startswith(kind)
            assert str(error).replace("\0", "\\x00") in outcome.failure.error
            assert f"in {fn.__name__}" in outcome.failure.traceback
    assert bench.pid() == pid


def test_a_result_that_json_can_not_hold_fails_the_job_for_good(bench: Bench) -> None:
    outcome = bench.run(tasks.unencodable, options=RETRIED)
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert outcome.failure.error.startswith("InvalidParameters: results[0] is of type set")


def test_every_task_begins_with_the_same_signal_handlers(bench: Bench) -> None:
    """A Ctrl-C goes to every process of the terminal, and it is the worker that decides what it means."""
    bench.run(tasks.ignore_sigterm)
    assert bench.run(tasks.signals).results == f"[[{int(signal.SIG_IGN)},{int(signal.SIG_DFL)}]]"
    pid = bench.pid()
    os.kill(pid, signal.SIGINT)
    assert bench.pid() == pid
    assert os.getpgid(pid) == pid


# -- Children


def test_a_child_is_kept_for_the_next_job(bench: Bench) -> None:
    assert len({bench.pid() for _ in range(20)}) == 1


def test_children_run_at_the_same_time(bench: Bench, pipe: str) -> None:
    bench.begin(tasks.meet, pipe, "r")
    bench.begin(tasks.meet, pipe, "w")
    assert bench.outcome().results != bench.outcome().results


def test_an_idle_child_that_was_killed_is_replaced(bench: Bench) -> None:
    pid = bench.pid()
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert bench.pid() != pid


@pytest.mark.parametrize(
    ("fn", "parameters", "says"),
    [
        (tasks.exit_at_once, [3], "exited with code 3"),
        (tasks.exit_at_once, [0], "exited with code 0"),
        (tasks.kill_oneself, [signal.SIGSEGV], "was killed by signal 11 (SIGSEGV)"),
        (tasks.kill_oneself, [signal.SIGKILL], "signal 9 (SIGKILL); the system's out-of-memory killer does that"),
        (tasks.kill_oneself, [40], "was killed by signal 40"),
        (tasks.fork_and_exit, [], "exited with code 4"),
        (tasks.close_everything, [], "exited with code 1"),
    ],
)
def test_a_death_fails_the_attempt_and_says_how(
    bench: Bench, fn: Callable[..., Any], parameters: list[int], says: str
) -> None:
    outcome = bench.run(fn, *parameters, options=RETRIED)
    assert outcome.verdict is Verdict.RETRY
    assert outcome.failure is not None
    assert outcome.failure.error.startswith("ProcessDied: the child process of task '<function")
    assert outcome.failure.error.endswith(says)
    assert bench.run(tasks.add, 1).results == "[2]"


# -- Interrupts


@pytest.mark.parametrize("fn", [tasks.sleep, tasks.sleep_async, tasks.sleep_unimpressed, tasks.sleep_in_company])
def test_a_timeout_kills_the_child_with_all_it_started(
    bench: Bench, fn: Callable[..., Any], pipe: str, impatient: None
) -> None:
    pid = bench.pid()
    bench.begin(fn, pipe, options=SHORT)
    with Path(pipe).open() as file:
        assert int(file.readline()) == pid
        began = monotonic()
        outcome = bench.outcome()
        assert monotonic() - began < 1
        assert file.read() == "", "nobody has it open any more"
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert outcome.failure.error == "JobTimeout: the attempt took longer than 0.1 s"
    assert is_gone(pid)
    assert bench.runner.wait_idle(1)
    assert bench.pid() != pid


def test_what_does_not_end_by_sigterm_is_killed_two_seconds_later(bench: Bench, pipe: str) -> None:
    bench.begin(tasks.sleep_unimpressed, pipe)
    with Path(pipe).open() as file:
        file.readline()
        began = monotonic()
        bench.runner.interrupt(JobCancelled("enough"))
        assert bench.outcome().verdict is Verdict.CANCELLED
        assert 2 <= monotonic() - began < 4


def test_interrupted_jobs_are_cancelled_or_left_to_be_given_back(bench: Bench, pipe: str) -> None:
    bench.begin(tasks.sleep, pipe)
    with Path(pipe).open() as file:
        file.readline()
        bench.runner.interrupt(JobCancelled("enough"))
        outcome = bench.outcome()
    assert outcome.verdict is Verdict.CANCELLED
    assert outcome.failure is not None
    assert outcome.failure.error == "JobCancelled: enough"
    bench.begin(tasks.sleep, pipe)
    with Path(pipe).open() as file:
        file.readline()
        bench.runner.interrupt(JobInterrupted("the worker stops"))
        assert bench.runner.wait_idle(5)
    assert bench.outcomes.empty()


def test_an_interrupt_that_comes_too_late_leaves_the_child_to_the_next_job() -> None:
    done: SimpleQueue[Outcome | None] = SimpleQueue()
    executor = ProcessExecutor(lambda _attempt, outcome: done.put(outcome), begun=lambda _attempt: None)
    first, second = (Attempt(claimed("pid"), Task("pid", tasks.pid, "process"), None) for _ in range(2))
    executor.run([first])
    before = done.get(timeout=20)
    first.interrupt(JobTimeout("late"))
    executor.run([second])
    after = done.get(timeout=20)
    executor.close()
    assert before is not None
    assert after is not None
    assert before.results == after.results


# -- Finding the task


@pytest.mark.parametrize(
    "fn",
    [
        lambda: None,
        functools.partial(tasks.add, 1),
        tasks.Tool().bound,
        tasks.Tool(),
        tasks.undecorated,
    ],
    ids=["lambda", "partial", "bound", "instance", "undecorated"],
)
def test_what_a_child_could_not_import_is_refused(bench: Bench, fn: Callable[..., Any]) -> None:
    outcome = bench.run(fn, options=RETRIED)
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert outcome.failure.error.startswith("TaskNotImportable: the task '")
    assert "what a module has at its top level under its own name: move it there" in outcome.failure.error


def test_what_only_the_worker_has_is_refused_by_the_child(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def here() -> None: ...

    monkeypatch.setattr(here, "__module__", tasks.__name__)
    monkeypatch.setattr(here, "__qualname__", "here")
    monkeypatch.setattr(tasks, "here", here, raising=False)
    pid = bench.pid()
    outcome = bench.run(here, options=RETRIED)
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert "where support.process_tasks has no here" in outcome.failure.error
    assert bench.pid() == pid


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Callable[[], str]]:
    """Makes a module of that name whose first lines run in child processes alone; returns its task."""

    def make(name: str, first_lines: str) -> Callable[[], str]:
        tasks.write_module(tmp_path, name, first_lines)
        monkeypatch.syspath_prepend(tmp_path)
        work: Callable[[], str] = importlib.import_module(name).work
        return work

    return make


def test_a_module_that_can_not_be_imported_fails_the_attempt(bench: Bench, module: Any) -> None:
    raises = module("raises_in_a_child", "raise RuntimeError('no')")  # before there is a child, which gets sys.path
    pid = bench.pid()
    outcome = bench.run(raises, options=RETRIED)
    assert outcome.verdict is Verdict.RETRY
    assert outcome.failure is not None
    assert outcome.failure.error == "RuntimeError: no"
    assert "raises_in_a_child.py" in outcome.failure.traceback
    assert bench.pid() == pid
    failure = bench.failure(module("exits_in_a_child", "import os; os._exit(7)"))
    assert "exited with code 7 while it imported exits_in_a_child; what it wrote to stderr" in failure.error


def test_the_time_that_a_child_needs_to_get_ready_does_not_count(bench: Bench, module: Any, pipe: str) -> None:
    bench.begin(module("waits_in_a_child", f"open({pipe!r}).read()"), options=SHORT)
    with Path(pipe).open("w"), pytest.raises(Empty):
        bench.outcomes.get(timeout=0.3)
    assert bench.outcome().results == '["worked"]'


def test_a_child_that_never_gets_ready_is_killed(
    bench: Bench, module: Any, pipe: str, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "LONGEST_START", 0.1)
    failure = bench.failure(module("hangs_in_a_child", f"open({pipe!r}).read()"))
    assert "no longer answered its worker, and was killed while it imported hangs_in_a_child" in failure.error


def test_an_interrupt_reaches_a_child_that_gets_ready(bench: Bench, module: Any, pipe: str) -> None:
    bench.begin(module("is_interrupted_in_a_child", f"open({pipe!r}).read()"))
    with Path(pipe).open("w"):
        bench.runner.interrupt(JobCancelled("enough"))
        assert bench.outcome().verdict is Verdict.CANCELLED


# -- The end


@pytest.mark.parametrize("fn", [tasks.pid, tasks.leave_a_thread_behind])
def test_no_child_and_no_thread_is_left(fn: Callable[..., Any]) -> None:
    before = threading.active_count()
    bench = Bench()
    bench.run(fn)
    pid = bench.pid()
    bench.runner.close()
    assert is_gone(pid)
    assert threading.active_count() == before


def test_closing_gives_back_what_still_runs(pipe: str) -> None:
    bench = Bench()
    bench.begin(tasks.sleep, pipe)
    with Path(pipe).open() as file:
        pid = int(file.readline())
        bench.runner.close()
    assert is_gone(pid)
    assert bench.outcomes.empty()


WORKER = """
import os, sys
from worker.test_processes import Bench, tasks
bench, pipe, meeting = Bench(), sys.argv[1], sys.argv[1] + " of two"
os.mkfifo(meeting)
bench.begin(tasks.meet, meeting, "r")
bench.run(tasks.meet, meeting, "w")
bench.outcome()
bench.begin(tasks.sleep, pipe)
sys.stdin.read()
"""


def test_children_do_not_outlive_a_worker_that_is_killed(pipe: str, root: Path) -> None:
    """Neither the one that is idle nor the one that is busy. They have inherited the output of the worker."""
    path = os.pathsep.join([str(root / "tests"), *sys.path])
    command = [sys.executable, "-c", WORKER, pipe]
    streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, **streams) as worker:
        with Path(pipe).open() as file:
            assert file.readline() != ""
            worker.kill()
            assert file.read() == ""
        assert worker.stdout is not None
        assert worker.stdout.read() == b"", "nobody has it open any more"
