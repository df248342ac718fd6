"""The checker finds what was planted, and nothing else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from chaos.checker import CHECKS, check
from chaos.facts import Dropped, Facts, JobRow, Promise, Run
from chaos.orders import Order

WORKER = "a worker"
FAILURE = {"attempt": 1, "worker_rid": WORKER}


def promise(token: str, rid: str | None, **order: Any) -> Promise:
    return Promise(token, Order("kind", "task", **order).to_json(), rid)


def row(id: int, token: str, **columns: Any) -> JobRow:
    values: dict[str, Any] = {
        "rid": f"rid {id}",
        "status": "SUCCEEDED",
        "attempts": 1,
        "losses": 0,
        "failures": [],
        "worker_rid": WORKER,
        "series_rid": None,
        "schedule_count": 1,
        "occurrence_at": None,
        "started_at": 1000.0,
        "results": [token],
    }
    return JobRow(id=id, token=token, **values | columns)


def clean() -> Facts:
    """A run in which all went well: a plain job, one that failed twice, a lost one, and a series of three."""
    series = {"series_rid": "rid 4"}
    return Facts(
        promises=[
            promise("plain", "rid 1"),
            promise("doomed", "rid 2", expects="FAILED", fewest_failures=2, most_failures=2),
            promise("lost", "rid 3"),
            promise("series", "rid 4", runs=3, interval=2.0),
            promise("raised", None),
            promise("effect", "rid 7", writes=1),
        ],
        runs=[
            Run("rid 1", 1, 10, "plain", 1.0, 2.0, "returned"),
            Run("rid 2", 1, 10, "doomed", 1.0, 2.0, "ValueError"),
            Run("rid 2", 2, 10, "doomed", 3.0, 4.0, "ValueError"),
            *(Run("rid 3", attempt, 10, "lost", attempt, None, None) for attempt in (1, 2, 3, 4)),
            Run("rid 7", 1, 10, "effect", 1.0, 2.0, "returned"),
            *(Run(f"rid {id}", 1, 10, "series", id, id, "returned") for id in (4, 5, 6)),
        ],
        archive=[
            row(1, "plain"),
            row(2, "doomed", status="FAILED", attempts=2, failures=[FAILURE, FAILURE | {"attempt": 2}], error="no"),
            row(3, "lost", status="FAILED", attempts=4, losses=4, error="WorkerLost: the worker died under the job"),
            row(7, "effect"),
            *(row(3 + run, "series", **series, schedule_count=run, occurrence_at=900.0 + 2 * run) for run in (1, 2, 3)),
        ],
        effects=["effect"],
        workers=[{"rid": WORKER, "status": "STOPPED", "asked_to": None, "is_past": True}],
        dropped=[Dropped("SUCCEEDED", "rid 3", 1, "another worker")],
    )


def test_it_finds_nothing_where_nothing_is() -> None:
    assert check(clean()) == []
    assert check(Facts()) == []


Plant = Callable[[Facts], object]


def archived(index: int, **columns: Any) -> Plant:
    def plant(facts: Facts) -> None:
        facts.archive[index] = replace(facts.archive[index], **columns)

    return plant


PLANTED: list[tuple[str, str, Plant]] = [
    ("none lost", "not in the archive", lambda f: f.archive.pop(0)),
    ("none lost", "still RUNNING", lambda f: f.live.append(replace(f.archive.pop(0), status="RUNNING"))),
    ("archived exactly once", "rid rid 1 is there 2 times", lambda f: f.archive.append(replace(f.archive[0], id=9))),
    ("archived exactly once", "id 1 is there 2 times", lambda f: f.live.append(replace(f.archive[0], rid="other"))),
    ("none added twice", "was added 2 times", lambda f: f.archive.append(replace(f.archive[0], id=9, rid="rid 9"))),
    (
        "none added twice",
        "raised was added 2 times",
        lambda f: f.archive.extend([row(8, "raised"), row(9, "raised")]),
    ),
    ("none added twice", "which nobody added", lambda f: f.archive.append(row(9, "of nobody"))),
    ("none added twice", "but is there as rid 9", archived(0, rid="rid 9")),
    ("each attempt once", "begun 2 times", lambda f: f.runs.append(replace(f.runs[0], pid=11))),
    ("outcomes are of the owner", "attempt 2 of job rid 1 ran", lambda f: f.runs.append(replace(f.runs[0], attempt=2))),
    ("outcomes are of the owner", "in which no task returned", lambda f: f.runs.pop(0)),
    ("outcomes are of the owner", "has the results", archived(0, results=["of another"])),
    (
        "outcomes are of the owner",
        "attempt 1 of job rid 2 counted, though attempt 2 had begun",
        lambda f: f.runs.insert(1, replace(f.runs.pop(1), ended_at=3.5)),
    ),
    ("attempts add up", "failures of the attempts [1, 1]", archived(1, failures=[FAILURE, FAILURE])),
    ("attempts add up", "failures of the attempts [3]", archived(1, failures=[FAILURE | {"attempt": 3}])),
    ("attempts add up", "2 failures and 1 losses in 2 attempts", archived(1, losses=1)),
    ("attempts add up", "ended with 5 losses", archived(2, losses=5, attempts=5)),
    ("attempts add up", "ended with 3 losses", archived(2, losses=3)),
    ("attempts add up", "ended with 4 losses", archived(2, error="ValueError: no")),
    ("each ends as it should", "2 at most are allowed", archived(1, attempts=3, failures=[FAILURE] * 3)),
    ("each ends as it should", "nobody cancelled it", archived(0, status="CANCELLED")),
    ("each ends as it should", "is FAILED: no", archived(0, status="FAILED", error="no")),
    ("each ends as it should", "after 1 failures only", archived(1, failures=[FAILURE])),
    ("effects once", "wrote 2 times, not 1", lambda f: f.effects.append("effect")),
    ("effects once", "wrote 0 times, not 1", lambda f: f.effects.clear()),
    ("effects once", "is CANCELLED, and wrote 1 times, not 0", archived(3, status="CANCELLED")),
    ("effects once", "wrote 1 times, not 0", lambda f: f.effects.append("plain")),
    ("each occurrence once", "has the runs [1, 3]", lambda f: f.archive.pop(5)),
    ("each occurrence once", "has the runs [1, 1, 2, 3]", lambda f: f.archive.append(row(9, "series"))),
    ("each occurrence once", "planned 0.000000 s after", archived(5, occurrence_at=902.0)),
    ("each occurrence once", "planned 2.500000 s after", archived(5, occurrence_at=904.5)),
    ("each occurrence once", "ended after 2 runs; 3 were ordered", lambda f: f.archive.pop()),
    ("each occurrence once", "2 were ordered", lambda f: f.promises[3].order.update(runs=2)),  # type: ignore[attr-defined]
    ("each occurrence once", "endless were ordered", lambda f: f.promises[3].order.update(runs=0)),  # type: ignore[attr-defined]
    ("each occurrence once", "goes on after run 2, which was cancelled", archived(5, status="CANCELLED")),
    ("each occurrence once", "with the error the function raised", archived(6, series_error="the function raised")),
    ("none started early", "started 1.000 s before it was due", archived(6, occurrence_at=1001.0)),
    (
        "dropped outcomes do not count",
        "which counts",
        lambda f: f.dropped.append(Dropped("SUCCEEDED", "rid 1", 1, WORKER)),
    ),
    (
        "dropped outcomes do not count",
        "which counts",
        lambda f: f.dropped.append(Dropped("RETRY", "rid 2", 1, WORKER)),
    ),
    (
        "dropped outcomes do not count",
        "which is nowhere",
        lambda f: f.dropped.append(Dropped("FAILED", "rid 99", 1, WORKER)),
    ),
    ("workers are sane", "still RUNNING", lambda f: f.workers[0].update(status="RUNNING")),
    ("workers are sane", "in the future", lambda f: f.workers[0].update(is_past=False)),
    ("workers are sane", "which nobody knows", archived(0, worker_rid="a stranger")),
    ("nothing crashed", "a crash", lambda f: f.trouble.append("a crash")),
]


@pytest.mark.parametrize(("name", "says", "plant"), PLANTED, ids=[f"{name}: {says}" for name, says, _ in PLANTED])
def test_it_finds_what_was_planted(name: str, says: str, plant: Plant) -> None:
    facts = clean()
    plant(facts)
    found = [violation.what for violation in check(facts) if violation.check == name]
    assert any(says in what for what in found), found


def test_it_finds_a_master_that_did_not_leave() -> None:
    (violation,) = check(replace(clean(), master=WORKER))
    assert violation.what == "worker a worker still holds the office"


def test_something_is_planted_for_each_check() -> None:
    assert {name for name, _, _ in PLANTED} == {each.__name__.replace("_", " ") for each in CHECKS}


def test_who_cancelled_and_which_worker_died_excuse_a_job() -> None:
    facts = clean()
    facts.cancelled.update({"rid 1", "rid 5"})
    facts.archive[0] = replace(facts.archive[0], status="CANCELLED")
    facts.archive[5] = replace(facts.archive[5], status="CANCELLED")
    facts.archive.pop()
    facts.runs.pop()
    assert check(facts) == []
