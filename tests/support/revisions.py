"""Migrations of a version that is not written yet."""

import re
import shutil
from pathlib import Path

from queuer import DatabaseConfiguration
from queuer.database import migrate
from queuer.database.revisions import known_in

REVISION = '''"""A revision of the tests."""

from alembic import op

revision = "{revision}"
down_revision = "{down}"
oldest_compatible = {oldest!r}


def upgrade() -> None:
    for statement in {up!r}:
        op.execute(statement)


def downgrade() -> None:
    for statement in {down_statements!r}:
        op.execute(statement)
'''


def newest() -> str:
    """This queuer's own newest revision."""
    return known_in(migrate.folder())[-1]


class Version:
    """A queuer with some more revisions than this one has."""

    def __init__(self, directory: Path) -> None:
        self.folder = directory / "alembic"
        shutil.copytree(migrate.folder(), self.folder, ignore=shutil.ignore_patterns("__pycache__"))
        self._newest = newest()

    def add(self, revision: str, *up: str, down: tuple[str, ...] = (), oldest_compatible: str | None = None) -> None:
        """One more revision, which executes these statements."""
        written = REVISION.format(
            revision=revision, down=self._newest, oldest=oldest_compatible, up=up, down_statements=down
        )
        (self.folder / "versions" / f"{revision}.py").write_text(written)
        self._newest = revision

    def script(self, config: DatabaseConfiguration, body: str) -> str:
        """A program of this version, which has `config`."""
        return f"""
from pathlib import Path
from queuer import *
from queuer.database import migrate
migrate.folder = lambda: Path({str(self.folder)!r})
config = DatabaseConfiguration.from_url({config.url.render_as_string(hide_password=False)!r})
def say(text):
    print(text, flush=True)
{body}
"""


#: What an older version can't live with, as it reads and writes the tables as it knew them.
TAKES_AWAY = re.compile(
    r"DROP (TABLE|COLUMN|FUNCTION|TRIGGER|SCHEMA)|RENAME|ALTER COLUMN \S+ (TYPE|SET NOT NULL|DROP DEFAULT|SET DATA)"
    r"|ADD CONSTRAINT|CREATE UNIQUE INDEX|ADD (COLUMN )?(?!.*DEFAULT).*NOT NULL"
)


def what_breaks_older_versions(script: str) -> list[str]:
    """Those statements of a revision after which an older version does not work any more.

    A constraint that the same revision has dropped may come back: wider, it is hoped.
    """
    statements = [" ".join(each.split()) for each in script.split(";")]
    dropped = set(re.findall(r"DROP CONSTRAINT ([^\s;]+)", script))
    return [
        statement
        for statement in statements
        if TAKES_AWAY.search(statement) and not any(f"ADD CONSTRAINT {name} " in statement for name in dropped)
    ]
