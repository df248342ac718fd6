"""A runner for the tests of the worker, and tasks for it."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from queuer import OnError
from queuer.tasks import TaskRegistry
from queuer.values import Outcome
from queuer.worker.runner import Runner
from queuer.worker.transactions import Transactions
from support.jobs import claimed

#: Options of a job whose attempts may take a moment only.
SHORT = {"on_error": OnError(timeout=0.1, max_retries=0).to_json()}


def _no_session(kind: type[Any]) -> Any:
    raise AssertionError(f"nobody asked for a {kind}")


#: Of a runner whose tasks take no session.
NONE = Transactions(begin=_no_session, begin_async=_no_session)


class Bench:
    """A runner with the tasks of one test."""

    def __init__(self) -> None:
        self.registry = TaskRegistry()
        self.outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self.freed = threading.Event()
        self.runner = Runner(
            3, None, find=self.registry.get, report=self.outcomes.put, freed=self.freed.set, transactions=NONE
        )
        self.runner.start()

    def run(self, fn: Callable[..., Any], *parameters: Any, **columns: Any) -> None:
        if self.registry.get("task") is None:
            self.registry.add(fn, "task")
        self.runner.run([claimed("task", *parameters, **columns)])

    def outcome(self) -> Outcome:
        return self.outcomes.get(timeout=5)


def add(a: int, b: int = 1) -> int:
    return a + b


async def add_async(a: int, b: int = 1) -> int:
    await asyncio.sleep(0)
    return a + b


def loop_for_ever() -> None:
    while True:
        pass


async def await_for_ever() -> None:
    await asyncio.Event().wait()
