"""The queue's revision 0004: leaner rows."""

from alembic import op

from queuer import migrations

revision = "queuer_0004"
down_revision = "queuer_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    migrations.upgrade(op, to="0004", start="0003")


def downgrade() -> None:
    migrations.downgrade(op, to="0003", start="0004")
