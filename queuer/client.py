"""The part of the façade that needs no worker: finding jobs, waiting for them, steering them; adding, by `Producer`.

Each method checks its arguments, calls one operation and returns its value.
"""

import asyncio
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import closing, suppress
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

from queuer import events
from queuer.arguments import timeout_of, uuid_of
from queuer.context import in_child_process
from queuer.database import migrate
from queuer.database.database import Database
from queuer.database.listener import Listener
from queuer.database.sources import Source
from queuer.models import Job, JobArchive, Master, Worker
from queuer.operations import inspect, steer, upkeep, watch
from queuer.producer import Producer
from queuer.states import JobStatus, WorkerRequest
from queuer.subscriptions import Kind, Subscription, Subscriptions
from queuer.values import Connection, Page
from queuer.waiting import Waiting

P = ParamSpec("P")
R = TypeVar("R")

_WATCHES: dict[Kind, Callable[[Database], watch.Watch]] = {
    Kind.INSERT: watch.Added,
    Kind.UPDATE: watch.Updated,
    Kind.DELETE: watch.Ended,
}


class StaticQueuer(Producer):
    """Adds jobs, finds them, waits for them and steers them, but runs none. Made by `new_static_queuer`.

    Safe to use from several threads and event loops. Not across a fork: make one in each process.
    """

    #: Whether there is a `start()`, until which listeners are kept.
    _has_start = False

    def __init__(self, source: Source, *, application_name: str = "queuer static") -> None:
        super().__init__(source.database(application_name))
        self._listener = Listener(source)
        self._subscriptions = Subscriptions(self._listener, source.config.schema, self._find, self._watch)
        self._waiting: Waiting | None = None
        self._waiting_lock = threading.Lock()
        try:
            if not in_child_process():  # there the worker has seen to it
                with closing(source.heart("queuer migration")) as own:
                    migrate.upgrade(own.engine, source.config)
                source.cipher.derive_keys()
        except BaseException:
            self._database.close()
            raise

    # -- Finding

    def get_job(self, rid: UUID | str) -> Job:
        """The job with this rid. Raises `JobNotFound`, which says so when it has ended."""
        return inspect.job(self._database, uuid_of(rid))

    def get_job_ended(self, rid: UUID | str) -> JobArchive:
        """The ended job with this rid. Raises `JobNotFound`, which says so when it has not ended."""
        return self._read_result(inspect.job_ended(self._database, uuid_of(rid)))

    def get_jobs(self, status: JobStatus | str | None = None, last_id: int = 0, entries: int = 100) -> Sequence[Job]:
        """Jobs that have not ended, newest first.

        Args:
            status: Only those that are QUEUED, SCHEDULED or RUNNING.
            last_id: The id of the last one of the page before; 0 = begin with the newest.
            entries: 1 to 1000.

        Raises:
            ValueError: An argument is not allowed.
        """
        return inspect.page(self._database, inspect.live(last_id, entries, status))

    def get_jobs_ended(
        self, status: JobStatus | str | None = None, last_id: int = 0, entries: int = 100
    ) -> Sequence[JobArchive]:
        """Jobs that ended SUCCEEDED, FAILED or CANCELLED, newest first. Arguments as for `get_jobs`."""
        return self._page_ended(inspect.archived(last_id, entries, status))

    def get_jobs_by_worker_rid(self, rid: UUID | str, last_id: int = 0, entries: int = 100) -> Sequence[Job]:
        """Jobs that a worker runs, newest first. Paging as for `get_jobs`."""
        return inspect.page(self._database, inspect.live(last_id, entries, worker_rid=uuid_of(rid)))

    def get_jobs_by_search(self, text: str, last_id: int = 0, entries: int = 100) -> Sequence[Job]:
        """Jobs that have not ended and whose task name, rid or status contains `text`. Paging as for `get_jobs`."""
        return inspect.page(self._database, inspect.live(last_id, entries, text=inspect.searched(text)))

    def get_jobs_ended_by_search(self, text: str, last_id: int = 0, entries: int = 100) -> Sequence[JobArchive]:
        """Ended jobs whose task name, rid or status contains `text`. Paging as for `get_jobs`."""
        return self._page_ended(inspect.archived(last_id, entries, text=inspect.searched(text)))

    def _page_ended(self, wanted: Page) -> Sequence[JobArchive]:
        return [self._read_result(job) for job in inspect.page_ended(self._database, wanted)]

    def _find(
        self, *, ids: Sequence[int] = (), rids: Collection[UUID] = (), have_ended: bool = False
    ) -> Sequence[Job | JobArchive]:
        found = inspect.ended(self._database, rids) if have_ended else inspect.wherever(self._database, ids, rids)
        return [self._read_result(job) if isinstance(job, JobArchive) else job for job in found]

    def _watch(self, kind: Kind) -> watch.Watch:
        return _WATCHES[kind](self._database)

    def _read_result(self, job: JobArchive) -> JobArchive:
        return inspect.read_result(self._registry, job)

    def unseal(self, job: Job | JobArchive) -> None:
        """Decrypts, in place, a job that a session of your own has loaded. That session will write nothing back."""
        job.unseal(self._database.cipher)

    def get_worker(self, rid: UUID | str) -> Worker:
        """The worker with this rid. Raises `WorkerNotFound`."""
        return inspect.worker(self._database, uuid_of(rid))

    def get_workers(self, last_id: int = 0, entries: int = 100) -> Sequence[Worker]:
        """Workers, newest first. Paging as for `get_jobs`."""
        return inspect.page_workers(self._database, inspect.live(last_id, entries))

    def get_workers_by_search(self, text: str, last_id: int = 0, entries: int = 100) -> Sequence[Worker]:
        """Workers whose name, rid or status contains `text`. Paging as for `get_jobs`."""
        return inspect.page_workers(self._database, inspect.live(last_id, entries, text=inspect.searched(text)))

    def get_master(self) -> Master:
        """Which worker is the master, and the settings in force."""
        return upkeep.office(self._database)

    def get_connections(self) -> Sequence[Connection]:
        """The connections that queuers have to this database."""
        return inspect.connections(self._database)

    # -- Waiting and listening

    def wait_for_job_finished(self, rid: UUID | str, timeout_seconds: float = 30.0) -> JobArchive | None:
        """Waits until a job ends, on whichever worker, and returns it; None when `timeout_seconds` have passed.

        Raises:
            JobNotFound: There is no such job.
            DatabaseUnavailable: The server can't be reached.
        """
        job_rid, timeout = uuid_of(rid), timeout_of(timeout_seconds)

        def look() -> JobArchive | None:
            return self._database.run_single(lambda session: inspect.ended_or_none_yet(session, job_rid))

        waiting = self._expecting()
        with waiting.expect(job_rid) as news:
            ended = look() or news(timeout)
            if ended is None and not waiting.is_stopped:
                ended = look()  # it costs little, and trusts no notification
        return ended and self._read_result(ended)

    async def wait_for_job_finished_async(self, rid: UUID | str, timeout_seconds: float = 30.0) -> JobArchive | None:
        """`wait_for_job_finished` for a coroutine."""
        job_rid, timeout = uuid_of(rid), timeout_of(timeout_seconds)

        async def look() -> JobArchive | None:
            return await self._database.run_single_async(lambda session: inspect.ended_or_none_yet(session, job_rid))

        waiting = await asyncio.to_thread(self._expecting)
        with waiting.expect_async(job_rid) as news:
            ended = await look() or await news(timeout)
            if ended is None and not waiting.is_stopped:
                ended = await look()
        return ended and self._read_result(ended)

    def wait_for_job_added(self, timeout_seconds: float = 30.0) -> Job | JobArchive | None:
        """Waits for the next job that anybody adds, and returns it; None when `timeout_seconds` have passed."""
        timeout = timeout_of(timeout_seconds)
        added: SimpleQueue[Job | JobArchive] = SimpleQueue()
        subscription = self._listen(Kind.INSERT, added.put, is_kept=False)
        try:
            return added.get(timeout=timeout)
        except Empty:
            return None
        finally:
            subscription.close()

    async def wait_for_job_added_async(self, timeout_seconds: float = 30.0) -> Job | JobArchive | None:
        """`wait_for_job_added` for a coroutine."""
        timeout = timeout_of(timeout_seconds)
        loop = asyncio.get_running_loop()
        added: asyncio.Queue[Job | JobArchive] = asyncio.Queue()

        def tell(job: Job | JobArchive) -> None:
            with suppress(RuntimeError):  # its loop has ended, and with it who waited
                loop.call_soon_threadsafe(added.put_nowait, job)

        subscribing = asyncio.ensure_future(asyncio.to_thread(lambda: self._listen(Kind.INSERT, tell, is_kept=False)))
        try:
            await asyncio.shield(subscribing)
            return await asyncio.wait_for(added.get(), timeout)
        except TimeoutError:
            return None
        finally:
            await asyncio.to_thread((await subscribing).close)

    def listen_for_job_insert(self, fn: Callable[[Any], Any], /) -> Subscription:
        """Calls `fn` with every job that is added, once, in a thread of its own.

        `fn` may be async; one that raises is logged. A job that is over before it could be told comes as a
        `JobArchive`. A `Queuer` keeps this until `start()`; a static one begins at once.

        Raises:
            TypeError: `fn` can't be called.
            DatabaseUnavailable: The server can't be reached.
        """
        return self._listen(Kind.INSERT, fn, is_kept=self._has_start)

    def listen_for_job_update(self, fn: Callable[[Any], Any], /) -> Subscription:
        """Calls `fn` with a job at every start, retry and give-back. As `listen_for_job_insert`."""
        return self._listen(Kind.UPDATE, fn, is_kept=self._has_start)

    def listen_for_job_delete(self, fn: Callable[[Any], Any], /) -> Subscription:
        """Calls `fn` with every job that ends, whatever its outcome. As `listen_for_job_insert`."""
        return self._listen(Kind.DELETE, fn, is_kept=self._has_start)

    def _listen(self, kind: Kind, fn: Callable[[Any], Any], *, is_kept: bool) -> Subscription:
        self._database.check_process()
        return self._subscriptions.add(kind, fn, is_kept=is_kept)

    def _expecting(self) -> Waiting:
        """What waits for jobs to end; on first use it begins to listen."""
        self._database.check_process()
        channel = events.ended(self._database.config.schema)
        with self._waiting_lock:
            if self._waiting is None:
                waiting = Waiting(lambda rids: inspect.ended(self._database, rids))
                self._listener.listen(channel, waiting.tell)
                waiting.start()
                self._waiting = waiting
            return self._waiting

    # -- Steering

    def cancel_job(self, rid: UUID | str) -> Job | JobArchive:
        """Cancels a job. One that waits is in the archive when this returns; one that runs, on whichever worker, is
        interrupted there as by a timeout, and then ends CANCELLED.

        Raises:
            JobNotFound: There is no such job, or it has ended.
        """
        job_rid = uuid_of(rid)
        return self._database.run(lambda session: steer.cancel(session, job_rid))

    async def cancel_job_async(self, rid: UUID | str) -> Job | JobArchive:
        """`cancel_job` for a coroutine."""
        job_rid = uuid_of(rid)
        return await self._database.run_async(lambda session: steer.cancel(session, job_rid))

    def cancel_all_jobs_by_worker(self, worker_rid: UUID | str, entries: int = 100) -> Sequence[Job | JobArchive]:
        """Cancels the oldest `entries` jobs that a worker runs, and returns them."""
        wanted = inspect.live(0, entries, worker_rid=uuid_of(worker_rid))
        return steer.cancel_all_of(self._database, wanted)

    def readd_job_from_archive(self, rid: UUID | str) -> Job:
        """Adds a job like one that has ended: same task, parameters and options. Raises `JobNotFound`."""
        return steer.readd(self._database, uuid_of(rid))

    def delete_job(self, rid: UUID | str) -> None:
        """Deletes a job from the archive. Raises `JobNotFound`."""
        steer.delete(self._database, uuid_of(rid))

    def stop_worker(self, rid: UUID | str) -> None:
        """Stops a worker, wherever it runs: its running jobs are interrupted and queued again.

        Raises:
            WorkerNotFound: There is no such worker.
        """
        steer.ask_worker(self._database, uuid_of(rid), WorkerRequest.STOP)

    def stop_worker_gracefully(self, rid: UUID | str) -> None:
        """Stops a worker, wherever it runs, when its running jobs have ended. Raises `WorkerNotFound`."""
        steer.ask_worker(self._database, uuid_of(rid), WorkerRequest.STOP_GRACEFULLY)

    # -- The end

    def stop(self) -> None:
        """Closes all threads and connections. Safe twice."""
        self._close()

    def _close(self) -> None:
        self._subscriptions.stop()
        with self._waiting_lock:
            waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.stop()
        self._listener.close()
        self._database.close()
