"""The queue's revision 0005: an index less."""

from alembic import op

from queuer import migrations

revision = "queuer_0005"
down_revision = "queuer_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    migrations.upgrade(op, to="0005", start="0004")


def downgrade() -> None:
    migrations.downgrade(op, to="0004", start="0005")
