"""What has to hold after a run, whatever was broken. Pure, and knows nothing of queuer: facts in, violations out."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from chaos.facts import Facts, JobRow, Promise, Run

#: How often a worker may die under a job before it fails for that.
MOST_LOSSES = 4
LOST = "WorkerLost: "

#: Seconds by which a float may miss PostgreSQL's microseconds.
TINY = 1e-4


class Violation(NamedTuple):
    """A promise that was broken."""

    check: str
    what: str


Check = Callable[[Facts], Iterator[str]]


def check(facts: Facts) -> list[Violation]:
    """All that is wrong."""
    return [Violation(each.__name__.replace("_", " "), what) for each in CHECKS for what in each(facts)]


def none_lost(facts: Facts) -> Iterator[str]:
    """What was added has ended, and nothing is left."""
    archived = {row.rid for row in facts.archive}
    for promise in facts.promises:
        if promise.rid is not None and promise.rid not in archived:
            yield f"job {promise.rid} ({promise.token}) was added, and is not in the archive"
    for row in facts.live:
        yield f"job {row.rid} ({row.token}) is still {row.status} after {row.attempts} attempts"


def archived_exactly_once(facts: Facts) -> Iterator[str]:
    """No rid, and no id, twice in the archive, or in both tables."""
    for what in ("rid", "id"):
        counts = Counter(getattr(row, what) for row in (*facts.archive, *facts.live))
        for value, count in counts.items():
            if count > 1:
                yield f"{what} {value} is there {count} times"


def none_added_twice(facts: Facts) -> Iterator[str]:
    """Each token leads to one job at most; also when adding raised, or the producer died over it."""
    promised = {promise.token: promise for promise in facts.promises}
    firsts = [row for row in (*facts.archive, *facts.live) if row.series_rid in (None, row.rid)]
    rids = defaultdict(set)
    for row in firsts:
        rids[row.token].add(row.rid)
        if row.token not in promised:
            yield f"job {row.rid} has the token {row.token}, which nobody added"
    for token, found in rids.items():
        if len(found) > 1:
            yield f"{token} was added {len(found)} times: {', '.join(sorted(found))}"
        rid = promised[token].rid if token in promised else None
        if rid is not None and rid not in found:
            yield f"{token} was added as {rid}, but is there as {', '.join(sorted(found))}"


def each_attempt_once(facts: Facts) -> Iterator[str]:
    """Two workers never run the same attempt."""
    counts = Counter((run.rid, run.attempt) for run in facts.runs)
    for (rid, attempt), count in counts.items():
        if count > 1:
            yield f"attempt {attempt} of job {rid} was begun {count} times"


def outcomes_are_of_the_owner(facts: Facts) -> Iterator[str]:
    """What counts is the attempt of who owned the job: the last one, or a failed one that was over before the next."""
    runs = _runs_by_rid(facts)
    for row in facts.archive:
        mine = runs[row.rid]
        for run in mine:
            if run.attempt > row.attempts:
                yield f"attempt {run.attempt} of job {row.rid} ran, though it ended with attempt {row.attempts}"
        if row.status == "SUCCEEDED":
            last = [run for run in mine if run.attempt == row.attempts and run.how == "returned"]
            if not last:
                yield f"job {row.rid} SUCCEEDED in attempt {row.attempts}, in which no task returned"
            if row.results != [row.token]:
                yield f"job {row.rid} has the results {row.results}, not {row.token}"
        counted = {failure["attempt"] for failure in row.failures} | {row.attempts}
        for earlier, later in pairwise(sorted(mine, key=lambda run: run.attempt)):
            ended_at = earlier.ended_at
            if earlier.attempt in counted and ended_at is not None and later.begun_at < ended_at:
                yield f"attempt {earlier.attempt} of job {row.rid} counted, though attempt {later.attempt} had begun"


def _runs_by_rid(facts: Facts) -> dict[str, list[Run]]:
    runs = defaultdict(list)
    for run in facts.runs:
        runs[run.rid].append(run)
    return runs


def attempts_add_up(facts: Facts) -> Iterator[str]:
    """Every failure is of an attempt of its own; failures and losses do not exceed the attempts, nor their bounds."""
    for row in facts.archive:
        attempts = [failure["attempt"] for failure in row.failures]
        if len(set(attempts)) != len(attempts) or any(not 1 <= attempt <= row.attempts for attempt in attempts):
            yield f"job {row.rid} has failures of the attempts {attempts}, and {row.attempts} attempts"
        if len(attempts) + row.losses > row.attempts:
            yield f"job {row.rid} has {len(attempts)} failures and {row.losses} losses in {row.attempts} attempts"
        is_lost = (row.error or "").startswith(LOST)
        if row.losses > MOST_LOSSES or is_lost != (row.losses == MOST_LOSSES):
            yield f"job {row.rid} ended with {row.losses} losses and the error {row.error}"


def each_ends_as_it_should(facts: Facts) -> Iterator[str]:
    """As its task does, unless it was cancelled, or too many workers died under it."""
    promises = {promise.token: promise for promise in facts.promises}
    for row in facts.archive:
        promise = promises.get(row.token)
        if promise is None or (row.error or "").startswith(LOST):
            continue
        most = max(promise.order["most_failures"], 0)
        if len(row.failures) > most:
            yield f"{_named(row, promise)} has {len(row.failures)} failures, {most} at most are allowed"
        if row.status == "CANCELLED":
            if row.rid not in facts.cancelled:
                yield f"{_named(row, promise)} is CANCELLED, and nobody cancelled it"
            continue
        if row.status != promise.order["expects"]:
            yield f"{_named(row, promise)} is {row.status}: {row.error}"
        if len(row.failures) < promise.order["fewest_failures"]:
            yield f"{_named(row, promise)} is {row.status} after {len(row.failures)} failures only"


def effects_once(facts: Facts) -> Iterator[str]:
    """What a task wrote in the transaction in which its job ended is there if it SUCCEEDED, and else is not."""
    counts = Counter(facts.effects)
    writes = {promise.token: promise.order["writes"] for promise in facts.promises}
    for row in facts.archive:
        expected = writes.get(row.token, 0) if row.status == "SUCCEEDED" else 0
        if counts[row.token] != expected:
            yield f"job {row.rid} ({row.token}) is {row.status}, and wrote {counts[row.token]} times, not {expected}"


def _named(row: JobRow, promise: Promise) -> str:
    return f"job {row.rid} ({promise.order['kind']} {row.token}, run {row.schedule_count})"


def each_occurrence_once(facts: Facts) -> Iterator[str]:
    """A series has the runs 1, 2, 3 …, each at an instant of its own on the grid, and as many as were ordered."""
    series = defaultdict(list)
    for row in (*facts.archive, *facts.live):
        series[row.token].append(row)
    for promise in facts.promises:
        rows = sorted(series[promise.token], key=lambda row: (row.schedule_count, row.id))
        if rows:
            yield from (f"series {promise.token}: {what}" for what in _check_series(rows, promise))


def _check_series(rows: list[JobRow], promise: Promise) -> Iterator[str]:
    order = promise.order
    counts = [row.schedule_count for row in rows]
    if counts != list(range(1, len(rows) + 1)):
        yield f"has the runs {counts}"
        return
    for earlier, later in pairwise(rows):
        passed = (later.occurrence_at or 0) - (earlier.occurrence_at or 0)
        steps = passed / order["interval"]
        if passed < TINY or abs(steps - round(steps)) > TINY:
            yield f"run {later.schedule_count} is planned {passed:.6f} s after the one before it"
        if earlier.status == "CANCELLED":
            yield f"goes on after run {earlier.schedule_count}, which was cancelled"
    was_cut_short = rows[-1].status == "CANCELLED" or rows[-1].series_error is not None
    if order["runs"] and len(rows) > order["runs"]:
        yield f"has {len(rows)} runs; {order['runs']} were ordered"
    if len(rows) != order["runs"] and not was_cut_short:
        yield f"ended after {len(rows)} runs; {order['runs'] or 'endless'} were ordered"
    if rows[-1].series_error is not None and not (rows[-1].error or "").startswith(LOST):
        yield f"ended with the error {rows[-1].series_error}"


def none_started_early(facts: Facts) -> Iterator[str]:
    """By the database's clock, which is the only one that counts."""
    for row in facts.archive:
        if row.occurrence_at and row.started_at and row.started_at < row.occurrence_at:
            yield f"job {row.rid} started {row.occurrence_at - row.started_at:.3f} s before it was due"


def dropped_outcomes_do_not_count(facts: Facts) -> Iterator[str]:
    """What a worker says it dropped is nowhere in the tables."""
    rows = {row.rid: row for row in (*facts.archive, *facts.live)}
    for verdict, rid, attempt, worker_rid in facts.dropped:
        row = rows.get(rid)
        if row is None:
            yield f"the dropped {verdict} is of job {rid}, which is nowhere"
            continue
        is_last = row.status == verdict and row.attempts == attempt and row.worker_rid == worker_rid
        noted = any(each["attempt"] == attempt and each["worker_rid"] == worker_rid for each in row.failures)
        if is_last or noted:
            yield f"worker {worker_rid} says that it dropped {verdict} of job {rid}, attempt {attempt}, which counts"


def workers_are_sane(facts: Facts) -> Iterator[str]:
    """After everybody was told to stop nobody runs, holds the office, or is yet to do what it was asked for."""
    known = {row["rid"] for row in facts.workers}
    for row in facts.workers:
        if row["status"] == "RUNNING":
            yield f"worker {row['rid']} is still RUNNING"
        if not row["is_past"]:
            yield f"worker {row['rid']} has been heard of in the future"
    if facts.master is not None:
        yield f"worker {facts.master} still holds the office"
    for job in facts.archive:
        if job.worker_rid is not None and job.worker_rid not in known:
            yield f"job {job.rid} was run by worker {job.worker_rid}, which nobody knows"


def nothing_crashed(facts: Facts) -> Iterator[str]:
    """No process died by itself, none hung, and none logged an error."""
    yield from facts.trouble


CHECKS: tuple[Check, ...] = (
    none_lost,
    archived_exactly_once,
    none_added_twice,
    each_attempt_once,
    outcomes_are_of_the_owner,
    attempts_add_up,
    each_ends_as_it_should,
    effects_once,
    each_occurrence_once,
    none_started_early,
    dropped_outcomes_do_not_count,
    workers_are_sane,
    nothing_crashed,
)
