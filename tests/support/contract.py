"""What the contract's tests share."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TypeVar

from queuer import DatabaseConfiguration, Job, JobArchive, StaticQueuer

T = TypeVar("T")


def ended(q: StaticQueuer, job: Job, timeout: float = 10) -> JobArchive:
    """The job, once it has ended."""
    found = q.wait_for_job_finished(job.rid, timeout_seconds=timeout)
    assert found is not None, f"{job} did not end"
    return found


def eventually(look: Callable[[], T], timeout: float = 10) -> T:
    """Asks again and again until the answer is true. Each `look` has to be a round trip to somewhere."""
    deadline = monotonic() + timeout
    while not (found := look()):
        assert monotonic() < deadline, "it did not come about"
    return found


class Gate:
    """A task that says that it runs, and goes on when it may."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.go_on = threading.Event()

    def __call__(self) -> str:
        self.entered.release()
        while not self.go_on.wait(0.005):  # short: an interrupt gets through between two waits
            pass
        return "done"

    def wait_entered(self) -> None:
        assert self.entered.acquire(timeout=10), "nobody entered"


@contextmanager
def process(config: DatabaseConfiguration, body: str) -> Iterator[subprocess.Popen[str]]:
    """A Python process that has `config`, and tells what it prints."""
    head = f"""
import os, signal, sys, threading
from queuer import *
config = DatabaseConfiguration.from_url({config.url.render_as_string(hide_password=False)!r})
def say(text):
    print(text, flush=True)
"""
    command = [sys.executable, "-W", "error", "-c", head + body]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        try:
            yield child
        finally:
            child.kill()


def line(child: subprocess.Popen[str]) -> str:
    """The next line that the process prints."""
    assert child.stdout is not None
    return child.stdout.readline().rstrip("\n")
