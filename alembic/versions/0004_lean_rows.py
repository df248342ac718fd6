"""Let a row of `job` cost less to write: three domains for all CHECKs, NULL for what is empty, a smaller index."""

import sqlalchemy as sa
from alembic import op
from psycopg import sql

from queuer import events

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Before, nobody expected NULL for what is empty.
oldest_compatible = "0004"

# PostgreSQL reads and compiles each CHECK of a table anew for every statement that writes to it, which took a third
# of the server's time for an INSERT. What a domain allows it keeps compiled; still each costs a hundredth of that time.
# So there are three, for what would harm others than the row itself: a status that can't be read would hide a whole
# page of jobs, a long name does not fit into an index, and no interval leads to infinity. Other values of any kind are
# borne where they are read.
DOMAINS = {
    "queuer_job_status": ("varchar(16)", "VALUE IN ('QUEUED', 'SCHEDULED', 'RUNNING')"),
    "queuer_task_name": ("text", "char_length(VALUE) BETWEEN 1 AND 100"),
    "queuer_due_at": ("timestamptz", "isfinite(VALUE)"),
}
COLUMNS = {"status": "queuer_job_status", "task_name": "queuer_task_name", "scheduled_at": "queuer_due_at"}
TYPES = {column: f"{{schema}}.{domain}" for column, domain in COLUMNS.items()}
TYPES_BEFORE = {column: DOMAINS[domain][0] for column, domain in COLUMNS.items()}

# Most jobs have none of these, and NULL takes no room: neither here nor in the archive nor on the way to the worker.
EMPTY = {"parameters_keyed": "{}", "options": "{}", "failures": "[]"}

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

# Unlike that of 0003 it sees who commits soon, which connections say by a setting: the time of a statement, by which
# it was guessed there, is later than its transaction's wherever the statement was prepared. The IFs are not one, since
# AND may try the lock in any case.
NOTIFY_ADDED = r"""
CREATE OR REPLACE FUNCTION {schema}.queuer_notify_added() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    channel text;
    ids text;
BEGIN
    IF TG_TABLE_SCHEMA = {name} THEN
        IF current_setting('queuer.commits_soon', true) = 'on' THEN
            IF pg_try_advisory_xact_lock({key}) THEN -- nobody listens
                RETURN NULL;
            END IF;
        END IF;
        channel \:= {channel};
    ELSE -- the schema was renamed
        channel \:= 'queuer_added_' || left(encode(sha256(convert_to(TG_TABLE_SCHEMA, 'UTF8')), 'hex'), 16);
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


def upgrade() -> None:
    schema = op.get_context().opts["queuer_schema"]
    for domain, (type_, check) in DOMAINS.items():
        op.execute(f"CREATE DOMAIN {quoted(schema)}.{domain} AS {type_} CONSTRAINT {domain} CHECK ({check})")
    for table, checks in CHECKS.items():
        for name in checks:
            op.drop_constraint(op.f(f"ck_{table}_{name}"), table, schema=schema)
        alter(schema, table, *(f"ALTER {name} DROP NOT NULL, ALTER {name} DROP DEFAULT" for name in EMPTY))
    op.drop_index("ix_job_queued", "job", schema=schema)
    change_types(schema, TYPES)
    # Of a fixed size, a key is read and compared faster. No two entries are the same, and PostgreSQL would look for
    # such in each page before it splits. As to hashtext: hash indexes of texts rely on it, too.
    queued = {"postgresql_where": sa.text("scheduled_at IS NULL"), "postgresql_with": {"deduplicate_items": "off"}}
    op.create_index("ix_job_queued", "job", [sa.text("hashtext(task_name)"), "id"], schema=schema, **queued)
    # Of a status there are three values. For as many as PostgreSQL expects else, the summary of a range is a kilobyte,
    # which it decompresses to enter a row: a tenth of its work to claim one.
    replace_running_index(schema, "text_bloom_ops (n_distinct_per_range = 16)")
    replace_trigger(schema, NOTIFY_ADDED)


def downgrade() -> None:
    schema = op.get_context().opts["queuer_schema"]
    op.drop_index("ix_job_queued", "job", schema=schema)
    change_types(schema, TYPES_BEFORE)
    for domain in DOMAINS:
        op.execute(f"DROP DOMAIN {quoted(schema)}.{domain}")
    for table, checks in CHECKS.items():
        values = ", ".join(f"{name} = coalesce({name}, '{value}')" for name, value in EMPTY.items())
        missing = " OR ".join(f"{name} IS NULL" for name in EMPTY)
        op.execute(f"UPDATE {quoted(schema)}.{table} SET {values} WHERE {missing}")  # noqa: S608 - all from above
        alter(
            schema, table, *(f"ALTER {name} SET NOT NULL, ALTER {name} SET DEFAULT '{EMPTY[name]}'" for name in EMPTY)
        )
        for name, check in checks.items():
            op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, sa.text(check), schema=schema)
    queued = {"postgresql_where": sa.text("scheduled_at IS NULL")}
    op.create_index("ix_job_queued", "job", ["task_name", "id"], schema=schema, **queued)
    replace_running_index(schema, "text_bloom_ops")
    replace_trigger(schema, NOTIFY_ADDED_BEFORE)


def replace_running_index(schema: str, ops: str) -> None:
    op.drop_index("ix_job_running", "job", schema=schema)
    op.create_index(
        "ix_job_running",
        "job",
        ["status"],
        schema=schema,
        postgresql_using="brin",
        postgresql_ops={"status": ops},
        postgresql_with={"pages_per_range": 32, "autosummarize": "on"},
    )


def change_types(schema: str, types: dict[str, str]) -> None:
    """In one statement, which writes the table anew once."""
    named = {column: type_.format(schema=quoted(schema)) for column, type_ in types.items()}
    alter(schema, "job", *(f"ALTER {column} TYPE {type_}" for column, type_ in named.items()))


def alter(schema: str, table: str, *changes: str) -> None:
    op.execute(f"ALTER TABLE {quoted(schema)}.{table} {', '.join(changes)}")


def replace_trigger(schema: str, function: str) -> None:
    added = events.added(schema)
    named = {"name": literal(schema), "channel": literal(added.name), "key": added.key}
    op.execute(function.format(schema=quoted(schema), **named))


def quoted(schema: str) -> str:
    # op.execute takes a text in which a colon would start a bound parameter
    return sql.Identifier(schema).as_string().replace(":", r"\:")


def literal(text: str) -> str:
    return sql.Literal(text).as_string().replace(":", r"\:")
