"""The pytest plugin in small projects of its users, each run by a pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.servers import Databases

from queuer import DatabaseConfiguration

pytestmark = pytest.mark.owner  # it makes tables next to the queue's

APPLICATION = """
from sqlalchemy import select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker
from queuer import new_queuer_with_engine, new_static_queuer

class Base(DeclarativeBase):
    pass

class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    is_welcome: Mapped[bool] = mapped_column(default=False)

def make_queuer(engine):
    q = new_static_queuer(engine=engine)
    q.add_task(welcome)
    return q

def welcome(name: str, session: Session) -> str:
    user = session.scalars(select(User).where(User.name == name)).one()
    user.is_welcome = True
    return user.name.upper()

def register(q, session, name):
    session.add(User(name=name))
    q.in_session(session).add_job(welcome, name)
    session.commit()
"""

CONFTEST = """
import pytest
from application import Base, make_queuer
from sqlalchemy import create_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

@pytest.fixture(scope="session")
def engine(queuer_database):
    engine = create_engine(queuer_database.url)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()

@pytest.fixture(scope="session")
def q(engine):
    q = make_queuer(engine)
    yield q
    q.stop()

@pytest.fixture
def connection(engine):
    with engine.connect() as connection, connection.begin() as transaction:
        yield connection
        transaction.rollback()

@pytest.fixture
def session(connection):
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        yield session

@pytest.fixture
def db_session(connection):
    '''As Flask-SQLAlchemy's `db.session`.'''
    db_session = scoped_session(sessionmaker(connection, join_transaction_mode="create_savepoint"))
    yield db_session
    db_session.remove()
"""

TESTS = """
import asyncio
from application import User, register, welcome
from queuer import JobArchive
from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

def test_it_is_added(q, session, queuer_jobs):
    register(q, session, "ada")
    queuer_jobs.assert_added_once(welcome, "ada")

def test_it_is_run(q, session, queuer_inline, queuer_jobs):
    register(q, session, "ada")
    assert session.scalars(select(User)).one().is_welcome
    assert session.scalars(select(JobArchive.results)).one() == ["ADA"]
    assert [job.result for job in queuer_inline.ended] == ["ADA"]
    queuer_jobs.assert_added(welcome, name="ada")

def test_the_scoped_session(q, db_session, queuer_inline):
    register(q, db_session, "ada")
    assert db_session.scalars(select(User)).one().is_welcome

def test_nothing_is_left(q, session):
    assert session.scalar(select(func.count()).select_from(User)) == 0
    assert session.scalar(select(func.count()).select_from(JobArchive)) == 0

def test_a_coroutine(q, queuer_database, queuer_inline):
    async def main():
        engine = create_async_engine(queuer_database.url)
        async with engine.connect() as connection:
            await connection.begin()
            async with AsyncSession(connection, join_transaction_mode="create_savepoint") as session:
                await session.run_sync(lambda inner: register(q, inner, "grace"))
                assert (await session.scalars(select(User))).one().is_welcome
        await engine.dispose()
    asyncio.run(main())
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.delenv("QUEUER_TEST_DATABASE_URL", raising=False)
    return pytester


def run(project: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    return project.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider", *arguments)


def url_of(config: DatabaseConfiguration) -> str:
    return config.url.set(drivername="postgresql").render_as_string(hide_password=False)


@pytest.mark.parametrize("way", ["variable", "ini", "override"])
def test_an_application_on_a_database_that_is_given(
    project: pytest.Pytester, empty_config: DatabaseConfiguration, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    url = url_of(empty_config)
    conftest = CONFTEST
    match way:
        case "variable":
            monkeypatch.setenv("QUEUER_TEST_DATABASE_URL", url)
        case "ini":
            project.makeini(f"[pytest]\nqueuer_database_url = {url}\n")
        case _:
            conftest += f"""
@pytest.fixture(scope="session")
def queuer_database():
    from queuer import DatabaseConfiguration
    return DatabaseConfiguration.from_url({url!r})
"""
    project.makepyfile(application=APPLICATION, conftest=conftest, test_it=TESTS)
    run(project).assert_outcomes(passed=5)


def test_the_embedded_server(project: pytest.Pytester, databases: Databases, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = Path(databases.admin.host)
    if not (directory / "PG_VERSION").exists():
        pytest.skip("these tests run on another server")
    monkeypatch.setenv("QUEUER_EMBEDDED_DIRECTORY", str(directory))
    project.makepyfile(application=APPLICATION, conftest=CONFTEST, test_it=TESTS)
    before = databases.names()
    run(project).assert_outcomes(passed=5)
    assert databases.names() == before


def test_a_failing_task_fails_the_test_with_its_own_traceback(
    project: pytest.Pytester, config: DatabaseConfiguration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUER_TEST_DATABASE_URL", url_of(config))
    tests = """
from application import register
def test_it(q, session, queuer_inline):
    q.add_task_with_name(lambda: 1 / 0, "divides")
    q.in_session(session).add_job("divides")
    session.commit()
def test_assertion(q, session, queuer_jobs):
    register(q, session, "ada")
    queuer_jobs.assert_added("welcome", "grace")
"""
    project.makepyfile(application=APPLICATION, conftest=CONFTEST, test_it=tests)
    result = run(project)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines_random(
        [
            "*q.add_task_with_name(lambda: 1 / 0, *",
            "E*ZeroDivisionError: division by zero",
            "E*raised in job *, divides, which was run inline",
            ">*queuer_jobs.assert_added(*",
            "E*AssertionError: welcome('grace') was not added; these jobs were:",
            "E*welcome('ada')",
        ]
    )
    result.stdout.no_fnmatch_line("*added.py*")  # the assertion's own frames are hidden


def test_nothing_is_imported_until_a_fixture_is_used(project: pytest.Pytester) -> None:
    project.makepyfile(
        """
        import sys
        def test_it():
            assert "queuer_pytest" in sys.modules
            assert not {"queuer", "sqlalchemy", "psycopg", "msgspec"} & set(sys.modules)
        """
    )
    run(project).assert_outcomes(passed=1)
    run(project, "--collect-only", "-q").stdout.fnmatch_lines(["*test_it"])


def test_the_fixtures_are_documented(project: pytest.Pytester) -> None:
    result = run(project, "--fixtures")
    result.stdout.fnmatch_lines(["queuer_database *session scope*", "queuer_jobs *", "queuer_inline *"])
    assert "queuer_database_url" in run(project, "--help").stdout.str()


def test_without_a_database_it_says_what_to_do(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUER_TEST_DATABASE_URL", "mysql://localhost/db")
    project.makepyfile("def test_it(queuer_database): ...")
    result = run(project)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["E*ConfigurationError: the URL is of 'mysql'; allowed is postgresql://*"])


def test_it_is_known_by_its_entry_point() -> None:
    listed = subprocess.run(
        [sys.executable, "-m", "pytest", "--trace-config", "--collect-only", "-q", os.devnull],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "queuer_pytest" in listed.stdout
