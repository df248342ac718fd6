"""A small application with Alembic, in a directory: its own models, alembic.ini, env.py and revisions."""

import os
import subprocess
import sys
from pathlib import Path
from textwrap import indent
from typing import Any

from alembic.script import ScriptDirectory

from queuer import DatabaseConfiguration
from queuer.database import migrate

#: The queue's newest revision.
NEWEST = str(ScriptDirectory(str(migrate.folder())).get_current_head())

INI = """
[alembic]
script_location = %(here)s/migrations
prepend_sys_path = %(here)s
path_separator = space
version_path_separator = space
version_locations = %(here)s/migrations/versions {locations}
"""

MODELS = """
from datetime import datetime
from uuid import UUID

from sqlalchemy import DateTime, ForeignKey, MetaData, func
from sqlalchemy.orm import DeclarativeBase, Mapped, foreign, mapped_column, relationship
from queuer import Job, JobArchive

class Base(DeclarativeBase):
    metadata = MetaData(naming_convention={{  # unlike the queue's
        "ix": "%(table_name)s_idx",
        "pk": "%(table_name)s_key",
        "ck": "c_%(constraint_name)s",
        "uq": "u_%(table_name)s",
        "fk": "f_%(table_name)s_%(column_0_name)s",
    }})

class Account(Base):
    __tablename__ = "account"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(unique=True)
{models}
target_metadata = {target_metadata}
"""

ENV = """
from alembic import context
from sqlalchemy import create_engine, pool, text
from models import target_metadata
from queuer import migrations

URL = {url!r}
OPTIONS = dict(
    target_metadata=target_metadata,
    include_name=migrations.include_name,
    include_object=migrations.include_object,
    queuer_schema={schema!r},
    {options}
)

def run_migrations_offline():
    context.configure(url=URL, literal_binds=True, dialect_opts={{"paramstyle": "named"}}, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()

def do_run_migrations(connection):
    context.configure(connection=connection, **OPTIONS)
    with context.begin_transaction():
        context.run_migrations()
{online}
if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
"""

SYNC = """
def run_migrations_online():
    connectable = create_engine(URL, poolclass=pool.NullPool, connect_args={connect_args!r})
    with connectable.connect() as connection:
        do_run_migrations(connection)
"""

#: That of `alembic init -t async`.
ASYNC = """
import asyncio
from sqlalchemy.ext.asyncio import create_async_engine

async def run_async_migrations():
    connectable = create_async_engine(URL, poolclass=pool.NullPool, connect_args={connect_args!r})
    async with connectable.connect() as connection:
        await connection.run_sync(do_run_migrations)
    await connectable.dispose()

def run_migrations_online():
    asyncio.run(run_async_migrations())
"""

#: Alembic's own.
MAKO = '''"""${message}"""
from alembic import op
import sqlalchemy as sa
${imports if imports else ""}
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
branch_labels = ${repr(branch_labels)}
depends_on = ${repr(depends_on)}

def upgrade():
    ${upgrades if upgrades else "pass"}

def downgrade():
    ${downgrades if downgrades else "pass"}
'''


REVISION = """
from alembic import op
import sqlalchemy as sa
from queuer import migrations

revision, down_revision, branch_labels, depends_on = {name!r}, {down!r}, None, {depends_on!r}

def upgrade():
    {upgrade}

def downgrade():
    {downgrade}
"""

CREATE_ACCOUNT = """
op.create_table(
    "account",
    sa.Column("id", sa.Integer(), nullable=False),
    sa.Column("email", sa.String(), nullable=False),
    sa.PrimaryKeyConstraint("id", name=op.f("account_key")),
    sa.UniqueConstraint("email", name=op.f("u_account")),
)
"""


def lines(code: str) -> str:
    return indent(code, "    ").strip()


class Application:
    """The directory, and Alembic's command line in it, each command in a process of its own."""

    def __init__(
        self,
        directory: Path,
        config: DatabaseConfiguration,
        *,
        driver: str = "postgresql+psycopg",
        locations: str = "",
        models: str = "",
        target_metadata: str = "Base.metadata",
        options: str = "",
        online: str = SYNC,
        connect_args: dict[str, object] | None = None,
        python: str = sys.executable,
    ) -> None:
        self.directory = directory
        self.config = config
        self.python = python
        (directory / "migrations" / "versions").mkdir(parents=True)
        # asyncpg has another name for it
        url = (
            config.url.difference_update_query(["sslmode"]).set(drivername=driver).render_as_string(hide_password=False)
        )
        online = online.format(connect_args=connect_args or {})
        self.write("alembic.ini", INI.format(locations=locations))
        self.write("models.py", MODELS.format(models=models, target_metadata=target_metadata))
        self.write("migrations/env.py", ENV.format(url=url, schema=config.schema, options=options, online=online))
        self.write("migrations/script.py.mako", MAKO)

    def write(self, path: str, text: str) -> None:
        (self.directory / path).write_text(text, encoding="utf-8")

    def revision(
        self,
        name: str,
        *,
        down: str | None = None,
        upgrade: str = "pass",
        downgrade: str = "pass",
        depends_on: str | None = None,
    ) -> None:
        """Writes a revision by hand. What it does may be many lines."""
        body = REVISION.format(
            name=name, down=down, depends_on=depends_on, upgrade=lines(upgrade), downgrade=lines(downgrade)
        )
        self.write(f"migrations/versions/{name}.py", body)

    def alembic(self, *arguments: str) -> str:
        """What a command of Alembic's prints. It must succeed."""
        done = self.attempt(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def attempt(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        environ = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "error::DeprecationWarning"}
        command = [self.python, "-m", "alembic", *arguments]
        return subprocess.run(command, cwd=self.directory, env=environ, capture_output=True, text=True, check=False)


def among(directory: Path, config: DatabaseConfiguration, **options: Any) -> Application:
    """One that has the queue's revisions among its own."""
    made = Application(directory, config, locations="queuer.migrations:versions", **options)
    made.revision("app_1", upgrade=CREATE_ACCOUNT, downgrade='op.drop_table("account")', depends_on=f"queuer_{NEWEST}")
    return made


def called(directory: Path, config: DatabaseConfiguration, **options: Any) -> Application:
    """One that calls the queue's revisions from one of its own."""
    made = Application(directory, config, **options)
    down = f'op.drop_table("account")\nmigrations.downgrade(op, to="base", start="{NEWEST}")'
    made.revision("app_1", upgrade=f'migrations.upgrade(op, to="{NEWEST}")\n{CREATE_ACCOUNT}', downgrade=down)
    return made
