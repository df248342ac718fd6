"""The processes under test: workers and producers. What ends is replaced."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from chaos.journal import Journal, read
from chaos.tasks import DIRECTORY
from chaos.worker import NO_DATABASE

WORKERS = 4
PRODUCERS = 3

#: Seconds that a worker may take to stop: what `Queuer.stop` gives its tasks, and as much again for a broken database.
LONGEST_STOP = 60.0


@dataclass(slots=True)
class Member:
    """A process, and what was done to it."""

    process: subprocess.Popen[bytes]
    role: str
    stopping_since: float | None = None
    is_killed: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_alive(self) -> bool:
        return self.process.poll() is None

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


@dataclass(slots=True)
class Fleet:
    """Keeps so many workers and producers alive.

    Args:
        url: Where they find the database: behind the proxy.
        directory: Of the journals and logs.
    """

    url: str
    directory: Path
    seed: int
    journal: Journal
    members: list[Member] = field(default_factory=list)
    _born: int = 0

    def workers(self) -> list[Member]:
        return [member for member in self.members if member.role == "worker" and member.is_alive]

    def producers(self) -> list[Member]:
        return [member for member in self.members if member.role == "producer" and member.is_alive]

    def rids(self) -> dict[int, str]:
        """Under which rid each process has become known as a worker."""
        return {entry["pid"]: entry["rid"] for entry in read(self.directory, "workers") if entry["event"] == "made"}

    def keep_up(self, producers: int = PRODUCERS) -> None:
        """Notes who has ended, starts others in their place, and kills who takes too long to stop."""
        for member in self.members:
            if not member.is_alive:
                self._note(member)
            elif member.stopping_since is not None and monotonic() - member.stopping_since > LONGEST_STOP:
                self.journal.write("hangs", who=member.pid, role=member.role, seconds=LONGEST_STOP)
                self.kill(member)
        self.members = [member for member in self.members if member.is_alive]
        for role, most, alive in (
            ("worker", WORKERS, self.workers()),
            ("producer", producers, self.producers()),
        ):
            # One that was told to stop needs no longer be waited for.
            working = sum(member.stopping_since is None for member in alive)
            for _ in range(most - working):
                self._start(role)

    def kill(self, member: Member) -> None:
        member.is_killed = True
        member.signal(signal.SIGKILL)

    def terminate(self, member: Member) -> None:
        member.stopping_since = member.stopping_since or monotonic()
        member.signal(signal.SIGTERM)

    def dismiss(self, members: Sequence[Member], seconds: float) -> None:
        """Tells these to stop, and waits until they have."""
        for member in members:
            self.terminate(member)
        until = monotonic() + seconds
        for member in members:
            try:
                member.process.wait(max(0.1, until - monotonic()))
            except subprocess.TimeoutExpired:
                self.journal.write("hangs", who=member.pid, role=member.role, seconds=seconds)
                self.kill(member)
                member.process.wait()
            self._note(member)
        self.members = [member for member in self.members if member not in members]

    def disband(self) -> None:
        """Kills whoever is left."""
        for member in self.members:
            self.kill(member)
            member.process.wait()

    def _note(self, member: Member) -> None:
        code = member.process.wait()
        expected = {0, NO_DATABASE}
        if member.is_killed:
            expected.add(-signal.SIGKILL)
        if member.pid not in self.rids():  # it was still starting, and did not handle the signal yet
            expected.add(-signal.SIGTERM)
        seconds = None if member.stopping_since is None else monotonic() - member.stopping_since
        self.journal.write(
            "gone", who=member.pid, role=member.role, code=code, is_expected=code in expected, seconds=seconds
        )

    def _start(self, role: str) -> None:
        self._born += 1
        arguments = [self.url] if role == "worker" else [self.url, f"p{self._born}", f"{self.seed}/{self._born}"]
        with (self.directory / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", f"chaos.{role}", *arguments],
                stdout=output,
                stderr=output,
                env=os.environ | {DIRECTORY: str(self.directory)},
                start_new_session=True,
            )
        self.members.append(Member(process, role))
