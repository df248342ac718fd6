"""Let a row of `job` enter two indexes instead of three: its rid is the primary key, and no index has all ids."""

import sqlalchemy as sa
from alembic import op
from psycopg import sql

from queuer import events
from queuer.errors import ConfigurationError

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# Before, each claim and each outcome looked its jobs up by their ids, and listeners expected ids.
oldest_compatible = "0005"

# Of few rows, unlike that of 0004, the rids and the lowest id, where it named the ids; and none are listed of many.
NOTIFY_ADDED = r"""
CREATE OR REPLACE FUNCTION {schema}.queuer_notify_added() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog AS $$
DECLARE
    channel text;
    named text;
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
    named \:= CASE
        WHEN EXISTS (SELECT FROM added OFFSET 50) THEN (SELECT min(id) || '-' || max(id) FROM added)
        ELSE (SELECT min(id) || '\:' || string_agg(rid\:\:text, ',') FROM added)
    END;
    IF named IS NOT NULL THEN
        PERFORM pg_notify(channel, named);
    END IF;
    RETURN NULL;
END
$$
"""
NOTIFY_ADDED_BEFORE = r"""
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


# For jobs that other programs insert. Of version 7, as those of queuers are (`queuer.rids`): at random they would be
# strewn over the whole index. Version 4 has the bits 0100 where version 7 has 0111.
NEW_RID = r"""
CREATE FUNCTION {schema}.queuer_new_rid() RETURNS uuid
LANGUAGE sql SET search_path = pg_catalog AS $$
    SELECT encode(set_bit(set_bit(
        overlay(
            uuid_send(gen_random_uuid())
            PLACING substring(int8send(CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)) FROM 3)
            FROM 1 FOR 6),
        52, 1), 53, 1), 'hex')\:\:uuid
$$
"""

# The foreign keys of an application's tables that keep the primary key from being another.
REFERRING = r"""
SELECT conname, conrelid\:\:regclass\:\:text FROM pg_constraint JOIN pg_attribute ON attrelid = confrelid
WHERE contype = 'f' AND confrelid = '{job}'\:\:regclass AND confkey = ARRAY[attnum] AND attname = '{column}'
"""


def upgrade() -> None:
    schema = op.get_context().opts["queuer_schema"]
    refuse_references(schema, "id", "no key any more from revision 0005 on; drop it, and let a new one refer to rid")
    # Each index costs a fifth of a bulk add. Jobs by their ids are found in the index of the queued ones, task by task,
    # and in one of the scheduled ones, which most jobs never enter. Its predicate holds for all instants, but follows
    # from no condition of the claim: else the planner might read all of this index for one.
    alter(schema, "DROP CONSTRAINT pk_job", "ADD CONSTRAINT pk_job PRIMARY KEY USING INDEX uq_job_rid")
    scheduled = {"postgresql_where": sa.text("scheduled_at > '-infinity'")}
    op.create_index("ix_job_scheduled_id", "job", ["id"], schema=schema, **scheduled)
    op.execute(NEW_RID.format(schema=quoted(schema)))
    alter(schema, f"ALTER rid SET DEFAULT {quoted(schema)}.queuer_new_rid()")
    replace_trigger(schema, NOTIFY_ADDED)


def downgrade() -> None:
    schema = op.get_context().opts["queuer_schema"]
    refuse_references(schema, "rid", "no primary key before revision 0005; drop it, and add it again afterwards")
    op.drop_index("ix_job_scheduled_id", "job", schema=schema)
    alter(schema, "ALTER rid SET DEFAULT gen_random_uuid()")
    op.execute(f"DROP FUNCTION {quoted(schema)}.queuer_new_rid()")
    alter(schema, "DROP CONSTRAINT pk_job", "ADD CONSTRAINT pk_job PRIMARY KEY (id)")
    op.create_index("uq_job_rid", "job", ["rid"], unique=True, schema=schema)
    replace_trigger(schema, NOTIFY_ADDED_BEFORE)


def refuse_references(schema: str, column: str, why: str) -> None:
    """Says better than PostgreSQL does, which advises to cascade, what to do about a foreign key of an application."""
    if op.get_context().as_sql:
        return
    job = f"{quoted(schema)}.job".replace("'", "''")
    for name, table in op.get_bind().execute(sa.text(REFERRING.format(job=job, column=column))):
        raise ConfigurationError(
            f"foreign key {name!r} of table {table} refers to the column {column} of the table job, which is {why}"
        )


def alter(schema: str, *changes: str) -> None:
    op.execute(f"ALTER TABLE {quoted(schema)}.job {', '.join(changes)}")


def replace_trigger(schema: str, function: str) -> None:
    added = events.added(schema)
    named = {"name": literal(schema), "channel": literal(added.name), "key": added.key}
    op.execute(function.format(schema=quoted(schema), **named))


def quoted(schema: str) -> str:
    # op.execute takes a text in which a colon would start a bound parameter
    return sql.Identifier(schema).as_string().replace(":", r"\:")


def literal(text: str) -> str:
    return sql.Literal(text).as_string().replace(":", r"\:")
