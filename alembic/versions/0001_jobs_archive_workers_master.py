"""The tables job, job_archive, worker and master, and the trigger that wakes the workers."""

import sqlalchemy as sa
from alembic import op
from psycopg import sql
from sqlalchemy.dialects import postgresql

from queuer.errors import ConfigurationError

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# One notification for each statement, however many rows it inserts: the ids while they are few, else the first and the
# last. The channel's name is that of queuer.events.added_channel, and the payload what queuer.events.read_added reads.
# The schema is looked up when the trigger fires, so a renamed one keeps working.
NOTIFY_ADDED = r"""
CREATE FUNCTION {schema}.queuer_notify_added() RETURNS trigger
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
TRIGGER = """
CREATE TRIGGER queuer_added AFTER INSERT ON {schema}.job REFERENCING NEW TABLE AS added
FOR EACH STATEMENT EXECUTE FUNCTION {schema}.queuer_notify_added()
"""


def upgrade() -> None:
    schema = op.get_context().opts["queuer_schema"]
    create_job(schema)
    create_archive(schema)
    create_worker(schema)
    create_master(schema)
    op.execute(NOTIFY_ADDED.format(schema=quoted(schema)))
    op.execute(TRIGGER.format(schema=quoted(schema)))


def downgrade() -> None:
    schema = op.get_context().opts["queuer_schema"]
    for table in ("job", "job_archive", "worker", "master"):
        op.drop_table(table, schema=schema)
    op.execute(f"DROP FUNCTION {quoted(schema)}.queuer_notify_added()")


def quoted(schema: str) -> str:
    # op.execute takes a text in which a colon would start a bound parameter
    return sql.Identifier(schema).as_string().replace(":", r"\:")


def instant(name: str, *, nullable: bool = True, default: sa.ColumnElement | None = None) -> sa.Column:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable, server_default=default)


def json(name: str, *, default: str) -> sa.Column:
    return sa.Column(name, postgresql.JSONB(), nullable=False, server_default=sa.text(f"'{default}'"))


def rid(name: str = "rid", *, own: bool = True) -> sa.Column:
    return sa.Column(name, sa.Uuid(), nullable=not own, server_default=sa.func.gen_random_uuid() if own else None)


def identity() -> sa.Column:
    return sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False)


def columns_of_a_job() -> list[sa.Column]:
    return [
        rid(),
        sa.Column("status", sa.String(16), nullable=False, server_default="QUEUED"),
        sa.Column("task_name", sa.Text(), nullable=False),
        json("parameters", default="[]"),
        json("parameters_keyed", default="{}"),
        json("options", default="{}"),
        sa.Column("queue", sa.Text(), nullable=False, server_default="default"),
        sa.Column("priority", sa.SmallInteger(), nullable=False, server_default=sa.text("0")),
        sa.Column("unique_key", sa.Text()),
        rid("parent_rid", own=False),
        rid("series_rid", own=False),
        sa.Column("schedule_count", sa.Integer(), nullable=False, server_default=sa.text("1")),
        instant("occurrence_at"),
        sa.Column("attempts", sa.Integer(), nullable=False, server_default=sa.text("0")),
        sa.Column("losses", sa.SmallInteger(), nullable=False, server_default=sa.text("0")),
        json("failures", default="[]"),
        rid("worker_rid", own=False),
        instant("created_at", nullable=False, default=sa.func.now()),
        instant("scheduled_at"),
        instant("started_at"),
    ]


def create_job(schema: str) -> None:
    op.create_table(
        "job",
        identity(),
        *columns_of_a_job(),
        instant("cancel_requested_at"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_job")),
        sa.CheckConstraint("status IN ('QUEUED', 'SCHEDULED', 'RUNNING')", name=op.f("ck_job_status")),
        sa.CheckConstraint("char_length(task_name) BETWEEN 1 AND 100", name=op.f("ck_job_task_name")),
        sa.CheckConstraint("status <> 'SCHEDULED' OR scheduled_at IS NOT NULL", name=op.f("ck_job_scheduled_at")),
        sa.CheckConstraint("jsonb_typeof(failures) = 'array'", name=op.f("ck_job_failures")),
        sa.CheckConstraint(
            "attempts BETWEEN 0 AND 1000000000 AND losses >= 0 AND schedule_count BETWEEN 1 AND 1000000000",
            name=op.f("ck_job_counts"),
        ),
        sa.CheckConstraint(
            "isfinite(created_at) AND isfinite(scheduled_at) AND isfinite(occurrence_at) AND isfinite(started_at)",
            name=op.f("ck_job_instants"),
        ),
        schema=schema,
    )
    op.create_index("uq_job_rid", "job", ["rid"], unique=True, schema=schema)
    for name, column, status in (
        ("ix_job_queued", "id", "QUEUED"),
        ("ix_job_scheduled", "scheduled_at", "SCHEDULED"),
        ("ix_job_running", "worker_rid", "RUNNING"),
    ):
        op.create_index(name, "job", [column], schema=schema, postgresql_where=sa.text(f"status = '{status}'"))


def create_archive(schema: str) -> None:
    op.create_table(
        "job_archive",
        sa.Column("id", sa.BigInteger(), nullable=False, autoincrement=False),
        *columns_of_a_job(),
        sa.Column("results", postgresql.JSONB()),
        sa.Column("error", sa.Text()),
        sa.Column("series_error", sa.Text()),
        instant("ended_at", nullable=False),
        sa.PrimaryKeyConstraint("id", "ended_at", name=op.f("pk_job_archive")),
        sa.CheckConstraint("status IN ('SUCCEEDED', 'FAILED', 'CANCELLED')", name=op.f("ck_job_archive_status")),
        schema=schema,
    )
    if has_timescale(op.get_context().opts["queuer_with_timescale"]):
        make_hypertable(schema)
    op.create_index("ix_job_archive_rid", "job_archive", ["rid"], schema=schema)
    op.create_index("ix_job_archive_ended_at", "job_archive", ["ended_at"], schema=schema, postgresql_using="brin")


def create_worker(schema: str) -> None:
    op.create_table(
        "worker",
        identity(),
        rid(),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False, server_default="READY"),
        sa.Column("max_concurrency", sa.Integer(), nullable=False),
        sa.Column("on_error", postgresql.JSONB()),
        sa.Column("tasks", postgresql.ARRAY(sa.Text()), nullable=False, server_default=sa.text("'{}'")),
        sa.Column("next_interval_funcs", postgresql.ARRAY(sa.Text()), nullable=False, server_default=sa.text("'{}'")),
        instant("created_at", nullable=False, default=sa.func.now()),
        instant("heartbeat_at", nullable=False, default=sa.func.now()),
        sa.Column("asked_to", sa.String(16)),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_worker")),
        sa.CheckConstraint("status IN ('READY', 'RUNNING', 'STOPPED')", name=op.f("ck_worker_status")),
        sa.CheckConstraint("asked_to IN ('STOP', 'STOP_GRACEFULLY')", name=op.f("ck_worker_asked_to")),
        schema=schema,
    )
    op.create_index("uq_worker_rid", "worker", ["rid"], unique=True, schema=schema)


def create_master(schema: str) -> None:
    master = op.create_table(
        "master",
        sa.Column("id", sa.SmallInteger(), nullable=False, autoincrement=False, server_default=sa.text("1")),
        rid("worker_rid", own=False),
        instant("elected_at"),
        instant("heartbeat_at"),
        sa.Column("retention_archive", sa.Integer(), nullable=False, server_default=sa.text("30")),
        sa.Column("master_poll_interval", sa.Double(), nullable=False, server_default=sa.text("30")),
        sa.Column("lock_timeout_minutes", sa.Double(), nullable=False, server_default=sa.text("5")),
        sa.Column("worker_stale_after", sa.Double(), nullable=False, server_default=sa.text("120")),
        sa.Column("worker_delete_after", sa.Double(), nullable=False, server_default=sa.text("86400")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_master")),
        sa.CheckConstraint("id = 1", name=op.f("ck_master_one_row")),
        sa.CheckConstraint(
            "retention_archive > 0 AND least(master_poll_interval, lock_timeout_minutes, worker_stale_after) > 0"
            " AND worker_delete_after > 0",
            name=op.f("ck_master_settings"),
        ),
        schema=schema,
    )
    op.execute(sa.insert(master).values(id=1))


def has_timescale(wanted: bool | None) -> bool:  # noqa: FBT001
    """Whether the archive can be a hypertable. Creates the extension where that is all that is missing."""
    if wanted is False or (wanted is None and op.get_context().as_sql):
        return False
    if op.get_context().as_sql:
        op.execute("CREATE EXTENSION IF NOT EXISTS timescaledb SCHEMA public")
        return True
    connection = op.get_bind()
    installed = "SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"
    if connection.scalar(sa.text(installed)):
        return True
    # Without the preloaded library CREATE EXTENSION would end the connection.
    offered = """SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')
        AND coalesce(current_setting('shared_preload_libraries', true), '') LIKE '%timescaledb%'"""
    if not connection.scalar(sa.text(offered)):
        if wanted:
            raise ConfigurationError(
                "with_timescale is True, but the server does not offer TimescaleDB; install it there, or use None"
            )
        return False
    try:
        with connection.begin_nested():
            connection.execute(sa.text("CREATE EXTENSION timescaledb SCHEMA public"))
    except sa.exc.DBAPIError:  # no privilege to create it: a plain table does as well
        if wanted:
            raise
        return False
    return True


def make_hypertable(schema: str) -> None:
    where = (
        "SELECT nspname FROM pg_namespace n JOIN pg_extension e ON n.oid = e.extnamespace WHERE extname = 'timescaledb'"
    )
    timescale = "public" if op.get_context().as_sql else op.get_bind().scalar(sa.text(where))
    # This signature works with every release; the newer ones do not exist before TimescaleDB 2.13.
    create = f"""SELECT {quoted(timescale)}.create_hypertable(CAST(:archive AS regclass), 'ended_at',
        chunk_time_interval => interval '1 day', create_default_indexes => false)"""
    op.execute(sa.text(create).bindparams(archive=f"{quoted(schema)}.job_archive".replace(r"\:", ":")))
