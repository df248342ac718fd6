"""Makes SQLAlchemy engines from a configuration, and tells what their errors mean."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from types import MappingProxyType
from typing import Any

import psycopg
import sqlalchemy
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import ConnectionPoolEntry, QueuePool

from queuer.config import DatabaseConfiguration
from queuer.database import pooling
from queuer.database.liveness import LIVENESS, SERVER_SIDE, Connection
from queuer.errors import ConfigurationError, DatabaseUnavailable, NotPermitted, QueuerError

OLDEST_SERVER = 140_000

#: For connections on which every transaction is ours, and soon over: adding jobs there tells the workers only if there
#: are any. To find that out a lock is held to the transaction's end, for which who begins to listen has to wait.
COMMITS_SOON = {"queuer.commits_soon": "on"}

#: For all connections that are ours: to compile a plan takes longer than any of ours would gain.
SETTINGS = {**COMMITS_SOON, "jit": "off"}

#: For a worker's connections, which send a few statements again and again: plan each once, not each time, and by the
#: indexes they are made for, whatever the statistics of a table that was empty a moment ago say. Planning a claim takes
#: several times as long as a small one itself.
WORKER_SETTINGS = {
    **SETTINGS,
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}

#: What SQLAlchemy and the driver raise.
DRIVERS_ERRORS = (DBAPIError, PoolTimeout, psycopg.Error)

# SQLSTATE classes and codes of a server that can't be used now, while the same may work later: connection exceptions,
# read-only after a failover, invalid authorization, unknown database, rollback by deadlock or serialization,
# insufficient resources (a full disk, too many connections), a lock that was not to be had, operator intervention
# (shutdown, restart, cancelling), errors of the system.
_UNAVAILABLE = ("08", "25006", "28", "3D", "40", "53", "55P03", "57", "58")


# Those by which it says that it has done nothing, so that the same may be tried again at once: serialization failure,
# deadlock, and read-only, for which `_failed` drops the connection.
_ROLLED_BACK = ("40001", "40P01", "25006")

_INSUFFICIENT_PRIVILEGE = "42501"


def create(
    config: DatabaseConfiguration,
    *,
    application_name: str,
    most: int = 10,
    pings: bool = True,
    translates: bool = True,
    creator: Callable[[], DBAPIConnection] | None = None,
    settings: Mapping[str, str] | None = None,
) -> Engine:
    """An engine with a pool of its own, of `most` connections at most. Opens nothing yet.

    Args:
        pings: Replace a connection that died in the pool before it is used, at the price of an empty round trip. A
            worker does without: what fails it does again.
        translates: Tables without a schema are in the queue's.
        creator: Opens a connection; None = by the configuration.
        settings: Of PostgreSQL, for each connection.
    """
    options = engine_options(config, application_name=application_name, most=most, translates=translates)
    options["pool_pre_ping"] = pings
    if creator is not None:
        options["creator"] = creator
    engine = create_engine(config.url, poolclass=_Pool, **options)
    if creator is None:
        event.listen(engine, "do_connect", lambda _dialect, _record, args, keyed: Connection.connect(*args, **keyed))
    attend(engine, settings or {})
    return engine


def attend(engine: Engine, settings: Mapping[str, str] = MappingProxyType({})) -> None:
    """Lets the server notice when we are gone, and drops connections that are of no use any more.

    Args:
        settings: More of PostgreSQL's, for each connection.
    """
    for_each = {**SERVER_SIDE, **settings}

    def opened(dbapi_connection: Any, _record: object) -> None:
        with closing(dbapi_connection.cursor()) as cursor:
            pooling.set_up(_of_driver(dbapi_connection), cursor, for_each)
        dbapi_connection.commit()

    event.listen(engine, "connect", opened)
    event.listen(engine, "handle_error", _failed)


def _of_driver(dbapi_connection: Any) -> Any:
    """psycopg's own connection, which an async engine wraps."""
    return getattr(dbapi_connection, "driver_connection", dbapi_connection)


def _failed(context: ExceptionContext) -> None:
    if isinstance(context.original_exception, psycopg.Error) and is_outdated(context.original_exception):
        context.is_disconnect = True


def is_outdated(error: psycopg.Error) -> bool:
    """Whether the same statement would succeed on a new connection: this one's server became a standby, or a migration
    has changed the type of what a prepared statement returns.
    """
    if isinstance(error, psycopg.errors.FeatureNotSupported):
        return error.diag.source_function == "RevalidateCachedQuery"
    return isinstance(error, psycopg.errors.ReadOnlySqlTransaction)


class _Pool(QueuePool):
    """Closes also what another thread had in use while the pool was disposed of, and what that still takes from it."""

    _is_disposed = False

    def dispose(self) -> None:
        self._is_disposed = True
        super().dispose()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        super()._do_return_conn(record)
        if self._is_disposed:
            super().dispose()


def engine_options(
    config: DatabaseConfiguration, *, application_name: str, most: int, translates: bool
) -> dict[str, Any]:
    """What our engines, sync or async, are made with."""
    return {
        "connect_args": {**LIVENESS, **config.parameters, "application_name": application_name[:63]},
        "pool_size": -(-most // 2),
        "max_overflow": most // 2,
        "pool_pre_ping": True,
        "pool_use_lifo": True,
        "pool_reset_on_return": None,  # units of work end what they begin
        "hide_parameters": True,  # else every database error would log what jobs carry
        "execution_options": execution_options(config) if translates else {},
    }


def execution_options(config: DatabaseConfiguration) -> dict[str, Any]:
    """What our statements need of an engine, whoever made it."""
    return {"schema_translate_map": {None: config.schema}}


@contextmanager
def translated(config: DatabaseConfiguration) -> Iterator[None]:
    """Turns the errors of a server that can't be used now into `DatabaseUnavailable`, and those of a user who lacks a
    privilege into `NotPermitted`; others pass."""
    try:
        yield
    except DRIVERS_ERRORS as error:
        if (said := translation(config, error)) is None:
            raise
        raise said from error


def translation(config: DatabaseConfiguration, error: Exception) -> QueuerError | None:
    """What `translated` raises in place of an error; None = it passes."""
    if isinstance(error, PoolTimeout):
        return unavailable(config, error)
    said = error.orig if isinstance(error, DBAPIError) else error
    if _sqlstate(said) == _INSUFFICIENT_PRIVILEGE:
        return _not_permitted(config, error)
    is_gone = isinstance(error, DBAPIError) and error.connection_invalidated
    return unavailable(config, said or error) if is_gone or _means_unavailable(said) else None


def _not_permitted(config: DatabaseConfiguration, reason: BaseException) -> NotPermitted:
    return NotPermitted(
        f"user {config.username!r} may not do this: {first_line(reason)}; grant it what its role takes, as"
        " docs/security.md lists it"
    )


def was_rolled_back(error: DatabaseUnavailable) -> bool:
    """Whether the server is there and has done nothing, for a reason that may be gone already."""
    cause = _said_by_driver(error.__cause__)
    return _sqlstate(cause) in _ROLLED_BACK or (isinstance(cause, psycopg.Error) and is_outdated(cause))


def was_locked_out(error: DatabaseUnavailable) -> bool:
    """Whether somebody held a lock for longer than was waited for it."""
    return _sqlstate(_said_by_driver(error.__cause__)) == "55P03"


def unavailable(config: DatabaseConfiguration, reason: BaseException) -> DatabaseUnavailable:
    return DatabaseUnavailable(
        f"can't use PostgreSQL at host {config.host}, port {config.port}, database {config.database!r}"
        f" as {config.username!r}: {first_line(reason)}; check that the server runs, and the QUEUER_DB_*"
        " variables or the DatabaseConfiguration"
    )


def first_line(error: BaseException) -> str:
    """What the driver says, without the details that follow."""
    said = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return str(said).strip().partition("\n")[0]


def _means_unavailable(error: BaseException | None) -> bool:
    if isinstance(error, psycopg.Error) and is_outdated(error):
        return True
    sqlstate = _sqlstate(error)
    if sqlstate is None:  # libpq itself speaks: the server was never reached, or is gone
        return isinstance(error, psycopg.OperationalError)
    return sqlstate.startswith(_UNAVAILABLE)


def sqlstate_of(error: DBAPIError) -> str | None:
    """What the server says, whatever the driver; None = the server said nothing."""
    return _sqlstate(error.orig)


def _sqlstate(error: BaseException | None) -> str | None:
    # psycopg and asyncpg have the one, psycopg2 the other
    return getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)


def _said_by_driver(error: BaseException | None) -> BaseException | None:
    return error.orig if isinstance(error, DBAPIError) else error


def check_server(connection: sqlalchemy.Connection, oldest: int = OLDEST_SERVER) -> None:
    """Raises `ConfigurationError` when the server is older than queuer's SQL."""
    number = int(connection.scalar(text("SHOW server_version_num")) or 0)
    if number < oldest:
        raise ConfigurationError(
            f"the server is PostgreSQL {number // 10_000}.{number % 10_000}; queuer needs {oldest // 10_000} or newer"
        )
