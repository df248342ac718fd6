"""What the workers' logs and the conductor's journal say that no fault excuses. Knows nothing of queuer."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from chaos.facts import Dropped
from chaos.journal import read

_DROPPED = re.compile(r"dropped the outcome (\w+) of job ([0-9a-f-]+), attempt (\d+)")

#: Errors that belong to the plan: what they say is checked against the tables.
_EXPECTED_ERRORS = re.compile(r"jobs failed, because workers died under them again and again")
_ERROR = re.compile(r"^[\d.]+ (ERROR|CRITICAL) ")


def dropped(directory: Path) -> list[Dropped]:
    """The outcomes that workers say they dropped."""
    rids = {entry["pid"]: entry["rid"] for entry in read(directory, "workers") if entry["event"] == "made"}
    found = []
    for path in sorted(directory.glob("log-*.txt")):
        worker_rid = rids.get(int(path.stem.removeprefix("log-")))
        for verdict, rid, attempt in _DROPPED.findall(path.read_text()):
            found.append(Dropped(verdict, rid, int(attempt), worker_rid))
    return found


def trouble(directory: Path) -> list[str]:
    """Crashes, errors, threads left behind, and processes that did not stop in time."""
    return [*_crashes(directory), *_threads_left(directory), *_errors(directory)]


def _crashes(directory: Path) -> Iterator[str]:
    for entry in read(directory, "conductor"):
        if entry["event"] == "gone" and not entry["is_expected"]:
            yield f"the {entry['role']} {entry['who']} ended with code {entry['code']}"
        if entry["event"] == "hangs":
            yield f"the {entry['role']} {entry['who']} did not stop within {entry['seconds']:g} s"
        if entry["event"] == "failed":
            yield f"the fault {entry['kind']} itself failed: {entry['error']}"


def _threads_left(directory: Path) -> Iterator[str]:
    for entry in read(directory, "workers"):
        if entry["event"] == "stopped" and entry["threads"]:
            yield f"worker {entry['pid']} has stopped, and left the threads {', '.join(entry['threads'])}"


def _errors(directory: Path) -> Iterator[str]:
    for path in sorted(directory.glob("log-*.txt")):
        lines = path.read_text().splitlines()
        errors = [line for line in lines if _ERROR.match(line) and not _EXPECTED_ERRORS.search(line)]
        for line, count in Counter(re.sub(r"^[\d.]+ ", "", line) for line in errors).items():
            yield f"{path.name}: {line}" + (f" ({count} times)" if count > 1 else "")
