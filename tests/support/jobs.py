"""Jobs for the tests of the lower layers."""

import json
from typing import Any
from uuid import UUID, uuid4

from queuer import Options
from queuer.options import NO_OPTIONS
from queuer.values import ClaimedJob, Failure, NewJob, Outcome, Verdict

FIRST, SECOND = uuid4(), uuid4()

FAILURE = Failure("ValueError", "no", "Traceback …")


def new_job(
    task_name: str = "task", *parameters: Any, options: Options | None = None, rid: UUID | None = None
) -> NewJob:
    return NewJob(rid or uuid4(), task_name, parameters, {}, options or NO_OPTIONS)


def claimed(task_name: str = "task", *parameters: Any, id: int = 1, **columns: Any) -> ClaimedJob:
    texts = {"parameters": list(parameters), "parameters_keyed": {}, "options": {}}
    values = {"attempt": 1, "failures": 0, **columns, **{n: json.dumps(columns.get(n, v)) for n, v in texts.items()}}
    return ClaimedJob(id=id, rid=uuid4(), task_name=task_name, **values)


def succeeded(job: ClaimedJob, results: str = "[null]", elapsed: float = 0.5) -> Outcome:
    return Outcome(job, Verdict.SUCCEEDED, elapsed, results=results)


def failed(job: ClaimedJob) -> Outcome:
    return Outcome(job, Verdict.FAILED, 0.5, failure=FAILURE)


def to_retry(job: ClaimedJob, delay: float = 60.0) -> Outcome:
    return Outcome(job, Verdict.RETRY, 0.5, failure=FAILURE, delay=delay)
