"""`migrations.upgrade` and `migrations.downgrade`, with a second revision of the queue's."""

import io
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect, text
from support.queues import OURS, Place

from queuer import ConfigurationError, DatabaseConfiguration, SchemaTooNew, migrations
from queuer.database import migrate
from queuer.database.revisions import VERSION_TABLE

LATER = """
import sqlalchemy as sa
from alembic import op

revision, down_revision = "later", {newest!r}

def upgrade():
    op.add_column("worker", sa.Column("later", sa.Text()), schema=op.get_context().opts["queuer_schema"])

def downgrade():
    op.drop_column("worker", "later", schema=op.get_context().opts["queuer_schema"])
"""


@pytest.fixture
def newest(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The newest revision there is; one called "later" comes after it in this test."""
    folder = tmp_path / "revisions"
    shutil.copytree(root / "alembic", folder)
    newest = ScriptDirectory(str(folder)).get_current_head()
    assert newest is not None
    (folder / "versions" / "later.py").write_text(LATER.format(newest=newest))
    monkeypatch.setattr(migrate, "folder", lambda: folder)
    return newest


@pytest.fixture
def app_engine(empty_config: DatabaseConfiguration) -> Iterator[Engine]:
    """The application's own engine, on an empty database."""
    engine = create_engine(empty_config.url)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(app_engine: Engine) -> Iterator[Connection]:
    with app_engine.begin() as connection:
        yield connection


def op_on(connection: Connection, **options: Any) -> Operations:
    """What a revision of the application's gets as `op`."""
    return Operations(MigrationContext.configure(connection, opts=options))


def sql_op() -> tuple[Operations, io.StringIO]:
    """The same with `--sql`."""
    written = io.StringIO()
    options = {"as_sql": True, "literal_binds": True, "output_buffer": written}
    return Operations(MigrationContext.configure(dialect_name="postgresql", opts=options)), written


def is_later(connection: Connection, schema: str = "public") -> bool:
    return "later" in {column["name"] for column in inspect(connection).get_columns("worker", schema=schema)}


def version(connection: Connection, schema: str = "public") -> object:
    return connection.scalar(text(f"SELECT version_num FROM {schema}.queuer_alembic_version"))


def test_step_by_step(connection: Connection, newest: str) -> None:
    op = op_on(connection)
    migrations.upgrade(op, to=newest)
    assert (is_later(connection), version(connection)) == (False, newest)
    migrations.upgrade(op, to="later")
    assert (is_later(connection), version(connection)) == (True, "later")
    migrations.downgrade(op, to=newest)
    assert (is_later(connection), version(connection)) == (False, newest)
    migrations.downgrade(op, to="base")
    assert version(connection) is None


def test_several_steps_at_once(connection: Connection, newest: str) -> None:
    migrations.upgrade(op_on(connection), to="later")
    assert is_later(connection)
    migrations.downgrade(op_on(connection), to="base")
    assert set(inspect(connection).get_table_names()) == {VERSION_TABLE}


def test_what_is_further_already_stays_as_it_is(connection: Connection, newest: str) -> None:
    op = op_on(connection)
    migrations.upgrade(op, to="later")
    migrations.upgrade(op, to=newest)
    assert is_later(connection)
    migrations.downgrade(op, to=newest)
    migrations.downgrade(op, to="later")
    assert not is_later(connection)


def test_nothing_goes_down_where_nothing_is(connection: Connection, newest: str) -> None:
    migrations.downgrade(op_on(connection, queuer_schema="nowhere"), to="base")
    assert not inspect(connection).has_schema("nowhere")


def test_two_queues_in_two_schemas(connection: Connection, newest: str) -> None:
    op = op_on(connection, queuer_schema="first")
    migrations.upgrade(op, to="later")
    migrations.upgrade(op, to=newest, schema="second")
    assert (version(connection, "first"), version(connection, "second")) == ("later", newest)
    assert is_later(connection, "first")
    assert not is_later(connection, "second")
    migrations.downgrade(op, to="base", schema="second")
    assert (version(connection, "first"), version(connection, "second")) == ("later", None)


def test_sql_goes_on_where_it_left_off(connection: Connection, newest: str) -> None:
    op, written = sql_op()
    migrations.upgrade(op, to=newest)
    migrations.upgrade(op, to="later")
    migrations.upgrade(op, to="later")
    connection.exec_driver_sql(written.getvalue().replace("%", "%%"))
    assert (is_later(connection), version(connection)) == (True, "later")


def test_sql_can_be_told_where_it_starts(connection: Connection, newest: str) -> None:
    migrations.upgrade(op_on(connection), to=newest)
    op, written = sql_op()
    migrations.upgrade(op, to="later", start=newest)
    connection.exec_driver_sql(written.getvalue().replace("%", "%%"))
    assert (is_later(connection), version(connection)) == (True, "later")


def test_sql_down_from_nobody_knows_where_is_an_error() -> None:
    op, written = sql_op()
    with pytest.raises(
        ConfigurationError, match=r"""say it, as in migrations.downgrade\(op, to='base', start="\w+"\)"""
    ):
        migrations.downgrade(op, to="base")
    assert written.getvalue() == ""


@pytest.mark.parametrize("to", ["head", "9999", "base", ""])
def test_an_upgrade_to_what_is_no_revision_is_an_error(connection: Connection, to: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{to}' is no revision of the queue's; there are 0001"):
        migrations.upgrade(op_on(connection), to=to)
    assert inspect(connection).get_table_names() == []


def test_a_downgrade_to_what_is_no_revision_is_an_error(connection: Connection) -> None:
    with pytest.raises(ConfigurationError, match="'-1' is no revision of the queue's"):
        migrations.downgrade(op_on(connection), to="-1")


def test_a_database_of_a_newer_queuer_is_refused(connection: Connection) -> None:
    op = op_on(connection)
    migrations.upgrade(op, to="0001")
    connection.execute(text("UPDATE queuer_alembic_version SET version_num = '9999'"))
    for move in (migrations.upgrade, migrations.downgrade):
        with pytest.raises(SchemaTooNew, match="revision 9999, which this queuer does not know"):
            move(op, to="0001")


def test_a_queuer_that_starts_meanwhile_waits_for_the_applications_transaction(
    app_engine: Engine, empty_config: DatabaseConfiguration
) -> None:
    place = Place(empty_config)
    with ThreadPoolExecutor() as threads:
        with app_engine.begin() as connection:
            migrations.upgrade(op_on(connection), to="0001")
            working = threads.submit(place.work)
            waits = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
            while not connection.scalar(waits):
                assert not working.done()
        working.result(timeout=30)
    assert place.tables() == OURS


def test_alembics_op_is_the_applications_again(connection: Connection) -> None:
    context = MigrationContext.configure(connection)
    with Operations.context(context):
        from alembic import op  # noqa: PLC0415 - as a revision's does

        migrations.upgrade(op, to="0001")
        assert op.get_context() is context
        with pytest.raises(ConfigurationError):
            migrations.upgrade(op, to="nowhere")
        op.execute("CREATE TABLE account (id int)")
    assert "account" in inspect(connection).get_table_names()


def test_each_revision_has_its_twin_for_applications(root: Path) -> None:
    ours = ScriptDirectory(str(migrate.folder()))
    folder = root / "queuer" / "migrations" / "versions"
    theirs = ScriptDirectory(str(migrate.folder()), version_locations=[str(folder)])
    expected = [
        (f"queuer_{each.revision}", each.down_revision and f"queuer_{each.down_revision}", f"queuer_{each.revision}.py")
        for each in ours.walk_revisions()
    ]
    found = [(each.revision, each.down_revision, Path(each.path).name) for each in theirs.walk_revisions()]
    assert found == expected, f"give each revision in alembic/versions a twin in {folder}"
    assert {label for each in theirs.walk_revisions() for label in each.branch_labels} == {"queuer"}
