"""Let domains say what columns of `job` may hold, rather than CHECKs; and see who commits soon."""

import sqlalchemy as sa
from alembic import op
from psycopg import sql

from queuer import events

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
oldest_compatible = "0001"

# PostgreSQL reads and compiles each CHECK of a table anew for every statement that writes to it, which took a third
# of the server's time for an INSERT. What a domain allows it keeps compiled.
DOMAINS = {
    "queuer_job_status": ("varchar(16)", "VALUE IN ('QUEUED', 'SCHEDULED', 'RUNNING')"),
    "queuer_task_name": ("text", "char_length(VALUE) BETWEEN 1 AND 100"),
    "queuer_instant": ("timestamptz", "isfinite(VALUE)"),
    "queuer_list": ("jsonb", "jsonb_typeof(VALUE) = 'array'"),
    # Beyond these a claim would fail, or its answer could not be read.
    "queuer_count": ("integer", "VALUE BETWEEN 0 AND 1000000000"),
    "queuer_run_number": ("integer", "VALUE BETWEEN 1 AND 1000000000"),
    "queuer_losses": ("smallint", "VALUE >= 0"),
}

COLUMNS = {
    "status": "queuer_job_status",
    "task_name": "queuer_task_name",
    "schedule_count": "queuer_run_number",
    "occurrence_at": "queuer_instant",
    "attempts": "queuer_count",
    "losses": "queuer_losses",
    "failures": "queuer_list",
    "created_at": "queuer_instant",
    "scheduled_at": "queuer_instant",
    "started_at": "queuer_instant",
}

# A scheduled job without an instant needs no CHECK: it is due at once. Nor does the status of the archive, where the
# one statement that ends jobs writes.
CHECKS = {
    "job": {
        "status": "status IN ('QUEUED', 'SCHEDULED', 'RUNNING')",
        "task_name": "char_length(task_name) BETWEEN 1 AND 100",
        "scheduled_at": "status <> 'SCHEDULED' OR scheduled_at IS NOT NULL",
        "failures": "jsonb_typeof(failures) = 'array'",
        "counts": "attempts BETWEEN 0 AND 1000000000 AND losses >= 0 AND schedule_count BETWEEN 1 AND 1000000000",
        "instants": "isfinite(created_at) AND isfinite(scheduled_at) AND isfinite(occurrence_at)"
        " AND isfinite(started_at)",
    },
    "job_archive": {"status": "status IN ('SUCCEEDED', 'FAILED', 'CANCELLED')"},
}

# As in 0003, but for when it tries the lock. There it did so where the statement began with its transaction; yet a
# prepared one begins some microseconds later, so nearly every INSERT notified. Now who commits soon says so, by a
# setting of the connection.
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
    IF {is_brief} THEN -- one by one, since AND may try the lock in any case
        IF pg_try_advisory_xact_lock(key) THEN
            RETURN NULL;
        END IF;
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


def upgrade() -> None:
    schema = op.get_context().opts["queuer_schema"]
    for domain, (type_, check) in DOMAINS.items():
        op.execute(f"CREATE DOMAIN {quoted(schema)}.{domain} AS {type_} CONSTRAINT {domain} CHECK ({check})")
    drop_checks(schema)
    change_types(schema, {column: f"{quoted(schema)}.{domain}" for column, domain in COLUMNS.items()})
    replace_trigger(schema, "current_setting('queuer.commits_soon', true) = 'on'")


def downgrade() -> None:
    schema = op.get_context().opts["queuer_schema"]
    change_types(schema, {column: DOMAINS[domain][0] for column, domain in COLUMNS.items()})
    for table, checks in CHECKS.items():
        for name, check in checks.items():
            op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, sa.text(check), schema=schema)
    for domain in DOMAINS:
        op.execute(f"DROP DOMAIN {quoted(schema)}.{domain}")
    replace_trigger(schema, "statement_timestamp() = transaction_timestamp()")


def drop_checks(schema: str) -> None:
    for table, checks in CHECKS.items():
        for name in checks:
            op.drop_constraint(op.f(f"ck_{table}_{name}"), table, schema=schema)


def change_types(schema: str, types: dict[str, str]) -> None:
    """In one statement, which writes the table anew once."""
    changes = ", ".join(f"ALTER {column} TYPE {type_}" for column, type_ in types.items())
    op.execute(f"ALTER TABLE {quoted(schema)}.job {changes}")


def replace_trigger(schema: str, is_brief: str) -> None:
    added = events.added(schema)
    named = {"name": literal(schema), "channel": literal(added.name), "key": added.key, "is_brief": is_brief}
    op.execute(NOTIFY_ADDED.format(schema=quoted(schema), **named))


def quoted(schema: str) -> str:
    # op.execute takes a text in which a colon would start a bound parameter
    return sql.Identifier(schema).as_string().replace(":", r"\:")


def literal(text: str) -> str:
    return sql.Literal(text).as_string().replace(":", r"\:")
