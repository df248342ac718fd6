"""The queue's revision 0003: claims in place."""

from alembic import op

from queuer import migrations

revision = "queuer_0003"
down_revision = "queuer_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    migrations.upgrade(op, to="0003", start="0002")


def downgrade() -> None:
    migrations.downgrade(op, to="0002", start="0003")
