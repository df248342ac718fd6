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
from queuer.models import Job, JobArchive

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
    """Reads jobs, wherever they are: by ids, or the ended ones by rids."""

    def __call__(self, ids: Collection[int], rids: Collection[UUID]) -> Sequence[Job | JobArchive]: ...


@dataclass(eq=False)
class Subscription:
    """A function that is called. `close()` ends that."""

    kind: Kind
    fn: Callback
    _owner: "Subscriptions"

    def close(self) -> None:
        """The function is not called any more. Safe twice."""
        self._owner.remove(self)


class Subscriptions:
    """The functions to call, and the thread that calls them, one after the other in the order of the notifications.

    Until `start` they are kept; from then on the server is listened to for those kinds that somebody asked for.
    """

    def __init__(self, listener: Listener, schema: str, find: Find) -> None:
        self._listener = listener
        self._schema = schema
        self._find = find
        self._subscribed: list[Subscription] = []
        self._listening: dict[Kind, Callable[[str | None], None]] = {}
        self._heard: SimpleQueue[tuple[Kind, str] | None] = SimpleQueue()
        self._told: dict[int, None] = {}
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None

    def add(self, kind: Kind, fn: Callback) -> Subscription:
        """Calls `fn` with every job from now on, or from `start` on."""
        if not callable(fn):
            raise TypeError(f"{fn!r} can't be called when jobs change; allowed is a function that takes a job")
        subscription = Subscription(kind, fn, self)
        with self._lock:
            self._subscribed.append(subscription)
            if self._thread is not None:
                self._listen(kind)
        return subscription

    def remove(self, subscription: Subscription) -> None:
        with self._lock:
            if subscription in self._subscribed:
                self._subscribed.remove(subscription)
            if not self._of(subscription.kind) and (heard := self._listening.pop(subscription.kind, None)):
                self._listener.unlisten(_CHANNELS[subscription.kind](self._schema), heard)

    def start(self) -> None:
        """Begins to call. Safe twice."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="queuer subscriptions", daemon=True)
                self._thread.start()
            for subscription in list(self._subscribed):
                self._listen(subscription.kind)

    def stop(self) -> None:
        """Ends the thread, when it has called for what was heard. The subscriptions are kept for another start."""
        with self._lock:
            thread, self._thread = self._thread, None
            for kind, heard in self._listening.items():
                self._listener.unlisten(_CHANNELS[kind](self._schema), heard)
            self._listening.clear()
        if thread is not None and thread is not threading.current_thread():
            self._heard.put(None)
            thread.join()

    def _listen(self, kind: Kind) -> None:
        if kind not in self._listening:

            def heard(payload: str | None) -> None:
                if payload:
                    self._heard.put((kind, payload))

            self._listener.listen(_CHANNELS[kind](self._schema), heard)
            self._listening[kind] = heard

    def _of(self, kind: Kind) -> list[Subscription]:
        with self._lock:
            return [subscription for subscription in self._subscribed if subscription.kind is kind]

    def _run(self) -> None:
        with asyncio.Runner() as runner:
            while (heard := self._heard.get()) is not None:
                try:
                    for job in self._jobs(*heard):
                        for subscription in self._of(heard[0]):
                            _call(subscription, job, runner)
                except Exception:
                    logger.exception("a notification could not be told")

    def _jobs(self, kind: Kind, payload: str) -> Sequence[Job | JobArchive]:
        if kind is Kind.DELETE:
            return self._find((), events.read_rids(payload))
        ids = events.read_ids(payload)
        if kind is Kind.UPDATE:
            return self._find(ids, ())
        found: list[Job | JobArchive] = []
        for start in range(0, len(ids), BATCH):
            new = [id for id in ids[start : start + BATCH] if id not in self._told]
            found += self._find(new, ())
        self._remember([job.id for job in found])
        return found

    def _remember(self, ids: Sequence[int]) -> None:
        self._told |= dict.fromkeys(ids)
        while len(self._told) > REMEMBERED:
            del self._told[next(iter(self._told))]


def _call(subscription: Subscription, job: Job | JobArchive, runner: asyncio.Runner) -> None:
    try:
        answer = subscription.fn(job)
        if inspect.iscoroutine(answer):
            runner.run(answer)
    except Exception:
        logger.exception(
            "a function that listens for job %s raised; it is called again next time", subscription.kind.value
        )
