"""Changing the key of a queue, and encrypting one that was not."""

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from queuer.cipher import VARIABLE
from queuer.config import DatabaseConfiguration
from queuer.database import migrate
from queuer.errors import ConfigurationError
from queuer.factories import source_for
from queuer.operations.rotate import Rotation, rotate

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.ext.asyncio import AsyncEngine


def rotate_encryption(
    encryption_key: str | None = None,
    db_config: DatabaseConfiguration | None = None,
    *,
    engine: "Engine | AsyncEngine | None" = None,
    schema: str | None = None,
    batch_size: int = 500,
    progress: Callable[[Rotation], None] | None = None,
) -> Rotation:
    """Encrypts all jobs, live and ended, with the first of the keys: those that are clear, and those of the other keys.

    Workers may go on meanwhile. Begin when every process has all the keys, the new one first. Stopped at any time, it
    goes on where it was when it is called again.

    Args:
        encryption_key: The new key, and those that jobs are encrypted with now, separated by commas; None = those of
            `QUEUER_ENCRYPTION_KEY`.
        db_config: None = that of the environment.
        engine, schema: Instead: an application's engine, as for `new_queuer_with_engine`.
        batch_size: Jobs that are changed in one transaction, and are locked that long; 1 or more.
        progress: Called after each transaction. What it raises ends the rotation.

    Returns:
        What was done. Jobs that none of the keys opens stay as they are, and are counted.

    Raises:
        ConfigurationError: There is no key, or one is blank.
        ValueError: `batch_size` is not allowed.
        DatabaseUnavailable: The server can't be reached, or went away. What was changed before stays changed.
    """
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise ValueError(f"batch_size is {batch_size!r}; allowed is a whole number, 1 or more")
    source = source_for(db_config, encryption_key, engine, schema, None)
    if not source.cipher.has_keys:
        raise ConfigurationError(f"there is no key to encrypt with; pass encryption_key, or set {VARIABLE}")
    with closing(source.heart("queuer rotation")) as database:
        migrate.upgrade(database.engine, source.config)
        source.cipher.derive_keys()
        state = Rotation()
        for state in rotate(database, batch_size):
            if progress is not None:
                progress(state)
    return state
