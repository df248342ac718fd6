import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from time import monotonic
from typing import Any

import pytest
from support import process_tasks as tasks
from support.jobs import claimed
from support.process_bench import RETRIED, SHORT, Bench, is_gone

from queuer.errors import JobCancelled, JobInterrupted, JobTimeout
from queuer.tasks import Task
from queuer.values import Outcome, Verdict
from queuer.worker.attempt import Attempt
from queuer.worker.processes import ProcessExecutor

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
        assert monotonic() - began < 5
        assert file.read() == "", "nobody has it open any more"
    assert outcome.verdict is Verdict.FAILED
    assert outcome.failure is not None
    assert outcome.failure.error == "JobTimeout: the attempt took longer than 0.5 s"
    assert is_gone(pid)
    assert bench.runner.wait_idle(5)
    assert bench.pid() != pid


def test_what_does_not_end_by_sigterm_is_killed_two_seconds_later(bench: Bench, pipe: str) -> None:
    bench.begin(tasks.sleep_unimpressed, pipe)
    with Path(pipe).open() as file:
        file.readline()
        began = monotonic()
        bench.runner.interrupt(JobCancelled("enough"))
        assert bench.outcome().verdict is Verdict.CANCELLED
        assert 2 <= monotonic() - began < 10


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
from support import process_tasks as tasks
from support.process_bench import Bench
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
