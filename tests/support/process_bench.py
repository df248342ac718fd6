"""A runner whose tasks all run in child processes."""

import os
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from queuer import OnError
from queuer.tasks import TaskRegistry
from queuer.values import Failure, Outcome
from queuer.worker.runner import Runner
from support import process_tasks as tasks
from support.bench import NONE
from support.jobs import claimed

#: For a child that has something to say before it is ended.
SHORT = {"on_error": OnError(timeout=0.5, max_retries=0).to_json()}
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


def is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False
