"""The queue's revisions in an application's Alembic set-up: among its own, or called from one of them."""

from pathlib import Path

import pytest
from support.alembic_application import ASYNC, NEWEST, SYNC, Application, among, called
from support.queues import OURS, Place

from queuer import DatabaseConfiguration

pytestmark = pytest.mark.timeout(180)  # each command of Alembic's is a process

DRIVERS = [("postgresql+psycopg", ASYNC), ("postgresql+asyncpg", ASYNC), ("postgresql+psycopg2", SYNC)]

THEIRS = {"account", "alembic_version"}


def test_up_and_down(application: Application, place: Place) -> None:
    application.alembic("upgrade", "heads")
    assert place.tables() | place.tables("public") == OURS | THEIRS
    assert "No new upgrade operations detected" in application.alembic("check")
    place.work()
    place.command("check")
    assert place.execute(f"SELECT version_num FROM {place.config.schema}.queuer_alembic_version") == [(NEWEST,)]

    application.alembic("downgrade", "base")
    assert place.tables() | place.tables("public") == {"alembic_version", "queuer_alembic_version"}
    assert place.functions() == 0
    application.alembic("upgrade", "heads")
    place.work()


def test_the_same_as_sql(application: Application, place: Place) -> None:
    place.execute(application.alembic("upgrade", "heads", "--sql"))
    assert place.tables() | place.tables("public") == OURS | THEIRS
    application.alembic("check")
    place.work()
    place.command("check")

    place.execute(application.alembic("downgrade", "app_1:base", "--sql"))
    assert not (place.tables() | place.tables("public")) & {"account", "job", "job_archive", "worker", "master"}
    assert place.functions() == 0


def test_a_queue_that_is_there_already_is_taken_over(application: Application, place: Place) -> None:
    place.work()
    application.alembic("upgrade", "heads")
    application.alembic("check")
    assert place.execute(f"SELECT count(*) FROM {place.config.schema}.job_archive") == [(1,)]
    place.work()


@pytest.mark.parametrize("make", [among, called])
@pytest.mark.parametrize(("driver", "online"), DRIVERS)
def test_on_other_drivers(
    make: type[Application], driver: str, online: str, tmp_path: Path, empty_config: DatabaseConfiguration
) -> None:
    place = Place(empty_config)
    application = make(tmp_path, empty_config, driver=driver, online=online)
    application.alembic("upgrade", "heads")
    application.alembic("check")
    place.work()
    application.alembic("downgrade", "base")
    assert place.functions() == 0


@pytest.mark.parametrize("make", [among, called])
def test_a_revision_that_fails_leaves_nothing(
    make: type[Application], tmp_path: Path, empty_config: DatabaseConfiguration
) -> None:
    place, application = Place(empty_config), make(tmp_path, empty_config)
    application.revision("app_2", down="app_1", upgrade='op.execute("SELECT 1/0")')
    assert "division by zero" in application.attempt("upgrade", "heads").stderr
    assert place.tables() == set()


@pytest.mark.parametrize(("driver", "online"), DRIVERS)
def test_tables_of_the_applications_that_have_our_names(
    driver: str, online: str, tmp_path: Path, empty_config: DatabaseConfiguration
) -> None:
    Place(empty_config).execute("CREATE TABLE job (id int)")
    failed = called(tmp_path, empty_config, driver=driver, online=online).attempt("upgrade", "head")
    assert "the schema 'public' has tables of another application" in failed.stderr
    assert "give the queue a schema of its own with context.configure(queuer_schema=…) in your env.py" in failed.stderr
