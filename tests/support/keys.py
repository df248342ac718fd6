"""Encryption keys for the tests, and what they shall hide."""

import base64

from sqlalchemy import Engine

KEY, OTHER_KEY, THIRD_KEY = (base64.b64encode(bytes([byte]) * 32).decode() for byte in (1, 2, 3))

#: Occurs nowhere by chance.
SECRET = "correct-horse-4111-1111"


def everything(engine: Engine) -> str:
    """All that the queue's tables hold."""
    with engine.connect() as connection:
        tables = ("job", "job_archive", "worker", "master")
        rows = [connection.exec_driver_sql(f"SELECT t::text FROM {table} t").all() for table in tables]
    return repr(rows)
