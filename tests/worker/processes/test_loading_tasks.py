"""How a child process finds its task."""

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

import pytest
from support import process_tasks as tasks
from support.process_bench import RETRIED, SHORT, Bench

from queuer.errors import JobCancelled
from queuer.values import Verdict
from queuer.worker import child as child_module


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
        bench.outcomes.get(timeout=0.8)
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
