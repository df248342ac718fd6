"""A worker process: runs the tasks until it is told to stop, on a clock that jumps when SIGUSR1 comes."""

import logging
import os
import signal
import sys
import threading
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from time import monotonic

import time_machine

from chaos import tasks
from chaos.journal import Journal
from queuer import DatabaseConfiguration, DatabaseUnavailable, MasterSettings, new_queuer_with_db

#: Everything happens soon: a worker that says nothing for two seconds is dead, and a master for six.
SETTINGS = MasterSettings(worker_stale_after=2.0, master_poll_interval=0.5, lock_timeout_minutes=0.1)
CONCURRENCY = 8

#: Exit code of a worker that could not start because the database was away.
NO_DATABASE = 75

#: Where the wall clock stands, hours from the truth, after one jump after another.
JUMPS = (3.0, -2.0, 9000.0, 0.0, -0.01)


class Clock:
    """The wall clock of this process, as `time` and `datetime` tell it. The monotonic one goes on as ever."""

    def __init__(self) -> None:
        self._jumps = cycle(JUMPS)
        self._travel: time_machine.travel | None = None

    def jump(self, *_: object) -> None:
        if self._travel is not None:
            self._travel.stop()
        hours = next(self._jumps)
        self._travel = time_machine.travel(datetime.now(UTC) + timedelta(hours=hours), tick=True)
        self._travel.start()
        logging.getLogger("chaos").info("the clock has jumped by %g hours", hours)


def main(url: str, directory: Path) -> int:
    _log_to(directory)
    journal = Journal(directory, "workers")
    signal.signal(signal.SIGUSR1, Clock().jump)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until it runs
    try:
        q = new_queuer_with_db("chaos", CONCURRENCY, "", DatabaseConfiguration.from_url(url))
        tasks.register(q)
        journal.write("made", rid=str(q.get_current_worker_rid()))
        q.start(SETTINGS)
    except DatabaseUnavailable as error:
        print(f"could not start: {error}", file=sys.stderr)
        return NO_DATABASE
    q.run(SETTINGS)
    for number in (signal.SIGTERM, signal.SIGUSR1):  # a process that ends has no handlers any more
        signal.signal(number, signal.SIG_IGN)
    left = [thread.name for thread in _threads() if not _ends(thread)]
    journal.write("stopped", rid=str(q.get_current_worker_rid()), threads=left)
    return 0


def _threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("queuer")]


def _ends(thread: threading.Thread) -> bool:
    thread.join(1)  # the one that has stopped the others is about to end
    return not thread.is_alive()


def _log_to(directory: Path) -> None:
    handler = logging.FileHandler(directory / f"log-{os.getpid()}.txt")
    formatter = logging.Formatter("%(monotonic).3f %(levelname)s %(threadName)s: %(message)s")
    handler.setFormatter(formatter)

    def stamp(record: logging.LogRecord) -> bool:
        record.monotonic = monotonic()
        return True

    handler.addFilter(stamp)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    threading.excepthook = lambda args: logging.critical(  # noqa: LOG015 - of no module
        "thread %s died", args.thread and args.thread.name, exc_info=args.exc_value
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(os.environ[tasks.DIRECTORY])))
