"""What travels through NOTIFY: the channels and their payloads.

A channel is database-wide, so its name carries the schema: hashed, because a schema's name may be as long as a
channel's. The trigger in the migrations computes the same name.
"""

import hashlib
from collections.abc import Collection
from uuid import UUID

#: Rids that one notification names at most: 50 * 37 bytes stay far below the 8,000 that PostgreSQL allows.
NAMED_AT_MOST = 50


def added_channel(schema: str) -> str:
    """Jobs were added, or given back: workers look."""
    return f"queuer_added_{_digest(schema)}"


def ended_channel(schema: str) -> str:
    """Jobs went into the archive: those who wait for them look."""
    return f"queuer_ended_{_digest(schema)}"


def _digest(schema: str) -> str:
    return hashlib.sha256(schema.encode()).hexdigest()[:16]


def read_ended(payload: str) -> Collection[UUID] | None:
    """The rids in a notification of `ended_channel`; None = too many to name, or not ours: look for all."""
    try:
        return {UUID(rid) for rid in payload.split(",")}
    except ValueError:
        return None
