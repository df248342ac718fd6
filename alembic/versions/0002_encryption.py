"""Encryption: by which key a job is encrypted, and the salt of passphrases."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# Which does not know encrypted jobs: keys are given out when its workers are gone.
oldest_compatible = "0001"


def upgrade() -> None:
    schema = op.get_context().opts["queuer_schema"]
    for table in ("job", "job_archive"):
        op.add_column(table, sa.Column("key_id", sa.Text()), schema=schema)
    salt = sa.Column("salt", sa.Uuid(), nullable=False, server_default=sa.func.gen_random_uuid())
    op.add_column("master", salt, schema=schema)


def downgrade() -> None:
    schema = op.get_context().opts["queuer_schema"]
    op.drop_column("master", "salt", schema=schema)
    for table in ("job_archive", "job"):
        op.drop_column(table, "key_id", schema=schema)
