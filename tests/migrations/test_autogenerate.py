"""`alembic revision --autogenerate` and `alembic check` in an application: our tables are none of its business."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.alembic_application import NEWEST, Application, among
from support.queues import Place

from queuer import DatabaseConfiguration

pytestmark = pytest.mark.timeout(180)  # each command of Alembic's is a process

COPIES = """
for table in Job.metadata.tables.values():
    table.to_metadata(Base.metadata, schema={schema!r})
"""
#: What the application knows of our models.
METADATA: dict[str, dict[str, Any]] = {
    "its own": {},
    "ours too": {"target_metadata": "[Base.metadata, Job.metadata]"},
    "copies": {"models": COPIES},
}
#: Where the queue is, as the application's connection sees it.
PLACES: dict[str, dict[str, Any]] = {
    "public": {},
    "queue": {},
    "queue, all schemas": {"options": "include_schemas=True"},
    "queue, on the search path": {"connect_args": {"options": "-csearch_path=public,queue"}},
}


def made(directory: Path, config: DatabaseConfiguration, where: str, metadata: str) -> tuple[Application, Place]:
    config = replace(config, schema=where.partition(",")[0])
    options = {name: value.format(schema=config.schema) for name, value in METADATA[metadata].items()}
    return Application(directory, config, **options, **PLACES[where]), Place(config)


ACCOUNT = """
CREATE TABLE public.account (
    id serial CONSTRAINT account_key PRIMARY KEY,
    email varchar NOT NULL CONSTRAINT u_account UNIQUE
)
"""


@pytest.mark.parametrize("metadata", METADATA)
@pytest.mark.parametrize("where", PLACES)
def test_our_tables_are_neither_dropped_nor_made(
    where: str, metadata: str, tmp_path: Path, empty_config: DatabaseConfiguration
) -> None:
    application, place = made(tmp_path, empty_config, where, metadata)
    place.work()
    place.execute(ACCOUNT)
    assert "No new upgrade operations detected" in application.alembic("check")


def test_a_revision_is_about_the_applications_tables_alone(tmp_path: Path, empty_config: DatabaseConfiguration) -> None:
    application, place = made(tmp_path, empty_config, "public", "ours too")
    place.work()
    application.alembic("revision", "--autogenerate", "--message", "first")
    (revision,) = (tmp_path / "migrations" / "versions").glob("*.py")
    assert re.findall(r"op\.(\w\w+)\(\s*'(\w+)'", revision.read_text()) == [
        ("create_table", "account"),
        ("drop_table", "account"),
    ]
    application.alembic("upgrade", "head")
    application.alembic("check")


def test_tables_of_its_own_that_have_our_names_are_its_own(tmp_path: Path, empty_config: DatabaseConfiguration) -> None:
    worker = """
class Worker(Base):
    __tablename__ = "worker"
    id: Mapped[int] = mapped_column(primary_key=True)
"""
    place = Place(replace(empty_config, schema="queue"))
    connect_args = {"options": "-csearch_path=public,queue"}
    application = Application(tmp_path, place.config, models=worker, connect_args=connect_args)
    place.work()
    application.alembic("revision", "--autogenerate", "--message", "first")
    application.alembic("upgrade", "head")
    application.alembic("check")
    assert place.tables("public") == {"account", "alembic_version", "worker"}
    place.execute("ALTER TABLE public.worker ADD COLUMN name text")
    assert "remove_column" in application.attempt("check").stdout


def test_without_the_filter_our_tables_would_be_dropped(tmp_path: Path, empty_config: DatabaseConfiguration) -> None:
    application, place = made(tmp_path, empty_config, "public", "its own")
    place.work()
    env = tmp_path / "migrations" / "env.py"
    env.write_text(re.sub(r"include_\w+=migrations.*", "", env.read_text()))
    assert "remove_table" in application.attempt("check").stdout


REPLACEABLE = """
from alembic_utils.pg_function import PGFunction
from alembic_utils.pg_trigger import PGTrigger
from alembic_utils.replaceable_entity import register_entities

register_entities(
    [PGFunction(schema="public", signature="one()", definition="RETURNS integer LANGUAGE sql AS 'SELECT 1'")],
    schemas=["public", "queue"],
    entity_types=[PGFunction, PGTrigger],
)
"""


@pytest.mark.parametrize("where", ["public", "queue"])
def test_functions_and_triggers_with_alembic_utils(
    where: str, tmp_path: Path, empty_config: DatabaseConfiguration
) -> None:
    place = Place(replace(empty_config, schema=where))
    application = Application(tmp_path, place.config, models=REPLACEABLE)
    place.execute("CREATE SCHEMA IF NOT EXISTS queue")
    place.work()
    application.alembic("revision", "--autogenerate", "--message", "first")
    (revision,) = (tmp_path / "migrations" / "versions").glob("*.py")
    assert "public_one" in revision.read_text()
    assert "queuer_" not in revision.read_text()
    application.alembic("upgrade", "head")
    application.alembic("check")


REFERRING = {
    "public": "ForeignKey(Job.rid, ondelete='SET NULL')",
    "queue": "ForeignKey(Job.__table__.to_metadata(Base.metadata, schema='queue').c.rid, ondelete='SET NULL')",
    "queue, on the search path": "ForeignKey(Job.rid, ondelete='SET NULL')",
}


@pytest.mark.parametrize("where", REFERRING)
def test_a_foreign_key_to_jobs(where: str, tmp_path: Path, empty_config: DatabaseConfiguration) -> None:
    place = Place(replace(empty_config, schema=where.partition(",")[0]))
    models = f"""
class Order(Base):
    __tablename__ = "order"
    id: Mapped[int] = mapped_column(primary_key=True)
    job_rid: Mapped[UUID | None] = mapped_column({REFERRING[where]}, index=True)
    job: Mapped[Job | None] = relationship(Job, primaryjoin=lambda: foreign(Order.job_rid) == Job.rid, viewonly=True)
"""
    application = Application(
        tmp_path, place.config, models=models, locations="queuer.migrations:versions", **PLACES[where]
    )
    application.alembic("upgrade", "queuer@head")
    based = ("--head", "base", "--version-path", str(tmp_path / "migrations" / "versions"))
    needing = ("--depends-on", f"queuer_{NEWEST}")
    application.alembic("revision", "--autogenerate", *based, *needing, "--message", "first")
    application.alembic("upgrade", "heads")
    application.alembic("check")
    place.work()
    place.execute('INSERT INTO public."order" (id) VALUES (1)')
    application.alembic("downgrade", "base")
    assert place.functions() == 0


def test_a_new_revision_among_ours(tmp_path: Path, empty_config: DatabaseConfiguration) -> None:
    application, place = among(tmp_path, empty_config), Place(empty_config)
    application.alembic("upgrade", "heads")
    place.execute("ALTER TABLE account DROP COLUMN email")
    application.alembic("revision", "--autogenerate", "--head", "app_1", "--message", "again", "--rev-id", "app_2")
    assert (tmp_path / "migrations" / "versions" / "app_2_again.py").exists()
    application.alembic("upgrade", "heads")
    application.alembic("check")
