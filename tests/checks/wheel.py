"""Builds the wheel and installs it in a clean environment; migrates a fresh database, runs a job, and a test with the
pytest plugin: `make check`."""

import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]

USE = """
from pathlib import Path
import alembic.command, queuer
from queuer.database import migrate
assert "site-packages" in queuer.__file__, queuer.__file__
assert "site-packages" in alembic.command.__file__, alembic.command.__file__
assert migrate.folder() == Path(queuer.__file__).parent / "_migrations"
q = queuer.new_queuer("wheel", 2)
q.add_task_with_name(lambda n: n + 1, "increment")
with q:
    job = q.wait_for_job_finished(q.add_job("increment", 41).rid)
assert job.results == [42], job
print("the wheel migrated a fresh database and ran", job)
"""

#: With the queue's revisions among an application's own, of which it has none yet.
INI = """
[alembic]
script_location = queuer:_migrations
path_separator = space
version_locations = %(here)s/versions queuer.migrations:versions
"""

# A test of an application's, with the plugin that comes with the wheel, and no other.
TEST = """
from queuer import JobArchive, new_queuer_with_engine
from sqlalchemy import create_engine, select
from sqlalchemy.orm import Session

def test_it(queuer_database, queuer_jobs, queuer_inline):
    engine = create_engine(queuer_database.url)
    q = new_queuer_with_engine("plugin", 1, engine)
    q.add_task_with_name(lambda n: n + 1, "increment")
    with engine.connect() as connection, connection.begin() as transaction:
        session = Session(connection, join_transaction_mode="create_savepoint")
        q.in_session(session).add_job("increment", 41)
        session.commit()
        assert session.scalars(select(JobArchive.results)).one() == [42]
        session.close()
        transaction.rollback()
    queuer_jobs.assert_added("increment", 41)
    assert q.get_jobs_ended() == []
    q.stop()
    engine.dispose()
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        run(sys.executable, "-m", "build", "--outdir", name, str(ROOT))  # the sdist, and the wheel out of that
        (wheel,) = directory.glob("*.whl")
        check_contents(wheel)
        venv.create(directory / "venv", with_pip=True)
        python = str(directory / "venv" / "bin" / "python")
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{wheel}[embedded]")
        environ = clean_environment(directory)
        run(python, "-c", USE, cwd=name, env=environ)
        run(python, "-m", "queuer.migrations", "check", cwd=name, env=environ)
        (directory / "alembic.ini").write_text(INI)
        heads = run(python, "-m", "alembic", "heads", cwd=name, env=environ)
        if "(queuer) (head)" not in heads:
            sys.exit(f"the wheel's revisions for applications are not found: {heads}")
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pytest")
        (directory / "test_plugin.py").write_text(TEST)
        run(python, "-m", "pytest", "-q", "test_plugin.py", cwd=name, env=environ)


def check_contents(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    wanted = {
        "queuer/_migrations/env.py",
        "queuer/_migrations/versions/",
        "queuer/migrations/versions/",
        "queuer/py.typed",
        "queuer_pytest.py",
    }
    missing = [name for name in wanted if not any(found.startswith(name) for found in names)]
    top = {name.split("/")[0] for name in names}
    if missing or {entry for entry in top if not entry.startswith("queuer")}:
        sys.exit(f"the wheel lacks {missing} or holds more than queuer: {sorted(top)}")


def clean_environment(home: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("QUEUER_", "PYTHON"))}
    return {**kept, "HOME": str(home), "QUEUER_EMBEDDED_DIRECTORY": str(home / "data")}


def run(*command: str, cwd: str | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, check=True, stdout=subprocess.PIPE, text=True)
    print(done.stdout, end="")
    return done.stdout


if __name__ == "__main__":
    main()
