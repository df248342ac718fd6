"""What happened, written by those to whom it happened: one file for each process, one JSON object a line.

Nothing of it goes through the database. A line is one write, so that a process that is killed leaves whole lines.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from time import monotonic
from typing import Any


class Journal:
    """Appends to a file of this process's own."""

    def __init__(self, directory: Path, who: str) -> None:
        path = directory / f"{who}-{os.getpid()}.jsonl"
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def write(self, event: str, **fields: Any) -> None:
        """Adds a line. `at` is the system's monotonic clock, the same for all processes."""
        entry = {"event": event, "at": monotonic(), "pid": os.getpid(), **fields}
        os.write(self._file, json.dumps(entry).encode() + b"\n")


def read(directory: Path, who: str) -> Iterator[dict[str, Any]]:
    """Everything that processes of this kind wrote."""
    for path in sorted(directory.glob(f"{who}-*.jsonl")):
        for line in path.read_text().splitlines():
            yield json.loads(line)
