"""What an application's `env.py` says of the queue in `context.configure`."""

from alembic.runtime.migration import MigrationContext


def schema_of(theirs: MigrationContext) -> str:
    schema: str = theirs.opts.get("queuer_schema") or "public"
    return schema


def with_timescale_of(theirs: MigrationContext) -> bool | None:
    with_timescale: bool | None = theirs.opts.get("queuer_with_timescale")
    return with_timescale
