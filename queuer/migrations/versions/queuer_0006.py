"""The queue's revision 0006: told by the insert."""

from alembic import op

from queuer import migrations

revision = "queuer_0006"
down_revision = "queuer_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    migrations.upgrade(op, to="0006", start="0005")


def downgrade() -> None:
    migrations.downgrade(op, to="0005", start="0006")
