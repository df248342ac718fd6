from typing import Any

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session
from support.jobs import FIRST, new_job, succeeded

from queuer import Job, JobArchive
from queuer.database.database import Database
from queuer.operations.enqueue import adding, adding_again
from queuer.repositories import archive, jobs, results
from queuer.repositories.claims import claim


def counts(engine: Engine) -> tuple[int, int]:
    with Session(engine) as session:
        live, ended = (session.scalar(select(func.count()).select_from(kind)) or 0 for kind in (Job, JobArchive))
    return live, ended


@pytest.mark.parametrize("was_done", [False, True])
def test_adding_again_adds_what_is_not_there(database: Database, engine: Engine, was_done: bool) -> None:
    job = new_job("task", 1)
    if was_done:
        database.run(adding(job))
    assert database.run(adding_again(job)).rid == job.rid
    assert counts(engine) == (1, 0)


@pytest.mark.parametrize("table", ["job", "archive"])
def test_adding_again_finds_a_job_that_ends_between_its_looks(
    database: Database, engine: Engine, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    """After the look at each of the two tables."""
    job = new_job("task", 1)
    database.run(adding(job))
    looked_at = {"job": jobs, "archive": archive}[table]
    look = looked_at.find

    def look_and_end(session: Session, rid: Any) -> Any:
        found = look(session, rid)
        with Session(engine) as other, other.begin():
            (claimed,) = claim(other, FIRST, ["task"], limit=1)
            results.archive(other, FIRST, [succeeded(claimed)])
        return found

    monkeypatch.setattr(looked_at, "find", look_and_end)
    assert database.run(adding_again(job)).rid == job.rid
    assert counts(engine) == (0, 1)


def test_adding_again_adds_nothing_when_the_job_has_ended_already(database: Database, engine: Engine) -> None:
    job = new_job("task", 1)
    database.run(adding(job))
    (claimed,) = database.run(lambda session: claim(session, FIRST, ["task"], limit=1))
    database.run(lambda session: results.archive(session, FIRST, [succeeded(claimed)]))
    assert isinstance(database.run(adding_again(job)), JobArchive)
    assert counts(engine) == (0, 1)
