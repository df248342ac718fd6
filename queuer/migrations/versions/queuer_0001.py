"""The queue's revision 0001: the tables job, job_archive, worker and master."""

from alembic import op

from queuer import migrations

revision = "queuer_0001"
down_revision = None
branch_labels = ("queuer",)
depends_on = None


def upgrade() -> None:
    migrations.upgrade(op, to="0001", start="base")


def downgrade() -> None:
    migrations.downgrade(op, to="base", start="0001")
