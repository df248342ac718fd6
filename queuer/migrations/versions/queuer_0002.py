"""The queue's revision 0002: encryption."""

from alembic import op

from queuer import migrations

revision = "queuer_0002"
down_revision = "queuer_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    migrations.upgrade(op, to="0002", start="0001")


def downgrade() -> None:
    migrations.downgrade(op, to="0001", start="0002")
