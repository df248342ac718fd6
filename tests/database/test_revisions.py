"""The rule for revisions: expand first, contract later. CONTRIBUTING.md says it in words."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.script import Script
from support.revisions import what_breaks_older_versions

from queuer.database import migrate
from queuer.database.revisions import known_in
from queuer.migrations.history import OLDEST_COMPATIBLE, scripts_in, works_with

SCRIPTS = scripts_in(migrate.folder())
LATER = [script for script in SCRIPTS.walk_revisions() if script.down_revision is not None]


def oldest_of(script: Script) -> str:
    oldest: str = getattr(script.module, OLDEST_COMPATIBLE, "")
    assert oldest, (
        f'revision {script.revision} names no {OLDEST_COMPATIBLE} = "…", the oldest revision whose queuer works with it'
    )
    return oldest


def sql_of(root: Path, script: Script) -> str:
    span = f"{script.down_revision}:{script.revision}"
    command = [sys.executable, "-m", "alembic", "-x", "url=postgresql://u@h/d", "upgrade", span, "--sql"]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


def test_the_files_are_named_by_the_revisions() -> None:
    """So that nobody needs Alembic to know them."""
    assert list(known_in(migrate.folder()))[::-1] == [script.revision for script in SCRIPTS.walk_revisions()]


@pytest.mark.parametrize("script", LATER, ids=lambda script: script.revision)
def test_a_revision_says_whom_it_leaves_working_and_takes_nothing_away_from_them(root: Path, script: Script) -> None:
    oldest = oldest_of(script)
    assert oldest in works_with(SCRIPTS, script.revision)
    if oldest != script.revision:
        assert what_breaks_older_versions(sql_of(root, script)) == []


@pytest.mark.parametrize("script", LATER, ids=lambda script: script.revision)
def test_whom_a_revision_has_left_behind_no_later_one_brings_back(script: Script) -> None:
    before = SCRIPTS.get_revision(str(script.down_revision))
    if before.down_revision is not None:
        assert set(works_with(SCRIPTS, script.revision)) - {script.revision} <= set(
            works_with(SCRIPTS, before.revision)
        )


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE job DROP COLUMN losses",
        "ALTER TABLE job RENAME losses TO lost",
        "ALTER TABLE job ALTER COLUMN losses TYPE BIGINT",
        "ALTER TABLE job ALTER COLUMN parent_rid SET NOT NULL",
        "ALTER TABLE job ADD COLUMN extra TEXT NOT NULL",
        "ALTER TABLE job ADD CONSTRAINT ck CHECK (attempts < 5)",
        "CREATE UNIQUE INDEX uq ON job (unique_key)",
        "DROP TABLE master",
    ],
)
def test_what_takes_something_away_is_found(statement: str) -> None:
    assert what_breaks_older_versions(f"BEGIN;\n{statement};\nCOMMIT;") == [statement]


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE job ADD COLUMN extra TEXT",
        "ALTER TABLE job ADD COLUMN extra UUID DEFAULT gen_random_uuid() NOT NULL",
        "CREATE INDEX ix ON job (extra)",
        "DROP INDEX ix",
        "ALTER TABLE job DROP CONSTRAINT ck; ALTER TABLE job ADD CONSTRAINT ck CHECK (attempts < 9)",
    ],
)
def test_what_only_adds_is_none_of_it(statement: str) -> None:
    assert what_breaks_older_versions(f"BEGIN;\n{statement};\nCOMMIT;") == []
