"""One server for the whole run, one migrated template database, and a copy of it for whoever needs one."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from support.applications import DRIVERS, Base, engine_of
from support.servers import Databases, embedded_server, given_server, timescale_server

from queuer import DatabaseConfiguration, OnError, Queuer, new_queuer_with_db
from queuer.database import engines, migrate
from queuer.database.database import Database

collect_ignore: list[str] = []

pytest_plugins = ["pytester"]

# No deadlines: the machine may be busy. A failing example says how to repeat it. --hypothesis-profile=long looks for
# longer. No explanations: for them it traces, and Python 3.11 spins for ever in a traced thread while an asynchronous
# exception waits for another one, such as a task in a test before that could not be interrupted.
PHASES = [phase for phase in Phase if phase is not Phase.explain]
settings.register_profile("usual", deadline=None, print_blob=True, phases=PHASES)
settings.register_profile("long", settings.get_profile("usual"), max_examples=5000)
settings.load_profile("usual")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--timescale", action="store_true", help="run on a TimescaleDB container, its own tests included")
    parser.addoption("--role", choices=["worker"], help="run as a role of docs/security.md, which owns nothing")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "owner: needs more of a role than --role has; runs as the owner of the tables")
    if not config.getoption("--timescale"):
        collect_ignore.append("timescale")


@pytest.fixture(autouse=True)
def _no_variables_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a developer has exported must not reach the tests, but for the variable that is meant to."""
    for name in [name for name in os.environ if name.startswith("QUEUER_DB_")]:
        monkeypatch.delenv(name)
    monkeypatch.delenv("QUEUER_ENCRYPTION_KEY", raising=False)


@pytest.fixture(scope="session")
def databases(request: pytest.FixtureRequest) -> Iterator[Databases]:
    """The server: of `QUEUER_TEST_DATABASE_URL`, or a TimescaleDB container, or the embedded one."""
    is_timescale = request.config.getoption("--timescale")
    server = timescale_server() if is_timescale else given_server() or embedded_server()
    with server as admin:
        yield Databases(admin, request.config.getoption("--role"))


@pytest.fixture
def empty_config(databases: Databases) -> Iterator[DatabaseConfiguration]:
    """An empty database for one test."""
    with databases.empty() as config:
        yield config


@pytest.fixture
def config(databases: Databases, request: pytest.FixtureRequest) -> Iterator[DatabaseConfiguration]:
    """A migrated database for one test."""
    with databases.migrated() as config:
        yield databases.as_owner(config) if request.node.get_closest_marker("owner") else config


@pytest.fixture(scope="module")
def module_engine(databases: Databases, request: pytest.FixtureRequest) -> Iterator[Engine]:
    with databases.migrated() as config:
        is_owners = request.node.get_closest_marker("owner")
        engine = engines.create(databases.as_owner(config) if is_owners else config, application_name="tests")
        yield engine
        engine.dispose()


@pytest.fixture
def session(module_engine: Engine) -> Iterator[Session]:
    """A session on a migrated database that is shared by the module: whatever the test does is rolled back."""
    with Session(module_engine) as session:
        yield session


@pytest.fixture
def owner_config(config: DatabaseConfiguration, databases: Databases) -> DatabaseConfiguration:
    """`config` for what only the owner of the tables may do."""
    return databases.as_owner(config)


@pytest.fixture
def engine(owner_config: DatabaseConfiguration) -> Iterator[Engine]:
    """An engine on a database of the test's own, for what has to be committed."""
    engine = engines.create(owner_config, application_name="tests")
    yield engine
    engine.dispose()


@pytest.fixture
def database(config: DatabaseConfiguration) -> Iterator[Database]:
    engine = engines.create(config, application_name="tests")
    yield Database(engine, config)
    engine.dispose()


@pytest.fixture(params=DRIVERS)
def application(request: pytest.FixtureRequest, config: DatabaseConfiguration) -> Iterator[Engine]:
    """The engine of an application that has a table of its own, on each driver."""
    engine = engine_of(config, request.param)
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


MakeQueuer = Callable[..., Queuer]


@pytest.fixture
def make_queuer(config: DatabaseConfiguration) -> Iterator[MakeQueuer]:
    """Makes queuers on the test's database, and stops them when it ends."""
    made: list[Queuer] = []

    def make(*options: OnError, max_concurrency: int = 4, on: DatabaseConfiguration = config, key: str = "") -> Queuer:
        made.append(new_queuer_with_db("test", max_concurrency, key, on, *options))
        return made[-1]

    yield make
    for queuer in made:
        queuer.stop(timeout=0)


@pytest.fixture
def q(make_queuer: MakeQueuer) -> Queuer:
    """A queuer that was not started."""
    return make_queuer()


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return migrate.folder().parent
