"""Calling functions of the application when jobs are added, change, or end."""

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from queue import SimpleQueue
from typing import Any, Protocol
from uuid import UUID

from queuer import events
from queuer.database.listener import Listener
from queuer.events import Channel
from queuer.foreign import shown
from queuer.models import Job, JobArchive
from queuer.operations.watch import Watch

logger = logging.getLogger(__name__)

#: Takes a job; a coroutine function, or any other.
Callback = Callable[[Any], Any]

#: Jobs that are read at once.
BATCH = 500

#: Added jobs that are remembered, so that none is told twice where the ids of two statements interleave.
REMEMBERED = 100_000


class Kind(Enum):
    """What is told of."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


_CHANNELS: dict[Kind, Callable[[str], Channel]] = {
    Kind.INSERT: events.added,
    Kind.UPDATE: events.updated,
    Kind.DELETE: events.ended,
}


class Find(Protocol):
    """Reads jobs by ids or rids, live or ended, or ended ones alone."""

    def __call__(
        self, *, ids: Sequence[int] = (), rids: Collection[UUID] = (), have_ended: bool = False
    ) -> Sequence[Job | JobArchive]: ...


@dataclass(eq=False)
class Subscription:
    """A function that is called. `close()` ends that."""

    kind: Kind
    fn: Callback
    _owner: "Subscriptions"
    is_kept: bool

    def close(self) -> None:
        """The function is not called any more. Safe twice."""
        self._owner.remove(self)


class Subscriptions:
    """The functions to call, and the thread that calls them, one after the other in the order of the notifications.

    Those that are kept are called from `open` on; the server is listened to for those kinds that somebody asked for.

    Args:
        find: Finds those that a notification names.
        watch: Makes what looks for changes where notifications can't be heard.
    """

    def __init__(self, listener: Listener, schema: str, find: Find, watch: Callable[[Kind], Watch]) -> None:
        self._listener = listener
        self._schema = schema
        self._find = find
        self._watch = watch
        self._watches: dict[Kind, Watch] = {}
        self._subscribed: list[Subscription] = []
        self._listening: dict[Kind, Callable[[str | None], None]] = {}
        self._heard: SimpleQueue[tuple[Kind, str | None] | None] = SimpleQueue()  # the thread's; another has another
        self._is_open = False
        self._told: dict[UUID, None] = {}
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def add(self, kind: Kind, fn: Callback, *, is_kept: bool) -> Subscription:
        """Calls `fn` with every job from now on, or, when it is kept, from `open` on.

        Raises:
            TypeError: It can't be called.
            DatabaseUnavailable: The server can't be reached.
        """
        if not callable(fn):
            raise TypeError(f"{shown(fn)} can't be called when jobs change; allowed is a function that takes a job")
        subscription = Subscription(kind, fn, self, is_kept)
        with self._lock:
            self._subscribed.append(subscription)
        try:
            if self._is_open or not is_kept:
                with self._lock:
                    self._listen(kind)
        except BaseException:
            self.remove(subscription)
            raise
        return subscription

    def remove(self, subscription: Subscription) -> None:
        with self._lock:
            if subscription in self._subscribed:
                self._subscribed.remove(subscription)
            if not self._called(subscription.kind) and (heard := self._listening.pop(subscription.kind, None)):
                self._listener.unlisten(_CHANNELS[subscription.kind](self._schema), heard)
            thread = self._end_thread() if not self._is_open and not self._listening else None
        _join(thread)

    def open(self) -> None:
        """Begins to call those that are kept, too. Raises `DatabaseUnavailable`, and then it does not."""
        with self._lock:
            for subscription in self._subscribed:
                self._listen(subscription.kind)
            self._is_open = True

    def stop(self) -> None:
        """Ends the thread, when it has called for what was heard. The subscriptions are kept for another `open`."""
        if self._listening:
            self._listener.catch_up()
        with self._lock:
            for kind, heard in self._listening.items():
                self._listener.unlisten(_CHANNELS[kind](self._schema), heard)
            self._listening.clear()
            thread = self._end_thread()
        _join(thread)
        with self._lock:
            self._is_open = False  # not before: the thread calls for what was heard

    def _end_thread(self) -> threading.Thread | None:
        thread, self._thread = self._thread, None
        if thread is not None:
            self._heard.put(None)
        return thread

    def _listen(self, kind: Kind) -> None:
        if self._thread is None:
            self._heard = SimpleQueue()
            self._thread = threading.Thread(
                target=self._run, args=[self._heard], name="queuer subscriptions", daemon=True
            )
            self._thread.start()
        if kind not in self._listening:
            queue = self._heard

            def heard(payload: str | None) -> None:
                if payload or self._listener.is_polling:
                    queue.put((kind, payload))

            channel = _CHANNELS[kind](self._schema)
            self._listener.listen(channel, heard)
            try:
                self._watches.pop(kind, None)
                if self._listener.is_polling:  # at once: what happens from now on is to be told
                    self._watches[kind] = self._watch(kind)
            except BaseException:
                self._listener.unlisten(channel, heard)
                raise
            self._listening[kind] = heard

    def _called(self, kind: Kind) -> list[Subscription]:
        with self._lock:
            return [each for each in self._subscribed if each.kind is kind and (self._is_open or not each.is_kept)]

    def _run(self, queue: SimpleQueue[tuple[Kind, str | None] | None]) -> None:
        with asyncio.Runner() as runner:
            while (heard := queue.get()) is not None:
                try:
                    for job in self._jobs(*heard):
                        for subscription in self._called(heard[0]):
                            _call(subscription, job, runner)
                except Exception:
                    logger.exception("a notification could not be told")

    def _jobs(self, kind: Kind, payload: str | None) -> Sequence[Job | JobArchive]:
        if payload is None:
            return self._look(kind)
        self._watches.pop(kind, None)
        if kind is not Kind.INSERT:
            return self._find(rids=events.read_rids(payload), have_ended=kind is Kind.DELETE)
        added = events.read_added(payload)
        found = self._find(rids=added.rids) if added.rids else self._find_by_ids(added.ids)
        new = [job for job in found if job.rid not in self._told]
        self._remember([job.rid for job in new])
        return new

    def _find_by_ids(self, ids: Sequence[int]) -> list[Job | JobArchive]:
        return [job for start in range(0, len(ids), BATCH) for job in self._find(ids=ids[start : start + BATCH])]

    def _find_by_rids(self, rids: Sequence[UUID], *, have_ended: bool) -> list[Job | JobArchive]:
        some = (rids[start : start + BATCH] for start in range(0, len(rids), BATCH))
        return [job for each in some for job in self._find(rids=each, have_ended=have_ended)]

    def _look(self, kind: Kind) -> Sequence[Job | JobArchive]:
        with self._lock:
            watch = self._watches.get(kind)
            if watch is None:  # the connection is new, and unlike the one before it goes through a pooler
                self._watches[kind] = self._watch(kind)
                return ()
        found = watch.look()
        named = self._find_by_rids(list(found.rids), have_ended=kind is Kind.DELETE)
        return named + self._find_by_ids(sorted(found.ids))

    def _remember(self, rids: Sequence[UUID]) -> None:
        self._told |= dict.fromkeys(rids)
        while len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]


def _call(subscription: Subscription, job: Job | JobArchive, runner: asyncio.Runner) -> None:
    try:
        answer = subscription.fn(job)
        if inspect.iscoroutine(answer):
            runner.run(answer)
    except BaseException:  # SystemExit and the like end nothing here: there are others to call
        logger.exception(
            "a function that listens for job %s raised; it is called again next time", subscription.kind.value
        )


def _join(thread: threading.Thread | None) -> None:
    if thread is not None and thread is not threading.current_thread():
        thread.join()
