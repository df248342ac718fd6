"""The queue's tables in an application's own Alembic set-up; see docs/migrations.md for the three ways.

    from queuer import migrations

    # in a revision of the application's
    migrations.upgrade(op, to="0001")
    # in its env.py
    context.configure(…, include_name=migrations.include_name, include_object=migrations.include_object)

What has to be known of the queue is said in one place, `context.configure` in the application's `env.py`:
`queuer_schema="queue"` (else "public"), and `queuer_with_timescale=True | False` (else: where the server has it).
"""

from queuer.migrations.autogenerate import include_name, include_object
from queuer.migrations.steps import downgrade, upgrade

__all__ = ["downgrade", "include_name", "include_object", "upgrade"]
