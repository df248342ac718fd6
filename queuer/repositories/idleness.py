"""A limit to the time that a transaction may hold its locks with nothing done in it."""

from typing import Any

from sqlalchemy import ColumnElement, func

#: Seconds. Ours take milliseconds, unless the process is paused in the midst of one: then it must not hold on to jobs
#: that are to be rescued, or to the master's office. Less than the ten that who begins to listen waits for them.
LONGEST_IDLE = 5.0


def limited() -> ColumnElement[Any]:
    """Has the server end the connection when this transaction is left idle for longer. To be selected."""
    return func.set_config("idle_in_transaction_session_timeout", f"{LONGEST_IDLE * 1000:.0f}ms", True)  # noqa: FBT003
