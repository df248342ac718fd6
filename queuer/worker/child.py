"""The worker's end of a child process: starts it, talks to it, and makes sure that it ends."""

import multiprocessing
import os
import signal
import time
from time import monotonic
from typing import cast

from queuer.context import CHILD_NAME
from queuer.values import Ending
from queuer.worker.attempt import NEVER
from queuer.worker.serve import LONGEST_END, Call, Reply, serve

#: Seconds from SIGTERM to SIGKILL.
KILL_AFTER = 2.0

#: Seconds that a child may take to start and to import a task. They do not count towards the task's own timeout: a
#: task whose modules take long to import would never get to run.
LONGEST_START = 300.0

#: Seconds between two looks at a child that says nothing.
LOOK_EVERY = 0.5

#: Seconds that the processes a dead child has left are known by its id. Later on another process may have that id.
FRESH = 2.0

#: Not fork: it would copy locks that other threads hold, and connections to the database.
_SPAWN = multiprocessing.get_context("spawn")


class ChildProcess:
    """The worker's end of a child process. One thread uses it; `tell_to_end` may come from any other."""

    def __init__(self) -> None:
        self.was_told_to_end = False
        self._was_killed = False
        self._kill_at = NEVER
        self._alive_at = monotonic()
        self._imported: set[tuple[str, str]] = set()
        self._connection, its_end = _SPAWN.Pipe()
        # Not daemonic: that would forbid tasks to use multiprocessing themselves. It ends when the connection does.
        self._process = _SPAWN.Process(target=serve, args=[its_end], name=CHILD_NAME, daemon=False)
        self._process.start()
        self._pid = cast("int", self._process.pid)
        its_end.close()  # so that its death closes the connection

    @property
    def exit_code(self) -> int | None:
        """None while it lives; negative for the signal that killed it."""
        code = self._process.exitcode
        if code is None:
            self._alive_at = monotonic()
        return code

    def begin(self, call: Call) -> Ending | None:
        """Gives it a call, and returns when it has imported the task. An `Ending` says how that failed.

        Raises:
            EOFError, OSError: It is gone.
        """
        self._connection.send(call)
        if call.target in self._imported:
            return None
        reply = self._receive(within=LONGEST_START)
        if reply is None:
            self._imported.add(call.target)
        return reply

    def ending(self) -> Ending:
        """Waits for the end of the call that has begun. Raises like `begin`."""
        return cast("Ending", self._receive())

    def death(self, call: Call) -> str:
        """How it ended, in words, for one that has ended during a call."""
        how = "no longer answered its worker, and was killed" if self._was_killed else _death(self.exit_code)
        if call.target in self._imported:
            return how
        return f"{how} while it imported {call.module}; what it wrote to stderr may say more"

    def _receive(self, within: float = NEVER) -> Reply:
        """Its next word. It is killed when that takes longer than `within` seconds."""
        kill_at = monotonic() + within
        while not self._connection.poll(LOOK_EVERY):
            if monotonic() >= min(kill_at, self._kill_at):
                self._kill()
            # A process that the task has forked may hold the connection open.
            if self.exit_code is not None and not self._connection.poll():
                raise EOFError
        reply: Reply = self._connection.recv()
        return reply

    def tell_to_end(self) -> None:
        """Sends SIGTERM to it and to the processes that its task has started; SIGKILL follows if it does not end."""
        if not self.was_told_to_end:  # else being told again would put off the SIGKILL
            self._kill_at = monotonic() + KILL_AFTER
        self.was_told_to_end = True
        self._signal(signal.SIGTERM)

    def end(self) -> None:
        """Returns when it is gone, with the processes that its tasks have started."""
        self._connection.close()
        if not self._has_ended_within(KILL_AFTER if self.was_told_to_end else LONGEST_END):
            self._kill()
            self._has_ended_within(KILL_AFTER)
        self._signal(signal.SIGKILL)
        self._process.join(0)  # lets multiprocessing forget it

    def _kill(self) -> None:
        self._was_killed = True
        self._signal(signal.SIGKILL)

    def _has_ended_within(self, seconds: float) -> bool:
        # It is asked for its exit code again and again: waiting for the sentinel would not do where a process that it
        # has forked holds that open, and where another thread is about to reap it.
        until = monotonic() + seconds
        while self.exit_code is None and monotonic() < until:
            time.sleep(0.005)
        return self.exit_code is not None

    def _signal(self, number: signal.Signals) -> None:
        if self.exit_code is not None and monotonic() - self._alive_at > FRESH:
            return
        try:
            os.killpg(self._pid, number)
        except (ProcessLookupError, PermissionError):  # it has not made its group yet, or is gone
            if number == signal.SIGKILL:
                self._process.kill()
            else:
                self._process.terminate()


def _death(code: int | None) -> str:
    if code is None:
        return "has ended, but the system does not say how"
    if code >= 0:
        return f"exited with code {code}"
    hint = "; the system's out-of-memory killer does that" if -code == signal.SIGKILL else ""
    return f"was killed by signal {_signal_name(-code)}{hint}"


def _signal_name(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:  # a real-time signal
        return str(number)
