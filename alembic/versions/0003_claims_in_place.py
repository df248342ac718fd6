"""Let a claim write a row in place: no index on what it changes, and room in the page; notify only those who listen."""

import sqlalchemy as sa
from alembic import op
from psycopg import sql

from queuer import events

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Whose claims find all jobs, if not by these indexes.
oldest_compatible = "0001"

# A claim writes each row once more, a bit longer. Where that fits into the same page no index gets a new entry.
#
# Autovacuum waits by default until a fifth of the table is dead, and rests between pages. A queue's table lives of
# being cleaned: every job leaves two dead rows behind.
STORAGE = {
    "fillfactor": 45,
    "autovacuum_vacuum_scale_factor": 0.02,
    "autovacuum_vacuum_threshold": 5000,
    "autovacuum_vacuum_insert_scale_factor": 0.2,
    "autovacuum_analyze_scale_factor": 0.1,
    "autovacuum_vacuum_cost_delay": 0,
}

# As in 0001, but for the first IF: NOTIFY takes a lock on all of PostgreSQL at commit, so nobody is told where nobody
# listens. Who listens holds an advisory lock shared; the key is that of queuer.events. It is tried only where the
# statement is the whole transaction: it is held to the end, and meanwhile nobody could begin to listen.
#
# Channel and key are written down, for to reckon them takes longer than to insert a row, and reckoned where the schema
# was renamed.
NOTIFY_ADDED = r"""
CREATE OR REPLACE FUNCTION {schema}.queuer_notify_added() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    channel text \:= {channel};
    key bigint \:= {key};
    ids text;
BEGIN
    IF TG_TABLE_SCHEMA <> {name} THEN
        channel \:= 'queuer_added_' || left(encode(sha256(convert_to(TG_TABLE_SCHEMA, 'UTF8')), 'hex'), 16);
        key \:= ('x' || left(encode(sha256(convert_to(channel, 'UTF8')), 'hex'), 16))\:\:bit(64)\:\:bigint;
    END IF;
    IF statement_timestamp() = transaction_timestamp() AND pg_try_advisory_xact_lock(key) THEN
        RETURN NULL;
    END IF;
    SELECT CASE WHEN count(*) <= 50 THEN string_agg(id\:\:text, ',') ELSE min(id) || '-' || max(id) END
    INTO ids FROM added;
    IF ids IS NOT NULL THEN
        PERFORM pg_notify(channel, ids);
    END IF;
    RETURN NULL;
END
$$
"""
NOTIFY_ADDED_BEFORE = r"""
CREATE OR REPLACE FUNCTION {schema}.queuer_notify_added() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    ids text;
BEGIN
    SELECT CASE WHEN count(*) <= 50 THEN string_agg(id\:\:text, ',') ELSE min(id) || '-' || max(id) END
    INTO ids FROM added;
    IF ids IS NOT NULL THEN
        PERFORM pg_notify('queuer_added_' || left(encode(sha256(convert_to(TG_TABLE_SCHEMA, 'UTF8')), 'hex'), 16), ids);
    END IF;
    RETURN NULL;
END
$$
"""


def upgrade() -> None:
    schema = drop_indexes()
    for name, column, predicate in (
        ("ix_job_queued", "id", "scheduled_at IS NULL"),
        ("ix_job_scheduled", "scheduled_at", "scheduled_at IS NOT NULL"),
    ):
        op.create_index(name, "job", ["task_name", column], schema=schema, postgresql_where=sa.text(predicate))
    op.create_index(
        "ix_job_running",
        "job",
        ["status"],
        schema=schema,
        postgresql_using="brin",
        postgresql_ops={"status": "text_bloom_ops"},
        postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
    )
    settings = ", ".join(f"{name} = {value}" for name, value in STORAGE.items())
    op.execute(f"ALTER TABLE {quoted(schema)}.job SET ({settings})")
    added = events.added(schema)
    named = {"name": literal(schema), "channel": literal(added.name), "key": added.key}
    op.execute(NOTIFY_ADDED.format(schema=quoted(schema), **named))


def downgrade() -> None:
    schema = drop_indexes()
    for name, column, status in (
        ("ix_job_queued", "id", "QUEUED"),
        ("ix_job_scheduled", "scheduled_at", "SCHEDULED"),
        ("ix_job_running", "worker_rid", "RUNNING"),
    ):
        op.create_index(name, "job", [column], schema=schema, postgresql_where=sa.text(f"status = '{status}'"))
    op.execute(f"ALTER TABLE {quoted(schema)}.job RESET ({', '.join(STORAGE)})")
    op.execute(NOTIFY_ADDED_BEFORE.format(schema=quoted(schema)))


def drop_indexes() -> str:
    schema: str = op.get_context().opts["queuer_schema"]
    for name in ("ix_job_queued", "ix_job_scheduled", "ix_job_running"):
        op.drop_index(name, "job", schema=schema)
    return schema


def quoted(schema: str) -> str:
    # op.execute takes a text in which a colon would start a bound parameter
    return sql.Identifier(schema).as_string().replace(":", r"\:")


def literal(text: str) -> str:
    return sql.Literal(text).as_string().replace(":", r"\:")
