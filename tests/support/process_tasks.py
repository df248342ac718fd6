"""Tasks for child processes, which import them by name.

Where one takes a path, that of a named pipe: it says there that it runs, and keeps it open as long as it lives.
"""

import asyncio
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from queuer import current_job


def add(a: int, b: int = 1) -> int:
    return a + b


async def add_async(a: int, b: int = 1) -> int:
    await asyncio.sleep(0)
    return a + b


class Tool:
    @staticmethod
    def add(a: int, b: int = 1) -> int:
        return a + b

    @classmethod
    def add_of_class(cls, a: int, b: int = 1) -> int:
        return a + b

    def bound(self) -> None: ...

    def __call__(self) -> None: ...


def pid() -> int:
    return os.getpid()


def who() -> list[Any]:
    job = current_job()
    return [job.task_name, job.attempt, dict(job.metadata)]


async def who_async() -> list[Any]:
    await asyncio.sleep(0)
    return who()


class Custom(Exception):
    """Pickle could bring it out of here, but not into the worker: it wants two arguments."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__(f"{one} and {two}\0")


FAILURES: dict[str, BaseException] = {
    "Custom": Custom(1, 2),
    "SystemExit": SystemExit(3),
    "KeyboardInterrupt": KeyboardInterrupt(),
    "CancelledError": asyncio.CancelledError(),
}


def who_and(word: str) -> list[Any]:
    return [word, dict(current_job().metadata)]


def fail(kind: str) -> None:
    raise FAILURES[kind]


async def fail_async(kind: str) -> None:
    raise FAILURES[kind]


def unencodable() -> object:
    return {1, threading.Lock()}


def announce(pipe: str) -> io.FileIO:
    file = io.FileIO(pipe, "w")
    file.write(b"%d\n" % os.getpid())
    return file


def sleep(pipe: str) -> None:
    """Blocks in C, where nothing but a signal reaches it."""
    with announce(pipe):
        time.sleep(3600)


async def sleep_async(pipe: str) -> None:
    await asyncio.to_thread(sleep, pipe)


def sleep_unimpressed(pipe: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sleep(pipe)


def sleep_in_company(pipe: str) -> None:
    """Waits for a process of its own, which keeps the pipe open, too."""
    with announce(pipe) as file:
        subprocess.run([sys.executable, "-c", "import time; time.sleep(3600)"], check=True, pass_fds=[file.fileno()])


def meet(pipe: str, mode: str) -> int:
    """Returns when another process is in here at the same time, with the other mode."""
    with io.FileIO(pipe, mode):
        return os.getpid()


def exit_at_once(code: int) -> None:
    os._exit(code)


def kill_oneself(number: int) -> None:
    os.kill(os.getpid(), number)


def close_everything() -> None:
    os.closerange(3, 256)


def fork_and_exit() -> None:
    """Leaves a process behind that keeps the connection to the worker open."""
    if os.fork() == 0:
        time.sleep(3600)
    os._exit(4)


def signals() -> list[Any]:
    return [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]


def ignore_sigterm() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def leave_a_thread_behind() -> int:
    threading.Thread(target=threading.Event().wait, daemon=False).start()
    return os.getpid()


def add_job(url: str) -> list[str]:
    """Adds a job from in here."""
    from queuer import DatabaseConfiguration, new_queuer_with_db  # noqa: PLC0415 - children start sooner without them

    q = new_queuer_with_db("in a child", 1, "", DatabaseConfiguration.from_url(url))
    rid = q.add_job("elsewhere").rid
    q.stop()
    return [str(rid), str(current_job().rid)]


def _decorated(fn: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(fn)
    def inner() -> Any:
        return fn()

    return inner


def decorated() -> None: ...


#: What a task decorator below another one has registered.
undecorated = decorated
decorated = _decorated(decorated)


def write_module(directory: Path, name: str, first_lines: str) -> None:
    """A module with the task `work`, whose first lines run in child processes alone."""
    lines = "".join(f"    {line}\n" for line in first_lines.splitlines())
    guard = "from queuer.context import in_child_process\nif in_child_process():\n"
    (directory / f"{name}.py").write_text(f"{guard}{lines}\ndef work():\n    return 'worked'\n")
