"""Let a statement that tells workers of its job by itself pass the trigger, which does the same at twice the cost."""

from alembic import op
from psycopg import sql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Only the new release says that it has told; for all others the trigger does as before.
oldest_compatible = "0005"

# The setting holds until the transaction ends, and with it for what triggers of an application's on `job` insert: those
# have told nobody. The condition is compiled anew for each statement; still the function would take longer to find out.
# Replaced, a trigger fires as it did at first: ENABLE ALWAYS, say, has to be said again.
TRIGGER = """
CREATE OR REPLACE TRIGGER queuer_added AFTER INSERT ON {schema}.job REFERENCING NEW TABLE AS added
FOR EACH STATEMENT {condition} EXECUTE FUNCTION {schema}.queuer_notify_added()
"""
UNLESS_TOLD = """
WHEN (pg_catalog.current_setting('queuer.told', true) IS DISTINCT FROM 'on' OR pg_catalog.pg_trigger_depth() > 0)
"""


def upgrade() -> None:
    replace_trigger(UNLESS_TOLD)


def downgrade() -> None:
    replace_trigger("")


def replace_trigger(condition: str) -> None:
    schema = quoted(op.get_context().opts["queuer_schema"])
    op.execute(TRIGGER.format(schema=schema, condition=condition))


def quoted(schema: str) -> str:
    # op.execute takes a text in which a colon would start a bound parameter
    return sql.Identifier(schema).as_string().replace(":", r"\:")
