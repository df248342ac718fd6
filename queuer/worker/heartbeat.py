"""Says regularly that this worker is alive, and compares what it runs with what the database says that it runs."""

import logging
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from queuer.errors import JobCancelled, JobInterrupted
from queuer.states import WorkerRequest
from queuer.values import AttemptKey, Beat, HeldJob
from queuer.worker.loop import Loop
from queuer.worker.reporter import Reporter
from queuer.worker.runner import Runner

logger = logging.getLogger(__name__)

#: Beats in the silence after which a worker counts as dead.
BEATS = 4


class Heartbeat:
    """Beats, and does what it learns: cancels jobs, lets go of lost ones, gives unknown ones back, stops.

    Args:
        beat: Beats once.
        held: What the database says that this worker runs.
        give_back: Queues these jobs again, while these attempts at them are this worker's.
        asked: Told when the worker was asked for something.
    """

    def __init__(
        self,
        runner: Runner,
        reporter: Reporter,
        *,
        beat: Callable[[], Beat],
        held: Callable[[], Sequence[HeldJob]],
        give_back: Callable[[Sequence[HeldJob]], object],
        asked: Callable[[WorkerRequest], None],
    ) -> None:
        self._runner = runner
        self._reporter = reporter
        self._beat = beat
        self._held = held
        self._give_back = give_back
        self._asked = asked
        self._unknown: dict[AttemptKey, float] = {}  # since when
        self._last_heard_at = monotonic()
        self._longest_gap = float("inf")  # between two beats
        self._gap_ended_at = float("-inf")
        self._loop = Loop("heartbeat", self._step)
        self.start = self._loop.start
        self.stop = self._loop.stop
        #: Says that somebody wants something of this worker.
        self.wake = self._loop.wake
        #: Says that the database can be reached again.
        self.resume = self._loop.resume

    @property
    def heard_for(self) -> float:
        """Seconds since the last gap between two beats; infinite when there was none, and 0 during one."""
        now = monotonic()
        return 0.0 if now - self._last_heard_at > self._longest_gap else now - self._gap_ended_at

    def _step(self) -> float | None:
        learned = self._beat()
        now = monotonic()
        self._longest_gap = learned.worker_stale_after / 2
        if now - self._last_heard_at > self._longest_gap:
            self._gap_ended_at = now
        self._last_heard_at = now
        if learned.asked_to is not None:  # first of all: to have told us is noted, and is not told again
            self._asked(learned.asked_to)
        interval = learned.worker_stale_after / BEATS
        self._compare(now - interval / 2)
        return interval

    def _compare(self, long_ago: float) -> None:
        before = self._runner.running()  # before asking: what is claimed meanwhile is not lost
        held = {job.key: job for job in self._held()}
        for attempt in before:
            job = held.get(attempt.key)
            if job is None:
                self._runner.interrupt(JobInterrupted("the job is no longer this worker's"), [attempt])
            elif job.is_cancelled:
                self._runner.interrupt(JobCancelled("the job was cancelled while it ran"), [attempt])
        now = monotonic()
        unknown = {key: self._unknown.get(key, now) for key in self._unknown_of(held)}
        # One that was claimed a moment ago is not known yet; one that still is not at the next beat was claimed by a
        # statement whose answer was lost. Beats for which somebody woke us may follow each other at once.
        lost = {key for key, since in unknown.items() if since <= long_ago}
        self._return([held[key] for key in lost])
        self._unknown = {key: since for key, since in unknown.items() if key not in lost}

    def return_unknown(self) -> None:
        """Gives back what a claim took whose answer was lost, without waiting for the next beats.

        For the thread that claims: nobody else knows that nothing is being claimed just now.
        """
        held = {job.key: job for job in self._held()}
        self._return([held[key] for key in self._unknown_of(held)])

    def _unknown_of(self, held: Mapping[AttemptKey, HeldJob]) -> set[AttemptKey]:
        return held.keys() - {attempt.key for attempt in self._runner.running()} - self._reporter.keys()

    def _return(self, jobs: Sequence[HeldJob]) -> None:
        if jobs:
            logger.warning("giving back %d jobs that this worker holds without running them", len(jobs))
            self._give_back(jobs)
