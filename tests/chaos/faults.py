"""What each kind of fault does. Each begins, and ends when the `with` does."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass

import psycopg
from support.own_server import Server
from support.proxy import Proxy

from chaos.fleet import Fleet, Member
from chaos.plan import Step
from queuer import StaticQueuer


@dataclass(frozen=True, slots=True)
class World:
    """All that can be broken.

    Args:
        direct: A queuer past the proxy, for what somebody may ask of workers and jobs.
    """

    server: Server
    proxy: Proxy
    fleet: Fleet
    direct: StaticQueuer


class NobodyThere(Exception):
    """The fault has no victim just now."""


Fault = Callable[[World, Step], AbstractContextManager[None]]

FAULTS: dict[str, Fault] = {}


def fault(inject: Callable[[World, Step], Iterator[None]]) -> Fault:
    """Registers a fault under the name of its function."""
    made = contextmanager(inject)
    FAULTS[inject.__name__] = made
    return made


def _victim(members: list[Member], step: Step) -> Member:
    if not members:
        raise NobodyThere
    return members[int(step.pick * len(members))]


# -- Processes


@fault
def kill(world: World, step: Step) -> Iterator[None]:
    world.fleet.kill(_victim(world.fleet.workers(), step))
    yield


@fault
def kill_master(world: World, step: Step) -> Iterator[None]:
    rows = world.server.execute("SELECT worker_rid::text FROM master")
    master = rows[0][0] if rows else None
    rids = world.fleet.rids()
    world.fleet.kill(_victim([each for each in world.fleet.workers() if rids.get(each.pid, "") == master], step))
    yield


@fault
def kill_producer(world: World, step: Step) -> Iterator[None]:
    world.fleet.kill(_victim(world.fleet.producers(), step))
    yield


@fault
def pause(world: World, step: Step) -> Iterator[None]:
    """A garbage collection, a swap storm, a laptop's lid: the process is not dead, though it looks like that."""
    victim = _victim(world.fleet.workers(), step)
    victim.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        victim.signal(signal.SIGCONT)


@fault
def terminate(world: World, step: Step) -> Iterator[None]:
    world.fleet.terminate(_victim(world.fleet.workers(), step))
    yield


@fault
def ask_to_stop(world: World, step: Step) -> Iterator[None]:
    """Somebody asks a worker to stop, from elsewhere; gracefully, or at once."""
    rids = world.fleet.rids()
    victim = _victim([member for member in world.fleet.workers() if member.pid in rids], step)
    ask = world.direct.stop_worker if int(step.pick * 1000) % 2 else world.direct.stop_worker_gracefully
    ask(rids[victim.pid])
    yield


@fault
def jump_clock(world: World, step: Step) -> Iterator[None]:
    rids = world.fleet.rids()  # the others do not handle the signal yet
    _victim([member for member in world.fleet.workers() if member.pid in rids], step).signal(signal.SIGUSR1)
    yield


# -- The server


@fault
def terminate_backends(world: World, step: Step) -> Iterator[None]:
    share = 0.2 + 0.8 * step.pick
    world.server.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        f" WHERE usename = '{world.server.user}' AND random() < {share}"
    )
    yield


@fault
def restart(world: World, _step: Step) -> Iterator[None]:
    world.server.restart()
    yield


@fault
def slow_disk(world: World, _step: Step) -> Iterator[None]:
    """Every commit takes a tenth of a second."""
    _set(world.server, "commit_delay = 100000")
    try:
        yield
    finally:
        _set(world.server, "commit_delay = 0")


def _set(server: Server, setting: str) -> None:
    server.execute(f"ALTER SYSTEM SET {setting}")
    server.execute("SELECT pg_reload_conf()")


@fault
def fill_connections(world: World, _step: Step) -> Iterator[None]:
    """Somebody else takes all connections that are left; then some of the fleet's own go, which can't come back."""
    with ExitStack() as held:
        with suppress(psycopg.OperationalError):
            while True:
                held.enter_context(world.server.connect(world.server.user, application_name="greedy"))
        world.server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'queuer%' AND random() < 0.5"
        )
        with suppress(psycopg.OperationalError):
            while True:
                held.enter_context(world.server.connect(world.server.user, application_name="greedy"))
        yield


@fault
def long_transaction(world: World, _step: Step) -> Iterator[None]:
    """A report that somebody runs: no dead row can be vacuumed meanwhile."""
    with _session(world.server) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM job")
        yield


@fault
def lock_rows(world: World, _step: Step) -> Iterator[None]:
    """What a paused worker's open transaction would hold."""
    with _session(world.server) as connection:
        connection.execute("BEGIN; SELECT FROM job ORDER BY random() LIMIT 5 FOR UPDATE")
        yield


@fault
def lock_table(world: World, _step: Step) -> Iterator[None]:
    """What a migration would hold."""
    with _session(world.server) as connection:
        connection.execute("BEGIN; LOCK TABLE job IN ACCESS EXCLUSIVE MODE")
        yield


@contextmanager
def _session(server: Server) -> Iterator[psycopg.Connection]:
    connection = server.connect(application_name="somebody else")
    try:
        yield connection
    finally:
        connection.close()


# -- The network


@fault
def delay(world: World, step: Step) -> Iterator[None]:
    world.proxy.delay(0.02 + 0.5 * step.pick)
    try:
        yield
    finally:
        world.proxy.delay(0)


@fault
def cut(world: World, _step: Step) -> Iterator[None]:
    world.proxy.cut()
    yield


@fault
def refuse(world: World, _step: Step) -> Iterator[None]:
    world.proxy.refuse(True)
    world.proxy.cut()
    try:
        yield
    finally:
        world.proxy.refuse(False)


@fault
def black_hole(world: World, step: Step) -> Iterator[None]:
    """Nothing arrives, and nothing is closed. Afterwards it all arrives late, or the connections turn out broken."""
    world.proxy.swallow(True)
    try:
        yield
    finally:
        if step.pick < 0.5:
            world.proxy.cut()
        world.proxy.swallow(False)


@fault
def lose_answers(world: World, _step: Step) -> Iterator[None]:
    """The server does what it is told, and nobody hears of it."""
    world.proxy.lose_answers(True)
    try:
        yield
    finally:
        world.proxy.lose_answers(False)
