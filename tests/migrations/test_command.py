"""`python -m queuer.migrations`: for whoever has no checkout."""

import subprocess
import sys

from support.queues import OURS, Place


def test_up_check_and_down(place: Place) -> None:
    place.command("upgrade", "head")
    assert "No new upgrade operations detected" in place.command("check")
    assert place.tables() == OURS
    place.work()
    place.command("downgrade", "base")
    assert place.tables() == {"queuer_alembic_version"}
    assert place.functions() == 0


def test_as_sql(place: Place) -> None:
    place.execute(place.command("upgrade", "head", "--sql"))
    place.command("check")
    place.work()
    place.execute(place.command("downgrade", "head:base", "--sql"))
    assert not place.tables() & {"job", "job_archive", "worker", "master"}


def test_without_a_command_it_says_what_to_give() -> None:
    done = subprocess.run([sys.executable, "-m", "queuer.migrations"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "name a command, such as: upgrade head" in done.stderr
