"""Has outcomes written: whatever has ended while the last write was under way goes into the next one."""

import logging
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from threading import Event
from time import monotonic, sleep

from msgspec import structs

from queuer.errors import DatabaseUnavailable
from queuer.payload import one_line
from queuer.retry import reconnect_delay
from queuer.values import AttemptKey, Failure, Outcome, Verdict
from queuer.worker.attempt import describe
from queuer.worker.loop import Loop

logger = logging.getLogger(__name__)

#: Outcomes, and characters of what they carry, that go into one write: PostgreSQL takes no statement above 1 GB.
LARGEST_BATCH = 1000
LONGEST_BATCH = 16_000_000

#: Seconds before a write of fewer outcomes than are enough, while more are to come: one of a few costs nearly as much
#: as one of a hundred.
GATHER_FOR = 0.005
LOOK_EVERY = 0.001
ENOUGH = 200


class Reporter:
    """Keeps outcomes until they are written. A write that can't reach the database is repeated; the task isn't.

    Args:
        finish: Writes outcomes, all or none.
        written: Told after each write.
        is_busy: Whether more outcomes are to be expected in a moment.
    """

    def __init__(
        self,
        finish: Callable[[Sequence[Outcome]], None],
        written: Callable[[], None],
        *,
        is_busy: Callable[[], bool] = lambda: False,
    ) -> None:
        self._finish = finish
        self._written = written
        self._is_busy = is_busy
        self._kept: deque[Outcome] = deque()
        self._loop = Loop("reporter", self._step)
        self.start = self._loop.start
        #: Says that the database can be reached again.
        self.resume = self._loop.resume

    def report(self, outcome: Outcome) -> None:
        self._kept.append(outcome)
        self._loop.wake()

    @property
    def backlog(self) -> int:
        """Outcomes that are not written yet."""
        return len(self._kept)

    def keys(self) -> set[AttemptKey]:
        """The attempts whose outcomes are not written yet."""
        return {outcome.job.key for outcome in list(self._kept)}

    def stop(self, timeout: float) -> None:
        """Ends, when what is kept is written. Tries for `timeout` seconds.

        Raises:
            DatabaseUnavailable: It could not be written. The jobs will be taken for lost, and run again.
        """
        self._loop.stop()
        deadline = monotonic() + timeout
        tries = 0
        while self._kept:
            try:
                self._step()
            except DatabaseUnavailable:
                tries += 1
                delay = reconnect_delay(tries)
                if monotonic() + delay > deadline:
                    raise
                Event().wait(delay)

    def _step(self) -> float | None:
        if not self._kept:
            return None
        self._gather()
        batch = self._next_batch()
        self._write(batch)
        for _ in batch:
            self._kept.popleft()
        self._written()
        return 0

    def _gather(self) -> None:
        """Waits a moment while more outcomes are to come. A claim under way for them has the server to itself."""
        give_up_at = monotonic() + GATHER_FOR
        while len(self._kept) < ENOUGH and self._is_busy() and monotonic() < give_up_at:
            sleep(LOOK_EVERY)

    def _next_batch(self) -> list[Outcome]:
        batch = list(islice(self._kept, LARGEST_BATCH))
        while len(batch) > 1 and sum(outcome.length for outcome in batch) > LONGEST_BATCH:
            del batch[len(batch) // 2 :]
        return batch

    def _write(self, batch: Sequence[Outcome]) -> None:
        try:
            self._finish(batch)
        except DatabaseUnavailable:
            raise
        except Exception as error:  # noqa: BLE001 - one outcome that the database refuses must not hold up the others
            if len(batch) > 1:
                for outcome in batch:
                    self._write([outcome])
            else:
                self._write_refusal(batch[0], error)

    def _write_refusal(self, outcome: Outcome, error: Exception) -> None:
        """The job has ended, but the database does not take how: say that instead, and plan nothing more."""
        # Not the traceback: further lines of the database's may quote what the job carries.
        first_line = describe(error, None).message.partition("\n")[0][:1000]
        told = outcome.job.rid, one_line(first_line)
        if outcome.verdict is Verdict.UNBEGUN:
            logger.error("job %s can't be given back; the heartbeat will try: %s", *told)
            return
        logger.error("the outcome of job %s can't be written; it fails instead: %s", *told)
        said = f"the outcome was refused by the database: {first_line}"
        failure = Failure(type(error).__name__, said, "")
        refused = Outcome(outcome.job, Verdict.FAILED, 0.0, failure=failure)
        if outcome.next_run_at is not None:
            refused = structs.replace(refused, series_error=said)
        try:
            self._finish_bare(refused)
        except DatabaseUnavailable:
            raise
        except Exception:  # it must not hold up the others for ever; the heartbeat will find the job unknown
            logger.exception("nor can its failure; job %s is let go", outcome.job.rid)

    def _finish_bare(self, refused: Outcome) -> None:
        try:
            self._finish([refused])
        except DatabaseUnavailable:
            raise
        except Exception:  # noqa: BLE001 - perhaps there is no room for another failure in the row
            self._finish([structs.replace(refused, is_kept=False)])
